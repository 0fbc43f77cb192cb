"""The kinds beside the paper's three: the suite of a plug-in, and what each is known for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from stsearch.nets.build import Residual, build, modules
from stsearch.resources import find
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.blueprint import ClipShape, residual_unit, sees_order
from stsearch.space.cost import cost_of_ops, network_cost
from stsearch.space.kinds import KINDS
from stsearch.space.ops import Shift
from stsearch.space.search_space import load_space
from stsearch.testing import KindSuite

CLIP = ClipShape(3, 8, 32, 32)


class TestDepthwise(KindSuite):
    kind = "depthwise"


class TestShift(KindSuite):
    kind = "shift"


class TestS3d(KindSuite):
    kind = "s3d"


class TestP3dB(KindSuite):
    kind = "p3d_b"


def placed(kind: str, block: str = "basic") -> Architecture:
    return Architecture("2d", ((kind,) * 2,) * 4, block, 0.25)


def test_parameters_by_hand() -> None:
    """Of 64 channels to 64: 3x3x3 is 110,592 weights, 1x3x3 36,864, 3x1x1 12,288, 1x1x1 4,096."""
    expected = {"depthwise": 27 * 64 + 4096, "shift": 36_864, "s3d": 36_864 + 12_288, "p3d_b": 36_864 + 12_288}
    for kind, weights in expected.items():
        cost, shape = cost_of_ops(KINDS[kind](64, 64, 1), (64, 8, 14, 14))
        assert (cost.params_without_norm, shape) == (weights, (64, 8, 14, 14))
        assert cost.macs == weights * 8 * 14 * 14


def test_a_shift_is_free_and_lets_2d_see_the_order_of_frames() -> None:
    free, plain = (network_cost(placed(kind), CLIP, 5).total for kind in ("shift", "2d"))
    assert free == plain
    for kind in ("depthwise", "shift", "s3d", "p3d_b"):
        assert sees_order(placed(kind), CLIP)
        network = build(placed(kind), CLIP, 5, generator=torch.Generator().manual_seed(0)).eval()
        clips = torch.randn(2, *CLIP.sizes)
        assert not torch.allclose(network(clips), network(clips.flip(2)), atol=1e-4), kind


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_which_frames_a_shift_brings(frames: int) -> None:
    clip = torch.arange(frames, dtype=torch.float32).add(1).reshape(1, 1, frames, 1, 1).repeat(1, 8, 1, 1, 1)
    (shift,) = modules((Shift(2),))
    out = shift(clip)[0, :, :, 0, 0].tolist()
    now = [float(frame + 1) for frame in range(frames)]
    assert out == [[*now[1:], 0.0]] * 2 + [[0.0, *now[:-1]]] * 2 + [now] * 4


def test_p3d_b_adds_what_space_and_time_say() -> None:
    both: Any = modules(KINDS["p3d_b"](4, 6, 2)).eval()[0]
    clip = torch.randn(1, 4, 6, 8, 8)
    space, time = both[0], both[1]
    in_space = functional.conv3d(clip, space[0].weight, None, 2, (0, 1, 1))
    in_time = functional.conv3d(clip, time[0].weight, None, 2, (1, 0, 0))
    expected = functional.relu(space[1](in_space)) + functional.relu(time[1](in_time))
    assert torch.allclose(both(clip), expected, atol=1e-6)


def test_squeeze_and_excitation_weights_channels_before_the_sum() -> None:
    unit = residual_unit("2d", "basic_se", 32, 32, 1)
    block: Any = Residual(unit).eval()
    clip = torch.randn(1, 32, 4, 8, 8)
    *convolutions, excite = block.main
    main = clip
    for layer in convolutions:
        main = layer(main)
    said = torch.sigmoid(excite.expand(functional.relu(excite.squeeze(main.mean((2, 3, 4), keepdim=True)))))
    assert said.shape == (1, 32, 1, 1, 1)
    assert torch.allclose(block(clip), functional.relu(main * said + clip), atol=1e-6)
    assert excite.squeeze.out_channels == 2


def test_ids_and_spaces() -> None:
    written = "2d-p3d_bx2-s3dx3-shift.depthwise-depthwisex2@bottleneck_se@w0.5"
    assert parse_placement(written).id == written
    for name, size in (("r18-kinds", 7203), ("x3d-like", 13_122)):
        space = load_space(find("search_spaces", name))
        assert space.size == size
        first = space.architecture(size - 1)
        assert first in space
        assert parse_placement(first.id) == first
