"""What is written beside each trained network: its learning curve and its confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor, isfinite, log10
from typing import Any

import numpy as np
import numpy.typing as npt

from stsearch.errors import UserError
from stsearch.report.canvas import (
    GREY,
    HAIR,
    Circle,
    Item,
    Picture,
    Polyline,
    Rect,
    Segments,
    Text,
    Tiles,
    fit,
    shorten,
    text_width,
    wrap,
)  # fmt: skip

Curve = Sequence[tuple[int, float, float]]
"""``(epoch, training loss, clip top-1 in per cent)`` for every epoch of one repeat"""

_MARGIN = 7.0
_CURVE_WIDTH, _PANEL_HEIGHT = 240.0, 66.0
_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette without yellow, which is too light for a line"""
_HUGE = 1e30
"""A loss beyond this is drawn like one that is not finite: not at all"""
_MARKED = 12
"""Up to so many epochs every value has a mark"""

_NUMBERED, _NAMED = 20, 40
"""Most classes for numbers in the cells, and for names beside them"""
_NAME_ROOM = 84.0
_SHADES = 24
_BLUES = ("#deebf7", "#8fbfe0", "#428ec4", "#1e61a6", "#08306b")
"""Light to dark in even steps of lightness; 0 is white."""
_WORST = 5


