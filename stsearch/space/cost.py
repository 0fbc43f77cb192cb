"""Exact cost in closed form: parameters, multiply-adds and activations, as integers.

Counted as the authors of the paper count: one multiply-add is one MAC; convolutions and the
linear layer count, BatchNorm, ReLU, pooling and sums do not (positions in the padding do
count). ``torch.utils.flop_counter`` prints 2 x MACs. Activations are the elements of the
outputs of all convolutions and of the linear layer. All figures are those of one clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from math import prod
from typing import Any, TypeVar

from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import Blueprint, ClipShape, Unit, blueprint
from stsearch.space.ops import Act, Conv, Linear, Norm, Op, Ops, Pool


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
    t, h, w = (
        (size + 2 * pad - kernel) // stride + 1
        for size, pad, kernel, stride in zip(shape[1:], op.padding, op.kernel, op.stride, strict=True)
    )
    weights = op.c_in // op.groups * op.c_out * prod(op.kernel)
    outputs = t * h * w
    return Cost(weights, weights, weights * outputs, op.c_out * outputs), (op.c_out, t, h, w)


@cost_of(Norm)
def _norm(op: Norm, shape: Shape) -> tuple[Cost, Shape]:
    return Cost(params=2 * op.channels), shape


@cost_of(Act)
def _act(op: Act, shape: Shape) -> tuple[Cost, Shape]:
    return Cost(), shape


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
    """Cost of a blueprint made for clips of shape ``clip``."""
    shape: Shape = clip.sizes
    stages = []
    for group in plan.groups:
        cost, shape = cost_of_units(group.units, shape)
        kind = group.kinds[0] if len(set(group.kinds)) == 1 else ".".join(group.kinds)
        stages.append(StageCost(group.name, kind, len(group.units), cost, shape))
    head, _ = cost_of_ops(plan.head, shape)
    return NetworkCost(clip, classes, tuple(stages), head)


def network_cost(architecture: Architecture, clip: ClipShape, classes: int = 400) -> NetworkCost:
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
