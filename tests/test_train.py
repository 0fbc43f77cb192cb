"""The training loop: deterministic, honest about failures, right in its arithmetic."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from torch import nn

from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.data.videos import ClipData
from stsearch.evaluate.evaluators import EVALUATORS, Task, training_seed
from stsearch.evaluate.train import EvaluationFailed, Training, TrainRecipe, learning_rate, train
from stsearch.nets.build import build
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS

CLIP = ClipShape(3, 4, 16, 16)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def motions() -> ClipData:
    return load_motions(MotionsRecipe(classes=2, clips=40, val_clips=20), CLIP.frames, CLIP.height)


def trained(data: ClipData, name: str = "R3D-18", seed: int = 0, **recipe: object) -> Training:
    generator = torch.Generator().manual_seed(seed)
    network = build(NETWORKS[name].scaled(0.125), CLIP, len(data.classes), generator=generator)
    chosen = TrainRecipe.model_validate({"epochs": 2, "batch": 8, **recipe})
    return train(network, data, chosen, frames=4, size=16, generator=generator, device=CPU)


def timeless(result: Training) -> tuple[object, ...]:
    return (result.video_top1, result.loss_sum, *((e.train_loss, e.clip_top1, e.lr) for e in result.curve))


def test_a_seed_gives_one_result_bit_for_bit(motions: ClipData) -> None:
    first = trained(motions)
    torch.manual_seed(99)
    trained(motions, "MC3-18")  # what was trained before does not matter
    assert timeless(trained(motions)) == timeless(first)
    assert timeless(trained(motions, seed=1)) != timeless(first)
    assert first.loss_sum == pytest.approx(sum(e.train_loss for e in first.curve) * 5)  # 40 clips in batches of 8
    assert first.clips_per_second > 0


def test_micro_batches_give_the_gradient_of_the_whole_batch(motions: ClipData) -> None:
    """Without BatchNorm, accumulation over micro-batches is the same step."""
    from stsearch.evaluate.train import _accumulate, _Runner

    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 16 * 16, 2))
    runner = _Runner(network, motions, TrainRecipe(), CPU)
    clips, labels = torch.randint(0, 255, (7, 3, 4, 16, 16), dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 1, 0, 1])
    grads, losses = [], []
    for micro in (7, 3, 1):
        losses.append(float(_accumulate(runner, clips, labels, micro)))
        grads.append(network[1].weight.grad.clone())  # type: ignore[union-attr, operator]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    for grad in grads[1:]:
        assert torch.allclose(grad, grads[0], rtol=1e-4, atol=1e-6)


def test_schedules() -> None:
    cosine = TrainRecipe(epochs=10, lr=1.0, warmup=0.1)
    rates = [learning_rate(cosine, step, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] < 0.001
    assert all(a >= b for a, b in pairwise(rates[10:]))
    step = TrainRecipe(epochs=45, lr=0.01, schedule="step", step_epochs=10, warmup=0.0)
    assert [learning_rate(step, epoch * 7, 7) for epoch in (0, 9, 10, 25, 44)] == pytest.approx(
        [0.01, 0.01, 0.001, 0.0001, 0.000001]
    )


def test_a_loss_that_is_not_finite_ends_with_a_reason(motions: ClipData) -> None:
    with pytest.raises(EvaluationFailed, match=r"the loss is (nan|inf) in epoch \d of 3 \(lr 100\)"):
        trained(motions, lr=100.0, epochs=3, weight_decay=1.0, warmup=0.0)


OUT_OF_MEMORY = """
import resource, sys, torch
torch.set_num_threads(1)
from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.evaluate.train import EvaluationFailed, TrainRecipe, train
from stsearch.nets.build import build
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS
extra, size = int(sys.argv[1]), int(sys.argv[2])
clip = ClipShape(3, 8, size, size)
data = load_motions(MotionsRecipe(classes=2, clips=64, val_clips=10), 8, size)
g = torch.Generator().manual_seed(0)
warm = build(NETWORKS["R3D-18"].scaled(0.125), ClipShape(3, 4, 16, 16), 2)
warm(torch.randn(2, 3, 4, 16, 16)).sum().backward()  # libraries are loaded before the limit
network = build(NETWORKS["R3D-18"].scaled(0.25), clip, 2, generator=g)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + extra, used + extra))
try:
    recipe = TrainRecipe(epochs=1, batch=64)
    result = train(network, data, recipe, frames=8, size=size, generator=g, device=torch.device("cpu"))
    print("micro", result.micro_batch)
except EvaluationFailed as error:
    print("failed", error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the address space")
def test_out_of_memory_first_shrinks_the_micro_batch_then_ends_with_a_reason() -> None:
    """The memory of a real process is limited; nothing is simulated."""

    def limited(megabytes: int, size: int) -> str:
        command = [sys.executable, "-c", OUT_OF_MEMORY, str(megabytes * 2**20), str(size)]
        return subprocess.run(command, capture_output=True, text=True, timeout=250, check=True).stdout.strip()

    # What a process needs at least differs from run to run by some tens of megabytes.
    answers = (limited(megabytes, 64) for megabytes in range(600, 240, -30))
    assert any(answer in {f"micro {2**power}" for power in range(6)} for answer in answers)
    assert limited(60, 112).startswith("failed out of memory on cpu even with one clip at a time")


def test_training_seeds_depend_on_study_architecture_and_repeat_alone() -> None:
    one, other = NETWORKS["MC2-18"], NETWORKS["MC3-18"]
    assert training_seed(0, one, 0) == training_seed(0, Architecture(one.stem, one.stages), 0)
    assert len({training_seed(s, a, r) for s in (0, 1) for a in (one, other) for r in (0, 1)}) == 8


def test_repeats_are_averaged(motions: ClipData) -> None:
    recipe = TrainRecipe(epochs=1, batch=8, repeats=2)
    task = Task(NETWORKS["f-R2D-18"].scaled(0.125), CLIP, motions, recipe, 0, CPU)
    heard: list[tuple[int, int]] = []
    result = EVALUATORS["train"].run(task, lambda repeat, epoch: heard.append((repeat, epoch.epoch)))
    assert heard == [(0, 1), (1, 1)]
    assert len(set(result.seeds)) == 2
    assert result.video_top1 == sum(t.video_top1 for t in result.trainings) / 2


def test_a_blind_network_stays_at_one_half_after_any_training(motions: ClipData) -> None:
    result = trained(motions, "f-R2D-18", epochs=4, lr=0.05)
    assert all(epoch.clip_top1 <= 50 for epoch in result.curve)
    assert result.video_top1 <= 50


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_training_in_bf16(motions: ClipData) -> None:
    device = torch.device("cuda")
    generator = torch.Generator().manual_seed(0)
    network = build(NETWORKS["R(2+1)D-18"].scaled(0.25), CLIP, 2, generator=generator)
    result = train(network, motions, TrainRecipe(epochs=2), frames=4, size=16, generator=generator, device=device)
    assert 0 <= result.video_top1 <= 100
    assert next(network.parameters()).device.type == "cuda"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_out_of_memory_shrinks_the_micro_batch(motions: ClipData) -> None:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(2**28 / total)
    try:
        data = load_motions(MotionsRecipe(classes=2, clips=64, val_clips=10), 8, 112)
        generator = torch.Generator().manual_seed(0)
        network = build(NETWORKS["R3D-18"].scaled(0.25), ClipShape(3, 8, 112, 112), 2, generator=generator)
        recipe = TrainRecipe(epochs=1, batch=64)
        result = train(network, data, recipe, frames=8, size=112, generator=generator, device=torch.device("cuda"))
        assert result.micro_batch < 64
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