@dataclass(frozen=True)
class _Axis:
    """A range of values laid on a range of points."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def learning_curve(curves: Sequence[Curve], title: str, beside: Sequence[Curve] = ()) -> Picture:
    """Training loss above clip top-1 over the epochs, one line per repeat; values that are not finite leave gaps.

    The axes have room for the curves ``beside`` it too, so that pictures of one page compare.
    """
    shown = [*curves, *beside]
    epochs = [epoch for curve in shown for epoch, _, _ in curve]
    panels = [("training loss", 1), ("clip top-1 (%)", 2)]
    columns = [[row[column] for curve in shown for row in curve] for _, column in panels]
    scales = [_values(column, *limits) for column, limits in zip(columns, ((0, None), (0, 100)), strict=True)]
    left = _MARGIN + 5 + max(text_width(label, 6.5) for _, _, ticks in scales for label in _labels(ticks))
    right = _CURVE_WIDTH - _MARGIN - 4
    header, y = _header(curves, title)
    across = _epochs(epochs, left, right)
    items: list[Item] = [*header]
    for (name, column), (low, high, ticks) in zip(panels, scales, strict=True):
        items.append(Text(left, y + 7, name, 7, bold=True))
        up = _Axis(low, high, y + 13 + _PANEL_HEIGHT, y + 13, ticks)
        items += [*_grid(across, up), *_curves(curves, column, across, up)]
        y += 13 + _PANEL_HEIGHT + 7
    items += [Text(across(t), y + 2, f"{t:g}", 6.5, GREY, "middle") for t in across.ticks]
    items.append(Text((left + right) / 2, y + 12, "epoch" if epochs else "no epochs", 7, anchor="middle"))
    return Picture(_CURVE_WIDTH, y + 15 + _MARGIN, f"{title}: learning curve", tuple(items))


def _header(curves: Sequence[Curve], title: str) -> tuple[list[Item], float]:
    """Title, where the last epoch ended, and a key of the repeats."""
    room, y = _CURVE_WIDTH - 2 * _MARGIN, _MARGIN
    items: list[Item] = []
    size = fit(title, room, 10, 8, bold=True)[1]
    for line in wrap(title, room, size, bold=True):
        y += size * 1.2
        items.append(Text(_MARGIN, y - size * 0.25, line, size, bold=True, title=title))
    ends = [curve[-1] for curve in curves if curve]
    reached = [top1 for _, _, top1 in ends if _usable(top1)]
    if reached:
        low, high = f"{min(reached):.1f}", f"{max(reached):.1f}"
        value = low if low == high else f"{low} to {high}"
        repeats = f", {len(curves)} repeats" if len(curves) > 1 else ""
        items.append(Text(_MARGIN, y + 8, f"clip top-1 {value} % after the last epoch{repeats}", 6.5, GREY))
        y += 9
    if not 1 < len(curves) <= len(_LINES):
        return items, y + 7
    items.append(Text(_MARGIN, y + 9.3, "repeat", 6.5, GREY))
    x = _MARGIN + 29
    for number in range(len(curves)):
        items.append(Polyline(((x, y + 7), (x + 10, y + 7)), _LINES[number], 1.4))
        items.append(Text(x + 13, y + 9.3, str(number + 1), 6.5, title=f"repeat {number + 1}"))
        x += 26
    return items, y + 18


def _grid(across: _Axis, up: _Axis) -> Iterator[Item]:
    ys = [up(tick) for tick in up.ticks]
    yield Segments(tuple(((across.start, y), (across.end, y)) for y in ys), "#e2e2e2", 0.5)
    yield Segments(tuple(((across(t), up.start), (across(t), up.start + 2)) for t in across.ticks), GREY, 0.5)
    yield Segments((((across.start, up.start), (across.end, up.start)),), GREY, 0.7)
    for label, y in zip(_labels(up.ticks), ys, strict=True):
        yield Text(across.start - 3, y + 2.3, label, 6.5, GREY, "end")


def _curves(curves: Sequence[Curve], column: int, across: _Axis, up: _Axis) -> Iterator[Item]:
    for number, curve in enumerate(curves):
        colour = _LINES[number % len(_LINES)]
        who = f"repeat {number + 1}, " if len(curves) > 1 else ""
        for finite, run in groupby(curve, key=lambda row: _usable(row[column])):
            if not finite:
                continue
            rows = list(run)
            points = [(across(row[0]), up(row[column])) for row in rows]
            if len(points) > 1:
                yield Polyline(tuple(points), colour, 1.1)
            for row, (x, y) in zip(rows, points, strict=True):
                if len(curve) <= _MARKED or len(points) == 1:
                    yield Circle(x, y, 1.7, colour, title=f"{who}epoch {row[0]}: {row[column]:.4g}")


def nice_step(span: float, most: int) -> float:
    """The least of 1, 2, 5 times a power of ten that divides ``span`` into at most ``most`` parts."""
    power = 10.0 ** floor(log10(span / most))
    return next(factor * power for factor in (1, 2, 5, 10, 20) if span / (factor * power) <= most)


def _values(values: Sequence[float], least: float, most: float | None) -> tuple[float, float, tuple[float, ...]]:
    """Lowest and highest of an axis and its ticks, whole steps around all finite values."""
    finite = [value for value in values if _usable(value)] or [least, 1.0 if most is None else most]
    low, high = min(finite), max(finite)
    if high - low < 1e-3 * max(abs(low), abs(high), 1e-3):
        room = max(0.05 * abs(high), 0.05)
        low, high = low - room, high + room
    step = nice_step(high - low, 4)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    if min(finite) >= least:
        first = max(first, ceil(least / step))
    if most is not None and max(finite) <= most:
        last = min(last, floor(most / step + 1e-9))
    return first * step, last * step, tuple(number * step for number in range(first, last + 1))


def _epochs(epochs: Sequence[int], left: float, right: float) -> _Axis:
    first, last = (min(epochs), max(epochs)) if epochs else (0, 1)
    if first == last:
        return _Axis(first - 1, last + 1, left, right, (first,) if epochs else ())
    step = max(1, round(nice_step(last - first, 8 if last < 1000 else 4)))
    ticks = list(range(ceil(first / step) * step, last + 1, step))
    if ticks[0] - first >= 0.5 * step:
        ticks.insert(0, first)
    pad = 0.02 * (last - first)
    return _Axis(first - pad, last + pad, left, right, tuple(map(float, ticks)))


def _labels(ticks: Sequence[float]) -> list[str]:
    """Ticks with as many decimals as the one that needs most."""
    plain = [f"{tick:.6g}" for tick in ticks]
    decimals = max(len(text.partition(".")[2]) for text in plain)
    return plain if any("e" in text for text in plain) else [f"{tick:.{decimals}f}" for tick in ticks]


def _usable(value: float) -> bool:
    return isfinite(value) and abs(value) < _HUGE


def curves_of(trainings: Iterable[Mapping[str, Any]]) -> list[Curve]:
    """One curve for each training of a record."""
    return [[(e["epoch"], e["train_loss"], e["clip_top1"]) for e in training["curve"]] for training in trainings]


def confusion_counts(trainings: Iterable[Mapping[str, Any]], classes: int) -> npt.NDArray[np.int64]:
    """Videos ``(classes, classes)`` by true and predicted class, summed over the trainings of a record."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    for training in trainings:
        for true, predicted, videos in training.get("confusion", ()):
            counts[true, predicted] += videos
    return counts


def confusion_matrix(classes: Sequence[str], counts: npt.ArrayLike, title: str) -> Picture:
    """Counts ``(C, C)``, rows true and columns predicted, shaded by share of the row.

    Up to 20 classes have numbers, up to 40 names; more have class numbers at the edges and the most
    frequent confusions by name below. ``UserError`` if the counts are not C by C, finite and at least 0.
    """
    table = np.asarray(counts, dtype=np.float64)
    if table.shape != (len(classes), len(classes)) or not len(classes):
        raise UserError(f"a confusion matrix of {len(classes)} classes is square; given the shape {table.shape}")
    if not np.isfinite(table).all() or (table < 0).any():
        raise UserError("counts of a confusion matrix are finite and at least 0")
    grid = _plan(classes, table)
    header, top = _matrix_header(grid, title)
    items: list[Item] = [*header, *_cells(grid, top), *_marks(grid, top)]
    bottom = top + grid.above + grid.side + 6
    scale, bottom = _scale(grid, bottom)
    worst, bottom = _confusions(grid, bottom)
    return Picture(grid.width, bottom + _MARGIN, f"{title}: confusion matrix", (*items, *scale, *worst))


