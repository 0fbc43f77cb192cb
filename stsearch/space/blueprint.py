"""A network spelled out as a small graph of units of ops; cost, builder, drawing and trace all read this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from stsearch.errors import UserError
from stsearch.space.architecture import GROUPS, Architecture
from stsearch.space.kinds import KINDS, STEMS
from stsearch.space.narrow import narrowed, scaled
from stsearch.space.ops import (
    Act,
    Concat,
    Conv,
    Dropout,
    Excite,
    Linear,
    MaxPool,
    Norm,
    Op,
    Ops,
    PadSame,
    Pool,
    Sum,
    Swish,
    total_stride,
)

WIDTHS = (64, 64, 128, 256, 512)
"""Channels of conv1, conv2_x .. conv5_x."""
EXPANSION = {"basic": 1, "bottleneck": 4, "basic_se": 1, "bottleneck_se": 4}
_SQUEEZED = 16
"""Channels of a block to those within its squeeze-and-excitation (Hu et al., CVPR 2018)"""


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


CLIP = "clip"
"""What a group whose input is the clip itself names."""


@dataclass(frozen=True)
class Group:
    """A node of the graph, such as one placement group: a name, its kinds and its units in a row."""

    name: str
    kinds: tuple[str, ...]
    """of its blocks, which a drawing shows; a pool between two blocks is a unit, but no block"""
    units: tuple[Unit, ...]
    inputs: tuple[str, ...] = ()
    """earlier groups, or ``CLIP``, whose outputs enter it, concatenated along the channels; empty: the one before"""
    lane: int = 0
    """column in a drawing: 0 is the main pathway"""


@dataclass(frozen=True)
class Blueprint:
    """Groups in an order in which they can be computed, then the head.

    Of a residual network these are conv1, conv2_x .. conv5_x, then global average pool and linear layer.
    """

    groups: tuple[Group, ...]
    head: Ops
    ends: tuple[str, ...] = ()
    """groups whose outputs enter the head, concatenated; empty: the last one"""
    pool: Ops = ()
    """done to each of these before they are concatenated"""

    def __post_init__(self) -> None:
        known = {CLIP}
        for group in self.groups:
            assert group.name not in known, f"two groups are named {group.name}"
            assert known.issuperset(group.inputs), f"{group.name} comes before one of its inputs, {group.inputs}"
            known.add(group.name)
        assert known.issuperset(self.ends), f"the head's inputs are groups; given {self.ends}"

    @property
    def inputs(self) -> tuple[tuple[str, ...], ...]:
        """For every group, then for the head, the names of what enters it."""
        before = (CLIP, *(group.name for group in self.groups))
        asked = (*(group.inputs for group in self.groups), self.ends)
        return tuple(given or (last,) for given, last in zip(asked, before, strict=True))

    @property
    def is_chain(self) -> bool:
        """Whether every group has one input, the one before."""
        return not self.ends and not any(group.inputs for group in self.groups)


@dataclass(frozen=True)
class Definition:
    """A network of the literature, given by a function instead of kinds; ``stsearch.space.zoo`` has them all."""

    name: str
    clip: ClipShape
    """what it usually sees"""
    rate: int
    """every ``rate``-th frame of a video is in its clip"""
    plan: Callable[[ClipShape, int], Blueprint]
    """of a clip's shape and the number of classes"""
    source: str
    """paper, and the public code that fixes the integers"""
    foreign: tuple[Naming, ...] = ()
    """how published checkpoints name its weights"""
    width: float = 1.0
    """share of the channels that every layer keeps"""

    @property
    def id(self) -> str:
        """Its name, as an architecture has an id; with the width where that is not the usual one."""
        return self.name if self.width == 1.0 else f"{self.name}@w{self.width!r}"

    def scaled(self, width: float) -> Definition:
        """The same network with ``width`` times as many channels in every layer."""
        return replace(self, width=self.width * width)


KINETICS_MEAN, KINETICS_STD = (110.2008, 100.63983, 95.99475), (58.14765, 56.46975, 55.332195)
"""Of Kinetics-400, as torchvision and VMZ normalise clips (0.43216 and so on of 255)"""


