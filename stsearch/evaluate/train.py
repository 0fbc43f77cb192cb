"""The one training loop: ``train(network, data, recipe)``.

SGD with Nesterov momentum as in the paper (section 4.1), warm-up, cosine or step schedule.
Accuracies are per cent: clip@1 of one centre clip, video@1 of the mean softmax of clips spread
evenly over the video.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from stsearch.data.videos import ClipData, VideoSet, centre_crop, evaluation_views, training_batches
from stsearch.errors import StsearchError
from stsearch.schema import Strict

Count = Annotated[int, Field(ge=1, le=1_000_000)]
T = TypeVar("T")
RESIDENT_SHARE = 0.5
"""Share of the free device memory that resident clips may take."""


class EvaluationFailed(StsearchError):
    """A network could not be evaluated; the message is the reason that the trial keeps."""


class TrainRecipe(Strict):
    """The ``evaluate:`` section for plain training."""

    name: Literal["train"] = "train"
    epochs: Count = 4
    batch: Annotated[int, Field(ge=2, le=65_536)] = 16
    lr: Annotated[float, Field(gt=0, le=100)] = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4
    schedule: Literal["cosine", "step"] = "cosine"
    step_epochs: Count = 10
    """for ``step``: epochs between divisions of the learning rate by 10"""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """share of the steps over which the learning rate rises linearly"""
    video_clips: Annotated[int, Field(ge=1, le=1000)] = 10
    """clips per video of video@1"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto``: bf16 autocast on a GPU that has it, else fp32"""
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """trainings with different seeds; a trial's accuracy is their mean"""


@dataclass(frozen=True)
class Epoch:
    """One point of the learning curve."""

    epoch: int
    lr: float
    train_loss: float
    """mean cross-entropy in nats per clip"""
    clip_top1: float
    """validation, per cent"""
    seconds: float


@dataclass(frozen=True)
class Training:
    """What one training found."""

    clip_top1: float
    """per cent"""
    video_top1: float
    """per cent"""
    curve: tuple[Epoch, ...]
    loss_sum: float
    """sum over all steps of the mean loss of the batch (Ru et al., NeurIPS 2021)"""
    seconds: float
    clips_per_second: float
    """training clips per second of training time, evaluation left out"""
    micro_batch: int
    """clips per forward pass; smaller than the batch after running out of memory"""


