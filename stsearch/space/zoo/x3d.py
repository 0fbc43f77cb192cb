"""X3D: small networks of depthwise convolutions, found by expanding one axis at a time.

Feichtenhofer, *X3D: Expanding Architectures for Efficient Video Recognition*, CVPR 2020. What fixes the integers:
PyTorchVideo ``models/x3d.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import ceil

from stsearch.space.blueprint import Blueprint, ClipShape, Definition, Group, Naming, Unit
from stsearch.space.ops import Act, AvgPool, Conv, Excite, Norm, Ops, Swish
from stsearch.space.zoo.parts import EPS, HALVE, PYTORCHVIDEO, STAGES, bare, classify, conv

WIDTHS = (24, 48, 96, 192)
STEM, HEAD, FEATURES = 24, 432, 2048
EXPANSION = 2.25
_DEPTHS = (1, 2, 5, 3)
"""Blocks per stage, before the depth factor"""


def squeezed(channels: int) -> int:
    """Channels in the middle of squeeze-and-excitation: a sixteenth, in steps of 8, not more than a tenth below it."""
    wanted = channels / 16
    found = max(8, int(wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found


def depths(factor: float) -> tuple[int, ...]:
    """Blocks of conv2_x .. conv5_x."""
    return tuple(ceil(factor * depth) for depth in _DEPTHS)


def block(c_in: int, c_out: int, stride: int, *, excited: bool) -> Unit:
    """1x1x1, depthwise 3x3x3, squeeze-and-excitation in every other block, swish, 1x1x1."""
    inner = int(EXPANSION * c_out)
    excite: Ops = (Excite(inner, squeezed(inner)),) if excited else ()
    steps = (1, stride, stride)
    main = (
        *conv(c_in, inner, (1, 1, 1)),
        *bare(inner, inner, (3, 3, 3), steps, groups=inner),
        *excite,
        Swish(),
        *bare(inner, c_out, (1, 1, 1)),
    )
    if c_in == c_out and stride == 1:
        return Unit(main, ())
    beside = Conv(c_in, c_out, (1, 1, 1), steps)
    # PyTorchVideo gives the shortcut a BatchNorm only where the width changes; PySlowFast always
    return Unit(main, (beside,) if c_in == c_out else (beside, Norm(c_out, EPS)))


def plan(clip: ClipShape, classes: int, *, factor: float, window: int) -> Blueprint:
    """``factor`` of depth; ``window``: positions in height and width that the head averages, of the training crop."""
    space = Conv(clip.channels, STEM, (1, 3, 3), HALVE, (0, 1, 1))
    groups = [Group("conv1", ("1x3x3+5x1x1",), (Unit((space, *bare(STEM, STEM, (5, 1, 1), groups=STEM), Act())),))]
    c_in = STEM
    for name, depth, c_out in zip(STAGES, depths(factor), WIDTHS, strict=True):
        units = []
        for place in range(depth):
            units.append(block(c_in, c_out, 2 if place == 0 else 1, excited=place % 2 == 0))
            c_in = c_out
        tokens = tuple("x3d_se" if place % 2 == 0 else "x3d" for place in range(depth))
        groups.append(Group(name, tokens, tuple(units)))
    project = (*conv(c_in, HEAD, (1, 1, 1)), AvgPool((0, window, window)), Conv(HEAD, FEATURES, (1, 1, 1)), Act())
    return Blueprint(tuple(groups), (*project, *classify(FEATURES, classes)))


def names(factor: float) -> tuple[str, ...]:
    """Layers as PyTorchVideo's checkpoints name them (its ``conv_t`` of the stem is the one in space)."""

    def found() -> Iterator[str]:
        yield from ("blocks.0.conv.conv_t", "blocks.0.conv.conv_xy", "blocks.0.norm")
        for number, depth in enumerate(depths(factor), 1):
            for place in range(depth):
                yield from _block(f"blocks.{number}.res_blocks.{place}", place, widens=number > 1)
        yield from (f"blocks.5.pool.{layer}" for layer in ("pre_conv", "pre_norm", "post_conv"))
        yield "blocks.5.proj"

    return tuple(found())


def _block(where: str, place: int, *, widens: bool) -> Iterator[str]:
    main = f"{where}.branch2"
    yield from (f"{main}.{layer}" for layer in ("conv_a", "norm_a", "conv_b", "norm_b.0"))
    if place % 2 == 0:
        yield from (f"{main}.norm_b.1.block.0", f"{main}.norm_b.1.block.2")
    yield from (f"{main}.conv_c", f"{main}.norm_c")
    if place == 0:
        yield f"{where}.branch1_conv"
        if widens:
            yield f"{where}.branch1_norm"


def _network(name: str, frames: int, size: int, rate: int, crop: int, factor: float = 2.2) -> Definition:
    return Definition(
        name,
        ClipShape(3, frames, size, size),
        rate,
        partial(plan, factor=factor, window=ceil(crop / 32)),
        "Feichtenhofer, CVPR 2020; PyTorchVideo models/x3d.py",
        (Naming("PyTorchVideo", partial(names, factor), *PYTORCHVIDEO),),
    )


NETWORKS = (
    _network("X3D-XS", 4, 182, 12, 160),
    _network("X3D-S", 13, 182, 6, 160),
    _network("X3D-M", 16, 256, 5, 224),
    _network("X3D-L", 16, 356, 5, 312, 5.0),
)
