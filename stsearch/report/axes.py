"""What plots of fronts share: two axes, the marks of placements, and the front as a staircase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stsearch.errors import UserError
from stsearch.report.pareto import Pareto
from stsearch.search.metrics import METRICS, QUALITIES, direction_of
from stsearch.search.reading import Record
from stsearch.space.architecture import Architecture
from stsearch.stats.front import minimised, non_dominated

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stsearch.report.labels import Label, Segment

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
SYMBOLS = {"o": "circle", "^": "triangle-up", "v": "triangle-down", "s": "square", "D": "diamond", "X": "x"}
"""Matplotlib's names of the markers to plotly's"""
_PIXELS_PER_POINT = 4 / 3
_STEPS = {8.0: (1.0, 2.0, 3.0, 4.0, 6.0, 8.0), 80.0: (1.0, 2.0, 5.0), float("inf"): (1.0,)}
"""Of a logarithmic axis: the largest cost over the least, and where in each ten it has ticks"""


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
class FrontAxes:
    """What the two axes show."""

    x: str
    y: str

    def title(self, name: str, whose: str) -> str:
        """Of an axis: ``multiply-adds (GMACs), whose``."""
        return f"{METRICS[name].axis}, {whose}"

    def point(self, record: Record) -> tuple[float, float]:
        """Where a network is."""
        return scaled(self.x, record.metrics[self.x]), scaled(self.y, record.metrics[self.y])


def scaled(name: str, value: float) -> float:
    """A metric in the unit of its axis: counts are in millions."""
    return value / METRICS[name].scale


def axes_of(pareto: Pareto) -> FrontAxes:
    """The first cost and the first accuracy among the objectives; ``UserError`` for a study of one objective."""
    costs = [name for name in pareto.objectives if name not in QUALITIES]
    accuracies = [name for name in pareto.objectives if name in QUALITIES]
    if len(pareto.objectives) < 2:
        raise UserError(f"a plot of a front needs two objectives; the study has {', '.join(pareto.objectives)}")
    if costs and accuracies:
        return FrontAxes(costs[0], accuracies[0])
    first, second, *_ = pareto.objectives
    return FrontAxes(first, second)


def kept_within(name: str, limits: tuple[float, float], values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis that hold no figure which ``name`` cannot have: shares are 0 to 100 %, most others above 0."""
    low, high = sorted(limits)
    if min(values, default=0.0) >= 0:
        low = max(low, 0.0)
    return low, min(high, 100.0) if METRICS[name].unit == "%" else high


def staircase(records: Sequence[Record], axes: FrontAxes) -> list[tuple[float, float]]:
    """Points of ``records`` that no other dominates in these two axes, by x; with two objectives, all of a front's."""
    values = [axes.point(record) for record in records]
    keep = non_dominated(minimised(values, map(direction_of, (axes.x, axes.y))))
    return sorted(point for point, kept in zip(values, keep, strict=True) if kept)


def steps_of(points: list[tuple[float, float]]) -> list[Segment]:
    """The front as a staircase of horizontal and vertical lines."""
    lines: list[Segment] = []
    for (x0, y0), (x1, y1) in pairwise(points):
        lines += [((x0, y0), (x1, y0)), ((x1, y0), (x1, y1))]
    return lines


def logarithmic(ax: Axes) -> None:
    """Make the costs of a plot logarithmic, with plain numbers at its ticks, however few tens it covers.

    After all points are drawn.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set_xscale("log")
    low, high = ax.get_xlim()
    steps = next(steps for most, steps in _STEPS.items() if high / low < most)
    ax.xaxis.set_major_locator(LogLocator(subs=steps))
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def annotate(figure: Any, label: Label, look: dict[str, Any] | None = None) -> None:
    """A name where matplotlib found room for it; the page is wider, so the room is there too.

    ``look`` is further of plotly's settings of an annotation.
    """
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
        **{"font": {"size": 11}, **(look or {})},
    )
