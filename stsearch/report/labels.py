"""Names beside points, so that no two overlap, and none covers a point or a line where there is room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import cos, radians, sin
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]
Segment = tuple[Point, Point]
Boxes = npt.NDArray[np.float64]
"""``(N, 4)``: x0, y0, x1, y1"""

_RINGS = (7, 12, 18, 25, 33, 44, 58, 74, 92, 112)
_ANGLES = tuple(range(0, 360, 15))
_MARK = 8.0
"""Extent of a marker, in points of 1/72 inch"""
_GAP = 2.5
"""Space kept around a name, in the same points"""
_OUTSIDE = 1e6
_ON_A_NAME = 1e3
"""How much worse it is to cover a name than a point or a line, per square pixel"""


@dataclass(frozen=True)
class Label:
    """A name that has found its place."""

    name: str
    point: Point
    """in data coordinates"""
    offset: Point
    """of its middle from the point, in points of 1/72 inch"""
    box: Bbox
    """in pixels"""


def place_labels(
    figure: Figure,
    ax: Axes,
    labels: Sequence[tuple[str, Point]],
    points: Iterable[Point],
    lines: Iterable[Segment],
    colour: str = "black",
) -> list[Label]:
    """Write ``labels`` (name, point) and return where they are.

    Every name tries places on growing rings around its point; a thin line leads back from those
    further away. Layout is done before, since it moves the points. A name that has no room but on another one is left
    out.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")
    scale = figure.dpi / 72
    boxes = [_around(_pixels(ax, point), _MARK * scale) for point in points]
    boxes += [_along(ax, segment, scale) for segment in lines]
    taken = np.array([box.extents for box in boxes]).reshape(-1, 4)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    frame = ax.get_window_extent(renderer)
    names = np.zeros((0, 4))
    placed: list[Label] = []
    for name, point in sorted(labels, key=lambda label: label[1], reverse=True):
        text = ax.annotate(
            name, point, (0, 0), textcoords="offset points", fontsize=8, ha="center", va="center", color=colour
        )
        text.set_zorder(6)
        size = text.get_window_extent(renderer)
        offset, box, ring = _best(_pixels(ax, point), size.width, size.height, scale, (taken, names), frame)
        if overlap(box, names):
            text.remove()
            continue
        text.set_position(offset)
        names = np.vstack([names, box.padded(_GAP * scale).extents])
        placed.append(Label(name, point, offset, box))
        if ring > _RINGS[1]:
            _lead(ax, point, offset, size.width / scale / 2, size.height / scale / 2)
    return placed


def _best(
    at: Point, width: float, height: float, scale: float, taken: tuple[Boxes, Boxes], frame: Bbox
) -> tuple[Point, Bbox, int]:
    """Offset (in points), box and ring of the nearest place that is free, or of the least crowded.

    ``taken`` are the boxes of points and lines, and those of names.
    """
    drawn, names = taken
    best: tuple[float, Point, Bbox, int] | None = None
    for ring in _RINGS:
        for angle in _ANGLES:
            along, up = cos(radians(angle)), sin(radians(angle))
            dx, dy = along * (ring + width / scale / 2), up * (ring + height / scale / 2)
            x, y = at[0] + dx * scale, at[1] + dy * scale
            box = Bbox.from_bounds(x - width / 2, y - height / 2, width, height)
            crowd = overlap(box, drawn) + _ON_A_NAME * overlap(box, names) + (0 if _inside(box, frame) else _OUTSIDE)
            if best is None or crowd < best[0]:
                best = crowd, (dx, dy), box, ring
        if best is not None and best[0] == 0:
            break
    assert best is not None
    return best[1:]


def _lead(ax: Axes, point: Point, offset: Point, half_width: float, half_height: float) -> None:
    """A thin line from a point to the near edge of its name."""
    dx, dy = offset
    edge = (dx - max(-half_width, min(half_width, dx)), dy - max(-half_height, min(half_height, dy)))
    ax.annotate(
        "", point, edge, textcoords="offset points", zorder=5,
        arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3},
    )  # fmt: skip


def _pixels(ax: Axes, point: Point) -> Point:
    x, y = ax.transData.transform(point)
    return float(x), float(y)


def _around(at: Point, extent: float) -> Bbox:
    return Bbox.from_bounds(at[0] - extent / 2, at[1] - extent / 2, extent, extent)


def _along(ax: Axes, segment: Segment, scale: float) -> Bbox:
    (x0, y0), (x1, y1) = (_pixels(ax, point) for point in segment)
    return Bbox.from_extents(min(x0, x1) - scale, min(y0, y1) - scale, max(x0, x1) + scale, max(y0, y1) + scale)


def overlap(box: Bbox, others: Boxes) -> float:
    """Area that a box shares with others ``(N, 4)`` (x0, y0, x1, y1), in square pixels."""
    x0, y0, x1, y1 = others.T
    width = np.minimum(box.x1, x1) - np.maximum(box.x0, x0)
    height = np.minimum(box.y1, y1) - np.maximum(box.y0, y0)
    return float((width.clip(0) * height.clip(0)).sum())


def _inside(box: Bbox, frame: Bbox) -> bool:
    return bool(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)
