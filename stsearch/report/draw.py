"""A network as a drawing: from the clip through its groups to the logits, each pathway in a column of its own.

A slab is one residual block: its colour, hatch and label say its kind, its breadth the channels.
Networks side by side share rows and scales, and the rows in which their kinds differ are marked.
"""

# ruff: noqa: RUF001 - the multiplication sign is meant

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log2

from stsearch.errors import UserError, quoted
from stsearch.report.canvas import (
    GREY,
    HAIR,
    INK,
    Circle,
    Item,
    Picture,
    Polyline,
    Rect,
    Segments,
    Text,
    fit,
    text_width,
    wrap,
)  # fmt: skip
from stsearch.report.slabs import ARC, LABELLED, LINE, Row, counted_as, frames, runs, slabs
from stsearch.report.styles import hatch, legend_order, shade, style_of
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import CLIP, AnyNetwork, ClipShape, blueprint
from stsearch.space.cost import NetworkCost, StageCost, network_cost
from stsearch.space.published import name_of

_MARGIN, _NAMES, _BLOCKS, _SHAPES, _BARS = 6.0, 36.0, 88.0, 56.0, 48.0
"""Columns in points: one network is 240 points (84 mm, a column of a paper) wide."""
_GUTTER, _LANE = 20.0, 62.0
"""Between networks; of a pathway's column, where there are several"""
_NARROW, _BROAD = 48.0, _BLOCKS - ARC - 4
_GAP = 9.0
"""Between rows, for the arrows"""
_BAND = "#f4efe2"


