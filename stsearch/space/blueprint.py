"""An architecture spelled out as residual units of ops; cost and builder both read this."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from stsearch.errors import UserError
from stsearch.space.architecture import GROUPS, Architecture
from stsearch.space.kinds import KINDS, STEMS
from stsearch.space.ops import Act, Conv, Linear, Norm, Op, Ops, Pool, total_stride

WIDTHS = (64, 64, 128, 256, 512)
"""Channels of conv1, conv2_x .. conv5_x."""
EXPANSION = {"basic": 1, "bottleneck": 4}


@dataclass(frozen=True)
class ClipShape:
    """The shape of one clip, ``(C, T, H, W)``."""

    channels: int = 3
    frames: int = 16
    height: int = 112
    width: int = 112

    def __post_init__(self) -> None:
        for name, value in (
            ("channels", self.channels),
            ("frames", self.frames),
            ("height", self.height),
            ("width", self.width),
        ):
            if value < 1:
                raise UserError(f"{name} of a clip is at least 1; given {value}")

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """``(C, T, H, W)``"""
        return self.channels, self.frames, self.height, self.width

    def __str__(self) -> str:
        return f"{self.channels}x{self.frames}x{self.height}x{self.width}"


@dataclass(frozen=True)
class Unit:
    """Ops in a row; with ``shortcut`` not ``None``, a residual sum and a ReLU after them.

    An empty shortcut is the identity.
    """

    main: Ops
    shortcut: Ops | None = None


@dataclass(frozen=True)
class Group:
    """One placement group: a name, its kinds and its units."""

    name: str
    kinds: tuple[str, ...]
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class Blueprint:
    """conv1, conv2_x .. conv5_x, then the head: global average pool and linear layer."""

    groups: tuple[Group, ...]
    head: Ops


def scaled(channels: int, width: float) -> int:
    """Channels at a width multiplier, rounded, at least 1."""
    return max(1, round(channels * width))


@lru_cache(maxsize=4096)
def residual_unit(kind: str, block: str, c_in: int, channels: int, stride: int) -> Unit:
    """A residual block (He et al., CVPR 2016) whose spatiotemporal convolutions are of ``kind``.

    ``channels`` is the width of its 3x3 convolutions. The shortcut is the identity where the
    shape stays, else a 1x1x1 convolution with the stride of the main path.
    """
    make = KINDS[kind]
    c_out = channels * EXPANSION[block]
    if block == "basic":
        main = (*make(c_in, channels, stride), Norm(channels), Act(), *make(channels, channels, 1), Norm(channels))
    else:
        main = (
            Conv(c_in, channels, (1, 1, 1)),
            Norm(channels),
            Act(),
            *make(channels, channels, stride),
            Norm(channels),
            Act(),
            Conv(channels, c_out, (1, 1, 1)),
            Norm(c_out),
        )
    steps = total_stride(main)
    if c_in == c_out and steps == (1, 1, 1):
        return Unit(main, ())
    return Unit(main, (Conv(c_in, c_out, (1, 1, 1), steps), Norm(c_out)))


def stem_unit(stem: str, clip: ClipShape, width: float) -> Unit:
    """conv1, BatchNorm, ReLU."""
    c_out = scaled(WIDTHS[0], width)
    return Unit((*STEMS[stem](clip.channels, c_out, clip.frames), Norm(c_out), Act()))


def stage_units(index: int, kinds: tuple[str, ...], block: str, width: float) -> tuple[Unit, ...]:
    """The units of conv{index+1}_x, ``index`` 1 to 4; conv3_x and later halve in their first unit."""
    expansion = EXPANSION[block]
    before = scaled(WIDTHS[index - 1], width) * (1 if index == 1 else expansion)
    channels = scaled(WIDTHS[index], width)
    units = []
    for number, kind in enumerate(kinds):
        first = number == 0
        units.append(
            residual_unit(
                kind, block, before if first else channels * expansion, channels, 2 if first and index > 1 else 1
            )
        )
    return tuple(units)


def head_ops(block: str, width: float, classes: int) -> Ops:
    """Global average pool and classifier."""
    return Pool(), Linear(scaled(WIDTHS[-1], width) * EXPANSION[block], classes)


def blueprint(architecture: Architecture, clip: ClipShape, classes: int) -> Blueprint:
    """Spell out ``architecture`` for clips of shape ``clip`` and ``classes`` classes."""
    if classes < 1:
        raise UserError(f"classes is at least 1; given {classes}")
    a = architecture
    stem = Group(GROUPS[0], (a.stem,), (stem_unit(a.stem, clip, a.width),))
    stages = [Group(GROUPS[i], kinds, stage_units(i, kinds, a.block, a.width)) for i, kinds in enumerate(a.stages, 1)]
    return Blueprint((stem, *stages), head_ops(a.block, a.width, classes))


def with_stem(plan: Blueprint, least: int) -> Blueprint:
    """``plan`` with ``least`` channels, at least, between the convolutions of its stem.

    A stem of one convolution stays, as does one of which a convolution has groups.
    """
    group, *others = plan.groups
    unit, *more = group.units
    convolutions = [op for op in unit.main if isinstance(op, Conv)]
    if any(op.groups > 1 for op in convolutions):
        return plan
    ops: list[Op] = []
    channels, left = convolutions[0].c_in, len(convolutions)
    for op in unit.main:
        if isinstance(op, Conv):
            left -= 1
            wide = op.c_out if left == 0 else max(op.c_out, least)
            op, channels = replace(op, c_in=channels, c_out=wide), wide
        elif isinstance(op, Norm):
            op = Norm(channels)
        ops.append(op)
    stem = replace(group, units=(replace(unit, main=tuple(ops)), *more))
    return replace(plan, groups=(stem, *others))


def sees_order(architecture: Architecture, clip: ClipShape) -> bool:
    """Whether the order of frames can change what the network says; not where every op treats them one by one."""
    ops = (
        op
        for group in blueprint(architecture, clip, 1).groups
        for unit in group.units
        for op in (*unit.main, *(unit.shortcut or ()))
    )
    return any(not isinstance(op, Norm | Act) and not _frame_by_frame(op) for op in ops)


def _frame_by_frame(op: Op) -> bool:
    return isinstance(op, Conv) and op.kernel[0] == op.stride[0] == 1
