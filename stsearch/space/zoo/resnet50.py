"""C2D, I3D, Slow and TSM: ResNets whose 1x1 convolutions see time here and there, or not at all.

Wang et al., *Non-local Neural Networks*, CVPR 2018 (C2D, I3D); Feichtenhofer et al., *SlowFast Networks for Video
Recognition*, ICCV 2019 (Slow); Lin et al., *TSM*, ICCV 2019. What fixes the integers: PyTorchVideo ``models/resnet.py``
and its hub; MMAction2 for TSM. No stage strides time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from stsearch.space.blueprint import Blueprint, ClipShape, Definition, Group, Naming, Unit
from stsearch.space.ops import AvgPool, MaxPool, Shift
from stsearch.space.zoo.parts import IMAGENET, PYTORCHVIDEO, STAGES, bottleneck, classify, pytorchvideo_block, stem

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
INNER = (64, 128, 256, 512)
Times = tuple[tuple[int, ...], ...]
"""Frames that the first convolution of a block sees: per stage a pattern, repeated over its blocks"""
FLAT: Times = ((1,),) * 4
SLOW: Times = ((1,), (1,), (3,), (3,))
INFLATED: Times = ((3,), (3, 1), (3, 1), (1, 3))


def stage(number: int, depth: int, c_in: int, times: tuple[int, ...], shrink: int = 1) -> tuple[Unit, ...]:
    """Blocks of conv{number+2}_x, ``number`` from 0, with widths divided by ``shrink``."""
    inner = INNER[number] // shrink
    units = []
    for block in range(depth):
        first = block == 0
        stride = 2 if first and number > 0 else 1
        units.append(bottleneck(c_in if first else 4 * inner, inner, 4 * inner, times[block % len(times)], stride))
    return tuple(units)


def kinds(depth: int, times: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the blocks of a stage in a drawing."""
    return tuple("2d" if times[block % len(times)] == 1 else "3x1x1" for block in range(depth))


def plan(clip: ClipShape, classes: int, *, stem_frames: int, times: Times, pooled: bool) -> Blueprint:
    """ResNet-50 with ``times``; ``pooled``: a max-pool over two frames after conv2_x."""
    groups = [Group("conv1", (f"{stem_frames}x7x7",), (stem(clip.channels, 64, stem_frames),))]
    c_in = 64
    for number, (name, depth) in enumerate(zip(STAGES, DEPTHS[50], strict=True)):
        units = stage(number, depth, c_in, times[number])
        if pooled and number == 0:
            units = (*units, Unit((MaxPool((2, 1, 1), (2, 1, 1)),)))
        groups.append(Group(name, kinds(depth, times[number]), units))
        c_in = 4 * INNER[number]
    # of 7x7 positions, wherever they lie: a larger crop is classified at several places
    return Blueprint(tuple(groups), (AvgPool((0, 7, 7)), *classify(c_in, classes)))


def names(*, pooled: bool) -> tuple[str, ...]:
    """Layers as PyTorchVideo's checkpoints name them; its pool after conv2_x is a block of its own."""

    def layers() -> Iterator[str]:
        yield from ("blocks.0.conv", "blocks.0.norm")
        for number, depth in enumerate(DEPTHS[50], 1):
            place = number + (pooled and number > 1)
            for block in range(depth):
                yield from pytorchvideo_block(f"blocks.{place}.res_blocks.{block}", shortcut=block == 0)
        yield f"blocks.{5 + pooled}.proj"

    return tuple(layers())


def shifted(clip: ClipShape, classes: int) -> Blueprint:
    """TSM: a 2D ResNet-50; of what enters a block, an eighth comes from the next frame and an eighth from the last.

    The classifier answers for every frame; their mean is the network's answer.
    """
    flat = plan(clip, classes, stem_frames=1, times=FLAT, pooled=False)
    groups = [flat.groups[0]]
    c_in = 64
    for number, group in enumerate(flat.groups[1:]):
        units = []
        for unit in group.units:
            units.append(Unit((Shift(c_in // 8), *unit.main), unit.shortcut))
            c_in = 4 * INNER[number]
        groups.append(Group(group.name, ("shift",) * len(units), tuple(units)))
    return Blueprint(tuple(groups), (AvgPool((1, 0, 0)), *classify(c_in, classes)))


def _torchvision_2d() -> tuple[str, ...]:
    """Layers as torchvision's ResNet-50 names them: TSM's weights are those of a 2D network."""

    def layers() -> Iterator[str]:
        yield from ("conv1", "bn1")
        for number, depth in enumerate(DEPTHS[50], 1):
            for block in range(depth):
                where = f"layer{number}.{block}"
                for layer in (1, 2, 3):
                    yield from (f"{where}.conv{layer}", f"{where}.bn{layer}")
                if block == 0:
                    yield from (f"{where}.downsample.0", f"{where}.downsample.1")
        yield "fc"

    return tuple(layers())


_CODE = "PyTorchVideo models/resnet.py"


def _network(name: str, frames: int, rate: int, paper: str, stem_frames: int, times: Times, pooled: bool) -> Definition:
    return Definition(
        name,
        ClipShape(3, frames, 256, 256),
        rate,
        partial(plan, stem_frames=stem_frames, times=times, pooled=pooled),
        f"{paper}; {_CODE}",
        (Naming("PyTorchVideo", partial(names, pooled=pooled), *PYTORCHVIDEO),),
    )


NETWORKS = (
    _network("C2D-R50-8x8", 8, 8, "Wang et al., CVPR 2018", 1, FLAT, True),
    _network("I3D-R50-8x8", 8, 8, "Wang et al., CVPR 2018", 5, INFLATED, True),
    _network("Slow-R50-4x16", 4, 16, "Feichtenhofer et al., ICCV 2019", 1, SLOW, False),
    _network("Slow-R50-8x8", 8, 8, "Feichtenhofer et al., ICCV 2019", 1, SLOW, False),
    Definition(
        "TSM-R50-8",
        ClipShape(3, 8, 224, 224),
        8,
        shifted,
        "Lin et al., ICCV 2019; MMAction2 resnet_tsm.py",
        (Naming("torchvision (2D ResNet-50)", _torchvision_2d, *IMAGENET),),
    ),
)
