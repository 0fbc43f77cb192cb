"""The plots of a report, as plotly's plain JSON: front, effects, hypervolume, FLOPs against latency."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from stsearch.report.confidence_text import volume_scale, volume_unit
from stsearch.report.easier import MOST, Pair, chart_name
from stsearch.report.effects_text import swap_words
from stsearch.report.page import Report
from stsearch.report.paper import paper_figure
from stsearch.report.plot import figure

INK, BLUE, PALE = "#1a1a1a", "#0072B2", "#c9d6e2"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_FRONT = 850, 600
"""Pixels of the front on a wide page"""
_PAPER = 600, 380
"""The same of the paper's front beside it"""
_ROW = 24
"""Pixels of one effect"""
_LINES = {"3d": "#D55E00", "2plus1d": "#0072B2"}
"""Colours of 3D and (2+1)D as lines; that of (2+1)D's blocks is too light for one"""
_BAND, _MARKED = 0.15, 12
"""Opacity of a band, and epochs below which each has a mark"""
_CROWD, _FAINT = 300, 0.35
"""Dominated networks from which on they are drawn with this opacity"""


def plots(report: Report) -> dict[str, Any]:
    """Name to plotly figure, for those that the study has."""
    found = {
        "front": (front := _front(report)),
        "paper": _paper(report, front),
        "forest": _forest(report),
        "growth": _growth(report),
        "latency": _latency(report),
        **{chart_name(number): _easier(pair) for number, pair in enumerate(report.easier[:MOST])},
    }
    return {name: json.loads(drawn.to_json(engine="json")) for name, drawn in found.items() if drawn is not None}


def _styled(drawn: Any, x: str, y: str, height: int) -> Any:
    axis = {"automargin": True, "gridcolor": "#e6e6e6", "linecolor": "#999999", "zeroline": False, "ticks": ""}
    drawn.update_layout(
        template="none",
        title=None,
        height=height,
        margin={"l": 56, "r": 14, "t": 14, "b": 44},
        font={"family": _FONT, "size": 13, "color": INK},
        hoverlabel={"bgcolor": "#ffffff", "bordercolor": "#888888", "font": {"color": INK}, "align": "left"},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        dragmode=False,
    )
    drawn.update_xaxes(title={"text": escape(x), "font": {"size": 13}}, showline=True, **axis)
    drawn.update_yaxes(title={"text": escape(y), "font": {"size": 13}}, **axis)
    return drawn


def _front(report: Report) -> Any:
    """The front; the last trace is the ring around what the panel shows."""
    if not report.pareto.front or len(report.pareto.objectives) < 2:
        return None
    drawn = figure(report.pareto, _FRONT)
    titles = drawn.layout.xaxis.title.text, drawn.layout.yaxis.title.text
    _styled(drawn, "", "", _FRONT[1])
    drawn.update_xaxes(title_text=titles[0].replace(", ", "<br>", 1))
    drawn.update_yaxes(title_text=titles[1])
    drawn.update_layout(legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0})
    drawn.update_annotations(bgcolor="rgba(255, 255, 255, 0.75)")
    _fade(report, drawn)
    drawn.add_scatter(
        x=[], y=[], mode="markers", name="chosen", showlegend=False, hoverinfo="skip", cliponaxis=False,
        marker={"symbol": "circle-open", "size": 20, "color": INK, "line": {"width": 2}},
    )  # fmt: skip
    return drawn


def _paper(report: Report, front: Any) -> Any:
    """The paper's published front, where it compares with the study's."""
    if front is None or (drawn := _beside(report, front)) is None:
        return None
    titles = drawn.layout.xaxis.title.text, drawn.layout.yaxis.title.text
    _styled(drawn, *titles, _PAPER[1])
    drawn.update_xaxes(title_text=titles[0].replace(", ", "<br>", 1))
    drawn.update_layout(legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0})
    return drawn


def _beside(report: Report, front: Any) -> Any:
    return paper_figure(report.pareto, _PAPER, {trace.name for trace in front.data}, report.table)


def _fade(report: Report, drawn: Any) -> None:
    """Among many points those of the front and the paper stand out."""
    if len(report.pareto.dominated) < _CROWD:
        return
    clear = {network.record.architecture for network in report.networks}
    for trace in drawn.data:
        if trace.customdata is not None:
            trace.marker.opacity = [1.0 if key in clear else _FAINT for key in trace.customdata]


