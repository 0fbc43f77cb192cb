"""The front as a figure: PNG, SVG or PDF with matplotlib, HTML with plotly, by suffix."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stsearch.errors import UserError, unknown
from stsearch.report.front import minimised, non_dominated
from stsearch.report.pareto import Pareto, shown_value, unit_of
from stsearch.search.metrics import QUALITIES
from stsearch.search.reading import Record
from stsearch.space.architecture import Architecture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stsearch.report.labels import Label, Segment

SUFFIXES = (".png", ".svg", ".pdf", ".html")
_PIXELS_PER_POINT = 4 / 3
_SIZE = 691, 461
"""Pixels of 1/96 inch"""
_LINE = 100
"""Characters of a title's line"""
_MOST = 4000
"""Dominated networks in a plot; more are a blot."""
_NUMBERED = 12
"""Most networks of the front with their trial beside them"""
BAND = "front, 95 % band; bars: standard errors"
TITLES = {
    "video_top1": "video top-1",
    "score": "score",
    "clip_top1": "clip top-1",
    "video_top5": "video top-5",
    "order_top1": "order top-1",
    "frames_top1": "frames top-1",
    "gmacs": "multiply-adds",
    "params": "parameters",
    "activations": "activations",
    "latency_ms": "latency",
    "peak_memory_mb": "peak memory",
}
# Okabe and Ito's palette: told apart by colour-blind readers. Markers repeat what colours say.
STYLES: dict[str, tuple[str, str]] = {
    "2D everywhere": ("#000000", "o"),
    "time early (MC-like)": ("#E69F00", "^"),
    "time late (rMC-like)": ("#0072B2", "v"),
    "time everywhere": ("#D55E00", "s"),
    "time here and there": ("#009E73", "D"),
    "frames collapsed (R2D)": ("#999999", "X"),
}
"""Class of placement to colour and marker."""


def placement_class(architecture: Architecture) -> str:
    """Where a placement sees time: the paper's families, read off its five groups."""
    if architecture.stem == "collapse":
        return "frames collapsed (R2D)"
    groups = [architecture.stem != "2d", *(any(kind != "2d" for kind in kinds) for kinds in architecture.stages)]
    if not any(groups):
        return "2D everywhere"
    if all(groups):
        return "time everywhere"
    if groups == sorted(groups, reverse=True):
        return "time early (MC-like)"
    if groups == sorted(groups):
        return "time late (rMC-like)"
    return "time here and there"


@dataclass(frozen=True)
class _Axes:
    """What the two axes show."""

    x: str
    y: str

    def title(self, name: str, whose: str) -> str:
        unit = "millions" if unit_of(name) == "M" else unit_of(name)
        return f"{TITLES[name]} ({unit}), {whose}"

    def point(self, record: Record) -> tuple[float, float]:
        return _scaled(self.x, record.metrics[self.x]), _scaled(self.y, record.metrics[self.y])


def _scaled(name: str, value: float) -> float:
    return value / 1e6 if unit_of(name) == "M" else value


def _axes(pareto: Pareto) -> _Axes:
    costs = [name for name in pareto.objectives if name not in QUALITIES]
    accuracies = [name for name in pareto.objectives if name in QUALITIES]
    if len(pareto.objectives) < 2:
        raise UserError(f"a plot of a front needs two objectives; the study has {', '.join(pareto.objectives)}")
    if costs and accuracies:
        return _Axes(costs[0], accuracies[0])
    first, second, *_ = pareto.objectives
    return _Axes(first, second)


