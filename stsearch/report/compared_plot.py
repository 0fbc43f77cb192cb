"""Networks to compare with on the plot of a front: stars where they were trained, else marks on the axis of costs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from stsearch.report.axes import FrontAxes, scaled
from stsearch.report.compared import Compared
from stsearch.report.pareto import Pareto
from stsearch.search.metrics import METRICS
from stsearch.space.cost import COSTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOUR = "#CC79A7"
STAR, MARK = "compared with", "its cost; accuracy: published"
"""Names in the legend"""
_SIZE, _MARK_SIZE = 11, 9
"""Pixels"""
_LIFT = 0.02
"""Of marks above the axis of costs, as a share of the other one"""


def stars(pareto: Pareto) -> list[Compared]:
    """Those that were trained and are no other point of the plot."""
    known = {record.architecture for record in pareto.references}
    return [
        one
        for one in pareto.compared
        if one.record is not None and one.record.trial is None and one.network.id not in known
    ]


def marks(pareto: Pareto, axes: FrontAxes) -> list[Compared]:
    """Those that were not trained and whose cost the plot has an axis for, where others published an accuracy."""
    if axes.x not in COSTS:
        return []
    return [one for one in pareto.compared if one.record is None and one.printed is not None]


def draw(ax: Axes, pareto: Pareto, axes: FrontAxes) -> None:
    """With matplotlib; marks widen the axis of costs and no other."""
    points = [axes.point(one.record) for one in stars(pareto) if one.record]
    if points:
        xs, ys = zip(*points, strict=True)
        look: dict[str, Any] = {"marker": "*", "s": 90, "color": COLOUR, "zorder": 4, "clip_on": False}
        ax.scatter(xs, ys, label=STAR, **look)
    if shown := marks(pareto, axes):
        ax.plot(
            _costs(shown, axes), [_LIFT] * len(shown), "^", color=COLOUR, markersize=7, label=MARK, clip_on=False,
            transform=ax.get_xaxis_transform(), zorder=4,
        )  # fmt: skip


def names(pareto: Pareto, axes: FrontAxes, limits: tuple[float, float]) -> list[tuple[str, tuple[float, float]]]:
    """What is written beside them; ``limits`` are those of the other axis than that of costs."""
    named = [(one.name, axes.point(one.record)) for one in stars(pareto) if one.record]
    shown = marks(pareto, axes)
    places = zip(shown, _costs(shown, axes), strict=True)
    return named + [(f"{one.name}: {one.published}", (x, _lifted(limits))) for one, x in places]


def _lifted(limits: tuple[float, float]) -> float:
    """Where marks are on the other axis."""
    low, high = limits
    return low + _LIFT * (high - low)


def add(figure: Any, pareto: Pareto, axes: FrontAxes) -> None:
    """The stars, in a plotly figure; the marks come with ``add_marks``."""
    if shown := stars(pareto):
        xs, ys = zip(*(axes.point(one.record) for one in shown if one.record), strict=True)
        _scatter(figure, shown, xs, ys, STAR, "star", _SIZE)


def add_marks(figure: Any, pareto: Pareto, axes: FrontAxes, limits: tuple[float, float]) -> None:
    """The marks, in a plotly figure; ``limits`` are those of the other axis than that of costs."""
    if shown := marks(pareto, axes):
        _scatter(figure, shown, _costs(shown, axes), [_lifted(limits)] * len(shown), MARK, "triangle-up", _MARK_SIZE)


def _costs(shown: Sequence[Compared], axes: FrontAxes) -> list[float]:
    return [scaled(axes.x, one.costs[axes.x]) for one in shown]


def _scatter(
    figure: Any, shown: Sequence[Compared], xs: Sequence[float], ys: Sequence[float], name: str, symbol: str, size: int
) -> None:
    figure.add_scatter(
        x=xs, y=ys, mode="markers", name=name, cliponaxis=False, hoverinfo="text",
        hovertext=[_hover(one) for one in shown], customdata=[one.network.id for one in shown],
        marker={"color": COLOUR, "symbol": symbol, "size": size},
    )  # fmt: skip


def _hover(one: Compared) -> str:
    figures = [f"{METRICS[name].title}: {METRICS[name].amount(value)}" for name, value in one.metrics.items()]
    printed = [f"published, on another scale: {one.published}"] if one.printed else []
    lines = [
        f"<b>{escape(one.name)}</b>",
        *(["compared with"] if one.record else [escape(one.why)]),
        *figures,
        *printed,
    ]
    return "<br>".join(lines)