def _forest(report: Report) -> Any:
    """One row per estimate: 95 % interval dark, the joint interval that claims rest on pale behind it."""
    import plotly.graph_objects as go

    effects, rows = report.effects, report.contrasts
    if effects is None or not rows:
        return None
    estimates = [contrast.estimate for contrast in rows if contrast.estimate is not None]
    names = [escape(f"{c.group}: {swap_words(c)}") for c in rows]
    places = list(range(len(rows), 0, -1))
    drawn = go.Figure()
    for level, colour, width, name in (
        (effects.claim_level, PALE, 7, f"joint interval ({100 * effects.family_level:g} %)"),
        (0.95, BLUE, 2, "95 % interval"),
    ):
        ends = [estimate.interval(level) for estimate in estimates]
        drawn.add_scatter(
            x=[x for low, high in ends for x in (low, high, None)],
            y=[y for place in places for y in (place, place, None)],
            mode="lines", name=name, line={"color": colour, "width": width}, hoverinfo="skip",
        )  # fmt: skip
    means = [estimate.mean for estimate in estimates]
    said = [f"{n}<br>{m:+.2f} points, {escape(c.method)}" for n, m, c in zip(names, means, rows, strict=True)]
    symbols = ["circle" if contrast.claimed else "circle-open" for contrast in rows]
    drawn.add_scatter(
        x=means, y=places, mode="markers", name="mean (filled: claimed)", hoverinfo="text",
        marker={"color": BLUE, "size": 9, "symbol": symbols},
        hovertext=said,
    )  # fmt: skip
    drawn.add_vline(0, line={"color": "#777777", "width": 1})
    _styled(drawn, f"points of {report.accuracy}", "", 110 + _ROW * len(rows))
    edges = [x for estimate in estimates for x in estimate.interval(max(effects.claim_level, 0.95))]
    room = 0.03 * (max(edges) - min(edges))
    drawn.update_xaxes(range=[min(0.0, *edges) - room, max(0.0, *edges) + room])
    drawn.update_yaxes(tickvals=places, ticktext=names, range=[0.3, len(rows) + 0.7], showgrid=False)
    drawn.update_layout(legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0})
    return drawn


def _growth(report: Report) -> Any:
    import plotly.graph_objects as go

    if len(report.growth) < 2:
        return None
    scale = volume_scale(report.pareto)
    xs, ys = [count for count, _ in report.growth], [volume / scale for _, volume in report.growth]
    drawn = go.Figure()
    drawn.add_scatter(
        x=xs, y=ys, mode="lines", line={"color": BLUE, "width": 2, "shape": "hv"},
        hovertemplate="after %{x} trainings: %{y:.5g}<extra></extra>",
    )  # fmt: skip
    _styled(drawn, "finished trainings, in order of completion", f"hypervolume ({volume_unit(report.pareto)})", 320)
    drawn.update_yaxes(rangemode="tozero", exponentformat="power")
    return drawn


def _easier(pair: Pair) -> Any:
    """Errors over epochs: dashed of training, solid of validation, with bands over several trainings."""
    import plotly.graph_objects as go

    drawn, bands = go.Figure(), min(pair.seeds) > 1
    for side, kind in zip(pair.sides, ("3d", "2plus1d"), strict=True):
        red, green, blue = (int(_LINES[kind][at : at + 2], 16) for at in (1, 3, 5))
        for errors, name, dash in ((side.train, "training", "dash"), (side.val, "validation", "solid")):
            epochs = list(range(1, errors.shape[1] + 1))
            if bands:
                edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
                drawn.add_scatter(x=epochs, y=errors.min(0).tolist(), **edge)
                fill = f"rgba({red}, {green}, {blue}, {_BAND})"
                drawn.add_scatter(x=epochs, y=errors.max(0).tolist(), fill="tonexty", fillcolor=fill, **edge)
            drawn.add_scatter(
                x=epochs, y=errors.mean(0).tolist(), mode="lines+markers" if len(epochs) < _MARKED else "lines",
                name=f"{escape(side.network)}, {name}", line={"color": _LINES[kind], "width": 2, "dash": dash},
                hovertemplate="after epoch %{x}: %{y:.1f} %<extra>%{fullData.name}</extra>",
            )  # fmt: skip
    _styled(drawn, "epoch", "error (%)", 380)
    drawn.update_yaxes(rangemode="tozero")
    drawn.update_layout(legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0})
    return drawn


def _latency(report: Report) -> Any:
    import plotly.graph_objects as go

    if report.latency is None:
        return None
    names, gmacs, latency = zip(*report.timed, strict=True)
    drawn = go.Figure()
    drawn.add_scatter(
        x=gmacs, y=latency, mode="markers", marker={"color": BLUE, "size": 7, "opacity": 0.7},
        hovertext=[escape(name) for name in names],
        hovertemplate="%{hovertext}<br>%{x:.2f} GMACs, %{y:,.3r} ms<extra></extra>",
    )  # fmt: skip
    _styled(drawn, "multiply-adds (GMACs), computed", "latency (ms), measured", 380)
    drawn.update_xaxes(rangemode="tozero")
    drawn.update_yaxes(rangemode="tozero")
    return drawn
