"""A network as a drawing: from the clip through the five placement groups to the logits.

A slab is one residual block: its colour, hatch and label say its kind, its breadth the channels.
Networks side by side share rows and scales, and the rows in which their kinds differ are marked.
"""

# ruff: noqa: RUF001 - the multiplication sign is meant

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import cos, log2, pi, sin

from stsearch.errors import UserError
from stsearch.report.canvas import (
    GREY,
    HAIR,
    INK,
    Circle,
    Item,
    Picture,
    Point,
    Polyline,
    Rect,
    Segments,
    Text,
    fit,
    text_width,
    wrap,
)  # fmt: skip
from stsearch.report.styles import Style, hatch, ink_on, legend_order, shade, style_of
from stsearch.space.architecture import GROUPS, Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import NetworkCost, StageCost, network_cost
from stsearch.space.published import name_of

_MARGIN, _NAMES, _BLOCKS, _SHAPES, _BARS = 6.0, 36.0, 88.0, 56.0, 48.0
"""Columns in points: one network is 240 points (84 mm, a column of a paper) wide."""
_PANEL, _GUTTER = _BLOCKS + _SHAPES + _BARS, 20.0
_ARC = 6.0
"""Room for the shortcuts beside a slab"""
_NARROW, _BROAD = 48.0, _BLOCKS - _ARC - 4
_GAP = 9.0
"""Between rows, for the arrows"""
_LINE = 7.8
"""From one line of small text to the next"""
_LABELLED = 8.6
"""Least height that has room for a label"""
_TALLEST = 170.0
"""A stage of mixed kinds is stretched for its labels up to this height"""
_BAND = "#f4efe2"


def drawing(
    architectures: Sequence[Architecture], clip: ClipShape, classes: int, names: Sequence[str] | None = None
) -> Picture:
    """One network, or several side by side, on clips of shape ``clip``.

    ``names`` are titles in place of the networks' own. ``UserError`` for no network, or for names that are
    not as many as networks.
    """
    if not architectures:
        raise UserError("a drawing shows at least one network; given none")
    if names is not None and len(names) != len(architectures):
        raise UserError(f"as many names as networks: {len(architectures)}; given {len(names)}")
    titles = list(names) if names is not None else [name_of(a) for a in architectures]
    costs = [network_cost(a, clip, classes) for a in architectures]
    networks = [_network(a, c, t) for a, c, t in zip(architectures, costs, titles, strict=True)]
    sheet = _sheet(networks)
    header = list(_titles(sheet))
    items = [*header, *_bands(sheet), *_heads(sheet), *_group_names(sheet)]
    for number, network in enumerate(networks):
        items += _panel(sheet, network, sheet.left(number))
    foot, bottom = _footer(sheet, clip, classes)
    about = " beside ".join(titles)
    return Picture(sheet.width, bottom + _MARGIN, f"{about}: placement and cost", (*items, *foot))


@dataclass(frozen=True)
class _Row:
    """One row of one network: the clip, a placement group or the head."""

    name: str
    kinds: tuple[str, ...]
    """of its blocks; empty for clip and head"""
    channels: int
    lines: tuple[str, ...]
    """what leaves it, and its parameters"""
    macs: int = 0
    share: str = ""
    """of the network's MACs, in per cent"""

    @property
    def slab(self) -> float:
        """Height of one block: less where there are many, more where short runs need labels."""
        count = len(self.kinds)
        slab = float(min(14 + 12 * (count - 1) ** 0.6, 220)) / count
        labelled = _LABELLED / min(n for _, n in _runs(self.kinds))
        return max(slab, labelled) if labelled * count <= _TALLEST else slab

    @property
    def height(self) -> float:
        """Of what is drawn, the text beside it included."""
        blocks = self.slab * len(self.kinds) if self.kinds else 15.0
        return max(blocks, _LINE * len(self.lines) + 1, 22.0 if self.share else 0.0)


@dataclass(frozen=True)
class _Network:
    title: str
    architecture: Architecture
    cost: NetworkCost
    rows: tuple[_Row, ...]


@dataclass(frozen=True)
class _Sheet:
    """What all networks of a drawing share."""

    networks: tuple[_Network, ...]
    title_lines: tuple[tuple[str, ...], ...]
    title_size: float
    tops: tuple[float, ...]
    heights: tuple[float, ...]
    """of the rows, in points"""
    channels: tuple[int, int]
    """fewest and most"""
    macs: int
    """of the dearest group"""

    @property
    def width(self) -> float:
        count = len(self.networks)
        return 2 * _MARGIN + _NAMES + count * _PANEL + (count - 1) * _GUTTER

    def left(self, number: int) -> float:
        return _MARGIN + _NAMES + number * (_PANEL + _GUTTER)

    def differ(self, row: int) -> bool:
        return len({network.rows[row].kinds for network in self.networks}) > 1

    def breadth(self, channels: int) -> float:
        fewest, most = self.channels
        if fewest == most:
            return (_NARROW + _BROAD) / 2
        return _NARROW + (_BROAD - _NARROW) * log2(channels / fewest) / log2(most / fewest)


