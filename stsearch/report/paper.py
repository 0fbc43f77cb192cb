"""A published front beside a study's: a faint panel with axes of its own, so that shapes can be compared.

It is the paper's of 18-layer networks, or one of the tables of ``stsearch.space.literature``.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from html import escape
from math import log10
from typing import TYPE_CHECKING, Any

from stsearch.errors import UserError, unknown
from stsearch.report.axes import (
    STYLES,
    SYMBOLS,
    FrontAxes,
    annotate,
    axes_of,
    kept_within,
    logarithmic,
    placement_class,
    scaled,
    staircase,
    steps_of,
)
from stsearch.report.literature import front_of
from stsearch.report.pareto import Pareto, published, published_clip
from stsearch.search.metrics import ACCURACIES, METRICS
from stsearch.space.architecture import Architecture
from stsearch.space.cost import COSTS, Cost, network_cost
from stsearch.space.literature import TABLES, Published, main_dataset
from stsearch.space.literature import published as published_rows
from stsearch.space.published import PLACEMENTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stsearch.report.labels import Label, Segment

LEAST = 3
"""Placements of the paper that a study has, at least, to be compared with it"""
INK = "#666666"
"""Of the panel's words: fainter than the study's"""
_FRAMES = 16
_LINE, _FAINT = "#b0b0b0", 0.6
SOURCE = "Tran et al., CVPR 2018, Table 2"
HEAD = f"The paper's front, 18 layers\n({SOURCE})"
PAPER = "paper"
"""The table of the paper's 18-layer networks, which is drawn where no other is asked for"""
CHOICES = (PAPER, *TABLES)
OTHERS = "of the literature"
"""Class of networks that have no placement"""
_LOOKS = {**STYLES, OTHERS: ("#444444", "o")}
_NAMED = 14
"""Networks named in a panel, at most: those of the front first, then the most accurate ones"""
_WIDE = 20.0
"""Largest cost to the least, from which on the axis is logarithmic"""


@dataclass(frozen=True)
class Mark:
    """A point of the panel."""

    network: str
    name: str
    """what is written beside it; empty for none"""
    kind: str
    """its class of placement"""
    point: tuple[float, float]
    said: tuple[str, ...]
    """what a pointer is told, line by line"""


@dataclass(frozen=True)
class Paper:
    """What the panel shows."""

    marks: tuple[Mark, ...]
    axes: FrontAxes
    front: tuple[tuple[float, float], ...]
    """points that no other beats in these two axes, by cost"""
    head: str
    """what it is and where it is from, in two lines"""
    of: tuple[str, str]
    """whose cost and whose accuracy that is"""

    @property
    def titles(self) -> tuple[str, str]:
        """Of the two axes."""
        return self.axes.title(self.axes.x, self.of[0]), self.axes.title(self.axes.y, self.of[1])

    @property
    def named(self) -> list[tuple[str, tuple[float, float]]]:
        """Networks by their short names, and where they are."""
        return [(mark.name, mark.point) for mark in self.marks if mark.name]

    @property
    def log(self) -> bool:
        """Whether its axis of costs is logarithmic."""
        costs = [mark.point[0] for mark in self.marks]
        return max(costs) > _WIDE * min(costs)

    @property
    def lines(self) -> list[Segment]:
        """The front as a staircase."""
        return steps_of(list(self.front))


def paper_clip() -> str:
    """What the paper's networks see: ``16x112x112``."""
    return "x".join(map(str, published_clip(_FRAMES).sizes[1:]))


def table_for(pareto: Pareto, asked: str) -> str:
    """``asked``; ``UserError`` where it is none of ``CHOICES``, or nothing in the axes of a study's plot."""
    if asked not in CHOICES:
        raise UserError(unknown("table", asked, CHOICES))
    if asked != PAPER:
        refuse_table(axes_of(pareto), asked)
    return asked


def refuse_table(axes: FrontAxes, table: str) -> None:
    """``UserError`` where a table that somebody asks for has nothing in the axes of a study's plot."""
    if table != PAPER and (axes.y not in ACCURACIES or axes.x not in COSTS):
        raise UserError(
            f"--table {table}: published results are an accuracy over a cost that is counted; the study's plot has "
            f"{axes.y} over {axes.x}"
        )


