"""Networks of the zoo at another width: every layer keeps a share of its channels, and torch counts what we count."""

from __future__ import annotations

import pytest
import torch

from stsearch.nets.build import build
from stsearch.nets.count import counted_flops
from stsearch.space.blueprint import CLIP, ClipShape, at_width, blueprint
from stsearch.space.cost import network_cost
from stsearch.space.narrow import narrowed
from stsearch.space.ops import Conv, Norm, Op, Shift
from stsearch.space.zoo import ZOO

SMALL = ClipShape(3, 8, 32, 32)


def convolutions(ops: tuple[Op, ...]) -> list[Conv]:
    found: list[Conv] = []
    for op in ops:
        for branch in getattr(op, "branches", ()):
            found += convolutions(branch)
        found += [op] if isinstance(op, Conv) else []
    return found


@pytest.mark.parametrize("name", ZOO.names())
@pytest.mark.parametrize("width", [0.125, 0.3, 2.0])
def test_narrow_networks_are_built_and_counted(name: str, width: float) -> None:
    network = ZOO[name].scaled(width)
    assert network.id == f"{name}@w{width!r}"
    cost = network_cost(network, SMALL, 5).total
    with torch.device("meta"):
        built = build(network, SMALL, 5)
    assert sum(parameter.numel() for parameter in built.parameters()) == cost.params
    assert counted_flops(network, SMALL, 5) == 2 * cost.macs
    wide = [op for group in blueprint(ZOO[name], SMALL, 5).groups for unit in group.units for op in unit.main]
    narrow = [op for group in blueprint(network, SMALL, 5).groups for unit in group.units for op in unit.main]
    for before, after in zip(convolutions(tuple(wide)), convolutions(tuple(narrow)), strict=True):
        assert after.c_out == max(1, round(width * before.c_out))
        assert (after.kernel, after.stride, after.groups > 1) == (before.kernel, before.stride, before.groups > 1)


@pytest.mark.parametrize("name", ["SlowFast-R50-4x16", "X3D-XS", "TSM-R50-8", "I3D", "ip-CSN-152"])
def test_a_narrow_network_sees_clips_and_says_classes(name: str) -> None:
    """Also the clips of two channels that optical flow has."""
    for channels in (3, 2):
        clip = ClipShape(channels, 8, 32, 32)
        built = build(ZOO[name].scaled(0.125), clip, 5, generator=torch.Generator().manual_seed(0)).eval()
        with torch.no_grad():
            logits = built(torch.randn(2, *clip.sizes, generator=torch.Generator().manual_seed(1)))
        assert logits.shape == (2, 5)
        assert not torch.equal(logits[0], logits[1])


def test_the_usual_width_is_the_network_itself() -> None:
    network = ZOO["SlowFast-R50-8x8"]
    plan = blueprint(network, SMALL, 5)
    assert at_width(plan, 3, 1.0) == plan == blueprint(network.scaled(0.5).scaled(2.0), SMALL, 5)
    assert network.scaled(0.5).scaled(2.0).id == "SlowFast-R50-8x8"
    assert plan.groups[0].inputs == (CLIP,)


def test_what_is_shifted_is_never_more_than_there_is() -> None:
    ops, channels = narrowed((Conv(8, 8, (1, 1, 1)), Norm(8), Shift(1)), 8, 0.125)
    assert (ops, channels) == ((Conv(8, 1, (1, 1, 1)), Norm(1), Shift(0)), 1)
