"""The training loop: deterministic, honest about failures, right in its arithmetic."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from stsearch.data.augment import Normaliser
from stsearch.data.loader import Batch
from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.data.stored import StoredFrames
from stsearch.data.videos import ClipData, VideoSet
from stsearch.evaluate.accuracy import accuracy, confusion, per_class
from stsearch.evaluate.evaluators import Task, evaluate_by_training, training_seed
from stsearch.evaluate.recipe import TrainRecipe, learning_rate
from stsearch.evaluate.results import Training
from stsearch.evaluate.train import EvaluationFailed, train, video_probabilities
from stsearch.nets.build import build
from stsearch.report.charts import confusion_counts
from stsearch.schema import check
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
    from stsearch.evaluate.runner import Runner
    from stsearch.evaluate.steps import Step, accumulate

    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 16 * 16, 2))
    runner = Runner(network, motions, TrainRecipe(), CPU)
    clips, labels = torch.randint(0, 255, (7, 3, 4, 16, 16), dtype=torch.uint8), torch.tensor([0, 1, 0, 1, 1, 0, 1])
    grads, losses = [], []
    for micro in (7, 3, 1):
        losses.append(float(accumulate(runner, Batch(clips, labels, None), Step(), micro)[0]))
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
        trained(motions, optimizer="sgd", lr=100.0, epochs=3, weight_decay=1.0, warmup=0.0)


OUT_OF_MEMORY = """
import resource, sys, torch
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))  # near its limit of memory a process may do little but look for some
torch.set_num_threads(1)
from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.train import EvaluationFailed, train
from stsearch.nets.build import build
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS
extra, size = int(sys.argv[1]), int(sys.argv[2])
clip = ClipShape(3, 8, size, size)
data = load_motions(MotionsRecipe(classes=2, clips=64, val_clips=10), 8, size)
g = torch.Generator().manual_seed(0)
warm = build(NETWORKS["R3D-18"].scaled(0.125), ClipShape(3, 4, 16, 16), 2)
warm(torch.randn(2, 3, 4, 16, 16)).sum().backward()  # libraries are loaded before the limit
torch.optim.SGD(warm.parameters(), 0.1).step()
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
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the address space")
def test_out_of_memory_first_shrinks_the_micro_batch_then_ends_with_a_reason() -> None:
    """The memory of a real process is limited; nothing is simulated."""

    def limited(megabytes: int, size: int) -> str:
        command = [sys.executable, "-c", OUT_OF_MEMORY, str(megabytes * 2**20), str(size)]
        for _ in range(5):
            ran = subprocess.run(command, capture_output=True, text=True, timeout=400)
            if ran.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
                return "took too long"
            if ran.returncode not in (-signal.SIGSEGV, -signal.SIGABRT):  # torch 2.13 dies of them itself, now and then
                break
        ran.check_returncode()
        return ran.stdout.strip()

    # Between a limit that no clip fits in and one that a whole batch fits in; either differs from run to run.
    none, whole, answer = 60, 900, ""
    while answer not in (shrunk := {f"micro {2**power}" for power in range(6)}) and whole - none > 10:
        answer = limited(middle := (none + whole) // 2, 64)
        none, whole = (none, middle) if answer == "micro 64" else (middle, whole)
    assert answer in shrunk
    said = "failed out of memory on cpu even with one clip at a time"  # what a process has free itself differs too
    assert any(limited(megabytes, 112).startswith(said) for megabytes in (60, 40, 20))


def test_a_batch_that_does_not_fit_in_memory_ends_with_a_reason(motions: ClipData) -> None:
    side = 4_000_000  # a batch would have more bytes than a process has addresses
    frames = torch.zeros(1, 1, 1, 3, dtype=torch.uint8).expand(40 * 4, side, side, 3)
    huge = replace(motions.splits["train"], frames=frames)
    data = replace(motions, splits={"train": huge, "val": huge})
    network = build(NETWORKS["R2D-18"].scaled(0.125), CLIP, 2)
    reason = "out of memory on cpu before a batch of 8 clips was made; a smaller batch needs less"
    with pytest.raises(EvaluationFailed, match=reason):
        train(
            network, data, TrainRecipe(batch=8), frames=4, size=side, generator=torch.Generator(), device=CPU
        )  # fmt: skip


def test_training_seeds_depend_on_study_architecture_and_repeat_alone() -> None:
    one, other = NETWORKS["MC2-18"], NETWORKS["MC3-18"]
    assert training_seed(0, one, 0) == training_seed(0, Architecture(one.stem, one.stages), 0)
    assert len({training_seed(s, a, r) for s in (0, 1) for a in (one, other) for r in (0, 1)}) == 8


def test_repeats_are_averaged(motions: ClipData) -> None:
    recipe = TrainRecipe(epochs=1, batch=8, repeats=2)
    task = Task(NETWORKS["f-R2D-18"].scaled(0.125), CLIP, motions, recipe, 0, CPU)
    heard: list[tuple[int, int]] = []
    result = evaluate_by_training(task, lambda repeat, epoch: heard.append((repeat, epoch.epoch)))
    assert heard == [(0, 1), (1, 1)]
    assert len(set(result.seeds)) == 2
    assert result.video_top1 == sum(t.video_top1 for t in result.trainings) / 2


def test_a_blind_network_stays_at_one_half_after_any_training(motions: ClipData) -> None:
    result = trained(motions, "f-R2D-18", epochs=4, lr=0.05)
    assert all(epoch.clip_top1 <= 50 for epoch in result.curve)
    assert result.video_top1 <= 50


def test_scores_of_known_probabilities() -> None:
    probabilities = torch.tensor(
        [[5, 1, 2, 3, 4, 0, 6], [0, 1, 2, 3, 4, 5, 6], [9, 1, 2, 3, 4, 5, 6], [1, 9, 2, 3, 4, 5, 6]]
    ).float()
    labels = torch.tensor([0, 0, 0, 3])
    assert accuracy(probabilities, labels) == 25.0
    assert accuracy(probabilities, labels, 2) == 50.0
    assert accuracy(probabilities, labels, 5) == 75.0
    assert accuracy(probabilities, labels, 100) == 100.0
    assert per_class(probabilities, labels) == (100 / 3, None, None, 0.0, None, None, None)
    assert confusion(probabilities, labels) == ((0, 0, 1), (0, 6, 2), (3, 1, 1))


def test_what_a_training_remembers_agrees_with_itself(motions: ClipData) -> None:
    generator = torch.Generator().manual_seed(0)
    network = build(NETWORKS["MC3-18"].scaled(0.125), CLIP, 2, generator=generator)
    recipe = TrainRecipe(epochs=1, batch=8)
    result = train(network, motions, recipe, frames=4, size=16, generator=generator, device=CPU)
    probabilities = video_probabilities(network, motions, recipe, frames=4, size=16, device=CPU)
    labels = motions.splits["val"].labels
    assert probabilities.shape == (20, 2)
    assert torch.allclose(probabilities.sum(1), torch.ones(20))
    assert result.video_top1 == accuracy(probabilities, labels)
    assert result.video_top5 == 100.0
    assert result.per_class == per_class(probabilities, labels)
    counts = confusion_counts([{"confusion": result.confusion}], 2)
    assert counts.sum(1).tolist() == [10, 10]
    assert 100 * counts.trace() / 20 == result.video_top1
    assert result.per_class == tuple((100 * counts.diagonal() / counts.sum(1)).tolist())
    assert result.residence == "in memory (233 kB)"


def widened(motions: ClipData) -> ClipData:
    """The same videos twice as long: the second half runs on, so ten clips of one differ."""

    def longer(videos: VideoSet) -> VideoSet:
        assert isinstance(videos.frames, torch.Tensor)
        height, width, channels = videos.frame
        frames = videos.frames.view(len(videos), -1, height, width, channels)
        both = torch.cat([frames, 255 - frames], 1).flatten(0, 1)
        return replace(videos, frames=both, starts=2 * videos.starts, lengths=2 * videos.lengths)

    return replace(motions, splits={name: longer(videos) for name, videos in motions.splits.items()})


def test_thirty_views_are_ten_clips_at_three_crops(motions: ClipData) -> None:
    data = widened(motions)
    network = build(NETWORKS["MC3-18"].scaled(0.125), CLIP, 2, generator=torch.Generator().manual_seed(0))
    ten, thirty = (
        video_probabilities(network, data, TrainRecipe(views=views), frames=4, size=16, device=CPU)
        for views in (10, 30)
    )
    frames = data.splits["val"].frames
    assert isinstance(frames, torch.Tensor)
    total = torch.zeros(20, 2)
    for left in (0, 1, 2):  # frames are 18x18: one pixel is spare on each side of the middle
        cut = {"val": replace(data.splits["val"], frames=frames[:, 1:17, left : left + 16])}
        middle = replace(data, splits={**data.splits, **cut})
        part = video_probabilities(network, middle, TrainRecipe(), frames=4, size=16, device=CPU)
        total += part
        assert (left == 1) == torch.allclose(part, ten, atol=1e-6)
    assert torch.allclose(thirty, total / 3, atol=1e-5)


def test_a_recipe_that_contradicts_itself() -> None:
    recipe, faults = check(TrainRecipe, {"views": 30, "video_clips": 5}, "evaluate.")
    assert recipe is None
    assert "views: 30 is 10 clips at three crops; given video_clips 5" in faults[0]
    assert "evaluate.views: should be 10 or 30; given 20" in check(TrainRecipe, {"views": 20}, "evaluate.")[1][0]
    assert "evaluate.augment.jitter" in check(TrainRecipe, {"augment": {"jitter": 2.0}}, "evaluate.")[1][0]


@pytest.mark.parametrize("augment", [{}, {"crop": "resized", "jitter": 0.3}], ids=["plain", "resized"])
def test_a_training_does_not_depend_on_where_the_clips_are(
    motions: ClipData, tmp_path: Path, augment: dict[str, object]
) -> None:
    def stored(name: str, videos: VideoSet) -> VideoSet:
        assert isinstance(videos.frames, torch.Tensor)
        path = tmp_path / name
        path.write_bytes(videos.frames.numpy().tobytes())
        return replace(videos, frames=StoredFrames(path, 0, (len(videos.frames), *videos.frame)))

    filed = replace(motions, splits={name: stored(name, videos) for name, videos in motions.splits.items()})
    results = {
        place: trained(data, augment=augment, resident_share=share)
        for place, data, share in (("in memory", motions, 0.5), ("memory-mapped", filed, 1.0), ("streamed", filed, 0.0))
    }
    assert all(result.residence.startswith(place) for place, result in results.items())
    assert len({timeless(result) for result in results.values()}) == 1
    assert len({result.per_class for result in results.values()}) == 1


def test_new_ways_of_cutting_change_the_training_and_keep_its_seed(motions: ClipData) -> None:
    plain = timeless(trained(motions))
    for augment in ({"crop": "resized"}, {"jitter": 0.3}):
        assert timeless(trained(motions, augment=augment)) == timeless(trained(motions, augment=augment)) != plain


def test_flow_is_trained_on_two_channels(motions: ClipData) -> None:
    def two(videos: VideoSet) -> VideoSet:
        assert isinstance(videos.frames, torch.Tensor)
        return replace(videos, frames=videos.frames[..., :2].contiguous())

    splits = {name: two(videos) for name, videos in motions.splits.items()}
    facts = {"mean": motions.mean[:2], "std": motions.std[:2], "flip": True, "modality": "flow"}
    flow = replace(motions, splits=splits, **facts)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    network = build(NETWORKS["R3D-18"].scaled(0.125), replace(CLIP, channels=2), 2, generator=generator)
    recipe = TrainRecipe.model_validate({"epochs": 1, "batch": 8, "augment": {"jitter": 0.5}})
    result = train(network, flow, recipe, frames=4, size=16, generator=generator, device=CPU)
    assert flow.channels == 2
    fused = video_probabilities(network, flow, recipe, frames=4, size=16, device=CPU)
    assert accuracy(fused, flow.splits["val"].labels) == result.video_top1


def test_classes_are_averaged_over_repeats(motions: ClipData) -> None:
    recipe = TrainRecipe(epochs=1, batch=8, repeats=2)
    three = replace(motions, classes=("a", "b", "none of it"), opposite=())
    result = evaluate_by_training(
        Task(NETWORKS["R2D-18"].scaled(0.125), CLIP, three, recipe, 0, CPU), lambda repeat, epoch: None
    )
    first, second = (training.per_class for training in result.trainings)
    assert result.per_class[2] is None
    assert result.per_class[0] == (first[0] + second[0]) / 2  # type: ignore[operator]
    assert result.video_top5 == 100.0
    assert result.as_dict()["trainings"][0]["residence"] == "in memory (233 kB)"


def test_bf16_on_a_cpu_finds_the_same_each_time(motions: ClipData) -> None:
    """conv4_x has two frames left here: where oneDNN's own bf16 gradients are wrong, another error each time."""

    def once() -> Training:
        generator = torch.Generator().manual_seed(0)
        shape = ClipShape(3, 8, 16, 16)
        network = build(NETWORKS["R3D-18"].scaled(0.125), shape, 2, generator=generator)
        recipe = TrainRecipe(epochs=2, batch=8, precision="bf16")
        data = load_motions(MotionsRecipe(classes=2, clips=16, val_clips=10), 8, 16)
        return train(network, data, recipe, frames=8, size=16, generator=generator, device=CPU)

    first, *others = (once() for _ in range(3))
    assert math.isfinite(first.loss_sum)
    for other in others:
        assert (other.loss_sum, other.confusion) == (first.loss_sum, first.confusion)


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
def test_gpu_normalisation_is_that_of_the_cpu(motions: ClipData) -> None:
    device = torch.device("cuda")
    clips = torch.randint(0, 256, (5, 3, 4, 16, 16), dtype=torch.uint8)
    colour = 0.5 + torch.rand(5, 3)
    for factors in (None, colour):
        there = Normaliser.of(motions, device)(clips.to(device), None if factors is None else factors.to(device))
        assert torch.allclose(there.cpu(), Normaliser.of(motions, CPU)(clips, factors), atol=1e-4)
        assert there.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_training_says_where_its_clips_are(motions: ClipData) -> None:
    def on_gpu(share: float) -> Training:
        generator = torch.Generator().manual_seed(0)
        network = build(NETWORKS["R3D-18"].scaled(0.125), CLIP, 2, generator=generator)
        recipe = TrainRecipe(epochs=1, batch=8, precision="fp32", resident_share=share)
        device = torch.device("cuda")
        return train(network, motions, recipe, frames=4, size=16, generator=generator, device=device)

    near, far = on_gpu(0.5), on_gpu(0.0)
    assert near.residence.startswith("on cuda:0 (")
    assert "copied to cuda:0 batch by batch" in far.residence
    assert far.loss_sum == pytest.approx(near.loss_sum, rel=1e-3)


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