def _runs(kinds: tuple[str, ...]) -> list[tuple[str, int]]:
    return [(kind, len(list(run))) for kind, run in groupby(kinds)]


def shares(macs: Sequence[int]) -> list[str]:
    """Shares in per cent to one decimal, by largest remainders: as printed they sum to 100.0."""
    total = sum(macs)
    tenths = [1000 * part // total for part in macs]
    by_remainder = sorted(range(len(macs)), key=lambda i: 1000 * macs[i] % total, reverse=True)
    for index in by_remainder[: 1000 - sum(tenths)]:
        tenths[index] += 1
    return [f"{tenth / 10:.1f}" for tenth in tenths]


def short(value: float) -> str:
    """Three digits and a prefix: ``9.47 k``, ``149 k``, ``17.6 G``."""
    for prefix, unit in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * unit:
            scaled = value / unit
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f} {prefix}"
    return f"{value:g} "


def gmacs(macs: int) -> str:
    """``17.6 GMACs``, ``0.472 GMACs``; in smaller units below 0.01 GMACs."""
    return f"{macs / 1e9:.3f} GMACs" if 1e7 <= macs < 0.9995e9 else f"{short(macs)}MACs"


def _network(architecture: Architecture, cost: NetworkCost, title: str) -> _Network:
    parts = shares([*(stage.cost.macs for stage in cost.stages), cost.head.macs])
    kinds = ((architecture.stem,), *architecture.stages)
    clip = cost.clip
    rows = [_Row("clip", (), clip.channels, (_shape(clip.sizes), _count(clip.channels, "channel")))]
    rows += [
        _Row(stage.name, k, stage.output[0], _facts(stage, k), stage.cost.macs, part)
        for stage, k, part in zip(cost.stages, kinds, parts, strict=False)
    ]
    head = (_count(cost.classes, "logit"), f"{short(cost.head.params)} params")
    rows.append(_Row("head", (), cost.classes, head, cost.head.macs, parts[-1]))
    return _Network(title, architecture, cost, tuple(rows))


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}" + plural * (number != 1)


def _shape(sizes: tuple[int, int, int, int]) -> str:
    return "×".join(map(str, sizes[1:]))


def _facts(stage: StageCost, kinds: tuple[str, ...]) -> tuple[str, ...]:
    facts = [_shape(stage.output), _count(stage.output[0], "channel"), f"{short(stage.cost.params)} params"]
    row = _Row(stage.name, kinds, 1, ())
    if min(n for _, n in _runs(kinds)) * row.slab < _LABELLED - 0.1:
        facts += [f"{style_of(kind).label} ×{n}" for kind, n in Counter(kinds).items()]
    return tuple(facts)


def _sheet(networks: Sequence[_Network]) -> _Sheet:
    room = _PANEL + (_NAMES if len(networks) == 1 else 0)
    size = min(fit(network.title, room, 11, 8, bold=True)[1] for network in networks)
    titles = tuple(tuple(wrap(network.title, room, size, bold=True)) for network in networks)
    top = _MARGIN + size * 1.2 * max(map(len, titles)) + 14
    rows = list(zip(*(network.rows for network in networks), strict=True))
    heights = tuple(max(row.height for row in group) for group in rows)
    tops = tuple(top + sum(heights[:i]) + _GAP * i for i in range(len(heights)))
    channels = [row.channels for network in networks for row in network.rows if row.kinds]
    macs = max(row.macs for network in networks for row in network.rows)
    return _Sheet(tuple(networks), titles, size, tops, heights, (min(channels), max(channels)), macs)


def _titles(sheet: _Sheet) -> Iterator[Item]:
    for number, (network, lines) in enumerate(zip(sheet.networks, sheet.title_lines, strict=True)):
        x = _MARGIN if len(sheet.networks) == 1 else sheet.left(number)
        for row, line in enumerate(lines):
            y = _MARGIN + sheet.title_size * (0.9 + 1.2 * row)
            yield Text(x, y, line, sheet.title_size, bold=True, title=network.title)


