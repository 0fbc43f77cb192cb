"""I3D and S3D: Inception-V1 with its convolutions in 3D, or in space and then in time.

Carreira and Zisserman, *Quo Vadis, Action Recognition?*, CVPR 2017 (I3D); Xie et al., *Rethinking Spatiotemporal
Feature Learning*, ECCV 2018 (S3D). What fixes the integers: pytorch-i3d ``pytorch_i3d.py`` (DeepMind's BatchNorm learns
no scale, this one does), torchvision ``models/video/s3d.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from stsearch.space.blueprint import Blueprint, ClipShape, Definition, Group, Naming, Unit
from stsearch.space.ops import Act, AvgPool, Concat, Conv, MaxPool, Norm, Ops, PadSame, Triple
from stsearch.space.zoo.parts import classify

_HALF = (127.5, 127.5, 127.5)
"""pytorch-i3d feeds pixels from -1 to 1"""

EPS = 1e-3
MODULES: tuple[tuple[str, tuple[int, int, int, int, int, int]], ...] = (
    ("3b", (64, 96, 128, 16, 32, 32)),
    ("3c", (128, 128, 192, 32, 96, 64)),
    ("4b", (192, 96, 208, 16, 48, 64)),
    ("4c", (160, 112, 224, 24, 64, 64)),
    ("4d", (128, 128, 256, 24, 64, 64)),
    ("4e", (112, 144, 288, 32, 64, 64)),
    ("4f", (256, 160, 320, 32, 128, 128)),
    ("5b", (256, 160, 320, 32, 128, 128)),
    ("5c", (384, 192, 384, 48, 128, 128)),
)
"""Channels of the 1x1x1; of 1x1x1 and 3x3x3; of 1x1x1 and 3x3x3; of the 1x1x1 after the max-pool"""
STAGES = ("3", "4", "5")


@dataclass(frozen=True)
class Manner:
    """How a network writes Inception-V1."""

    token: str
    """of its modules in a drawing"""
    conv: Callable[[int, int, int, int], Ops]
    """``(c_in, c_out, kernel, stride)``"""
    pool: Callable[[Triple, Triple], Ops]
    """``(kernel, stride)``"""
    dropout: float


def inflated(c_in: int, c_out: int, kernel: int, stride: int) -> Ops:
    """I3D: one 3D convolution, padded as TensorFlow does it."""
    k, s = (kernel,) * 3, (stride,) * 3
    pads: Ops = (PadSame(k, s),) if stride > 1 else ()
    padding = (0, 0, 0) if pads else (kernel // 2,) * 3
    return (*pads, Conv(c_in, c_out, k, s, padding), Norm(c_out, EPS, 0.01), Act())


def separated(c_in: int, c_out: int, kernel: int, stride: int) -> Ops:
    """S3D: 1xkxk, BatchNorm, ReLU, then kx1x1, BatchNorm, ReLU; a 1x1x1 stays one."""
    half = kernel // 2
    space = Conv(c_in, c_out, (1, kernel, kernel), (1, stride, stride), (0, half, half))
    time = Conv(c_out, c_out, (kernel, 1, 1), (stride, 1, 1), (half, 0, 0))
    after = (Norm(c_out, EPS, 0.001), Act())
    return (space, *after) if kernel == 1 else (space, *after, time, *after)


def _same_pool(kernel: Triple, stride: Triple) -> Ops:
    return PadSame(kernel, stride), MaxPool(kernel, stride)


def _half_pool(kernel: Triple, stride: Triple) -> Ops:
    t, h, w = (0 if k == 2 else k // 2 for k in kernel)
    return (MaxPool(kernel, stride, (t, h, w)),)


I3D = Manner("inception", inflated, _same_pool, 0.5)
S3D = Manner("inception_s3d", separated, _half_pool, 0.2)


def module(c_in: int, widths: tuple[int, ...], manner: Manner) -> Unit:
    """Four branches: 1x1x1; 1x1x1 and 3x3x3, twice; max-pool and 1x1x1."""
    conv = manner.conv
    a, b1, b3, c1, c3, d = widths
    branches = (
        conv(c_in, a, 1, 1),
        (*conv(c_in, b1, 1, 1), *conv(b1, b3, 3, 1)),
        (*conv(c_in, c1, 1, 1), *conv(c1, c3, 3, 1)),
        (MaxPool((3, 3, 3), (1, 1, 1), (1, 1, 1)), *conv(c_in, d, 1, 1)),
    )
    return Unit((Concat(branches),))


def plan(clip: ClipShape, classes: int, *, manner: Manner) -> Blueprint:
    """1a and 2a to 2c, then modules, with a max-pool before 3, 4 and 5."""
    conv, pool = manner.conv, manner.pool
    pools = {
        "3": pool((1, 3, 3), (1, 2, 2)),
        "4": pool((3, 3, 3), (2, 2, 2)),
        "5": pool((2, 2, 2), (2, 2, 2)),
    }
    second = (*pool((1, 3, 3), (1, 2, 2)), *conv(64, 64, 1, 1), *conv(64, 192, 3, 1))
    groups = [
        Group("1", ("7x7x7",), (Unit(conv(clip.channels, 64, 7, 2)),)),
        Group("2", ("1x1x1+3x3x3",), (Unit(second),)),
    ]
    c_in = 192
    for stage in STAGES:
        units, tokens = [Unit(pools[stage])], []
        for _, widths in (entry for entry in MODULES if entry[0][0] == stage):
            units.append(module(c_in, widths, manner))
            tokens.append(manner.token)
            c_in = widths[0] + widths[2] + widths[4] + widths[5]
        groups.append(Group(stage, tuple(tokens), tuple(units)))
    return Blueprint(tuple(groups), (AvgPool((2, 7, 7)), *classify(c_in, classes, manner.dropout)))


def i3d_names() -> tuple[str, ...]:
    """Layers as pytorch-i3d's checkpoints name them."""

    def both(where: str) -> tuple[str, str]:
        return f"{where}.conv3d", f"{where}.bn"

    def found() -> Iterator[str]:
        for layer in ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"):
            yield from both(layer)
        for name, _ in MODULES:
            for branch in ("b0", "b1a", "b1b", "b2a", "b2b", "b3b"):
                yield from both(f"Mixed_{name}.{branch}")
        yield "logits.conv3d"

    return tuple(found())