def plot(pareto: Pareto, path: Path) -> None:
    """Write the figure; ``UserError`` for a suffix that is not one of ``SUFFIXES`` or a place not writable."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--plot {path}: {unknown('suffix', path.suffix, SUFFIXES)}")
    axes = _axes(pareto)
    if not pareto.front:
        raise UserError(f"the study {pareto.study!r} has no trained network to plot yet")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".html":
            _plotly(pareto, axes).write_html(path, include_plotlyjs=True)
        else:
            _matplotlib(pareto, axes)[0].savefig(path, dpi=200)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def figure(pareto: Pareto, size: tuple[int, int] = _SIZE) -> Any:
    """The front as a plotly figure; a point's ``customdata`` is its architecture's id.

    Names find their places for a figure of about ``size`` pixels.

    Texts are escaped: plotly reads a few tags in them. ``UserError`` for a study of one objective.
    """
    return _plotly(pareto, _axes(pareto), size)


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
    return [(r.network, r) for r in pareto.references] + [(f"#{r.trial}", r) for r in _found(pareto)]


def _matplotlib(pareto: Pareto, axes: _Axes, size: tuple[int, int] = _SIZE) -> tuple[Figure, list[Label]]:
    from matplotlib.figure import Figure

    from stsearch.report.labels import place_labels

    figure = Figure(figsize=(size[0] / 96, size[1] / 96), layout="constrained")
    ax = figure.add_subplot()
    _draw_points(ax, pareto, axes)
    front = _staircase(pareto, axes)
    _draw_front(ax, front)
    lines = _steps(front) + _draw_confidence(ax, pareto, axes)
    if axes.x in pareto.budget:
        cap = _scaled(axes.x, pareto.budget[axes.x])
        lines.append(((cap, ax.get_ylim()[0]), (cap, ax.get_ylim()[1])))
        ax.axvline(cap, color="#555555", linestyle="--", linewidth=0.9, zorder=1, label=f"budget {cap:g}")
    _write_axes(ax, pareto, axes)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    names = [(name, axes.point(record)) for name, record in _labelled(pareto)]
    points = [axes.point(record) for record in (*_searched(pareto), *pareto.references)]
    return figure, place_labels(figure, ax, names, points, lines)


def _draw_points(ax: Axes, pareto: Pareto, axes: _Axes) -> None:
    """Markers by class of placement, one legend entry per class."""
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
            label=None if kind in seen else kind,
        )
        seen.add(kind)


def _y_title(pareto: Pareto, axes: _Axes) -> str:
    """Short; the title above says what the proxy is."""
    return axes.title(axes.y, "proxy" if pareto.accuracy_of.startswith("proxy") else "published")


def _write_axes(ax: Axes, pareto: Pareto, axes: _Axes) -> None:
    ax.set_xlabel(axes.title(axes.x, pareto.cost_of))
    ax.set_ylabel(_y_title(pareto, axes))
    count = len(pareto.objectives)
    front = "the front" if count == 2 else f"the front of {count} objectives"
    some = f" ({_MOST:,} dominated ones drawn)" if len(pareto.dominated) > _MOST else ""
    about = f"{pareto.study}: {pareto.trained:,} networks{some}. Filled: on {front}. Named: the paper's"
    about += "".join(f"; #{record.trial}: trial {record.trial}" for record in _found(pareto)[:1])
    lines = [*_wrapped(about), *_wrapped(f"accuracy: {pareto.accuracy_of}")]
    ax.set_title("\n".join(lines), fontsize=8.5, loc="left")
    ax.grid(color="#dddddd", linewidth=0.5, zorder=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.08, y=0.10)


def _wrapped(text: str) -> list[str]:
    """Lines that have room above a plot."""
    return textwrap.wrap(text, _LINE) or [""]


def _staircase(pareto: Pareto, axes: _Axes) -> list[tuple[float, float]]:
    """The front's points that no other dominates in these two axes, by x; with two objectives, all of them."""
    values = [axes.point(record) for record in pareto.front]
    signs = [pareto.objectives[axes.x] == "maximize", pareto.objectives[axes.y] == "maximize"]
    keep = non_dominated(minimised(values, signs))
    return sorted(point for point, kept in zip(values, keep, strict=True) if kept)


def _steps(points: list[tuple[float, float]]) -> list[Segment]:
    """The front as a staircase of horizontal and vertical lines."""
    lines: list[Segment] = []
    for (x0, y0), (x1, y1) in pairwise(points):
        lines += [((x0, y0), (x1, y0)), ((x1, y0), (x1, y1))]
    return lines


def _draw_front(ax: Axes, points: list[tuple[float, float]]) -> None:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    ax.step(xs, ys, where="post", color="#333333", linewidth=1.1, zorder=2, label="front")


def _bars(pareto: Pareto, axes: _Axes) -> list[tuple[float, float, float]]:
    """``(x, y, standard error)`` of the networks that are on the front or may well be."""
    shown = (*pareto.front, *(pareto.confidence.likely if pareto.confidence else ()))
    known = ((record, pareto.certainty(record)) for record in shown)
    return [(*axes.point(r), sure.errors[axes.y]) for r, sure in known if sure is not None and axes.y in sure.errors]


def _band(pareto: Pareto, axes: _Axes) -> tuple[list[float], list[float], list[float]]:
    """Costs, lower and upper accuracies of the front's 95 % band; empty where there is none."""
    band = pareto.confidence.band if pareto.confidence else None
    if band is None:
        return [], [], []
    return [_scaled(axes.x, cost) for cost in band.costs.tolist()], band.low.tolist(), band.high.tolist()


def _draw_confidence(ax: Axes, pareto: Pareto, axes: _Axes) -> list[Segment]:
    """Error bars and the band; returns the bars, which names are to keep clear of."""
    costs, low, high = _band(pareto, axes)
    if len(costs) > 1:
        ax.fill_between(costs, low, high, step="post", color="#333333", alpha=0.10, linewidth=0, zorder=1,
                        label=BAND)  # fmt: skip
    bars = _bars(pareto, axes)
    if bars:
        xs, ys, errors = zip(*bars, strict=True)
        ax.errorbar(xs, ys, yerr=errors, fmt="none", ecolor="#555555", elinewidth=0.8, capsize=2, zorder=2.5)
    return [((x, y - error), (x, y + error)) for x, y, error in bars]


