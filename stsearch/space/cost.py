"""Exact cost in closed form: parameters, multiply-adds and activations, as integers.

Counted as the authors of the paper count: one multiply-add is one MAC; convolutions and the
linear layer count, BatchNorm, ReLU, pooling and sums do not (positions in the padding do
count). ``torch.utils.flop_counter`` prints 2 x MACs. Activations are the elements of the
outputs of all convolutions and of the linear layer. All figures are those of one clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from math import prod
from typing import Any, TypeVar

from stsearch.errors import UserError
from stsearch.space.blueprint import CLIP, AnyNetwork, Blueprint, ClipShape, Unit, blueprint
from stsearch.space.ops import (
    Act,
    AvgPool,
    Concat,
    Conv,
    Dropout,
    Every,
    Excite,
    Linear,
    MaxPool,
    Norm,
    Op,
    Ops,
    PadSame,
    Pool,
    Shift,
    Sum,
    Swish,
    Triple,
)


@dataclass(frozen=True)
class Cost:
    """What a part of a network costs for one clip."""

    params: int = 0
    params_without_norm: int = 0
    macs: int = 0
    activations: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.params + other.params,
            self.params_without_norm + other.params_without_norm,
            self.macs + other.macs,
            self.activations + other.activations,
        )


Shape = tuple[int, int, int, int]
"""``(C, T, H, W)``"""
OpCost = Callable[[Any, Shape], tuple[Cost, Shape]]
OpT = TypeVar("OpT", bound=Op)

COST: dict[type[Op], OpCost] = {}
"""What an op costs and what shape leaves it."""


def cost_of(op: type[OpT]) -> Callable[[OpCost], OpCost]:
    """Register the cost of an op type."""

    def decorate(function: OpCost) -> OpCost:
        COST[op] = function
        return function

    return decorate


@cost_of(Conv)
def _conv(op: Conv, shape: Shape) -> tuple[Cost, Shape]:
    t, h, w = _windows(shape, op.kernel, op.stride, op.padding)
    weights = op.c_in // op.groups * op.c_out * prod(op.kernel)
    params = weights + op.bias * op.c_out
    outputs = t * h * w
    return Cost(params, params, weights * outputs, op.c_out * outputs), (op.c_out, t, h, w)


def _windows(shape: Shape, kernel: Triple, stride: Triple, padding: Triple) -> Triple:
    """How often a window fits on time, height and width."""
    t, h, w = (
        (size + 2 * pad - width) // step + 1
        for size, pad, width, step in zip(shape[1:], padding, kernel, stride, strict=True)
    )
    return t, h, w


@cost_of(Norm)
def _norm(op: Norm, shape: Shape) -> tuple[Cost, Shape]:
    return Cost(params=2 * op.channels), shape


@cost_of(Act)
@cost_of(Swish)
@cost_of(Dropout)
@cost_of(Shift)
def _act(op: Op, shape: Shape) -> tuple[Cost, Shape]:
    return Cost(), shape


@cost_of(MaxPool)
def _max_pool(op: MaxPool, shape: Shape) -> tuple[Cost, Shape]:
    return Cost(), (shape[0], *_windows(shape, op.kernel, op.stride, op.padding))


@cost_of(AvgPool)
def _avg_pool(op: AvgPool, shape: Shape) -> tuple[Cost, Shape]:
    t, h, w = (size - min(size, width or size) + 1 for size, width in zip(shape[1:], op.kernel, strict=True))
    return Cost(), (shape[0], t, h, w)


@cost_of(PadSame)
def _pad_same(op: PadSame, shape: Shape) -> tuple[Cost, Shape]:
    t, h, w = (
        size + max(width - (size % step or step), 0)
        for size, width, step in zip(shape[1:], op.kernel, op.stride, strict=True)
    )
    return Cost(), (shape[0], t, h, w)


@cost_of(Every)
def _every(op: Every, shape: Shape) -> tuple[Cost, Shape]:
    return Cost(), (shape[0], -(-shape[1] // op.step), *shape[2:])


@cost_of(Excite)
def _excite(op: Excite, shape: Shape) -> tuple[Cost, Shape]:
    weights = 2 * op.channels * op.middle
    outputs = op.channels + op.middle
    return Cost(weights + outputs, weights + outputs, weights, outputs), shape


@cost_of(Concat)
def _concat(op: Concat, shape: Shape) -> tuple[Cost, Shape]:
    found = [cost_of_ops(branch, shape) for branch in op.branches]
    return sum((cost for cost, _ in found), Cost()), joined([out for _, out in found])


@cost_of(Sum)
def _sum(op: Sum, shape: Shape) -> tuple[Cost, Shape]:
    found = [cost_of_ops(branch, shape) for branch in op.branches]
    assert len({out for _, out in found}) == 1, f"only maps of one shape are added; given {[out for _, out in found]}"
    return sum((cost for cost, _ in found), Cost()), found[0][1]


def joined(shapes: Sequence[Shape]) -> Shape:
    """What shapes are together, one behind the other along the channels."""
    assert len({shape[1:] for shape in shapes}) == 1, f"only maps of one size are concatenated; given {shapes}"
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


@cost_of(Pool)
def _pool(op: Pool, shape: Shape) -> tuple[Cost, Shape]:
    return Cost(), (shape[0], 1, 1, 1)


@cost_of(Linear)
def _linear(op: Linear, shape: Shape) -> tuple[Cost, Shape]:
    weights = op.c_in * op.c_out
    return Cost(weights + op.c_out, weights + op.c_out, weights, op.c_out), (op.c_out, 1, 1, 1)


def cost_of_ops(ops: Ops, shape: Shape) -> tuple[Cost, Shape]:
    """Cost of ``ops`` in a row on an input of ``shape``; ``TypeError`` for an op nobody knows."""
    total = Cost()
    for op in ops:
        if type(op) not in COST:
            raise TypeError(f"no cost is registered for the op {type(op).__name__}")
        cost, shape = COST[type(op)](op, shape)
        total += cost
    return total, shape


@lru_cache(maxsize=65536)
def cost_of_unit(unit: Unit, shape: Shape) -> tuple[Cost, Shape]:
    """Cost of a unit, its shortcut included."""
    cost, out = cost_of_ops(unit.main, shape)
    if unit.shortcut:
        beside, same = cost_of_ops(unit.shortcut, shape)
        assert same == out, f"shortcut gives {same}, main path {out}"
        cost += beside
    return cost, out


def cost_of_units(units: tuple[Unit, ...], shape: Shape) -> tuple[Cost, Shape]:
    """Cost of units in a row."""
    total = Cost()
    for unit in units:
        cost, shape = cost_of_unit(unit, shape)
        total += cost
    return total, shape


@dataclass(frozen=True)
class StageCost:
    """One placement group's share."""

    name: str
    kind: str
    """its kind, or ``2d.3d`` where its blocks differ"""
    blocks: int
    cost: Cost
    output: Shape