def _heads(sheet: _Sheet) -> Iterator[Item]:
    y = sheet.tops[0] - 5
    for number in range(len(sheet.networks)):
        x = sheet.left(number)
        yield Text(x + (_BLOCKS - _ARC) / 2, y, "blocks", 6, GREY, "middle")
        yield Text(x + _BLOCKS, y, "output T×H×W", 6, GREY)
        yield Text(x + _BLOCKS + _SHAPES, y, "MACs", 6, GREY)
    yield Segments((((_MARGIN, y + 2.5), (sheet.width - _MARGIN, y + 2.5)),), HAIR, 0.5)


def _group_names(sheet: _Sheet) -> Iterator[Item]:
    for name, top, height in zip(("clip", *GROUPS, "head"), sheet.tops, sheet.heights, strict=True):
        yield Text(_MARGIN, top + height / 2 + 2.5, name, 7, bold=name in GROUPS)


def _bands(sheet: _Sheet) -> Iterator[Item]:
    """A tint behind the rows in which kinds differ, and a sign between the two that do."""
    for row, (top, height) in enumerate(zip(sheet.tops, sheet.heights, strict=True)):
        if not sheet.differ(row):
            continue
        inner = sheet.width - 2 * (_MARGIN - 3)
        yield Rect(_MARGIN - 3, top - 3, inner, height + 6, _BAND, radius=2.5)
        for number, (one, other) in enumerate(pairwise(sheet.networks)):
            if one.rows[row].kinds != other.rows[row].kinds:
                x, y = sheet.left(number + 1) - _GUTTER / 2, top + height / 2
                said = " against ".join(_said(network.rows[row].kinds) for network in (one, other))
                yield Circle(x, y, 5.5, "#ffffff", GREY, f"{one.rows[row].name}: {said}")
                yield Text(x, y + 2.9, "≠", 8, INK, "middle", bold=True)


def _said(kinds: tuple[str, ...]) -> str:
    return ", ".join(style_of(kind).label + (f" ×{n}" if n > 1 else "") for kind, n in _runs(kinds))


def _panel(sheet: _Sheet, network: _Network, x: float) -> Iterator[Item]:
    """The rows of one network, joined by arrows."""
    middle = x + (_BLOCKS - _ARC) / 2
    ends: list[tuple[float, float]] = []
    for row, top, height in zip(network.rows, sheet.tops, sheet.heights, strict=True):
        centre = top + height / 2
        half = row.slab * len(row.kinds) / 2 if row.kinds else 7.0
        ends.append((centre - half, centre + half))
        if row.kinds:
            yield from _stage(row, middle, centre - half, sheet.breadth(row.channels))
        elif row.name == "clip":
            yield from _frames(network.cost.clip, middle, centre)
        else:
            yield Rect(middle - _BROAD / 2, centre - 7, _BROAD, 14, "#eeeeee", GREY, radius=2)
            yield Text(middle, centre + 2.2, "average pool, linear", 6.5, INK, "middle")
        yield from _beside(sheet, row, x, centre)
    for (_, start), (end, _) in pairwise(ends):
        yield from _arrow(middle, start + 1, end - 1)


def _stage(row: _Row, middle: float, top: float, breadth: float) -> Iterator[Item]:
    """The slabs of one group, a label in each or one per run, and the shortcuts beside them."""
    left, slab, at = middle - breadth / 2, row.slab, top
    for kind, count in _runs(row.kinds):
        style, height = style_of(kind), count * slab
        hover = f"{row.name}: {count} of {_count(len(row.kinds), 'block')} {style.label} {style.about}; {row.lines[1]}"
        edge = shade(style.fill, 0.55)
        yield Rect(left, at, breadth, height, style.fill, title=hover.strip())
        yield from hatch(left, at, breadth, height, style)
        if count > 1 and slab > 1.5:
            inner = tuple(((left, at + i * slab), (left + breadth, at + i * slab)) for i in range(1, count))
            yield Segments(inner, "#ffffff" if slab < 5 else edge, min(0.6, slab / 5))
        yield Rect(left, at, breadth, height, "none", edge, 0.7)
        if slab >= _LABELLED - 0.1:
            for number in range(count):
                yield from _label(style, style.label, middle, at + (number + 0.5) * slab, breadth, slab, hover)
        elif height >= _LABELLED - 0.1:
            yield from _label(style, f"{style.label} ×{count}", middle, at + height / 2, breadth, height, hover)
        at += height
    if row.name != GROUPS[0]:
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
    reach, steps = min(_ARC - 1, height * 0.7), 8
    angles = [pi * (i / steps - 0.5) for i in range(steps + 1)]
    return tuple((x + reach * cos(a), top + height / 2 + height * 0.44 * sin(a)) for a in angles)