def _hover(pareto: Pareto, record: Record) -> str:
    metrics = "<br>".join(
        f"{TITLES[name]}: {shown_value(name, value)} {unit_of(name)}" for name, value in record.metrics.items()
    )
    trial = "reference" if record.trial is None else f"trial {record.trial}"
    sure = pareto.certainty(record)
    about = "".join(f"<br>standard error of {TITLES[n]}: {e:.1f} %" for n, e in sure.errors.items()) if sure else ""
    if sure:
        about += f"<br>trainings: {sure.trainings}<br>probability of being on the front: {sure.probability:.2f}"
    return f"<b>{escape(record.network)}</b><br>{escape(record.architecture)}<br>{trial}<br>{metrics}{about}"


def _plotly(pareto: Pareto, axes: _Axes, size: tuple[int, int] = _SIZE) -> Any:
    import plotly.graph_objects as go

    symbols = {"o": "circle", "^": "triangle-up", "v": "triangle-down", "s": "square", "D": "diamond", "X": "x"}
    on_front = {record.architecture for record in pareto.front}
    paper = _named(pareto)
    groups: dict[str, list[Record]] = {}
    for record in (*_searched(pareto), *pareto.references):
        groups.setdefault(placement_class(record.parsed()), []).append(record)
    figure = go.Figure()
    _add_confidence(figure, pareto, axes)
    ordered = _staircase(pareto, axes)
    figure.add_scatter(
        x=[x for x, _ in ordered],
        y=[y for _, y in ordered],
        mode="lines",
        name="front",
        line={"color": "#333333", "shape": "hv"},
        hoverinfo="skip",
    )
    for kind, records in groups.items():
        colour, marker = STYLES[kind]
        figure.add_scatter(
            x=[axes.point(r)[0] for r in records],
            y=[axes.point(r)[1] for r in records],
            mode="markers",
            name=kind,
            hovertext=[_hover(pareto, r) for r in records],
            customdata=[r.architecture for r in records],
            hoverinfo="text",
            marker={
                "color": colour,
                "size": [11 if r.architecture in paper else 8 for r in records],
                "symbol": [symbols[marker] + ("" if r.architecture in on_front else "-open") for r in records],
            },
        )
    if axes.x in pareto.budget:
        cap = _scaled(axes.x, pareto.budget[axes.x])
        said = {"annotation_text": f"budget {cap:g}", "annotation_position": "bottom left"}
        figure.add_vline(cap, line_dash="dash", line_color="#555555", **said)
    drawn, labels = _matplotlib(pareto, axes, size)
    for label in labels:
        _annotate(figure, label)
    (ax,) = drawn.axes
    _lay_out(figure, pareto, axes, ax.get_xlim(), ax.get_ylim())
    return figure


def _lay_out(figure: Any, pareto: Pareto, axes: _Axes, across: tuple[float, float], up: tuple[float, float]) -> None:
    """Titles, and the ranges in which the names found their places."""
    title = f"{pareto.study}: {pareto.trained:,} networks, accuracy of the {pareto.accuracy_of}"
    figure.update_layout(
        template="plotly_white",
        legend={"orientation": "h", "y": -0.2},
        xaxis_range=across,
        yaxis_range=up,
        title={"text": "<br>".join(map(escape, _wrapped(title))), "font": {"size": 14}},
        xaxis_title=escape(axes.title(axes.x, pareto.cost_of)),
        yaxis_title=_y_title(pareto, axes),
    )


def _add_confidence(figure: Any, pareto: Pareto, axes: _Axes) -> None:
    """The band and the error bars, below all else."""
    costs, low, high = _band(pareto, axes)
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip"}
    if len(costs) > 1:
        figure.add_scatter(x=costs, y=low, showlegend=False, **edge)
        figure.add_scatter(x=costs, y=high, name=BAND, fill="tonexty", fillcolor="rgba(51, 51, 51, 0.10)", **edge)
    bars = _bars(pareto, axes)
    if bars:
        figure.add_scatter(
            x=[x for x, *_ in bars],
            y=[y for _, y, _ in bars],
            error_y={"array": [e for *_, e in bars], "color": "#555555", "thickness": 1, "width": 3},
            mode="markers",
            marker={"size": 1, "color": "#555555"},
            name="standard error",
            showlegend=False,
            hoverinfo="skip",
        )


def _annotate(figure: Any, label: Label) -> None:
    """A name where matplotlib found room for it; the page is wider, so the room is there too."""
    dx, dy = label.offset
    figure.add_annotation(
        x=label.point[0],
        y=label.point[1],
        text=escape(label.name),
        ax=dx * _PIXELS_PER_POINT,
        ay=-dy * _PIXELS_PER_POINT,
        arrowhead=0,
        arrowwidth=0.6,
        arrowcolor="#888888",
        standoff=5,
        font={"size": 11},
    )
