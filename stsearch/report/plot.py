"""The front as a figure: PNG, SVG or PDF with matplotlib, HTML with plotly, by suffix."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stsearch.errors import UserError, unknown
from stsearch.report import compared_plot
from stsearch.report.axes import (
    STYLES,
    SYMBOLS,
    FrontAxes,
    annotate,
    axes_of,
    kept_within,
    placement_class,
    scaled,
    staircase,
    steps_of,
)
from stsearch.report.confidence_text import shown_chance
from stsearch.report.paper import PAPER, Paper, add_paper, draw_paper, name_paper, paper_beside, paper_labels
from stsearch.report.pareto import Pareto
from stsearch.search.metrics import METRICS
from stsearch.search.reading import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stsearch.report.labels import Label, Segment

SUFFIXES = (".png", ".svg", ".pdf", ".html")
_SIZE = 691, 461
"""Pixels of 1/96 inch"""
_PANEL, _NARROW = 270, 230
"""Pixels that the paper's front is wide beside it, and those for which its names find their places on a page"""
_SHARE = 0.69, 0.77
"""Where the study's axes end and the paper's begin on a page's figure"""
_LINE = 100
"""Characters of a title's line"""
_MOST = 4000
"""Dominated networks in a plot; more are a blot."""
_NUMBERED = 12
"""Most networks of the front with their trial beside them"""
HALTED, STOPPED = "#777777", "stopped early, at its rung"
"""Colour and name of networks that halving stopped"""
BAND = "front, 95 % band; bars: standard errors"


