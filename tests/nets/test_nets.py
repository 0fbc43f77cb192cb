"""Built networks against the closed form and against torch's own count."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random

import pytest
import torch
from torch import nn

from stsearch.nets.build import build, modules
from stsearch.nets.count import counted_flops
from stsearch.resources import find
from stsearch.space.architecture import Architecture, uniform
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.ops import Conv, Op
from stsearch.space.published import NETWORKS
from stsearch.space.search_space import load_space

SMALLEST = ClipShape(3, 4, 16, 16)


def agrees(architecture: Architecture, clip: ClipShape, classes: int) -> None:
    total = network_cost(architecture, clip, classes).total
    with torch.device("meta"):
        built = sum(p.numel() for p in build(architecture, clip, classes).parameters())
    assert built == total.params, architecture.id
    assert counted_flops(architecture, clip, classes) == 2 * total.macs, architecture.id


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper-18", "r18", "r34", "r50", "blockwise-18", "r18-kinds", "x3d-like"])
def test_random_networks_of_every_space(name: str) -> None:
    """30 of each, or as many as ``STSEARCH_TEST_NETWORKS`` says."""
    space = load_space(find("search_spaces", name))
    rng = random.Random(name)
    for _ in range(int(os.environ.get("STSEARCH_TEST_NETWORKS", "30"))):
        size = rng.choice((112, 56, 33))
        clip = ClipShape(rng.choice((2, 3)), rng.choice((4, 7, 8, 16)), size, size)
        agrees(space.architecture(rng.randrange(space.size)), clip, rng.choice((10, 400, 487)))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_named_network(name: str) -> None:
    agrees(NETWORKS[name], ClipShape(3, 8, 56, 56), 400)


@pytest.mark.parametrize("kind", ["2d", "3d", "2plus1d"])
@pytest.mark.parametrize("layers", [18, 50])
def test_the_smallest_clip_goes_through(kind: str, layers: int) -> None:
    network = build(uniform((kind,) * 5, layers, 0.125), SMALLEST, 5)
    logits = network(torch.randn(2, *SMALLEST.sizes))
    logits.sum().backward()
    assert logits.shape == (2, 5)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def test_r2d_collapses_time_at_once() -> None:
    network = build(NETWORKS["R2D-18"].scaled(0.125), SMALLEST, 5)
    assert network.stages["conv1"](torch.randn(1, *SMALLEST.sizes)).shape[2] == 1


def test_stage_outputs_have_the_shapes_of_the_cost_table() -> None:
    architecture = NETWORKS["rMC4-18"].scaled(0.125)
    clip = ClipShape(3, 8, 33, 33)
    network, x = build(architecture, clip, 5).eval(), torch.randn(1, *clip.sizes)
    for stage in network_cost(architecture, clip, 5).stages:
        x = network.stages[stage.name](x)
        assert tuple(x.shape[1:]) == stage.output


def test_weights_are_those_of_the_authors_code() -> None:
    network = build(NETWORKS["R3D-18"], ClipShape(), 400, generator=torch.Generator().manual_seed(0))
    convolution = next(m for m in network.stages["conv4_x"].modules() if isinstance(m, nn.Conv3d))
    fan_out = convolution.out_channels * 27
    assert convolution.bias is None
    assert float(convolution.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.01)
    norm = next(m for m in network.modules() if isinstance(m, nn.BatchNorm3d))
    assert (norm.eps, norm.momentum) == (1e-3, 0.1)
    linear = next(m for m in network.modules() if isinstance(m, nn.Linear))
    assert float(linear.weight.detach().abs().max()) <= (3 / 512) ** 0.5
    assert float(linear.bias.detach().abs().max()) == 0


def test_weights_depend_on_the_generator_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        network = build(NETWORKS["MC3-18"].scaled(0.125), SMALLEST, 5, generator=torch.Generator().manual_seed(seed))
        return torch.cat([p.flatten() for p in network.parameters()])

    torch.manual_seed(1)
    first, state = weights(3), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, weights(3))
    assert not torch.equal(first, weights(4))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())  # building draws nothing from the global state


def test_a_2d_network_is_blind_to_the_order_of_frames() -> None:
    clips = torch.randn(3, 3, 8, 32, 32)
    shuffled = clips[:, :, torch.randperm(8)]
    shape = ClipShape(3, 8, 32, 32)
    blind = build(NETWORKS["f-R2D-18"].scaled(0.25), shape, 5).eval()
    assert torch.allclose(blind(clips), blind(shuffled), atol=1e-5)
    for name in ("MC2-18", "rMC5-18", "R(2+1)D-18", "R2D-18"):
        seeing = build(NETWORKS[name].scaled(0.25), shape, 5).eval()
        assert not torch.allclose(seeing(clips), seeing(shuffled), atol=1e-3), name


@pytest.mark.parametrize("kernel", [3, 5])
def test_bf16_gradients_on_a_cpu_are_those_of_fp32(kernel: int) -> None:
    """Also where the kernel is longer than the clip, which oneDNN gets wrong by more than the gradient's own size."""
    torch.manual_seed(0)
    for frames, stride in itertools.product(range(1, 9), (1, 2)):
        (op,) = modules((Conv(16, 32, (kernel, 1, 1), (stride, 1, 1), (kernel // 2, 0, 0)),))
        clips = torch.randn(4, 16, frames, 7, 7).contiguous(memory_format=torch.channels_last_3d)
        found = []
        for bf16 in (False, True):
            op.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                out = op(clips)
            out.float().square().sum().backward()
            weight = op.weight.grad
            assert isinstance(weight, torch.Tensor)
            found.append(weight.clone())
        exact, rough = found
        assert float((exact - rough).norm() / exact.norm()) < 0.02, f"{frames} frames, stride {stride}"


def test_an_op_that_nobody_builds_raises() -> None:
    @dataclasses.dataclass(frozen=True)
    class Shift(Op):
        pass

    with pytest.raises(TypeError, match="no module is registered for the op Shift"):
        modules((Shift(),))