def paper_beside(pareto: Pareto, axes: FrontAxes, table: str = PAPER) -> Paper | None:
    """A published front in the axes of a study's plot: the paper's, or that of ``table``.

    ``None`` for the paper's where these are not an accuracy over a cost that can be counted, where the study has fewer
    than ``LEAST`` of its placements, and for the published table itself; another table is refused.
    """
    refuse_table(axes, table)
    if table != PAPER:
        return _literature(table, axes)
    trained = {record.network.rpartition("-")[0] for record in pareto.references} & PLACEMENTS.keys()
    its_own = any(record.trial is None for record in pareto.front)  # of a study's front every network is a trial
    if axes.y not in ACCURACIES or axes.x not in COSTS or len(trained) < LEAST or its_own:
        return None
    records = published(_FRAMES).references
    y = axes.y if all(axes.y in record.metrics for record in records) else "video_top1"
    shown = FrontAxes(axes.x, y)
    marks = []
    for record in records:
        figures = [f"{METRICS[name].title}: {METRICS[name].amount(record.metrics[name])}" for name in (y, axes.x)]
        short, kind = record.network.rpartition("-")[0], placement_class(record.parsed())
        said = (f"published ({SOURCE})", *figures)
        marks.append(Mark(record.network, short, kind, shown.point(record), said))
    return Paper(tuple(marks), shown, tuple(staircase(records, shown)), HEAD, (paper_clip(), "Kinetics-400"))


def _literature(table: str, axes: FrontAxes) -> Paper:
    """A table of the literature: accuracies as printed, costs of one view by our rule."""
    dataset, shown = main_dataset(table), FrontAxes(axes.x, "video_top1")
    rows = [row for row in published_rows(table) if row.counted and row.top1 and row.dataset.startswith(dataset)]
    points = [(scaled(axes.x, _cost(row, axes.x)), row.top1 or 0.0) for row in rows]
    front = front_of(points)
    names = _names((row.network, point) for row, point in zip(rows, points, strict=True))
    marks = [
        Mark(row.network, names.pop(point, ""), _kind(row), point, _told(row, point, axes.x))
        for row, point in zip(rows, points, strict=True)
    ]
    head = f"Published on {dataset}\n(table {table}, cost of one view)"
    return Paper(tuple(marks), shown, tuple(front), head, ("one view", dataset))


def _cost(row: Published, name: str) -> float:
    """Of all its streams, by our rule."""
    streams = (network_cost(network, clip, row.classes).total for network, clip in row.counted)
    return COSTS[name](sum(streams, Cost()))


def _kind(row: Published) -> str:
    network = row.counted[0][0]
    return placement_class(network) if isinstance(network, Architecture) else OTHERS


def _told(row: Published, point: tuple[float, float], cost: str) -> tuple[str, ...]:
    before = [f"after {row.pretrain}"] if row.pretrain not in ("", "none") else []
    return (row.source, *before, f"top-1: {point[1]:g} %", f"{METRICS[cost].axis}: {point[0]:,.4g}")


def _names(points: Iterable[tuple[str, tuple[float, float]]]) -> dict[tuple[float, float], str]:
    """What is written beside which point: every network once, at its best, few enough for a panel."""
    best: dict[str, tuple[float, float]] = {}
    for name, point in sorted(points, key=lambda one: -one[1][1]):
        best.setdefault(name.partition(" (")[0], point)
    front = front_of(list(best.values()))
    order = sorted(best.items(), key=lambda one: (one[1] not in front, -one[1][1]))
    return {point: name for name, point in order[:_NAMED]}


def draw_paper(ax: Axes, paper: Paper, known: Container[str]) -> None:
    """The panel with matplotlib; classes of placements that are not ``known`` get an entry in the legend."""
    told: set[str] = set()
    for mark in paper.marks:
        kind, point = mark.kind, mark.point
        colour, marker = _LOOKS[kind]
        label = None if kind in known or kind in told else kind
        face = colour if point in paper.front else "none"
        ax.scatter(*point, s=34, marker=marker, facecolor=face, edgecolor=colour, alpha=_FAINT, zorder=3, label=label)
        told.add(kind)
    xs, ys = zip(*paper.front, strict=True)
    ax.step(xs, ys, where="post", color=_LINE, linewidth=1.0, zorder=2)
    if paper.log:
        logarithmic(ax)
    ax.set_title(paper.head, fontsize=7.5, loc="left", color=INK)
    across, up = paper.titles
    ax.set_xlabel(across, fontsize=8, color=INK)
    ax.set_ylabel(up, fontsize=8, color=INK)
    ax.tick_params(labelsize=8, colors=INK, color=_LINE)
    ax.grid(color="#eeeeee", linewidth=0.5, zorder=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["bottom", "left"]].set_color(_LINE)
    ax.margins(x=0.14, y=0.10)
    points = [mark.point for mark in paper.marks]
    if not paper.log:  # a logarithmic axis never comes to 0
        ax.set_xlim(kept_within(paper.axes.x, ax.get_xlim(), [x for x, _ in points]))
    ax.set_ylim(kept_within(paper.axes.y, ax.get_ylim(), [y for _, y in points]))