def plot(pareto: Pareto, path: Path, *, with_paper: bool = True, table: str = PAPER) -> None:
    """Write the figure; ``with_paper`` with the published front of ``table`` beside it, where that can be compared.

    ``UserError`` for a suffix that is not one of ``SUFFIXES`` or a place not writable.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--plot {path}: {unknown('suffix', path.suffix, SUFFIXES)}")
    axes = axes_of(pareto)
    if not pareto.front:
        raise UserError(f"the study {pareto.study!r} has no trained network to plot yet")
    paper = paper_beside(pareto, axes, table) if with_paper else None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".html":
            from stsearch.report.figure_page import figure_page

            page = figure_page(_plotly(pareto, axes, beside=paper), f"Front of {pareto.study}")
            path.write_text(page, encoding="utf-8")
        else:
            _matplotlib(pareto, axes, beside=paper)[0].savefig(path, dpi=200)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def figure(pareto: Pareto, size: tuple[int, int] = _SIZE) -> Any:
    """The front as a plotly figure; a point's ``customdata`` is its architecture's id.

    Names find their places for a figure of about ``size`` pixels.

    Texts are escaped: plotly reads a few tags in them. ``UserError`` for a study of one objective.
    """
    return _plotly(pareto, axes_of(pareto), size)


def _named(pareto: Pareto) -> dict[str, Record]:
    return {record.architecture: record for record in pareto.references}


def _searched(pareto: Pareto) -> list[Record]:
    """The networks that are not the paper's: the whole front, of the others at most ``_MOST``, evenly."""
    paper = _named(pareto)
    others = pareto.dominated[:: -(-len(pareto.dominated) // _MOST) or 1]
    return [r for r in (*pareto.front, *others) if r.architecture not in paper]


def _found(pareto: Pareto) -> list[Record]:
    """The front's networks that are not the paper's, where they are few enough for their trials to be written."""
    paper = _named(pareto)
    found = [record for record in pareto.front if record.architecture not in paper and record.trial is not None]
    return found if len(found) <= _NUMBERED else []


def _labelled(pareto: Pareto) -> list[tuple[str, Record]]:
    """What is written beside points: the paper's names, and ``#12`` for trial 12."""
    halted = [(f"{w.record.network} (stopped)", w.record) for w in pareto.waiting if w.paper]
    return [(r.network, r) for r in pareto.references] + halted + [(f"#{r.trial}", r) for r in _found(pareto)]


def _matplotlib(
    pareto: Pareto, axes: FrontAxes, size: tuple[int, int] = _SIZE, beside: Paper | None = None, room: int = _PANEL
) -> tuple[Figure, list[Label], list[Label]]:
    """The figure and the names in it: the study's, and the paper's in a panel of its own."""
    from matplotlib.figure import Figure

    from stsearch.report.labels import place_labels

    widths = [size[0], room] if beside else [size[0]]
    figure = Figure(figsize=(sum(widths) / 96, size[1] / 96), layout="constrained")
    figure.subplots(1, len(widths), width_ratios=widths)
    ax, panel = figure.axes[0], figure.axes[-1]
    seen = _draw_points(ax, pareto, axes)
    compared_plot.draw(ax, pareto, axes)
    _keep_within(ax, pareto, axes)
    front = staircase(pareto.front, axes)
    _draw_front(ax, front)
    lines = steps_of(front) + _draw_confidence(ax, pareto, axes)
    if axes.x in pareto.budget:
        cap = scaled(axes.x, pareto.budget[axes.x])
        lines.append(((cap, ax.get_ylim()[0]), (cap, ax.get_ylim()[1])))
        ax.axvline(cap, color="#555555", linestyle="--", linewidth=0.9, zorder=1, label=f"budget {cap:g}")
    if beside:
        draw_paper(panel, beside, seen)
    _write_axes(ax, pareto, axes)
    _write_title(figure, ax, pareto)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    names = [(name, axes.point(record)) for name, record in _labelled(pareto)]
    names += compared_plot.names(pareto, axes, ax.get_ylim())
    points = [axes.point(record) for record in _drawn(pareto)]
    labels = place_labels(figure, ax, names, points, lines)
    return figure, labels, paper_labels(figure, panel, beside) if beside else []


def _keep_within(ax: Axes, pareto: Pareto, axes: FrontAxes) -> None:
    """Room around the points, but none where nothing can be."""
    ax.margins(x=0.08, y=0.10)
    xs, ys = zip(*(axes.point(record) for record in _drawn(pareto)), strict=True)
    bars = _bars(pareto, axes)
    ends = [*ys, *(low for _, low, _ in bars), *(high for *_, high in bars)]
    room = 0.10 * ((max(ends) - min(ends)) or 0.1 * max(map(abs, ends)) or 1.0)
    ax.set_xlim(kept_within(axes.x, ax.get_xlim(), xs))
    ax.set_ylim(kept_within(axes.y, (min(ends) - room, max(ends) + room), ys))


def _drawn(pareto: Pareto) -> list[Record]:
    """All networks that are points."""
    beside = [one.record for one in compared_plot.stars(pareto) if one.record]
    return [*_searched(pareto), *pareto.references, *_halted(pareto), *beside]


def _halted(pareto: Pareto) -> list[Record]:
    """Networks that halving stopped, at most ``_MOST``, evenly."""
    records = [waiting.record for waiting in pareto.waiting]
    return records[:: -(-len(records) // _MOST) or 1]


def _draw_points(ax: Axes, pareto: Pareto, axes: FrontAxes) -> set[str]:
    """Markers by class of placement, one legend entry per class; gives these classes."""
    on_front = {record.architecture for record in pareto.front}
    paper = _named(pareto)
    groups: dict[tuple[str, bool, bool], list[Record]] = {}
    for record in (*_searched(pareto), *pareto.references):
        key = placement_class(record.parsed()), record.architecture in on_front, record.architecture in paper
        groups.setdefault(key, []).append(record)
    seen: set[str] = set()
    for (kind, front, named), records in groups.items():
        colour, marker = STYLES[kind]
        xs, ys = zip(*map(axes.point, records), strict=True)
        ax.scatter(
            xs,
            ys,
            s=46 if named else 24,
            marker=marker,
            facecolor=colour if front else "none",
            edgecolor=colour,
            linewidth=1.0,
            alpha=1.0 if front or named else 0.55,
            zorder=4 if front else 3,
            clip_on=False,
            label=None if kind in seen else kind,
        )
        seen.add(kind)
    if halted := _halted(pareto):
        xs, ys = zip(*map(axes.point, halted), strict=True)
        ax.scatter(xs, ys, s=22, marker="x", color=HALTED, linewidth=0.9, zorder=3, label=STOPPED, clip_on=False)
    return seen


def _y_title(pareto: Pareto, axes: FrontAxes) -> str:
    """Short; the title above says what the proxy is."""
    return axes.title(axes.y, "proxy" if pareto.accuracy_of.startswith("proxy") else "published")


def _write_axes(ax: Axes, pareto: Pareto, axes: FrontAxes) -> None:
    ax.set_xlabel(axes.title(axes.x, pareto.cost_of))
    ax.set_ylabel(_y_title(pareto, axes))
    ax.grid(color="#dddddd", linewidth=0.5, zorder=0)
    ax.spines[["top", "right"]].set_visible(False)


def _write_title(figure: Figure, ax: Axes, pareto: Pareto) -> None:
    """Above the axes; above all panels where there are several."""
    count = len(pareto.objectives)
    front = "the front" if count == 2 else f"the front of {count} objectives"
    some = f" ({_MOST:,} dominated ones drawn)" if len(pareto.dominated) > _MOST else ""
    about = f"{pareto.study}: {pareto.trained:,} networks{some}. Filled: on {front}. Named: those of the paper"
    about += " and those compared with" if pareto.compared else ""
    about += "".join(f"; #{record.trial}: trial {record.trial}" for record in _found(pareto)[:1])
    lines = [*_wrapped(about), *_wrapped(f"accuracy: {pareto.accuracy_of}")]
    if len(figure.axes) == 1:
        ax.set_title("\n".join(lines), fontsize=8.5, loc="left")
    else:
        figure.suptitle("\n".join(lines), fontsize=8.5, x=0.01, ha="left")


def _wrapped(text: str) -> list[str]:
    """Lines that have room above a plot."""
    return textwrap.wrap(text, _LINE) or [""]


def _draw_front(ax: Axes, points: list[tuple[float, float]]) -> None:
    if len(points) < 2:  # one point is no line
        return
    xs, ys = zip(*points, strict=True)
    ax.step(xs, ys, where="post", color="#333333", linewidth=1.1, zorder=2, label="front")


def _bars(pareto: Pareto, axes: FrontAxes) -> list[tuple[tuple[float, float], float, float]]:
    """Points of the networks that are on the front or may well be, and one standard error below and above."""
    shown = (*pareto.front, *(pareto.confidence.likely if pareto.confidence else ()))
    known = ((record, pareto.certainty(record)) for record in shown)
    found = [(axes.point(r), sure.errors[axes.y]) for r, sure in known if sure is not None and axes.y in sure.errors]
    return [(at, *kept_within(axes.y, (at[1] - error, at[1] + error), [at[1]])) for at, error in found]


def _band(pareto: Pareto, axes: FrontAxes) -> tuple[list[float], list[float], list[float]]:
    """Costs, lower and upper accuracies of the front's 95 % band; empty where there is none."""
    band = pareto.confidence.band if pareto.confidence else None
    if band is None:
        return [], [], []
    return [scaled(axes.x, cost) for cost in band.costs.tolist()], band.low.tolist(), band.high.tolist()


def _draw_confidence(ax: Axes, pareto: Pareto, axes: FrontAxes) -> list[Segment]:
    """Error bars and the band; returns the bars, which names are to keep clear of."""
    costs, low, high = _band(pareto, axes)
    if len(costs) > 1:
        ax.fill_between(costs, low, high, step="post", color="#333333", alpha=0.10, linewidth=0, zorder=1,
                        label=BAND)  # fmt: skip
    bars = _bars(pareto, axes)
    if bars:
        (xs, ys), errors = zip(*(at for at, *_ in bars), strict=True), _errors(bars)
        ax.errorbar(
            xs, ys, yerr=errors, fmt="none", ecolor="#555555", elinewidth=0.8, capsize=2, zorder=2.5, clip_on=False
        )
    return [((at[0], low), (at[0], high)) for at, low, high in bars]


def _errors(bars: list[tuple[tuple[float, float], float, float]]) -> tuple[list[float], list[float]]:
    """What bars have below and above their points."""
    return [at[1] - low for at, low, _ in bars], [high - at[1] for at, _, high in bars]


def _hover(pareto: Pareto, record: Record) -> str:
    metrics = "<br>".join(
        f"{METRICS[name].title}: {METRICS[name].amount(value)}" for name, value in record.metrics.items()
    )
    trial = "reference" if record.trial is None else f"trial {record.trial}"
    sure = pareto.certainty(record)
    about = ""
    if sure:
        errors = (f"<br>standard error of {METRICS[n].title}: {e:.1f} %" for n, e in sure.errors.items())
        about = "".join(errors) + f"<br>trainings: {sure.trainings}"
        chance = shown_chance(sure)
        about += f"<br>probability of being on the front: {escape(chance)}" if chance else ""
    halted = next((w.epoch for w in pareto.waiting if w.record.architecture == record.architecture), None)
    about += "" if halted is None else f"<br>stopped early, after epoch {halted}"
    return f"<b>{escape(record.network)}</b><br>{trial}<br>{metrics}{about}"


def _plotly(pareto: Pareto, axes: FrontAxes, size: tuple[int, int] = _SIZE, beside: Paper | None = None) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    _add_confidence(figure, pareto, axes)
    ordered = staircase(pareto.front, axes)
    if len(ordered) > 1:  # one point is no line
        xs, ys = zip(*ordered, strict=True)
        line = {"color": "#333333", "shape": "hv"}
        figure.add_scatter(x=xs, y=ys, mode="lines", name="front", line=line, hoverinfo="skip")
    seen = _add_points(figure, pareto, axes)
    compared_plot.add(figure, pareto, axes)
    if axes.x in pareto.budget:
        cap = scaled(axes.x, pareto.budget[axes.x])
        said = {"annotation_text": f"budget {cap:g}", "annotation_position": "bottom left"}
        figure.add_vline(cap, line_dash="dash", line_color="#555555", **said)
    drawn, labels, papers = _matplotlib(pareto, axes, size, beside, _NARROW)
    for label in sorted(
        labels, key=lambda label: label.point not in ordered
    ):  # where a screen is narrow, the first stay
        annotate(figure, label)
    compared_plot.add_marks(figure, pareto, axes, drawn.axes[0].get_ylim())
    _lay_out(figure, pareto, axes, drawn.axes[0])
    if beside:
        add_paper(figure, beside, seen, ("x2", "y2"))
        name_paper(figure, beside, drawn.axes[1], papers, "2")
        figure.update_layout(xaxis_domain=[0, _SHARE[0]], xaxis2_domain=[_SHARE[1], 1], yaxis2_anchor="x2")
    return figure


def _add_points(figure: Any, pareto: Pareto, axes: FrontAxes) -> set[str]:
    """Markers by class of placement; gives these classes."""
    on_front = {record.architecture for record in pareto.front}
    paper = _named(pareto)
    groups: dict[str, list[Record]] = {}
    for record in (*_searched(pareto), *pareto.references):
        groups.setdefault(placement_class(record.parsed()), []).append(record)
    for kind, records in groups.items():
        colour, marker = STYLES[kind]
        look = {
            "color": colour,
            "size": [11 if r.architecture in paper else 8 for r in records],
            "symbol": [SYMBOLS[marker] + ("" if r.architecture in on_front else "-open") for r in records],
        }
        _scatter(figure, pareto, axes, kind, records, look)
    if halted := _halted(pareto):
        _scatter(figure, pareto, axes, STOPPED, halted, {"color": HALTED, "size": 7, "symbol": "x-thin-open"})
    return set(groups)


def _scatter(
    figure: Any, pareto: Pareto, axes: FrontAxes, name: str, records: Sequence[Record], marker: Mapping[str, Any]
) -> None:
    """Markers of some networks, which say who they are."""
    figure.add_scatter(
        x=[axes.point(r)[0] for r in records],
        y=[axes.point(r)[1] for r in records],
        mode="markers",
        name=name,
        hovertext=[_hover(pareto, r) for r in records],
        customdata=[r.architecture for r in records],
        hoverinfo="text",
        cliponaxis=False,
        marker=dict(marker),
    )


def _lay_out(figure: Any, pareto: Pareto, axes: FrontAxes, ax: Axes) -> None:
    """Titles, and the ranges in which the names found their places."""
    title = f"{pareto.study}: {pareto.trained:,} networks, accuracy of the {pareto.accuracy_of}"
    figure.update_layout(
        template="plotly_white",
        legend={"orientation": "h", "y": -0.2},
        xaxis_range=ax.get_xlim(),
        yaxis_range=ax.get_ylim(),
        title={"text": "<br>".join(map(escape, _wrapped(title))), "font": {"size": 14}},
        xaxis_title=escape(axes.title(axes.x, pareto.cost_of)),
        yaxis_title=_y_title(pareto, axes),
    )


def _add_confidence(figure: Any, pareto: Pareto, axes: FrontAxes) -> None:
    """The band and the error bars, below all else."""
    costs, low, high = _band(pareto, axes)
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip"}
    if len(costs) > 1:
        figure.add_scatter(x=costs, y=low, showlegend=False, **edge)
        figure.add_scatter(x=costs, y=high, name=BAND, fill="tonexty", fillcolor="rgba(51, 51, 51, 0.10)", **edge)
    bars = _bars(pareto, axes)
    if bars:
        figure.add_scatter(
            x=[at[0] for at, *_ in bars],
            y=[at[1] for at, *_ in bars],
            cliponaxis=False,
            error_y={
                "array": _errors(bars)[1],
                "arrayminus": _errors(bars)[0],
                "color": "#555555",
                "thickness": 1,
                "width": 3,
            },
            mode="markers",
            marker={"size": 1, "color": "#555555"},
            name="standard error",
            showlegend=False,
            hoverinfo="skip",
        )
