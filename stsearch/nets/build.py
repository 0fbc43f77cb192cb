"""The one builder of searched networks: ops to ``torch.nn`` modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import Blueprint, ClipShape, Unit, blueprint
from stsearch.space.ops import Act, Conv, Linear, Norm, Op, Ops, Pool

OpT = TypeVar("OpT", bound=Op)
BUILD: dict[type[Op], Callable[[Any], nn.Module]] = {}
"""Which module an op becomes."""

NORM_EPS = 1e-3
"""BatchNorm's epsilon in the authors' code; its momentum there, 0.9, is 0.1 in torch's sense."""


def builds(op: type[OpT]) -> Callable[[Callable[[OpT], nn.Module]], Callable[[OpT], nn.Module]]:
    """Register the module of an op type."""

    def decorate(function: Callable[[OpT], nn.Module]) -> Callable[[OpT], nn.Module]:
        BUILD[op] = function
        return function

    return decorate


class Convolution(nn.Conv3d):
    """``nn.Conv3d``, ``(N, C, T, H, W)`` to the same, that trains right in bf16 on a CPU too.

    oneDNN's bf16 gradient of the weights (torch 2.13, avx512_bf16) is off by its own size, infinite or nan, and
    writes outside its memory, where the temporal kernel is longer than the clip: a kernel of 3 on 2 frames, one of 5
    on 2 to 4, one of 7 on 2 to 6. All other shapes tried are right. So these few are computed in fp32.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution of ``x``."""
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and x.shape[2] < self.kernel_size[0]:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.to(self.weight.dtype))
        return super().forward(x)


@builds(Conv)
def _conv(op: Conv) -> nn.Module:
    return Convolution(op.c_in, op.c_out, op.kernel, op.stride, op.padding, groups=op.groups, bias=False)


@builds(Norm)
def _norm(op: Norm) -> nn.Module:
    return nn.BatchNorm3d(op.channels, eps=NORM_EPS)


@builds(Act)
def _act(op: Act) -> nn.Module:
    return nn.ReLU(inplace=True)


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
    """A residual video network: clips ``(N, C, T, H, W)`` to logits ``(N, classes)``."""

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

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        x = clips
        for stage in self.stages.values():
            x = stage(x)
        logits: torch.Tensor = self.head(x)
        return logits


def initialise(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Weights as in the authors' Caffe2 code.

    Convolutions: MSRAFill, normal with variance 2 / fan-out (He et al., ICCV 2015). Linear:
    XavierFill, uniform in +-sqrt(3 / fan-in), bias 0. BatchNorm: scale 1, shift 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            bound = (3.0 / module.in_features) ** 0.5
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
    architecture: Architecture, clip: ClipShape, classes: int, *, generator: torch.Generator | None = None
) -> VideoNet:
    """Build and initialise ``architecture`` for clips of shape ``clip``.

    ``generator`` makes the weights a function of its state alone. On the meta device
    (``with torch.device("meta")``) nothing is allocated.
    """
    return build_plan(blueprint(architecture, clip, classes), generator)


def build_plan(plan: Blueprint, generator: torch.Generator | None = None) -> VideoNet:
    """``build`` for an architecture that is spelled out already."""
    with torch.random.fork_rng(devices=[]):  # the layers' own initialisation must not move the caller's state
        network = VideoNet(plan)
    initialise(network, generator)
    return network
