"""Kinds of convolution: what a 3x3 convolution of a 2D network becomes in a video network.

A kind is a pure function ``(c_in, c_out, stride) -> Ops`` and owns its geometry: asked for
stride 2, a 2D kind strides space alone, a 3D kind space and time. Some kinds also have a
stem form (7x7, spatial stride 2), ``(c_in, c_out, frames) -> Ops``. Definitions: Tran et
al., CVPR 2018, section 3 (2D, 3D, MCx) and 3.5 ((2+1)D).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from stsearch.registry import Registry
from stsearch.space.ops import Act, Conv, Norm, Ops, Shift, Sum

ConvMaker = Callable[[int, int, int], Ops]
StemMaker = Callable[[int, int, int], Ops]

KINDS: Registry[ConvMaker] = Registry("kind")
STEMS: Registry[StemMaker] = Registry("stem")

_TOKEN = re.compile(r"[a-z0-9][a-z0-9_]*")
_REPEAT = re.compile(r".*x\d+")


def kind(name: str, *, stem: StemMaker | None = None) -> Callable[[ConvMaker], ConvMaker]:
    """Register a kind, and its stem form if it has one, under a lower-case token."""
    if not _TOKEN.fullmatch(name) or _REPEAT.fullmatch(name):
        raise ValueError(f"a kind's name is of a-z, 0-9 and _ and does not end like 'x2'; given {name!r}")

    def decorate(maker: ConvMaker) -> ConvMaker:
        KINDS.add(name, maker)
        if stem is not None:
            STEMS.add(name, stem)
        return maker

    return decorate


def stem_kinds() -> list[str]:
    """Kinds that may stand in the stem of a search space."""
    return [name for name in KINDS if name in STEMS]


def _stem_2d(c_in: int, c_out: int, frames: int) -> Ops:
    return (Conv(c_in, c_out, (1, 7, 7), (1, 2, 2), (0, 3, 3)),)


def _stem_3d(c_in: int, c_out: int, frames: int) -> Ops:
    return (Conv(c_in, c_out, (3, 7, 7), (1, 2, 2), (1, 3, 3)),)


def _stem_2plus1d(c_in: int, c_out: int, frames: int) -> Ops:
    # 45 of 64 is a constant of the authors' code; the formula for M would give 83.
    middle = max(1, 45 * c_out // 64)
    return (
        Conv(c_in, middle, (1, 7, 7), (1, 2, 2), (0, 3, 3)),
        Norm(middle),
        Act(),
        Conv(middle, c_out, (3, 1, 1), (1, 1, 1), (1, 0, 0)),
    )


@STEMS.register("collapse")
def _stem_collapse(c_in: int, c_out: int, frames: int) -> Ops:
    """R2D: all frames become one, a 2D convolution over ``frames * c_in`` channels."""
    return (Conv(c_in, c_out, (frames, 7, 7), (1, 2, 2), (0, 3, 3)),)


@kind("2d", stem=_stem_2d)
def conv_2d(c_in: int, c_out: int, stride: int) -> Ops:
    """1x3x3; strides space alone."""
    return (Conv(c_in, c_out, (1, 3, 3), (1, stride, stride), (0, 1, 1)),)


@kind("3d", stem=_stem_3d)
def conv_3d(c_in: int, c_out: int, stride: int) -> Ops:
    """3x3x3; strides time and space."""
    return (Conv(c_in, c_out, (3, 3, 3), (stride, stride, stride), (1, 1, 1)),)


@kind("2plus1d", stem=_stem_2plus1d)
def conv_2plus1d(c_in: int, c_out: int, stride: int) -> Ops:
    """1x3x3 to M channels, BatchNorm, ReLU, 3x1x1; as many parameters as 3x3x3 (section 3.5)."""
    middle = (27 * c_in * c_out) // (9 * c_in + 3 * c_out)
    return (
        Conv(c_in, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1)),
        Norm(middle),
        Act(),
        Conv(middle, c_out, (3, 1, 1), (stride, 1, 1), (1, 0, 0)),
    )


@kind("depthwise")
def conv_depthwise(c_in: int, c_out: int, stride: int) -> Ops:
    """3x3x3 on every channel alone, BatchNorm, ReLU, 1x1x1; strides time and space.

    As in CSN (Tran et al., ICCV 2019) and X3D (Feichtenhofer, CVPR 2020), where the 1x1x1 is the block's own.
    """
    return (
        Conv(c_in, c_in, (3, 3, 3), (stride, stride, stride), (1, 1, 1), groups=c_in),
        Norm(c_in),
        Act(),
        Conv(c_in, c_out, (1, 1, 1)),
    )


@kind("shift")
def conv_shift(c_in: int, c_out: int, stride: int) -> Ops:
    """An eighth of the channels from the next frame, as many from the last, then 1x3x3; strides space alone.

    It costs what 2D costs (TSM, Lin et al., ICCV 2019, section 3).
    """
    return Shift(max(1, c_in // 8)), *conv_2d(c_in, c_out, stride)


@kind("s3d")
def conv_s3d(c_in: int, c_out: int, stride: int) -> Ops:
    """1x3x3, BatchNorm, ReLU, 3x1x1, with as many channels between as leave it (S3D, Xie et al., ECCV 2018)."""
    return (
        Conv(c_in, c_out, (1, 3, 3), (1, stride, stride), (0, 1, 1)),
        Norm(c_out),
        Act(),
        Conv(c_out, c_out, (3, 1, 1), (stride, 1, 1), (1, 0, 0)),
    )


@kind("p3d_b")
def conv_p3d_b(c_in: int, c_out: int, stride: int) -> Ops:
    """1x3x3 beside 3x1x1, each with BatchNorm and ReLU, added (P3D-B, Qiu et al., ICCV 2017, figure 2)."""
    steps = (stride, stride, stride)
    space = (Conv(c_in, c_out, (1, 3, 3), steps, (0, 1, 1)), Norm(c_out), Act())
    time = (Conv(c_in, c_out, (3, 1, 1), steps, (1, 0, 0)), Norm(c_out), Act())
    return (Sum((space, time)),)
