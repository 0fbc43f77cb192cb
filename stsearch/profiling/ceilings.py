"""How fast the device can be, what a stage asks of it, and which of the two limits it is near.

The roofline of Williams, Waterman and Patterson (CACM 2009), its roof measured in the same run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch.nn import functional

from stsearch.profiling.device import MEMORY_FORMAT, Setting, refusing, tf32
from stsearch.space.blueprint import CLIP, AnyNetwork, ClipShape, blueprint
from stsearch.space.cost import COST, Shape, joined
from stsearch.space.ops import Concat, Ops

BOUND_SHARE = 0.5
"""A stage is bound by the ceiling of which it reaches the larger share, if that is at least this."""
BYTES = {"fp32": 4, "bf16": 2}
_SMALLEST, _LARGEST = 512, 16_384
_LONG_S = {"cpu": 0.02, "cuda": 0.005}
"""A product that takes so long is large enough."""
_CHANNELS, _INPUT = 128, (8, 28, 28)
_CLIPS = {"cpu": 1, "cuda": 64}
"""Of the convolution: 5.5 GFLOP a clip."""
_COPIED = {"cpu": 64 * 2**20, "cuda": 256 * 2**20}
_TRY_S, _TRIES = 0.3, 5


@dataclass(frozen=True)
class Ceilings:
    """The best that was seen on the device: of a square matrix product and a large convolution, and of a copy.

    Libraries have other code for the two; on some processors a convolution is more than twice as fast.
    """

    matmul_flops_per_s: float
    matmul_size: int
    """rows and columns of the product that was fastest"""
    copy_bytes_per_s: float
    """read and written bytes together"""
    copied_bytes: int
    convolution_flops_per_s: float = 0.0
    """of a 3x3x3 convolution of 128 channels"""
    stage_flops_per_s: float = 0.0
    """of the network's fastest stage, where that was faster than both; else 0"""

    @property
    def flops_per_s(self) -> float:
        """The best of all: no share of it is above 1."""
        return max(self.matmul_flops_per_s, self.convolution_flops_per_s, self.stage_flops_per_s)

    def reached(self, flops_per_s: float) -> Ceilings:
        """With a stage that reached so much."""
        return replace(self, stage_flops_per_s=flops_per_s) if flops_per_s > self.flops_per_s else self

    def or_better(self, other: Ceilings) -> Ceilings:
        """The better of two measurements: a busy moment must not lower a ceiling."""
        product = max(self, other, key=lambda seen: seen.matmul_flops_per_s)
        copy = max(self, other, key=lambda seen: seen.copy_bytes_per_s)
        convolution = max(self.convolution_flops_per_s, other.convolution_flops_per_s)
        return Ceilings(
            product.matmul_flops_per_s, product.matmul_size, copy.copy_bytes_per_s, copy.copied_bytes, convolution
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"source": "measured", **asdict(self), "flops_per_s": self.flops_per_s}


@dataclass(frozen=True)
class Work:
    """What a part of a network does to one clip, counted from its ops."""

    name: str
    macs: int
    elements: int
    """inputs and outputs of its convolutions and linear layers"""
    weights: int
    first_macs: int = 0
    """of the network's first convolution, which needs no gradient of its input when trained"""
    first_elements: int = 0
    first_weights: int = 0

    def flops(self, batch: int, *, training: bool) -> int:
        """2 x MACs of ``batch`` clips; in training thrice the forward pass, less the gradient nobody needs."""
        macs = 3 * self.macs - self.first_macs if training else self.macs
        return 2 * macs * batch

    def bytes(self, batch: int, dtype: str, *, training: bool) -> int:
        """The least traffic to memory: every operand read once, every result written once."""
        elements, weights = self.elements, self.weights
        if training:
            elements, weights = 3 * elements - self.first_elements, 3 * weights - self.first_weights
        return BYTES[dtype] * (elements * batch + weights)