@dataclass(frozen=True)
class Naming:
    """What checkpoints of one library call the layers of a network."""

    library: str
    layers: Callable[[], tuple[str, ...]]
    """prefixes of their tensors, in the order in which the blueprint's ops with weights come: of a residual unit
    its main path, then its shortcut; of branches the first one first; the classifier is last"""
    mean: tuple[float, float, float] = KINETICS_MEAN
    """per channel, of pixels 0..255: the library feeds its networks with ``(pixel - mean) / std``"""
    std: tuple[float, float, float] = KINETICS_STD


AnyNetwork = Architecture | Definition
"""Whatever has a blueprint."""


@lru_cache(maxsize=4096)
def residual_unit(kind: str, block: str, c_in: int, channels: int, stride: int) -> Unit:
    """A residual block (He et al., CVPR 2016) whose spatiotemporal convolutions are of ``kind``.

    ``channels`` is the width of its 3x3 convolutions. The shortcut is the identity where the
    shape stays, else a 1x1x1 convolution with the stride of the main path. A block with ``_se`` ends in
    squeeze-and-excitation, before the sum.
    """
    make = KINDS[kind]
    c_out = channels * EXPANSION[block]
    main: Ops
    if block.startswith("basic"):
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
    if block.endswith("_se"):
        main = (*main, Excite(c_out, max(1, c_out // _SQUEEZED)))
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


def blueprint(architecture: AnyNetwork, clip: ClipShape, classes: int) -> Blueprint:
    """Spell out ``architecture`` for clips of shape ``clip`` and ``classes`` classes."""
    if classes < 1:
        raise UserError(f"classes is at least 1; given {classes}")
    if isinstance(architecture, Definition):
        plan = architecture.plan(clip, classes)
        return plan if architecture.width == 1.0 else at_width(plan, clip.channels, architecture.width)
    a = architecture
    stem = Group(GROUPS[0], (a.stem,), (stem_unit(a.stem, clip, a.width),))
    stages = [Group(GROUPS[i], kinds, stage_units(i, kinds, a.block, a.width)) for i, kinds in enumerate(a.stages, 1)]
    return Blueprint((stem, *stages), head_ops(a.block, a.width, classes))


def at_width(plan: Blueprint, channels: int, width: float) -> Blueprint:
    """``plan``, which clips of so many ``channels`` enter, with ``width`` times as many channels in every layer."""
    leaving, groups = {CLIP: channels}, []
    for group, inputs in zip(plan.groups, plan.inputs, strict=False):
        inside, units = sum(leaving[name] for name in inputs), []
        for unit in group.units:
            beside = unit.shortcut and narrowed(unit.shortcut, inside, width)[0]
            main, inside = narrowed(unit.main, inside, width)
            units.append(Unit(main, beside))
        leaving[group.name] = inside
        groups.append(replace(group, units=tuple(units)))
    head, _ = narrowed(plan.head, sum(leaving[name] for name in plan.inputs[-1]), width)
    return replace(plan, groups=tuple(groups), head=head)


def with_stem(plan: Blueprint, least: int) -> Blueprint:
    """``plan`` with ``least`` channels, at least, between the convolutions of its stem.

    A stem of one convolution stays, as does one that has more than plain convolutions, norms and ReLUs.
    """
    group, *others = plan.groups
    unit, *more = group.units
    convolutions = [op for op in unit.main if isinstance(op, Conv)]
    plain = all(isinstance(op, Norm | Act) or (isinstance(op, Conv) and op.groups == 1) for op in unit.main)
    if len(convolutions) < 2 or not plain:
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


def sees_order(architecture: AnyNetwork, clip: ClipShape) -> bool:
    """Whether the order of frames can change what the network says; not where every op treats them one by one."""
    units = (unit for group in blueprint(architecture, clip, 1).groups for unit in group.units)
    return any(_sees_order(op) for unit in units for op in (*unit.main, *(unit.shortcut or ())))


_BLIND = Norm | Act | Swish | Dropout | Excite | Pool


def _sees_order(op: Op) -> bool:
    if isinstance(op, Concat | Sum):
        return any(_sees_order(inner) for branch in op.branches for inner in branch)
    if isinstance(op, Conv | MaxPool | PadSame):
        return not op.kernel[0] == op.stride[0] == 1
    return not isinstance(op, _BLIND)