def add_paper(figure: Any, paper: Paper, known: Container[str], axes: tuple[str, str] = ("x", "y")) -> None:
    """The panel's points and line in a plotly figure, on its axes of these names."""
    place: dict[str, Any] = {"xaxis": axes[0], "yaxis": axes[1]}
    xs, ys = zip(*paper.front, strict=True)
    line = {"color": _LINE, "shape": "hv", "width": 1.5}
    figure.add_scatter(x=xs, y=ys, mode="lines", line=line, showlegend=False, hoverinfo="skip", **place)
    groups: dict[str, list[Mark]] = {}
    for mark in paper.marks:
        groups.setdefault(mark.kind, []).append(mark)
    for kind, marks in groups.items():
        colour, marker = _LOOKS[kind]
        points = [mark.point for mark in marks]
        figure.add_scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            mode="markers",
            name=kind,
            showlegend=kind not in known,
            hovertext=[_hover(mark) for mark in marks],
            hoverinfo="text",
            opacity=_FAINT,
            marker={
                "color": colour,
                "size": 9,
                "symbol": [SYMBOLS[marker] + ("" if point in paper.front else "-open") for point in points],
            },
            **place,
        )


def _hover(mark: Mark) -> str:
    return "<br>".join([f"<b>{escape(mark.network)}</b>", *map(escape, mark.said)])


def paper_labels(figure: Figure, ax: Axes, paper: Paper) -> list[Label]:
    """Write the names of the networks in the panel."""
    from stsearch.report.labels import place_labels

    return place_labels(figure, ax, paper.named, [mark.point for mark in paper.marks], paper.lines, INK)


def name_paper(figure: Any, paper: Paper, ax: Axes, labels: list[Label], which: str = "") -> None:
    """Names and titles of the paper's axes, ``x`` and ``y`` or those with ``which`` behind, with ``ax``'s ranges.

    Beside another panel it says above it what it is and where it is from.
    """
    if which:
        _head_paper(figure, paper, which)
    for label in sorted(
        labels, key=lambda label: label.point not in paper.front
    ):  # where a screen is narrow, the first stay
        if paper.log:  # plotly's annotations are where the axis is, which is that of the logarithm
            label = replace(label, point=(log10(label.point[0]), label.point[1]))
        annotate(figure, label, {"xref": f"x{which}", "yref": f"y{which}", "font": {"size": 11, "color": INK}})
    for letter, title, limits in zip("xy", paper.titles, (ax.get_xlim(), ax.get_ylim()), strict=True):
        look = {
            "title": {"text": title, "font": {"color": INK, "size": 12}},
            "tickfont": {"color": INK},
            "range": limits,
        }
        if letter == "x" and paper.log:
            look |= {"type": "log", "range": [log10(limit) for limit in limits], "dtick": 1}
        figure.update_layout({f"{letter}axis{which}": look})


def _head_paper(figure: Any, paper: Paper, which: str) -> None:
    figure.add_annotation(
        text=escape(paper.head).replace("\n", "<br>"), xref=f"x{which} domain", yref=f"y{which} domain", x=0, y=1,
        xanchor="left", yanchor="bottom", align="left", showarrow=False, font={"size": 11, "color": INK},
    )  # fmt: skip


def paper_figure(pareto: Pareto, size: tuple[int, int], known: Container[str], table: str = PAPER) -> Any:
    """The panel alone, as a plotly figure of about ``size`` pixels; ``None`` where ``paper_beside`` is.

    ``known``: classes of placements that another legend explains.
    """
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

    paper = paper_beside(pareto, axes_of(pareto), table)
    if paper is None:
        return None
    drawn = Figure(figsize=(size[0] / 96, size[1] / 96), layout="constrained")
    ax = drawn.add_subplot()
    draw_paper(ax, paper, known)
    figure = go.Figure()
    add_paper(figure, paper, known)
    name_paper(figure, paper, ax, paper_labels(drawn, ax, paper))
    return figure