def measure_ceilings(setting: Setting) -> Ceilings:
    """Time matrix products in the setting's precision, growing until one takes long, a convolution, and a copy."""
    with (
        refusing(setting, "a matrix product, a convolution and a copy"),
        torch.inference_mode(),
        _as_convolutions(setting),
    ):
        size, best = _SMALLEST, (0.0, _SMALLEST)
        while True:
            spent = _best(_product(size, setting), setting)
            best = max(best, (2 * size**3 / spent, size))
            if spent > _LONG_S[setting.device.type] or size >= _LARGEST:
                break
            size *= 2
        clips = _CLIPS[setting.device.type]
        per_clip = 2 * math.prod(_INPUT) * 27 * _CHANNELS**2
        convolved = clips * per_clip / _best(_convolution(clips, setting), setting)
        count = _COPIED[setting.device.type]
        source = torch.ones(count, dtype=torch.uint8, device=setting.device)
        target = torch.zeros_like(source)
        copied = _best(lambda: target.copy_(source), setting)
    return Ceilings(best[0], best[1], 2 * count / copied, count, convolved)


def work(architecture: AnyNetwork, clip: ClipShape, classes: int) -> tuple[Work, ...]:
    """What the groups of a network (conv1 .. conv5_x) and its head do to one clip, in closed form."""
    plan = blueprint(architecture, clip, classes)
    shapes: dict[str, Shape] = {CLIP: clip.sizes}
    *entering, ends = plan.inputs
    found: list[Work] = []
    for group, names in zip(plan.groups, entering, strict=True):
        shape = joined([shapes[name] for name in names])
        layers: list[tuple[int, int, int]] = []
        for unit in group.units:
            beside = _layers(unit.shortcut or (), shape)[0]
            main, shape = _layers(unit.main, shape)
            layers += main + beside
        found.append(_work(group.name, layers, first=CLIP in names))
        shapes[group.name] = shape
    pooled = joined([_layers(plan.pool, shapes[name])[1] for name in ends])
    return (*found, _work("head", _layers(plan.head, pooled)[0], first=False))


def bound(flops_share: float, copy_share: float) -> str:
    """``compute``, ``memory``, or ``neither`` where both shares are below ``BOUND_SHARE``.

    Neither: the time goes to launching work, to operations that are not counted (BatchNorm, ReLU,
    sums), or to convolutions for which the library has no fast code.
    """
    if max(flops_share, copy_share) < BOUND_SHARE:
        return "neither"
    return "compute" if flops_share >= copy_share else "memory"


def _work(name: str, layers: list[tuple[int, int, int]], *, first: bool) -> Work:
    macs, elements, weights = (sum(column) for column in zip(*layers, strict=True))
    return Work(name, macs, elements, weights, *(layers[0] if first else (0, 0, 0)))


def _layers(ops: Ops, shape: Shape) -> tuple[list[tuple[int, int, int]], Shape]:
    """MACs, elements in and out, and weights of the ops that multiply; the shape that leaves them."""
    found = []
    for op in ops:
        cost, out = COST[type(op)](op, shape)
        if isinstance(op, Concat):
            found += [layer for branch in op.branches for layer in _layers(branch, shape)[0]]
        elif cost.macs:
            found.append((cost.macs, math.prod(shape) + math.prod(out), cost.params_without_norm))
        shape = out
    return found, shape


def _product(size: int, setting: Setting) -> Callable[[], object]:
    dtype = torch.bfloat16 if setting.dtype == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=setting.device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def _convolution(clips: int, setting: Setting) -> Callable[[], object]:
    dtype = torch.bfloat16 if setting.dtype == "bf16" else torch.float32
    x = torch.randn(clips, _CHANNELS, *_INPUT, device=setting.device).to(dtype)
    weight = torch.randn(_CHANNELS, _CHANNELS, 3, 3, 3, device=setting.device).to(dtype)
    x, weight = (one.contiguous(memory_format=MEMORY_FORMAT) for one in (x, weight))
    return lambda: functional.conv3d(x, weight, padding=1)


def _best(call: Callable[[], object], setting: Setting) -> float:
    """Seconds of the fastest of several calls, the first left out."""
    call()
    setting.synchronise()
    spent: list[float] = []
    begun = time.perf_counter()
    while len(spent) < _TRIES or time.perf_counter() - begun < min(_TRY_S, setting.min_run_s):
        start = time.perf_counter()
        call()
        setting.synchronise()
        spent.append(time.perf_counter() - start)
    return min(spent)


@contextmanager
def _as_convolutions(setting: Setting) -> Iterator[None]:
    """Products in TensorFloat-32 where convolutions may use it, so that both have one ceiling."""
    if not tf32(setting):
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
