"""torchvision's three video ResNets, and the names that it and VMZ give to the layers of residual networks.

Tran et al., CVPR 2018. What fixes the integers: torchvision ``models/video/resnet.py``. Its ``r3d_18`` and ``mc3_18``
are the paper's R3D-18 and MC3-18 but for BatchNorm's epsilon; its ``r2plus1d_18`` computes M once per block, so the
second convolution of the first block of conv3_x to conv5_x is narrower than in the paper's R(2+1)D-18.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from stsearch.space.architecture import Architecture, uniform
from stsearch.space.blueprint import (
    AnyNetwork,
    Blueprint,
    ClipShape,
    Definition,
    Naming,
    Unit,
    blueprint,
)
from stsearch.space.ops import Act, Conv, Norm, Op, Ops
from stsearch.space.published import PLACEMENTS
from stsearch.space.zoo.parts import EPS, residual, with_norm

_STAGES = 4


def placed(clip: ClipShape, classes: int, *, placement: str) -> Blueprint:
    """A network of the paper with 18 layers and torchvision's BatchNorm."""
    return with_norm(blueprint(uniform(PLACEMENTS[placement], 18), clip, classes), EPS)


def factorised(c_in: int, c_out: int, middle: int, stride: int) -> Ops:
    """A (2+1)D convolution with ``middle`` channels between space and time."""
    space = Conv(c_in, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1))
    time = Conv(middle, c_out, (3, 1, 1), (stride, 1, 1), (1, 0, 0))
    return space, Norm(middle, EPS), Act(), time


def r2plus1d(clip: ClipShape, classes: int) -> Blueprint:
    """R(2+1)D-18 with M of a whole block: 230, 460 and 921 in the first blocks of conv3_x to conv5_x."""
    plan = placed(clip, classes, placement="R(2+1)D")
    groups = [plan.groups[0]]
    for group in plan.groups[1:]:
        units = []
        for unit in group.units:
            first = unit.main[0]
            assert isinstance(first, Conv)
            units.append(_block(first.c_in, group.units[-1].main, first))
        groups.append(replace(group, units=tuple(units)))
    return replace(plan, groups=tuple(groups))


def _block(c_in: int, last: Ops, first: Conv) -> Unit:
    norm = last[-1]
    assert isinstance(norm, Norm)
    c_out, stride = norm.channels, first.stride[1]
    middle = first.c_out
    main = (
        *factorised(c_in, c_out, middle, stride),
        Norm(c_out, EPS),
        Act(),
        *factorised(c_out, c_out, middle, 1),
        Norm(c_out, EPS),
    )
    return residual(main, c_in, c_out)


def names(network: AnyNetwork) -> tuple[str, ...]:
    """Layers of a residual network as torchvision and VMZ's PyTorch code name them."""
    plan = blueprint(network, ClipShape(), 1)

    def found() -> Iterator[str]:
        yield from (f"stem.{place}" for place, op in enumerate(plan.groups[0].units[0].main) if _has_weights(op))
        for stage, group in enumerate(plan.groups[1:], 1):
            for block, unit in enumerate(group.units):
                where = f"layer{stage}.{block}"
                yield from (f"{where}.{layer}" for layer in _layers(unit.main))
                if unit.shortcut:
                    yield from (f"{where}.downsample.0", f"{where}.downsample.1")
        yield "fc"

    return tuple(found())


def _has_weights(op: object) -> bool:
    return isinstance(op, Conv | Norm)


def _layers(main: Ops) -> Iterator[str]:
    """``conv1.0``, ``conv1.1`` and so on; of a factorised convolution ``conv1.0.0``, ``.1``, ``.3``, ``conv1.1``."""
    ops = list(main)
    number = 1
    while ops:
        inner = isinstance(ops[0], Conv) and len(ops) > 3 and _is_factorised(ops)
        if inner:
            yield from (f"conv{number}.0.0", f"conv{number}.0.1", f"conv{number}.0.3", f"conv{number}.1")
        else:
            yield from (f"conv{number}.0", f"conv{number}.1")
        ops = ops[6 if inner else 3 :]
        number += 1


def _is_factorised(ops: list[Op]) -> bool:
    space, time = ops[0], ops[3]
    assert isinstance(space, Conv)
    return isinstance(time, Conv) and space.kernel == (1, 3, 3) and time.kernel == (3, 1, 1)


def naming_of(architecture: Architecture) -> tuple[Naming, ...]:
    """Names in published checkpoints of one of the paper's networks."""
    return (Naming("torchvision or VMZ", partial(names, architecture)),)


def _network(name: str, paper: str) -> Definition:
    make = r2plus1d if paper == "R(2+1)D" else partial(placed, placement=paper)
    source = "Tran et al., CVPR 2018; torchvision models/video/resnet.py"
    clip = ClipShape(3, 16, 112, 112)
    bare = Definition(name, clip, 2, make, source)
    return replace(bare, foreign=(Naming("torchvision", partial(names, bare)),))


NETWORKS = (_network("r3d_18", "R3D"), _network("mc3_18", "MC3"), _network("r2plus1d_18", "R(2+1)D"))