@dataclass(frozen=True)
class NetworkCost:
    """Cost of a whole network on one clip, by group."""

    clip: ClipShape
    classes: int
    stages: tuple[StageCost, ...]
    head: Cost

    @property
    def total(self) -> Cost:
        """Stages and head."""
        return sum((stage.cost for stage in self.stages), self.head)

    @property
    def output_frames(self) -> int:
        """Frames that reach the global pool."""
        return self.stages[-1].output[1]

    def as_dict(self) -> dict[str, Any]:
        """The JSON of ``stsearch profile`` without the network's name."""
        total = self.total
        return {
            "input": list(self.clip.sizes),
            "classes": self.classes,
            "params": total.params,
            "params_without_norm": total.params_without_norm,
            "macs": total.macs,
            "gmacs": total.macs / 1e9,
            "flops": 2 * total.macs,
            "activations": total.activations,
            "output_frames": self.output_frames,
            "stages": [
                {"name": s.name, "kind": s.kind, "blocks": s.blocks, **asdict(s.cost), "output": list(s.output)}
                for s in self.stages
            ],
            "head": asdict(self.head),
        }


def cost_of_blueprint(plan: Blueprint, clip: ClipShape, classes: int) -> NetworkCost:
    """Cost of a blueprint made for clips of shape ``clip``; ``UserError`` if they are too small for it."""
    shapes: dict[str, Shape] = {CLIP: clip.sizes}
    *entering, ends = plan.inputs
    stages = []
    for group, names in zip(plan.groups, entering, strict=True):
        cost, shape = cost_of_units(group.units, joined([shapes[name] for name in names]))
        if min(shape) < 1:
            raise UserError(
                f"clips of {clip} (C x T x H x W) are too small for this network: nothing leaves its part {group.name}"
            )
        kind = group.kinds[0] if len(set(group.kinds)) == 1 else ".".join(group.kinds)
        stages.append(StageCost(group.name, kind, len(group.kinds), cost, shape))
        shapes[group.name] = shape
    head, _ = cost_of_ops(plan.head, joined([cost_of_ops(plan.pool, shapes[name])[1] for name in ends]))
    return NetworkCost(clip, classes, tuple(stages), head)


def network_cost(architecture: AnyNetwork, clip: ClipShape, classes: int = 400) -> NetworkCost:
    """Closed-form cost of ``architecture`` on one clip of shape ``clip``."""
    return cost_of_blueprint(blueprint(architecture, clip, classes), clip, classes)


COUNTS = tuple(field.name for field in fields(Cost))


@dataclass(frozen=True)
class Counted:
    """A cost that a study may minimise or cap: counts of a ``Cost``, each times its weight, divided by ``per``.

    Sums of stages stay sums, so the extremes of a space are found exactly. ``ValueError`` for a weight of no count.
    """

    weights: Mapping[str, float]
    per: float = 1.0

    def __post_init__(self) -> None:
        if not self.weights or not set(self.weights) <= set(COUNTS) or not self.per > 0:
            given = f"{dict(self.weights)} / {self.per}"
            raise ValueError(f"a cost is a sum over some of {', '.join(COUNTS)}, divided by more than 0; given {given}")

    def __call__(self, cost: Cost) -> float:
        """Of one network; a count itself stays a whole number."""
        value: float = self.of({name: getattr(cost, name) for name in self.weights})
        return value

    def of(self, counts: Mapping[str, Any]) -> Any:
        """The same of counts by name, numbers or arrays."""
        total = sum(weight * counts[name] for name, weight in self.weights.items())
        return total if self.per == 1 else total / self.per

    @property
    def vector(self) -> list[float]:
        """Weights of all ``COUNTS``."""
        return [self.weights.get(name, 0) for name in COUNTS]


COSTS: dict[str, Counted] = {
    "gmacs": Counted({"macs": 1}, per=1e9),
    "params": Counted({"params": 1}),
    "activations": Counted({"activations": 1}),
}
"""Costs that a study may minimise or cap; GMACs are MACs / 1e9. See ``stsearch.search.metrics.closed_form``."""