@dataclass(frozen=True)
class _Grid:
    """Where the cells are."""

    classes: tuple[str, ...]
    counts: npt.NDArray[np.float64]
    """``(C, C)``"""
    shares: npt.NDArray[np.float64]
    """of each row's sum; 0 where a class has no clip"""
    cell: float
    """side, in points"""
    font: float
    left: float
    above: float
    """room for the names of the columns"""

    @property
    def side(self) -> float:
        return self.cell * len(self.classes)

    @property
    def width(self) -> float:
        return max(240.0, self.left + self.side + _MARGIN + 3)

    def colour(self, level: int) -> str:
        """Of a level below ``_SHADES``; small cells begin darker, or the lightest would vanish."""
        share = level / (_SHADES - 1)
        return _blue(share if len(self.classes) <= _NAMED else 0.25 + 0.75 * share)


def _plan(classes: Sequence[str], counts: npt.NDArray[np.float64]) -> _Grid:
    number = len(classes)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    cell = min(34.0, max(15.5, 170 / number)) if number <= _NUMBERED else max(9.0, 350 / number)
    if number > _NAMED:
        cell = max(1.0, 360 / number)
    font = min(7.0, cell * 0.78) if number <= _NAMED else 6.5
    names = _short(classes, font) if number <= _NAMED else [str(number)]
    room = max(text_width(name, font) for name in names) + 5
    return _Grid(tuple(classes), counts, shares, cell, font, _MARGIN + 12 + room, 12 + room)


