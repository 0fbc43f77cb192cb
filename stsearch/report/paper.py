"""The paper's published front beside a study's: a faint panel with axes of its own, so that shapes can be compared."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from stsearch.report.axes import (
    STYLES,
    SYMBOLS,
    FrontAxes,
    annotate,
    axes_of,
    kept_within,
    placement_class,
    staircase,
    steps_of,
)
from stsearch.report.pareto import Pareto, published, published_clip
from stsearch.search.metrics import ACCURACIES, METRICS
from stsearch.search.reading import Record
from stsearch.space.cost import COSTS
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


@dataclass(frozen=True)
class Paper:
    """What the panel shows."""

    records: tuple[Record, ...]
    """the paper's twelve networks of 18 layers"""
    axes: FrontAxes
    front: tuple[tuple[float, float], ...]
    """points that no other beats in these two axes, by cost"""

    @property
    def titles(self) -> tuple[str, str]:
        """Of the two axes."""
        return self.axes.title(self.axes.x, paper_clip()), self.axes.title(self.axes.y, "Kinetics-400")

    @property
    def named(self) -> list[tuple[str, tuple[float, float]]]:
        """Networks by their short names, and where they are."""
        return [(record.network.rpartition("-")[0], self.axes.point(record)) for record in self.records]

    @property
    def lines(self) -> list[Segment]:
        """The front as a staircase."""
        return steps_of(list(self.front))


def paper_clip() -> str:
    """What the paper's networks see: ``16x112x112``."""
    return "x".join(map(str, published_clip(_FRAMES).sizes[1:]))


def paper_beside(pareto: Pareto, axes: FrontAxes) -> Paper | None:
    """The paper's front in the axes of a study's plot.

    ``None`` where these are not an accuracy over a cost that can be counted, where the study has fewer than ``LEAST``
    of the paper's placements, and for the published table itself.
    """
    trained = {record.network.rpartition("-")[0] for record in pareto.references} & PLACEMENTS.keys()
    its_own = any(record.trial is None for record in pareto.front)  # of a study's front every network is a trial
    if axes.y not in ACCURACIES or axes.x not in COSTS or len(trained) < LEAST or its_own:
        return None
    table = published(_FRAMES).references
    y = axes.y if all(axes.y in record.metrics for record in table) else "video_top1"
    shown = FrontAxes(axes.x, y)
    return Paper(table, shown, tuple(staircase(table, shown)))


def draw_paper(ax: Axes, paper: Paper, known: Container[str]) -> None:
    """The panel with matplotlib; classes of placements that are not ``known`` get an entry in the legend."""
    told: set[str] = set()
    for record in paper.records:
        kind, point = placement_class(record.parsed()), paper.axes.point(record)
        colour, marker = STYLES[kind]
        label = None if kind in known or kind in told else kind
        face = colour if point in paper.front else "none"
        ax.scatter(*point, s=34, marker=marker, facecolor=face, edgecolor=colour, alpha=_FAINT, zorder=3, label=label)
        told.add(kind)
    xs, ys = zip(*paper.front, strict=True)
    ax.step(xs, ys, where="post", color=_LINE, linewidth=1.0, zorder=2)
    ax.set_title(HEAD, fontsize=7.5, loc="left", color=INK)
    across, up = paper.titles
    ax.set_xlabel(across, fontsize=8, color=INK)
    ax.set_ylabel(up, fontsize=8, color=INK)
    ax.tick_params(labelsize=8, colors=INK, color=_LINE)
    ax.grid(color="#eeeeee", linewidth=0.5, zorder=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["bottom", "left"]].set_color(_LINE)
    ax.margins(x=0.14, y=0.10)
    points = [paper.axes.point(record) for record in paper.records]
    ax.set_xlim(kept_within(paper.axes.x, ax.get_xlim(), [x for x, _ in points]))
    ax.set_ylim(kept_within(paper.axes.y, ax.get_ylim(), [y for _, y in points]))


def add_paper(figure: Any, paper: Paper, known: Container[str], axes: tuple[str, str] = ("x", "y")) -> None:
    """The panel's points and line in a plotly figure, on its axes of these names."""
    place: dict[str, Any] = {"xaxis": axes[0], "yaxis": axes[1]}
    xs, ys = zip(*paper.front, strict=True)
    line = {"color": _LINE, "shape": "hv", "width": 1.5}
    figure.add_scatter(x=xs, y=ys, mode="lines", line=line, showlegend=False, hoverinfo="skip", **place)
    groups: dict[str, list[Record]] = {}
    for record in paper.records:
        groups.setdefault(placement_class(record.parsed()), []).append(record)
    for kind, records in groups.items():
        colour, marker = STYLES[kind]
        points = [paper.axes.point(record) for record in records]
        figure.add_scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            mode="markers",
            name=kind,
            showlegend=kind not in known,
            hovertext=[_hover(paper, record) for record in records],
            hoverinfo="text",
            opacity=_FAINT,
            marker={
                "color": colour,
                "size": 9,
                "symbol": [SYMBOLS[marker] + ("" if point in paper.front else "-open") for point in points],
            },
            **place,
        )


def _hover(paper: Paper, record: Record) -> str:
    shown = (f"{METRICS[n].title}: {METRICS[n].amount(record.metrics[n])}" for n in (paper.axes.y, paper.axes.x))
    return "<br>".join([f"<b>{escape(record.network)}</b>", f"published ({SOURCE})", *shown])


def paper_labels(figure: Figure, ax: Axes, paper: Paper) -> list[Label]:
    """Write the names of the networks in the panel."""
    from stsearch.report.labels import place_labels

    return place_labels(figure, ax, paper.named, [point for _, point in paper.named], paper.lines, INK)


def name_paper(figure: Any, paper: Paper, ax: Axes, labels: list[Label], which: str = "") -> None:
    """Names and titles of the paper's axes, ``x`` and ``y`` or those with ``which`` behind, with ``ax``'s ranges."""
    for label in labels:
        annotate(figure, label, {"xref": f"x{which}", "yref": f"y{which}", "font": {"size": 11, "color": INK}})
    for letter, title, limits in zip("xy", paper.titles, (ax.get_xlim(), ax.get_ylim()), strict=True):
        look = {
            "title": {"text": title, "font": {"color": INK, "size": 12}},
            "tickfont": {"color": INK},
            "range": limits,
        }
        figure.update_layout({f"{letter}axis{which}": look})


def head_paper(figure: Any) -> None:
    """What the panel is and where it is from, above it."""
    figure.add_annotation(
        text=escape(HEAD).replace("\n", "<br>"), xref="x2 domain", yref="y2 domain", x=0, y=1, xanchor="left",
        yanchor="bottom", align="left", showarrow=False, font={"size": 11, "color": INK},
    )  # fmt: skip


def paper_figure(pareto: Pareto, size: tuple[int, int], known: Container[str]) -> Any:
    """The panel alone, as a plotly figure of about ``size`` pixels; ``None`` where ``paper_beside`` is.

    ``known``: classes of placements that another legend explains.
    """
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

    paper = paper_beside(pareto, axes_of(pareto))
    if paper is None:
        return None
    drawn = Figure(figsize=(size[0] / 96, size[1] / 96), layout="constrained")
    ax = drawn.add_subplot()
    draw_paper(ax, paper, known)
    figure = go.Figure()
    add_paper(figure, paper, known)
    name_paper(figure, paper, ax, paper_labels(drawn, ax, paper))
    return figure
