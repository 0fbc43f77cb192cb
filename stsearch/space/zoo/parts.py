"""What networks of the zoo share: convolution with BatchNorm and ReLU, residual units, heads, names in checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stsearch.space.blueprint import Blueprint, Unit
from stsearch.space.ops import Act, Conv, Dropout, MaxPool, Norm, Op, Ops, Pool, Triple, total_stride

EPS = 1e-5
"""BatchNorm's epsilon in PyTorchVideo, PySlowFast, torchvision and TSM"""
HALVE = (1, 2, 2)
"""A stride that leaves time alone"""
PYTORCHVIDEO = ((114.75, 114.75, 114.75), (57.375, 57.375, 57.375))
"""mean and standard deviation that its networks are fed with: 0.45 and 0.225 of 255"""
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""those of torchvision's 2D networks"""
STAGES = ("conv2_x", "conv3_x", "conv4_x", "conv5_x")


def conv(c_in: int, c_out: int, kernel: Triple, stride: Triple = (1, 1, 1), *, eps: float = EPS) -> Ops:
    """Convolution with padding ``k // 2``, BatchNorm, ReLU."""
    return (*bare(c_in, c_out, kernel, stride, eps=eps), Act())


def bare(
    c_in: int, c_out: int, kernel: Triple, stride: Triple = (1, 1, 1), *, groups: int = 1, eps: float = EPS
) -> Ops:
    """Convolution with padding ``k // 2`` and BatchNorm."""
    t, h, w = kernel
    return Conv(c_in, c_out, kernel, stride, (t // 2, h // 2, w // 2), groups), Norm(c_out, eps)


def stem(c_in: int, c_out: int, frames: int, *, eps: float = EPS) -> Unit:
    """7x7 over ``frames`` frames that halves space, and the max-pool that halves it again."""
    return Unit((*conv(c_in, c_out, (frames, 7, 7), HALVE, eps=eps), MaxPool((1, 3, 3), HALVE, (0, 1, 1))))


def residual(main: Ops, c_in: int, c_out: int, *, eps: float = EPS) -> Unit:
    """``main`` beside the identity, or beside a 1x1x1 convolution with its stride where the shape changes."""
    steps = total_stride(main)
    same = c_in == c_out and steps == (1, 1, 1)
    return Unit(main, () if same else bare(c_in, c_out, (1, 1, 1), steps, eps=eps))


def bottleneck(c_in: int, inner: int, c_out: int, frames: int, stride: int) -> Unit:
    """1x1 over ``frames`` frames, 1x3x3 with the spatial stride, 1x1x1 (zoo of PyTorchVideo and PySlowFast)."""
    main = (
        *conv(c_in, inner, (frames, 1, 1)),
        *conv(inner, inner, (1, 3, 3), (1, stride, stride)),
        *bare(inner, c_out, (1, 1, 1)),
    )
    return residual(main, c_in, c_out)


def classify(features: int, classes: int, dropout: float = 0.5) -> Ops:
    """Dropout, classifier at every position, mean over positions."""
    return Dropout(dropout), Conv(features, classes, (1, 1, 1), bias=True), Pool()


def with_norm(plan: Blueprint, eps: float, momentum: float = 0.1) -> Blueprint:
    """The same network with other constants in every BatchNorm."""

    def other(op: Op) -> Op:
        return replace(op, eps=eps, momentum=momentum) if isinstance(op, Norm) else op

    def unit(old: Unit) -> Unit:
        shortcut = old.shortcut if old.shortcut is None else tuple(map(other, old.shortcut))
        return Unit(tuple(map(other, old.main)), shortcut)

    groups = tuple(replace(group, units=tuple(map(unit, group.units))) for group in plan.groups)
    return replace(plan, groups=groups)


def pytorchvideo_block(where: str, *, shortcut: bool) -> Iterator[str]:
    """Layers of a bottleneck of PyTorchVideo under the prefix ``where``."""
    for letter in "abc":
        yield f"{where}.branch2.conv_{letter}"
        yield f"{where}.branch2.norm_{letter}"
    if shortcut:
        yield f"{where}.branch1_conv"
        yield f"{where}.branch1_norm"