def _short(names: Sequence[str], font: float) -> list[str]:
    """Names that have room; cut in the middle where, cut at their end, some would be alike."""
    short = [shorten(name, _NAME_ROOM, font) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    return [_cut(name, font) for name in names]


def _cut(name: str, font: float) -> str:
    if text_width(name, font) <= _NAME_ROOM:
        return name
    half = len(name) // 2
    while half > 1 and text_width(f"{name[:half]}…{name[-half:]}", font) > _NAME_ROOM:
        half -= 1
    return f"{name[:half].rstrip()}…{name[-half:].lstrip()}"


def _matrix_header(grid: _Grid, title: str) -> tuple[list[Item], float]:
    room, y = grid.width - 2 * _MARGIN, _MARGIN
    items: list[Item] = []
    size = fit(title, room, 10, 8, bold=True)[1]
    for line in wrap(title, room, size, bold=True):
        y += size * 1.2
        items.append(Text(_MARGIN, y - size * 0.25, line, size, bold=True, title=title))
    right, every = float(np.trace(grid.counts)), float(grid.counts.sum())
    if every:
        said = f"{right:g} of {every:g} on the diagonal ({100 * right / every:.1f} %), {len(grid.classes)} classes"
        items.append(Text(_MARGIN, y + 8, said, 6.5, GREY))
    return items, y + 14


def _cells(grid: _Grid, top: float) -> Iterator[Item]:
    """Cells above 0, those of one shade as one item, neighbours of one shade as one tile."""
    x0, y0, cell = grid.left, top + grid.above, grid.cell
    levels = np.where(grid.counts > 0, 1 + np.minimum(grid.shares * _SHADES, _SHADES - 1).astype(int), 0)
    boxes: dict[int, list[tuple[float, float, float, float]]] = {}
    for row, line in enumerate(levels.tolist()):
        column = 0
        for level, run in groupby(line):
            length = len(list(run))
            if level:
                boxes.setdefault(level, []).append((x0 + column * cell, y0 + row * cell, length * cell, cell))
            column += length
    for level in sorted(boxes):
        yield Tiles(tuple(boxes[level]), grid.colour(level - 1))
    if len(grid.classes) <= _NAMED:
        inner = range(1, len(grid.classes))
        lines = [((x0 + i * cell, y0), (x0 + i * cell, y0 + grid.side)) for i in inner]
        lines += [((x0, y0 + i * cell), (x0 + grid.side, y0 + i * cell)) for i in inner]
        yield Segments(tuple(lines), "#ececec", 0.4)
    yield Rect(x0, y0, grid.side, grid.side, "none", GREY, 0.7)
    if len(grid.classes) <= _NUMBERED:
        yield from _numbers(grid, x0, y0)
    yield from _hovers(grid, x0, y0)


def _hovers(grid: _Grid, x0: float, y0: float) -> Iterator[Item]:
    """What the pointer is told: of every cell above 0 where they are large, else of every row."""
    totals = grid.counts.sum(axis=1)
    if len(grid.classes) <= _NAMED:
        for row, column in np.argwhere(grid.counts > 0).tolist():
            said = f"{grid.classes[row]} taken for {grid.classes[column]}" if row != column else grid.classes[row]
            title = f"{said}: {grid.counts[row, column]:g} of {totals[row]:g}"
            x, y = x0 + column * grid.cell, y0 + row * grid.cell
            yield Rect(x, y, grid.cell, grid.cell, "none", title=title)
        return
    for row, name in enumerate(grid.classes):
        title = f"{row + 1} {name}: {grid.counts[row, row]:g} of {totals[row]:g} right"
        yield Rect(x0, y0 + row * grid.cell, grid.side, grid.cell, "none", title=title)


def _numbers(grid: _Grid, x0: float, y0: float) -> Iterator[Item]:
    for row, column in np.argwhere(grid.counts > 0).tolist():
        value = grid.counts[row, column]
        text = f"{value:.4g}" if value < 1e4 else f"{value / 1000:.3g}k"
        text, size = fit(text, grid.cell - 1.5, min(8.0, grid.cell * 0.45), 3.5)
        colour = "#ffffff" if grid.shares[row, column] > 0.5 else "#000000"
        x, y = x0 + (column + 0.5) * grid.cell, y0 + (row + 0.5) * grid.cell + 0.36 * size
        yield Text(x, y, text, size, colour, "middle")


def _marks(grid: _Grid, top: float) -> Iterator[Item]:
    """Names, or the numbers of some classes, at the left and above; and what rows and columns are."""
    x0, y0, number = grid.left, top + grid.above, len(grid.classes)
    yield Text(x0 + grid.side / 2, top + 7, "predicted", 7, anchor="middle", bold=True)
    yield Text(_MARGIN + 7, y0 + grid.side / 2, "true", 7, anchor="middle", bold=True, upward=True)
    if number <= _NAMED:
        shown = [(i, *both) for i, both in enumerate(zip(_short(grid.classes, grid.font), grid.classes, strict=True))]
    else:
        step = round(nice_step(number, 10))
        shown = [(index - 1, str(index), "") for index in (1, *range(step, number + 1, step))]
    for index, text, title in shown:
        at = (index + 0.5) * grid.cell
        yield Text(x0 - 3, y0 + at + 0.34 * grid.font, text, grid.font, anchor="end", title=title)
        yield Text(x0 + at + 0.34 * grid.font, y0 - 3, text, grid.font, upward=True, title=title)


def _scale(grid: _Grid, top: float) -> tuple[list[Item], float]:
    """The key of the shades."""
    width, x = 3.0 * _SHADES, grid.left
    items: list[Item] = [Tiles(((x + 3 * number, top + 2, 3, 5),), grid.colour(number)) for number in range(_SHADES)]
    items.append(Rect(x, top + 2, width, 5, "none", HAIR, 0.4))
    items.append(Text(x, top + 14, "0", 6, GREY, "middle"))
    items.append(Text(x + width / 2, top + 14, "50", 6, GREY, "middle"))
    items.append(Text(x + width, top + 14, "100 % of the row", 6, GREY))
    return items, top + 17


def _confusions(grid: _Grid, top: float) -> tuple[list[Item], float]:
    """The most frequent confusions, where there are too many classes to name them all."""
    wrong = np.where(np.eye(len(grid.classes), dtype=bool), 0, grid.counts)
    if len(grid.classes) <= _NAMED or not wrong.any():
        return [], top
    items: list[Item] = [Text(_MARGIN, top + 9, "Most frequent confusions (true, predicted, count)", 6.5, bold=True)]
    order = np.argsort(-wrong, axis=None, kind="stable")[:_WORST]
    y = top + 9
    for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if not wrong[row, column]:
            break
        y += 9
        pair = [f"{index + 1} {grid.classes[index]}" for index in (int(row), int(column))]
        half = (grid.width - 2 * _MARGIN - 30) / 2
        for number, name in enumerate(pair):
            items.append(Text(_MARGIN + number * half, y, shorten(name, half - 6, 6.5), 6.5, title=name))
        items.append(Text(_MARGIN + 2 * half, y, f"{wrong[row, column]:g}", 6.5))
    return items, y + 3


def _blue(share: float) -> str:
    """From light to dark blue, linear between the five colours of the scale."""
    at = share * (len(_BLUES) - 1)
    index = min(int(at), len(_BLUES) - 2)
    pairs = [(int(_BLUES[index][i : i + 2], 16), int(_BLUES[index + 1][i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (at - index) * (b - a)):02x}" for a, b in pairs)
