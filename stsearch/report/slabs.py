"""The blocks of a network as slabs: what a row of a drawing is, and how it is painted."""

# ruff: noqa: RUF001 - the multiplication sign is meant

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from math import cos, pi, sin

from stsearch.report.canvas import GREY, Item, Point, Polyline, Rect, Segments, Text, fit, text_width
from stsearch.report.styles import Style, hatch, ink_on, shade, style_of
from stsearch.space.blueprint import ClipShape

ARC = 6.0
"""Room for the shortcuts beside a slab"""
LINE = 7.8
"""From one line of small text to the next"""
LABELLED = 8.6
"""Least height that has room for a label"""
TALLEST = 170.0
"""A stage of mixed kinds is stretched for its labels up to this height"""


@dataclass(frozen=True)
class Row:
    """One row of one network: the clip, a group or the head."""

    name: str
    kinds: tuple[str, ...]
    """of its blocks; empty for clip and head"""
    channels: int
    lines: tuple[str, ...]
    """what leaves it, and its parameters"""
    macs: int = 0
    share: str = ""
    """of the network's MACs, in per cent"""
    residual: bool = False
    """whether something passes beside its blocks"""
    lane: int | None = None
    """column of its pathway; ``None`` for what belongs to all: clip and head"""
    inputs: tuple[str, ...] = ()
    """rows whose outputs enter it"""

    @property
    def slab(self) -> float:
        """Height of one block: less where there are many, more where short runs need labels."""
        count = len(self.kinds)
        slab = float(min(14 + 12 * (count - 1) ** 0.6, 220)) / count
        labelled = LABELLED / min(n for _, n in runs(self.kinds))
        return max(slab, labelled) if labelled * count <= TALLEST else slab

    @property
    def height(self) -> float:
        """Of what is drawn, the text beside it included."""
        blocks = self.slab * len(self.kinds) if self.kinds else 15.0
        return max(blocks, LINE * len(self.lines) + 1, 22.0 if self.share else 0.0)


def runs(kinds: tuple[str, ...]) -> list[tuple[str, int]]:
    """Kinds one after the other, and how many blocks in a row have them."""
    return [(kind, len(list(run))) for kind, run in groupby(kinds)]


def counted_as(number: int, noun: str, plural: str = "s") -> str:
    """``1 block``, ``2 blocks``."""
    return f"{number} {noun}" + plural * (number != 1)


def slabs(row: Row, middle: float, top: float, breadth: float) -> Iterator[Item]:
    """The slabs of one group, a label in each or one per run, and the shortcuts beside them."""
    left, slab, at = middle - breadth / 2, row.slab, top
    for kind, count in runs(row.kinds):
        style, height = style_of(kind), count * slab
        hover = (
            f"{row.name}: {count} of {counted_as(len(row.kinds), 'block')} {style.label} {style.about}; {row.lines[1]}"
        )
        edge = shade(style.fill, 0.55)
        yield Rect(left, at, breadth, height, style.fill, title=hover.strip())
        yield from hatch(left, at, breadth, height, style)
        if count > 1 and slab > 1.5:
            inner = tuple(((left, at + i * slab), (left + breadth, at + i * slab)) for i in range(1, count))
            yield Segments(inner, "#ffffff" if slab < 5 else edge, min(0.6, slab / 5))
        yield Rect(left, at, breadth, height, "none", edge, 0.7)
        if slab >= LABELLED - 0.1:
            for number in range(count):
                yield from _label(style, style.label, middle, at + (number + 0.5) * slab, breadth, slab, hover)
        elif height >= LABELLED - 0.1:
            yield from _label(style, f"{style.label} ×{count}", middle, at + height / 2, breadth, height, hover)
        at += height
    if row.residual:
        for number in range(len(row.kinds)):
            yield Polyline(_shortcut(left + breadth, top + number * slab, slab), "#8a8a8a", min(0.6, slab / 6))


def _label(style: Style, label: str, x: float, y: float, breadth: float, height: float, hover: str) -> Iterator[Item]:
    text, size = fit(label, breadth - 8, min(7.5, height), 5.5, bold=True)
    width = text_width(text, size, bold=True) + 4
    tall = min(height - 1.2, size * 1.25)
    yield Rect(x - width / 2, y - tall / 2, width, tall, style.fill, title=hover)
    yield Text(x, y + 0.36 * size, text, size, ink_on(style.fill), "middle", bold=True, title=hover)


def _shortcut(x: float, top: float, height: float) -> tuple[Point, ...]:
    """Half an ellipse around a block: the identity or 1x1x1 path."""
    reach, steps = min(ARC - 1, height * 0.7), 8
    angles = [pi * (i / steps - 0.5) for i in range(steps + 1)]
    return tuple((x + reach * cos(a), top + height / 2 + height * 0.44 * sin(a)) for a in angles)


def frames(clip: ClipShape, middle: float, centre: float) -> Iterator[Item]:
    """A stack of frames in the clip's proportions."""
    tall = min(10.0, 18.0 * clip.height / clip.width)
    wide = min(18.0, tall * clip.width / clip.height)
    for number in range(min(5, clip.frames) - 1, -1, -1):
        x = middle - wide / 2 + (number - 2) * 3
        y = centre - tall / 2 - (number - 2) * 1.1
        yield Rect(x, y, wide, tall, "#ffffff", GREY, 0.6, title=f"clip {clip} (C×T×H×W)")
