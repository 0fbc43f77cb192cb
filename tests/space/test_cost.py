"""Closed-form cost against counts of the authors' networks, and against torch (see test_nets.py)."""

from __future__ import annotations

import dataclasses

import pytest

from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape, blueprint, residual_unit
from stsearch.space.cost import COST, Cost, cost_of_blueprint, cost_of_ops, network_cost
from stsearch.space.ops import Conv, Op
from stsearch.space.published import NETWORKS, PLACEMENTS

# clip of 3x8x112x112, 400 classes: parameters with and without BatchNorm, multiply-adds
EXACT = {
    "R2D-18": (11447568, 11437968, 1931780096),
    "f-R2D-18": (11381712, 11372112, 13800611840),
    "R3D-18": (33371472, 33361872, 20348379136),
    "MC3-18": (11695440, 11685840, 21671419904),
    "R(2+1)D-18": (33370839, 33344679, 20748256768),
}
# The authors' release table (2018): parameters without BatchNorm in millions, GMACs at 8 and 16 frames
RELEASED = {
    "R(2+1)D": (33.3, 20.7, 41.5), "R3D": (33.4, 20.3, 40.7), "f-R2D": (11.4, 13.8, 27.6),
    "MC2": (11.4, 14.3, 28.5), "MC3": (11.7, 21.7, 43.3), "MC4": (12.7, 20.0, 40.0), "MC5": (16.8, 20.0, 39.9),
    "rMC2": (33.3, 19.9, 39.8), "rMC3": (33.0, 12.5, 25.0), "rMC4": (32.0, 14.5, 29.1), "rMC5": (27.9, 15.4, 30.8),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_exact_integers(name: str) -> None:
    total = network_cost(NETWORKS[name], ClipShape(3, 8, 112, 112), 400).total
    assert (total.params, total.params_without_norm, total.macs) == EXACT[name]


@pytest.mark.parametrize("name", RELEASED)
def test_released_table(name: str) -> None:
    params, *gmacs = RELEASED[name]
    for frames, published in zip((8, 16), gmacs, strict=True):
        total = network_cost(NETWORKS[f"{name}-18"], ClipShape(3, frames, 112, 112), 400).total
        assert total.macs / 1e9 == pytest.approx(published, abs=0.06)
        assert total.params_without_norm / 1e6 == pytest.approx(params, abs=0.06)


def test_deep_networks_have_the_released_sizes() -> None:
    # Model zoo of the authors' later code, 32 frames: 118.0 M without BatchNorm for 152 layers, 63.6 M for 34.
    clip = ClipShape(3, 32, 112, 112)
    assert network_cost(NETWORKS["R(2+1)D-152"], clip).total.params_without_norm / 1e6 == pytest.approx(118.0, abs=0.05)
    assert network_cost(NETWORKS["R(2+1)D-34"], clip).total.params_without_norm / 1e6 == pytest.approx(63.6, abs=0.06)


@pytest.mark.parametrize(
    ("name", "frames", "wrong"),
    [
        ("R(2+1)D-18", 8, 31505325),  # M once per block, as torchvision has it
        ("R(2+1)D-18", 8, 33383797),  # M of the stem by the formula, 83
    ],
)
def test_networks_that_must_not_be_built(name: str, frames: int, wrong: int) -> None:
    assert network_cost(NETWORKS[name], ClipShape(3, frames, 112, 112)).total.params != wrong


@pytest.mark.parametrize(
    ("name", "frames"),
    [("f-R2D-18", 16), ("R3D-18", 2), ("MC2-18", 16), ("MC3-18", 16), ("MC4-18", 8), ("MC5-18", 4),
     ("rMC2-18", 2), ("rMC3-18", 2), ("rMC4-18", 4), ("rMC5-18", 8), ("R(2+1)D-18", 2), ("R2D-18", 1)],
)  # fmt: skip
def test_only_temporal_groups_halve_time(name: str, frames: int) -> None:
    assert network_cost(NETWORKS[name], ClipShape()).output_frames == frames


def test_parts_add_up_to_the_whole() -> None:
    cost = network_cost(NETWORKS["rMC4-34"], ClipShape(2, 8, 64, 48), 10)
    assert sum((stage.cost for stage in cost.stages), cost.head) == cost.total
    data = cost.as_dict()
    assert data["macs"] == sum(stage["macs"] for stage in data["stages"]) + data["head"]["macs"]
    assert data["flops"] == 2 * data["macs"]


def test_r2d_depends_on_the_frames_and_no_other_does() -> None:
    for name in PLACEMENTS:
        sizes = {network_cost(NETWORKS[f"{name}-18"], ClipShape(3, t, 112, 112)).total.params for t in (8, 16, 32)}
        assert len(sizes) == (3 if name == "R2D" else 1), name


def test_2plus1d_has_the_parameters_of_3d_but_no_more() -> None:
    for c_in, c_out in ((64, 64), (64, 128), (16, 16), (3, 7)):
        costs = [
            cost_of_ops(residual_unit(kind, "basic", c_in, c_out, 1).main, (c_in, 4, 8, 8))[0]
            for kind in ("2plus1d", "3d")
        ]
        assert 0.85 * costs[1].params_without_norm < costs[0].params_without_norm <= costs[1].params_without_norm


def test_a_convolution_by_hand() -> None:
    op = Conv(4, 6, (3, 3, 3), (2, 2, 1), (1, 1, 1), groups=2)
    cost, shape = cost_of_ops((op,), (4, 5, 8, 8))
    weights = 6 * (4 // 2) * 27
    assert shape == (6, 3, 4, 8)
    assert cost == Cost(weights, weights, weights * 3 * 4 * 8, 6 * 3 * 4 * 8)


def test_an_unknown_op_is_never_silently_free() -> None:
    @dataclasses.dataclass(frozen=True)
    class Shift(Op):
        pass

    assert Shift not in COST
    with pytest.raises(TypeError, match="no cost is registered for the op Shift"):
        cost_of_ops((Shift(),), (3, 4, 8, 8))


def test_activations_count_convolution_and_linear_outputs() -> None:
    architecture = Architecture("2d", (("2d",),) * 4)
    clip = ClipShape(3, 2, 16, 16)
    plan = blueprint(architecture, clip, 5)
    cost = cost_of_blueprint(plan, clip, 5)
    by_hand = 64 * 2 * 8 * 8 * (1 + 2)  # the stem and conv2_x
    for channels, side in ((128, 4), (256, 2), (512, 1)):
        by_hand += channels * 2 * side * side * 3  # two convolutions and the shortcut
    assert cost.total.activations == by_hand + 5
