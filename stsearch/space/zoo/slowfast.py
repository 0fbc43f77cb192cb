"""SlowFast: a slow pathway of many channels, a fast one of many frames, and connections from fast to slow.

Feichtenhofer et al., *SlowFast Networks for Video Recognition*, ICCV 2019, table 1. What fixes the integers:
PyTorchVideo ``models/slowfast.py``. The clip is the fast pathway's; the slow one takes every ``alpha``-th frame of it.
PyTorchVideo leaves that choice to its data loader, which takes frames evenly spaced from the first to the last.
Groups are numbered as stages are: slow2, fast2 and lateral2 are conv2_x.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from stsearch.space.blueprint import CLIP, Blueprint, ClipShape, Definition, Group, Naming, Unit
from stsearch.space.ops import Act, AvgPool, Every
from stsearch.space.zoo.parts import PYTORCHVIDEO, bare, classify, pytorchvideo_block, stem
from stsearch.space.zoo.resnet50 import DEPTHS, INNER, SLOW, kinds, stage

SHRINK = 8
"""Channels of the slow pathway to those of the fast one"""
_FAST = (3,)
_BETWEEN, _QUICK = 1, 2
"""Columns in a drawing, right of the slow pathway's"""


def lateral(number: int, channels: int, alpha: int, window: int) -> Group:
    """From the fast pathway's ``channels`` to twice as many at the slow pathway's frames."""
    make = bare(channels, 2 * channels, (window, 1, 1), (alpha, 1, 1))
    return Group(f"lateral{number}", (f"{window}x1x1",), (Unit((*make, Act())),), (f"fast{number}",), _BETWEEN)


def plan(clip: ClipShape, classes: int, *, layers: int, alpha: int, window: int) -> Blueprint:
    """``alpha``: frames of fast to those of slow; ``window``: frames that a lateral convolution sees."""
    slow_stem, fast_stem = stem(clip.channels, 64, 1), stem(clip.channels, 64 // SHRINK, 5)
    groups = [
        Group("slow1", ("1x7x7",), (Unit((Every(alpha), *slow_stem.main)),), (CLIP,)),
        Group("fast1", ("5x7x7",), (fast_stem,), (CLIP,), _QUICK),
        lateral(1, 64 // SHRINK, alpha, window),
    ]
    slow, fast = 64, 64 // SHRINK
    for before, depth in enumerate(DEPTHS[layers], 1):
        number, times = before + 1, SLOW[before - 1]
        of_slow = stage(before - 1, depth, slow + 2 * fast, times)
        of_fast = stage(before - 1, depth, fast, _FAST, SHRINK)
        groups.append(Group(f"slow{number}", kinds(depth, times), of_slow, (f"slow{before}", f"lateral{before}")))
        groups.append(Group(f"fast{number}", kinds(depth, _FAST), of_fast, (f"fast{before}",), _QUICK))
        slow, fast = 4 * INNER[before - 1], 4 * INNER[before - 1] // SHRINK
        if before < len(DEPTHS[layers]):
            groups.append(lateral(number, fast, alpha, window))
    return Blueprint(tuple(groups), classify(slow + fast, classes), ("slow5", "fast5"), (AvgPool((0, 7, 7)),))


def names(layers: int) -> tuple[str, ...]:
    """Layers as PyTorchVideo's checkpoints name them."""

    def found() -> Iterator[str]:
        for pathway in (0, 1):
            yield from (f"blocks.0.multipathway_blocks.{pathway}.{layer}" for layer in ("conv", "norm"))
        yield from _fusion(0)
        for number, depth in enumerate(DEPTHS[layers], 1):
            for pathway in (0, 1):
                for block in range(depth):
                    where = f"blocks.{number}.multipathway_blocks.{pathway}.res_blocks.{block}"
                    yield from pytorchvideo_block(where, shortcut=block == 0)
            if number < len(DEPTHS[layers]):
                yield from _fusion(number)
        yield "blocks.6.proj"

    return tuple(found())


def _fusion(number: int) -> Iterator[str]:
    yield from (f"blocks.{number}.multipathway_fusion.{layer}" for layer in ("conv_fast_to_slow", "norm"))


def _network(name: str, layers: int, alpha: int, window: int) -> Definition:
    return Definition(
        name,
        ClipShape(3, 32, 256, 256),
        2,
        partial(plan, layers=layers, alpha=alpha, window=window),
        "Feichtenhofer et al., ICCV 2019; PyTorchVideo models/slowfast.py",
        (Naming("PyTorchVideo", partial(names, layers), *PYTORCHVIDEO),),
    )


NETWORKS = (
    _network("SlowFast-R50-4x16", 50, 8, 5),
    _network("SlowFast-R50-8x8", 50, 4, 7),
    _network("SlowFast-R101-8x8", 101, 4, 5),
)
