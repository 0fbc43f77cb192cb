"""CSN: channel-separated networks, whose spatiotemporal convolutions see one channel each.

Tran et al., *Video Classification with Channel-Separated Convolutional Networks*, ICCV 2019. What fixes the integers:
VMZ ``r3d_model.py`` and MMAction2 ``resnet3d_csn.py``; PyTorchVideo ``models/csn.py`` for ir-CSN-101, whose head it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from stsearch.space.architecture import DEPTHS
from stsearch.space.blueprint import Blueprint, ClipShape, Definition, Group, Naming, Unit
from stsearch.space.ops import Act, AvgPool, Ops
from stsearch.space.zoo.parts import EPS, PYTORCHVIDEO, STAGES, bare, classify, conv, pytorchvideo_block, residual, stem

VMZ_EPS = 1e-3


def block(c_in: int, inner: int, stride: int, *, preserved: bool, eps: float) -> Unit:
    """1x1x1, depthwise 3x3x3 with the stride, 1x1x1.

    ``preserved``: before the depthwise convolution a 1x1x1 of ``inner`` to ``inner`` channels, without ReLU, keeps the
    interaction of channels that a full 3x3x3 has.
    """
    middle: Ops = bare(inner, inner, (1, 1, 1), eps=eps) if preserved else ()
    main = (
        *conv(c_in, inner, (1, 1, 1), eps=eps),
        *middle,
        *_depthwise(inner, stride, eps),
        *bare(inner, 4 * inner, (1, 1, 1), eps=eps),
    )
    return residual(main, c_in, 4 * inner, eps=eps)


def _depthwise(channels: int, stride: int, eps: float) -> Ops:
    return (*bare(channels, channels, (3, 3, 3), (stride, stride, stride), groups=channels, eps=eps), Act())


def plan(clip: ClipShape, classes: int, *, layers: int, preserved: bool, eps: float, window: int) -> Blueprint:
    """``window``: positions in height and width that the head averages, 0 for all."""
    groups = [Group("conv1", ("3x7x7",), (stem(clip.channels, 64, 3, eps=eps),))]
    c_in = 64
    for number, (name, depth) in enumerate(zip(STAGES, DEPTHS[layers][1], strict=True)):
        inner = 64 * 2**number
        units = []
        for place in range(depth):
            stride = 2 if place == 0 and number > 0 else 1
            units.append(block(c_in, inner, stride, preserved=preserved, eps=eps))
            c_in = 4 * inner
        groups.append(Group(name, ("ip_csn" if preserved else "ir_csn",) * depth, tuple(units)))
    # PyTorchVideo trains without dropout, MMAction2 with
    head = (AvgPool((0, window, window)), *classify(c_in, classes, 0.0 if window else 0.5))
    return Blueprint(tuple(groups), head)


def pytorchvideo_names(layers: int) -> tuple[str, ...]:
    """Layers as PyTorchVideo's checkpoint names them."""

    def found() -> Iterator[str]:
        yield from ("blocks.0.conv", "blocks.0.norm")
        for number, depth in enumerate(DEPTHS[layers][1], 1):
            for place in range(depth):
                yield from pytorchvideo_block(f"blocks.{number}.res_blocks.{place}", shortcut=place == 0)
        yield "blocks.5.proj"

    return tuple(found())


def vmz_names(layers: int, preserved: bool) -> tuple[str, ...]:
    """Layers as VMZ's PyTorch code names them."""

    def found() -> Iterator[str]:
        yield from ("stem.0", "stem.1")
        for number, depth in enumerate(DEPTHS[layers][1], 1):
            for place in range(depth):
                where = f"layer{number}.{place}"
                yield from (f"{where}.conv1.0", f"{where}.conv1.1")
                if preserved:
                    yield from (f"{where}.conv2.0.0", f"{where}.conv2.0.1", f"{where}.conv2.0.2", f"{where}.conv2.1")
                else:
                    yield from (f"{where}.conv2.0", f"{where}.conv2.1")
                yield from (f"{where}.conv3.0", f"{where}.conv3.1")
                if place == 0:
                    yield from (f"{where}.downsample.0", f"{where}.downsample.1")
        yield "fc"

    return tuple(found())


def _network(name: str, layers: int, preserved: bool, eps: float = VMZ_EPS, window: int = 0) -> Definition:
    vmz = Naming("VMZ", partial(vmz_names, layers, preserved))
    other = Naming("PyTorchVideo", partial(pytorchvideo_names, layers), *PYTORCHVIDEO)
    return Definition(
        name,
        ClipShape(3, 32, 256, 256),
        2,
        partial(plan, layers=layers, preserved=preserved, eps=eps, window=window),
        f"Tran et al., ICCV 2019; {'PyTorchVideo models/csn.py' if window else 'VMZ r3d_model.py, MMAction2'}",
        (vmz,) if preserved else (other, vmz),
    )


NETWORKS = (
    _network("ir-CSN-50", 50, False),
    _network("ir-CSN-101", 101, False, EPS, 7),
    _network("ir-CSN-152", 152, False),
    _network("ip-CSN-152", 152, True),
)
