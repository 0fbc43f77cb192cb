"""Multiply-adds as NNI's own FLOPs profiler has them: symbolic in the choices of a space, frozen per sample.

NNI 3.0 knows what a ``Conv3d`` costs, but not what shape leaves it. Shape formulas for 3D convolution,
BatchNorm and pooling are registered here through its public hook; the counting is NNI's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from nni.nas.profiler.pytorch.flops import FlopsProfiler, FlopsResult, find_flops_formula, register_flops_formula
from nni.nas.profiler.pytorch.utils import MutableShape, register_shape_inference_formula
from nni.nas.profiler.pytorch.utils.shape_formula import find_shape_inference_formula
from torch import nn

from stsearch.errors import UserError
from stsearch.nets.count import counted_flops
from stsearch.nets.layers import Convolution, SqueezeExcite, TemporalShift
from stsearch.nni.spaces import to_model_space, to_sample
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.search_space import SearchSpace


def _extents(module: nn.Module, name: str) -> tuple[int, ...]:
    value = getattr(module, name)
    return (value,) * 3 if isinstance(value, int) else tuple(value)


def _moved(size: Any, kernel: int, stride: int, padding: int, dilation: int) -> Any:
    """How often a window fits on ``size``.

    An extent that stays is the same expression, not one of equal value: NNI's expressions are trees and share
    nothing, so those of the stages after it would grow by every layer.
    """
    if stride == 1 and 2 * padding == dilation * (kernel - 1):
        return size
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _windows(module: nn.Module, shape: Any) -> list[Any]:
    """``(N, C, T, H, W)`` after a convolution or pooling window has moved over time and space."""
    *rest, t, h, w = list(shape)
    kernel, stride, padding = (_extents(module, name) for name in ("kernel_size", "stride", "padding"))
    dilation = _extents(module, "dilation") if hasattr(module, "dilation") else (1, 1, 1)
    return [*rest, *map(_moved, (t, h, w), kernel, stride, padding, dilation)]


def conv3d_shape(module: nn.Conv3d, given: Any) -> Any:
    """Channels out, then the windows of time, height and width."""
    batch, _, *extents = _windows(module, given.real_shape)
    return MutableShape(batch, module.out_channels, *extents)


def pool3d_shape(module: nn.Module, given: Any) -> Any:
    """Of ``MaxPool3d`` and ``AvgPool3d``."""
    if getattr(module, "ceil_mode", False):
        raise UserError("NNI's shapes know no ceil_mode of a pooling layer")
    return MutableShape(*_windows(module, given.real_shape))


def adaptive_pool3d_shape(module: nn.Module, given: Any) -> Any:
    """Of adaptive pooling: its output size, ``None`` keeps an extent."""
    size = getattr(module, "output_size")
    wanted = (size,) * 3 if isinstance(size, int) or size is None else size
    *rest, t, h, w = list(given.real_shape)
    return MutableShape(*rest, *(own if asked is None else asked for asked, own in zip(wanted, (t, h, w), strict=True)))


def flatten_shape(module: nn.Flatten, given: Any) -> Any:
    """All dimensions from ``start_dim`` to ``end_dim`` become one."""
    shape = list(given.real_shape)
    begin, end = (place % len(shape) for place in (module.start_dim, module.end_dim))
    merged: Any = 1
    for extent in shape[begin : end + 1]:
        merged = merged * extent
    return MutableShape(*shape[:begin], merged, *shape[end + 1 :])


def same_shape(module: nn.Module, given: Any) -> Any:
    """Of layers that keep every extent."""
    return given.real_shape


FORMULAS = {
    nn.Conv3d: conv3d_shape,
    Convolution: conv3d_shape,
    nn.BatchNorm3d: same_shape,
    nn.MaxPool3d: pool3d_shape,
    nn.AvgPool3d: pool3d_shape,
    nn.AdaptiveAvgPool3d: adaptive_pool3d_shape,
    nn.AdaptiveMaxPool3d: adaptive_pool3d_shape,
    nn.Flatten: flatten_shape,
    TemporalShift: same_shape,
    SqueezeExcite: same_shape,
}


def excite_flops(module: SqueezeExcite, given: Any, left: Any) -> FlopsResult:
    """Of two 1x1x1 convolutions at one position, as NNI counts: multiply-adds without biases."""
    return FlopsResult(2 * module.squeeze.in_channels * module.squeeze.out_channels, 0)


def register_formulas() -> None:
    """Make NNI know the shapes of 3D layers; formulas that are there already stay."""
    for layer, formula in FORMULAS.items():
        if find_shape_inference_formula(layer) is None:
            register_shape_inference_formula(layer, formula)
    register_flops_formula(Convolution, find_flops_formula(nn.Conv3d(1, 1, 1)))  # NNI looks for the very type
    register_flops_formula(SqueezeExcite, excite_flops)


class NniProfiler:
    """Multiply-adds of every network of ``space`` on clips of shape ``clip``, by NNI's profiler.

    Its other counts (biases, BatchNorm, activations) are switched off: as in the paper, convolutions and the
    linear layer count.
    """

    def __init__(self, space: SearchSpace, clip: ClipShape, classes: int) -> None:
        register_formulas()
        self.space = space
        with torch.device("meta"):
            network = to_model_space(space, clip, classes).eval()
            self._flops = FlopsProfiler(
                network,
                torch.empty(1, *clip.sizes),
                count_bias=False,
                count_normalization=False,
                count_activation=False,
            )

    def macs(self, architecture: Architecture) -> int:
        """Multiply-adds of one clip; ``UserError`` if ``architecture`` is not of the space."""
        value = self._flops.profile(to_sample(self.space, architecture))
        assert value == int(value), f"NNI counts {value!r} multiply-adds"
        return int(value)


@dataclass(frozen=True)
class Count:
    """Multiply-adds of one network, counted three ways."""

    network: str
    """the architecture's id"""
    nni: int
    """NNI's symbolic count"""
    closed_form: int
    flop_counter: int
    """half of the FLOPs of torch's ``FlopCounterMode``"""

    @property
    def agree(self) -> bool:
        """Whether the three are one number."""
        return self.nni == self.closed_form == self.flop_counter

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "agree": self.agree}


def three_counts(space: SearchSpace, clip: ClipShape, classes: int, count: int, seed: int) -> Iterator[Count]:
    """Count ``count`` networks of ``space``, drawn evenly without repetition, three independent ways."""
    profiler = NniProfiler(space, clip, classes)
    drawn = random.Random(seed)  # noqa: S311 - no secret
    for index in drawn.sample(range(space.size), min(count, space.size)):
        architecture = space.architecture(index)
        closed = network_cost(architecture, clip, classes).total.macs
        flops = counted_flops(architecture, clip, classes)
        assert flops % 2 == 0
        yield Count(architecture.id, profiler.macs(architecture), closed, flops // 2)