def learning_rate(recipe: TrainRecipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of step ``step`` (from 0)."""
    total = recipe.epochs * steps_per_epoch
    warm = round(recipe.warmup * total)
    if step < warm:
        return recipe.lr * (step + 1) / warm
    if recipe.schedule == "step":
        return recipe.lr * 0.1 ** (step // steps_per_epoch // recipe.step_epochs)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def resident(data: ClipData, device: torch.device) -> dict[str, VideoSet]:
    """The splits on ``device`` if they fit in a share of its free memory, else where they are."""
    if device.type != "cuda":
        return data.splits
    free, _ = torch.cuda.mem_get_info(device)
    if sum(split.nbytes for split in data.splits.values()) > RESIDENT_SHARE * free:
        return data.splits
    return {name: split.to(device) for name, split in data.splits.items()}


# How torch's allocator and oneDNN say on a CPU that memory ran out.
_CPU_OUT_OF_MEMORY = ("can't allocate memory", "could not create a primitive", "could not create a memory")


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CPU_OUT_OF_MEMORY)


class _Runner:
    """A network on its device: normalised forward passes that shrink when memory runs out."""

    def __init__(self, network: nn.Module, data: ClipData, recipe: TrainRecipe, device: torch.device) -> None:
        self.network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.device = device
        bf16 = recipe.precision == "bf16" or (
            recipe.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        self.precision = "bf16" if bf16 else "fp32"
        self.micro = recipe.batch
        self._mean = torch.tensor(data.mean, device=device).view(1, -1, 1, 1, 1)
        self._scale = 1.0 / torch.tensor(data.std, device=device).view(1, -1, 1, 1, 1)

    def autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def logits(self, clips: torch.Tensor) -> torch.Tensor:
        """uint8 ``(B, C, T, H, W)`` to float32 ``(B, classes)``."""
        moved = clips.to(self.device, non_blocking=True)
        with self.autocast():
            out: torch.Tensor = self.network((moved - self._mean) * self._scale)
        return out.float()

    def shrinking(self, work: Callable[[int], T]) -> T:
        """``work(micro_batch)``, again with half the micro-batch whenever memory runs out."""
        while True:
            try:
                return work(self.micro)
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error):
                    raise
                if self.micro == 1:
                    raise EvaluationFailed(
                        f"out of memory on {self.device} even with one clip at a time ({str(error).splitlines()[0]})"
                    ) from None
            self.micro //= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def _accumulate(runner: _Runner, clips: torch.Tensor, labels: torch.Tensor, micro: int) -> torch.Tensor:
    """Gradients of the mean loss of a batch, ``micro`` clips at a time; returns that loss."""
    runner.network.zero_grad(set_to_none=True)
    total = torch.zeros((), device=runner.device)
    for begin in range(0, len(clips), micro):
        part = slice(begin, begin + micro)
        loss = functional.cross_entropy(
            runner.logits(clips[part]), labels[part].to(runner.device), reduction="sum"
        ) / len(clips)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _probabilities(runner: _Runner, videos: VideoSet, positions: torch.Tensor, size: int) -> torch.Tensor:
    """Softmax ``(V, classes)`` of one clip per video."""

    def work(micro: int) -> torch.Tensor:
        parts = [
            runner.logits(centre_crop(videos, positions[begin : begin + micro], size)).softmax(1)
            for begin in range(0, len(positions), micro)
        ]
        return torch.cat(parts)

    runner.network.eval()
    with torch.inference_mode():
        return runner.shrinking(work)


def _top1(probabilities: torch.Tensor, videos: VideoSet) -> float:
    right = probabilities.argmax(1) == videos.labels.to(probabilities.device)
    return 100.0 * float(right.double().mean())


def _one_epoch(
    runner: _Runner,
    optimiser: torch.optim.Optimizer,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    rates: Sequence[float],
) -> tuple[float, float, int]:
    """Train on ``batches``: sum of the batches' losses, their mean, clips seen."""
    runner.network.train()
    losses = torch.zeros((), device=runner.device, dtype=torch.float64)
    steps = clips_seen = 0
    for clips, labels in batches:
        for group in optimiser.param_groups:
            group["lr"] = rates[steps]
        losses += runner.shrinking(partial(_accumulate, runner, clips, labels))
        optimiser.step()
        steps, clips_seen = steps + 1, clips_seen + len(labels)
    total = float(losses)
    return total, total / max(1, steps), clips_seen


def train(
    network: nn.Module,
    data: ClipData,
    recipe: TrainRecipe,
    *,
    frames: int,
    size: int,
    generator: torch.Generator,
    device: torch.device,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Training:
    """Train ``network`` on clips ``(B, C, frames, size, size)`` of ``data`` and measure it on ``val``.

    A function of the network's weights, the data, the recipe and ``generator`` (a CPU generator)
    alone; on CPU exactly so. Raises ``EvaluationFailed`` when the loss is no longer finite, or
    when memory runs out with one clip at a time.
    """
    runner = _Runner(network, data, recipe, device)
    splits = resident(data, device)
    training, validation = splits["train"], splits["val"]
    optimiser = torch.optim.SGD(
        network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=recipe.momentum > 0
    )
    per_epoch = -(-len(training) // recipe.batch)
    centre = evaluation_views(validation, frames, 1)[0]
    curve: list[Epoch] = []
    started = time.perf_counter()
    loss_sum, busy, seen = 0.0, 0.0, 0
    for epoch in range(recipe.epochs):
        begun = time.perf_counter()
        batches = training_batches(training, frames, size, recipe.batch, data.flip, generator)
        rates = [learning_rate(recipe, epoch * per_epoch + step, per_epoch) for step in range(per_epoch)]
        total, mean, clips = _one_epoch(runner, optimiser, batches, rates)
        _synchronise(device)
        busy, seen, loss_sum = busy + time.perf_counter() - begun, seen + clips, loss_sum + total
        if not math.isfinite(mean):
            raise EvaluationFailed(f"the loss is {mean} in epoch {epoch + 1} of {recipe.epochs} (lr {recipe.lr:g})")
        top1 = _top1(_probabilities(runner, validation, centre, size), validation)
        curve.append(Epoch(epoch + 1, optimiser.param_groups[0]["lr"], mean, top1, time.perf_counter() - begun))
        if on_epoch is not None:
            on_epoch(curve[-1])
    views = evaluation_views(validation, frames, recipe.video_clips)
    if len(views) == 1 and torch.equal(views[0], centre):
        video_top1 = curve[-1].clip_top1
    else:
        probabilities = torch.stack([_probabilities(runner, validation, view, size) for view in views]).mean(0)
        video_top1 = _top1(probabilities, validation)
    return Training(
        clip_top1=curve[-1].clip_top1,
        video_top1=video_top1,
        curve=tuple(curve),
        loss_sum=loss_sum,
        seconds=time.perf_counter() - started,
        clips_per_second=seen / max(busy, 1e-9),
        micro_batch=runner.micro,
    )
