"""The one builder of networks: ops to ``torch.nn`` modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from stsearch.nets.layers import (
    Added,
    AveragePool,
    Branches,
    Convolution,
    EveryFrame,
    SamePadding,
    SqueezeExcite,
    StepDropout,
    TemporalShift,
)
from stsearch.space.blueprint import CLIP, AnyNetwork, Blueprint, ClipShape, Unit, blueprint
from stsearch.space.cost import cost_of_blueprint
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
)

OpT = TypeVar("OpT", bound=Op)
BUILD: dict[type[Op], Callable[[Any], nn.Module]] = {}
"""Which module an op becomes."""


def builds(op: type[OpT]) -> Callable[[Callable[[OpT], nn.Module]], Callable[[OpT], nn.Module]]:
    """Register the module of an op type."""

    def decorate(function: Callable[[OpT], nn.Module]) -> Callable[[OpT], nn.Module]:
        BUILD[op] = function
        return function

    return decorate


@builds(Conv)
def _conv(op: Conv) -> nn.Module:
    return Convolution(op.c_in, op.c_out, op.kernel, op.stride, op.padding, groups=op.groups, bias=op.bias)


@builds(Norm)
def _norm(op: Norm) -> nn.Module:
    return nn.BatchNorm3d(op.channels, eps=op.eps, momentum=op.momentum)


@builds(Act)
def _act(op: Act) -> nn.Module:
    return nn.ReLU(inplace=True)


@builds(Swish)
def _swish(op: Swish) -> nn.Module:
    return nn.SiLU(inplace=True)


@builds(Dropout)
def _dropout(op: Dropout) -> nn.Module:
    return StepDropout(op.share)


@builds(MaxPool)
def _max_pool(op: MaxPool) -> nn.Module:
    return nn.MaxPool3d(op.kernel, op.stride, op.padding)


@builds(AvgPool)
def _avg_pool(op: AvgPool) -> nn.Module:
    return AveragePool(op.kernel)


@builds(PadSame)
def _pad_same(op: PadSame) -> nn.Module:
    return SamePadding(op.kernel, op.stride)


@builds(Every)
def _every(op: Every) -> nn.Module:
    return EveryFrame(op.step)


@builds(Shift)
def _shift(op: Shift) -> nn.Module:
    return TemporalShift(op.channels)


@builds(Excite)
def _excite(op: Excite) -> nn.Module:
    return SqueezeExcite(op.channels, op.middle)


@builds(Concat)
def _concat(op: Concat) -> nn.Module:
    return Branches([modules(branch) for branch in op.branches])


@builds(Sum)
def _sum(op: Sum) -> nn.Module:
    return Added([modules(branch) for branch in op.branches])


@builds(Pool)
def _pool(op: Pool) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(1))


@builds(Linear)
def _linear(op: Linear) -> nn.Module:
    return nn.Linear(op.c_in, op.c_out)


def modules(ops: Ops) -> nn.Sequential:
    """Ops in a row; ``TypeError`` for an op nobody builds."""
    for op in ops:
        if type(op) not in BUILD:
            raise TypeError(f"no module is registered for the op {type(op).__name__}")
    return nn.Sequential(*(BUILD[type(op)](op) for op in ops))


class Residual(nn.Module):
    """``relu(main(x) + shortcut(x))``; an empty shortcut is the identity."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self.main = modules(unit.main)
        self.shortcut = modules(unit.shortcut or ())
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.relu(self.main(x) + self.shortcut(x))
        return out


class VideoNet(nn.Module):
    """A video network: clips ``(N, C, T, H, W)`` to logits ``(N, classes)``.

    ``stages`` are its groups by name, computed in that order.
    """

    def __init__(self, plan: Blueprint) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(
            {
                group.name: nn.Sequential(
                    *(modules(unit.main) if unit.shortcut is None else Residual(unit) for unit in group.units)
                )
                for group in plan.groups
            }
        )
        self.head = modules(plan.head)
        self.is_chain = plan.is_chain
        """whether every stage has one input, the one before"""
        self._inputs = plan.inputs
        self._pool = modules(plan.pool)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        waiting = {CLIP: clips}  # what a later stage still asks for
        for number, (name, stage) in enumerate(self.stages.items()):
            waiting[name] = stage(self._enter(number, waiting))
        ends = [self._pool(waiting[name]) for name in self._inputs[-1]]
        logits: torch.Tensor = self.head(ends[0] if len(ends) == 1 else torch.cat(ends, 1))
        return logits

    def _enter(self, number: int, waiting: dict[str, torch.Tensor]) -> torch.Tensor:
        """What enters a stage; outputs that nobody asks for after it are let go."""
        given = [waiting[name] for name in self._inputs[number]]
        for name in self._inputs[number]:
            if not any(name in later for later in self._inputs[number + 1 :]):
                del waiting[name]
        return given[0] if len(given) == 1 else torch.cat(given, 1)


def initialise(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Weights as in the authors' Caffe2 code.

    Convolutions: MSRAFill, normal with variance 2 / fan-out (He et al., ICCV 2015). Linear:
    XavierFill, uniform in +-sqrt(3 / fan-in), bias 0, also where the classifier is a 1x1x1 convolution with
    bias. BatchNorm: scale 1, shift 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear | nn.Conv3d):
            bound = (3.0 / module.weight[0].numel()) ** 0.5
            assert module.bias is not None
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.zeros_(module.bias)


def scale_branches(network: nn.Module, scale: float) -> None:
    """Let the last BatchNorm of every residual branch begin at ``scale`` in place of 1."""
    for block in network.modules():
        if isinstance(block, Residual):
            norms = [module for module in block.main.modules() if isinstance(module, nn.BatchNorm3d)]
            if norms:
                nn.init.constant_(norms[-1].weight, scale)


def build(
    architecture: AnyNetwork, clip: ClipShape, classes: int, *, generator: torch.Generator | None = None
) -> VideoNet:
    """Build and initialise ``architecture`` for clips of shape ``clip``.

    ``generator`` makes the weights a function of its state alone. On the meta device
    (``with torch.device("meta")``) nothing is allocated. ``UserError`` for clips too small for the network.
    """
    plan = blueprint(architecture, clip, classes)
    cost_of_blueprint(plan, clip, classes)  # which refuses clips of which nothing would be left
    return build_plan(plan, generator)


def build_plan(plan: Blueprint, generator: torch.Generator | None = None) -> VideoNet:
    """``build`` for an architecture that is spelled out already."""
    with torch.random.fork_rng(devices=[]):  # the layers' own initialisation must not move the caller's state
        network = VideoNet(plan)
    initialise(network, generator)
    return network