def drawing(
    architectures: Sequence[AnyNetwork], clip: ClipShape, classes: int, names: Sequence[str] | None = None
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
class _Network:
    title: str
    block: str
    """what a slab is, in words"""
    cost: NetworkCost
    rows: tuple[Row, ...]


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
    def lanes(self) -> int:
        """Columns of pathways."""
        return 1 + max(row.lane or 0 for network in self.networks for row in network.rows)

    @property
    def blocks(self) -> float:
        """Room for the blocks of a network."""
        return _BLOCKS if self.lanes == 1 else _LANE * self.lanes

    @property
    def panel(self) -> float:
        """Room for a network."""
        return self.blocks + _SHAPES + _BARS

    @property
    def names(self) -> float:
        """Room for the names of the groups."""
        return max(_NAMES, 4 + max(text_width(row.name, 7, bold=True) for row in self.networks[0].rows))

    @property
    def room(self) -> float:
        """For a line of text above or below a network."""
        return self.panel + (self.names if len(self.networks) == 1 else 0)

    @property
    def width(self) -> float:
        count = len(self.networks)
        return 2 * _MARGIN + self.names + count * self.panel + (count - 1) * _GUTTER

    def left(self, number: int) -> float:
        return _MARGIN + self.names + number * (self.panel + _GUTTER)

    def centre(self, lane: int | None) -> float:
        """Of a pathway's column, or of all of them, from the left edge of a network."""
        return ((self.blocks if lane is None or self.lanes == 1 else _LANE * (2 * lane + 1)) - ARC) / 2

    def differ(self, row: int) -> bool:
        return len({network.rows[row].kinds for network in self.networks}) > 1

    def breadth(self, channels: int) -> float:
        fewest, most = self.channels
        part = 0.5 if fewest == most else log2(channels / fewest) / log2(most / fewest)
        scale = 1.0 if self.lanes == 1 else (_LANE - ARC - 4) / _BROAD
        return scale * (_NARROW + (_BROAD - _NARROW) * part)


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


def _network(network: AnyNetwork, cost: NetworkCost, title: str) -> _Network:
    parts = shares([*(stage.cost.macs for stage in cost.stages), cost.head.macs])
    clip = cost.clip
    plan = blueprint(network, clip, cost.classes)
    rows = [Row(CLIP, (), clip.channels, (_shape(clip.sizes), counted_as(clip.channels, "channel")))]
    for stage, group, inputs, part in zip(cost.stages, plan.groups, plan.inputs, parts, strict=False):
        beside = any(unit.shortcut is not None for unit in group.units)
        facts = _facts(stage, group.kinds)
        rows.append(
            Row(
                stage.name,
                group.kinds,
                stage.output[0],
                facts,
                stage.cost.macs,
                part,
                residual=beside,
                lane=group.lane,
                inputs=inputs,
            )
        )
    head = (counted_as(cost.classes, "logit"), f"{short(cost.head.params)} params")
    rows.append(Row("head", (), cost.classes, head, cost.head.macs, parts[-1], inputs=plan.inputs[-1]))
    block = f"{network.block} block" if isinstance(network, Architecture) else "block"
    return _Network(title, block, cost, tuple(rows))


def _shape(sizes: tuple[int, int, int, int]) -> str:
    return "×".join(map(str, sizes[1:]))


def _facts(stage: StageCost, kinds: tuple[str, ...]) -> tuple[str, ...]:
    facts = [_shape(stage.output), counted_as(stage.output[0], "channel"), f"{short(stage.cost.params)} params"]
    row = Row(stage.name, kinds, 1, ())
    if min(n for _, n in runs(kinds)) * row.slab < LABELLED - 0.1:
        facts += [f"{style_of(kind).label} ×{n}" for kind, n in Counter(kinds).items()]
    return tuple(facts)


def _sheet(networks: Sequence[_Network]) -> _Sheet:
    first, *others = ([row.name for row in network.rows] for network in networks)
    for network, names in zip(networks[1:], others, strict=True):
        if names != first:
            raise UserError(
                f"networks with the same groups are drawn side by side; {networks[0].title} has {quoted(first[1:-1])}, "
                f"{network.title} {quoted(names[1:-1])}"
            )
    rows = list(zip(*(network.rows for network in networks), strict=True))
    heights = tuple(max(row.height for row in group) for group in rows)
    channels = [row.channels for network in networks for row in network.rows if row.kinds]
    macs = max(row.macs for network in networks for row in network.rows)
    bare = _Sheet(tuple(networks), (), 0.0, (), heights, (min(channels), max(channels)), macs)
    size = min(fit(network.title, bare.room, 11, 8, bold=True)[1] for network in networks)
    titles = tuple(tuple(wrap(network.title, bare.room, size, bold=True)) for network in networks)
    top = _MARGIN + size * 1.2 * max(map(len, titles)) + 14
    tops = tuple(top + sum(heights[:i]) + _GAP * i for i in range(len(heights)))
    return replace(bare, title_lines=titles, title_size=size, tops=tops)


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
        yield Text(x + (sheet.blocks - ARC) / 2, y, "blocks", 6, GREY, "middle")
        yield Text(x + sheet.blocks, y, "output T×H×W", 6, GREY)
        yield Text(x + sheet.blocks + _SHAPES, y, "MACs", 6, GREY)
    yield Segments((((_MARGIN, y + 2.5), (sheet.width - _MARGIN, y + 2.5)),), HAIR, 0.5)


def _group_names(sheet: _Sheet) -> Iterator[Item]:
    for row, top, height in zip(sheet.networks[0].rows, sheet.tops, sheet.heights, strict=True):
        yield Text(_MARGIN, top + height / 2 + 2.5, row.name, 7, bold=bool(row.kinds))


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
    return ", ".join(style_of(kind).label + (f" ×{n}" if n > 1 else "") for kind, n in runs(kinds))


def _panel(sheet: _Sheet, network: _Network, x: float) -> Iterator[Item]:
    """The rows of one network, joined by arrows."""
    ends: dict[str, tuple[float, float, float]] = {}
    for row, top, height in zip(network.rows, sheet.tops, sheet.heights, strict=True):
        centre, middle = top + height / 2, x + sheet.centre(row.lane)
        half = row.slab * len(row.kinds) / 2 if row.kinds else 7.0
        ends[row.name] = middle, centre - half, centre + half
        if row.kinds:
            yield from slabs(row, middle, centre - half, sheet.breadth(row.channels))
        elif row.name == CLIP:
            yield from frames(network.cost.clip, middle, centre)
        else:
            yield Rect(middle - _BROAD / 2, centre - 7, _BROAD, 14, "#eeeeee", GREY, radius=2)
            yield Text(middle, centre + 2.2, "average pool, linear", 6.5, INK, "middle")
        yield from _beside(sheet, row, x, centre)
    for row in network.rows:
        for name in row.inputs:
            yield from _arrow(ends[name], ends[row.name])


def _beside(sheet: _Sheet, row: Row, x: float, centre: float) -> Iterator[Item]:
    """What leaves a row, its parameters, and its share of the multiply-adds as a bar."""
    first = centre - LINE * len(row.lines) / 2 + 0.75 * LINE
    for number, line in enumerate(row.lines):
        text, size = fit(line, _SHAPES - 4, 6.5, 5)
        colour = INK if number == 0 else GREY
        yield Text(x + sheet.blocks, first + number * LINE, text, size, colour, title=line if text != line else "")
    if not row.share:
        return
    left, length = x + sheet.blocks + _SHAPES, _BARS * row.macs / sheet.macs
    hover = f"{row.name}: {row.macs:,} MACs"
    yield Text(left, centre - 4.2, f"{row.share} %", 7, INK, bold=True, title=hover)
    yield Rect(left, centre - 2, _BARS, 4, "#e6e6e6", title=hover)
    if length >= 0.05:
        yield Rect(left, centre - 2, length, 4, "#4d4d4d", title=hover)
    text, size = fit(gmacs(row.macs), _BARS, 6, 5)
    yield Text(left, centre + 8.3, text, size, GREY, title=hover)


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float]) -> Iterator[Item]:
    """From below a row to above another; each is given as its centre, top and bottom."""
    (at, _, y), (x, last, _) = start, end
    yield Segments((((at, y + 1), (x, last - 3)),), GREY, 0.8)
    yield Polyline(((x - 2, last - 4.2), (x + 2, last - 4.2), (x, last - 1)), "none", 0, GREY)


def _footer(sheet: _Sheet, clip: ClipShape, classes: int) -> tuple[list[Item], float]:
    """Totals under every network, the legend and what the numbers hold for; and where they end."""
    y = sheet.tops[-1] + sheet.heights[-1] + 7
    items: list[Item] = [Segments((((_MARGIN, y), (sheet.width - _MARGIN, y)),), HAIR, 0.5)]
    for number, network in enumerate(sheet.networks):
        x = _MARGIN if len(sheet.networks) == 1 else sheet.left(number)
        total, room = network.cost.total, sheet.room
        text, size = fit(f"{gmacs(total.macs)}, {short(total.params)} parameters", room, 8.5, 6, bold=True)
        items.append(Text(x, y + 11, text, size, bold=True, title=f"{total.macs:,} MACs, {total.params:,} parameters"))
    y += 16
    legend, y = _legend(sheet, y)
    blocks = " or ".join(sorted({network.block for network in sheet.networks}))
    width = sheet.width - 2 * _MARGIN
    one_scale = " MACs and channels share one scale." if len(sheet.networks) > 1 else ""
    for note in (
        f"Clip {'×'.join(map(str, clip.sizes))} (C×T×H×W), {counted_as(classes, 'class', 'es')}, one view.",
        f"A slab is a {blocks}; the broader, the more channels.{one_scale}",
    ):
        for line in wrap(note, width, 6):
            y += LINE
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