def s3d_names() -> tuple[str, ...]:
    """Layers as torchvision's ``s3d`` names them."""

    def split(where: str) -> Iterator[str]:
        yield from (f"{where}.{half}.{layer}" for half in (0, 1) for layer in (0, 1))

    def found() -> Iterator[str]:
        yield from split("features.0")
        yield from ("features.2.0", "features.2.1")
        yield from split("features.3")
        for place, _ in zip((5, 6, 8, 9, 10, 11, 12, 14, 15), MODULES, strict=True):
            where = f"features.{place}"
            yield from (f"{where}.branch0.0", f"{where}.branch0.1")
            for branch in ("branch1", "branch2"):
                yield from (f"{where}.{branch}.0.0", f"{where}.{branch}.0.1")
                yield from split(f"{where}.{branch}.1")
            yield from (f"{where}.branch3.1.0", f"{where}.branch3.1.1")
        yield "classifier.1"

    return tuple(found())


NETWORKS = (
    Definition(
        "I3D",
        ClipShape(3, 64, 224, 224),
        1,
        partial(plan, manner=I3D),
        "Carreira and Zisserman, CVPR 2017; pytorch-i3d pytorch_i3d.py",
        (Naming("pytorch-i3d", i3d_names, _HALF, _HALF),),
    ),
    Definition(
        "S3D",
        ClipShape(3, 16, 224, 224),
        2,
        partial(plan, manner=S3D),
        "Xie et al., ECCV 2018; torchvision models/video/s3d.py",
        (Naming("torchvision", s3d_names),),
    ),
)