def _frames(clip: ClipShape, middle: float, centre: float) -> Iterator[Item]:
    """A stack of frames in the clip's proportions."""
    tall = min(10.0, 18.0 * clip.height / clip.width)
    wide = min(18.0, tall * clip.width / clip.height)
    for number in range(min(5, clip.frames) - 1, -1, -1):
        x = middle - wide / 2 + (number - 2) * 3
        y = centre - tall / 2 - (number - 2) * 1.1
        yield Rect(x, y, wide, tall, "#ffffff", GREY, 0.6, title=f"clip {clip} (C×T×H×W)")


def _beside(sheet: _Sheet, row: _Row, x: float, centre: float) -> Iterator[Item]:
    """What leaves a row, its parameters, and its share of the multiply-adds as a bar."""
    first = centre - _LINE * len(row.lines) / 2 + 0.75 * _LINE
    for number, line in enumerate(row.lines):
        text, size = fit(line, _SHAPES - 4, 6.5, 5)
        colour = INK if number == 0 else GREY
        yield Text(x + _BLOCKS, first + number * _LINE, text, size, colour, title=line if text != line else "")
    if not row.share:
        return
    left, length = x + _BLOCKS + _SHAPES, _BARS * row.macs / sheet.macs
    hover = f"{row.name}: {row.macs:,} MACs"
    yield Text(left, centre - 4.2, f"{row.share} %", 7, INK, bold=True, title=hover)
    yield Rect(left, centre - 2, _BARS, 4, "#e6e6e6", title=hover)
    if length >= 0.05:
        yield Rect(left, centre - 2, length, 4, "#4d4d4d", title=hover)
    text, size = fit(gmacs(row.macs), _BARS, 6, 5)
    yield Text(left, centre + 8.3, text, size, GREY, title=hover)


def _arrow(x: float, start: float, end: float) -> Iterator[Item]:
    yield Segments((((x, start), (x, end - 2)),), GREY, 0.8)
    yield Polyline(((x - 2, end - 3.2), (x + 2, end - 3.2), (x, end)), "none", 0, GREY)


def _footer(sheet: _Sheet, clip: ClipShape, classes: int) -> tuple[list[Item], float]:
    """Totals under every network, the legend and what the numbers hold for; and where they end."""
    y = sheet.tops[-1] + sheet.heights[-1] + 7
    items: list[Item] = [Segments((((_MARGIN, y), (sheet.width - _MARGIN, y)),), HAIR, 0.5)]
    for number, network in enumerate(sheet.networks):
        x = _MARGIN if len(sheet.networks) == 1 else sheet.left(number)
        total, room = network.cost.total, _PANEL + (_NAMES if len(sheet.networks) == 1 else 0)
        text, size = fit(f"{gmacs(total.macs)}, {short(total.params)} parameters", room, 8.5, 6, bold=True)
        items.append(Text(x, y + 11, text, size, bold=True, title=f"{total.macs:,} MACs, {total.params:,} parameters"))
    y += 16
    legend, y = _legend(sheet, y)
    blocks = " or ".join(sorted({network.architecture.block for network in sheet.networks}))
    width = sheet.width - 2 * _MARGIN
    one_scale = " MACs and channels share one scale." if len(sheet.networks) > 1 else ""
    for note in (
        f"Clip {'×'.join(map(str, clip.sizes))} (C×T×H×W), {_count(classes, 'class', 'es')}, one view.",
        f"A slab is a {blocks} block; the broader, the more channels.{one_scale}",
    ):
        for line in wrap(note, width, 6):
            y += _LINE
            items.append(Text(_MARGIN, y, line, 6, GREY))
    return [*items, *legend], y + 2


def _legend(sheet: _Sheet, top: float) -> tuple[list[Item], float]:
    used = {kind for network in sheet.networks for row in network.rows for kind in row.kinds}
    items: list[Item] = []
    x, y, right = _MARGIN, top, sheet.width - _MARGIN
    for kind in legend_order(used):
        style = style_of(kind)
        text, size = fit(f"{style.label}: {style.about}".removesuffix(": "), right - _MARGIN - 17, 6.5, 5.5)
        width = 17 + text_width(text, size)
        if x > _MARGIN and x + width > right:
            x, y = _MARGIN, y + 11
        items += [Rect(x, y, 13, 8, style.fill), *hatch(x, y, 13, 8, style)]
        items += [
            Rect(x, y, 13, 8, "none", shade(style.fill, 0.55), 0.7),
            Text(x + 16, y + 6.3, text, size, title=style.label),
        ]
        x += width + 10
    return items, y + 10
