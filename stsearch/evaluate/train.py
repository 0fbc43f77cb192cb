"""The one training loop: ``train(network, data, recipe)``.

Muon, AdamW or the paper's SGD with Nesterov momentum (section 4.1); warm-up, cosine or step schedule.
Accuracies are per cent: clip@1 of one centre clip, video@1 and video@5 of the mean softmax of clips
spread evenly over the video.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn import functional

from stsearch.data.augment import Normaliser, View, evaluation_views, training_cuts, view_cuts
from stsearch.data.loader import Batch, batches, resident
from stsearch.data.videos import ClipData, VideoSet
from stsearch.errors import StsearchError
from stsearch.evaluate.accuracy import accuracy, cross_entropy, predictions, video_accuracies
from stsearch.evaluate.optimiser import Optimiser
from stsearch.evaluate.recipe import LoopRecipe, TrainRecipe, learning_rate
from stsearch.evaluate.results import Epoch, Rung, Training
from stsearch.interrupt import check
from stsearch.profiling.device import out_of_memory

T = TypeVar("T")


class EvaluationFailed(StsearchError):
    """A network could not be evaluated; the message is the reason that the trial keeps."""


class _Runner:
    """A network on its device: normalised forward passes that shrink when memory runs out."""

    def __init__(self, network: nn.Module, data: ClipData, recipe: LoopRecipe, device: torch.device) -> None:
        self.network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.device = device
        bf16 = recipe.precision == "bf16" or (
            recipe.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        self.precision = "bf16" if bf16 else "fp32"
        self.micro = recipe.batch
        self._normalised = Normaliser.of(data, device)

    def autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def logits(self, clips: torch.Tensor, colour: torch.Tensor | None = None) -> torch.Tensor:
        """uint8 ``(B, C, T, H, W)`` and factors of its colours ``(B, 3)`` to float32 ``(B, classes)``."""
        inputs = self._normalised(clips, colour)
        with self.autocast():
            out: torch.Tensor = self.network(inputs)
        return out.float()

    def shrinking(self, work: Callable[[int], T]) -> T:
        """``work(micro_batch)``, again with half the micro-batch whenever memory runs out; after Ctrl-C not begun."""
        while True:
            check()
            try:
                return work(self.micro)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self.micro == 1:
                    raise EvaluationFailed(
                        f"out of memory on {self.device} even with one clip at a time ({str(error).splitlines()[0]})"
                    ) from None
            self.micro //= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


def _accumulate(runner: _Runner, batch: Batch, smoothing: float, micro: int) -> torch.Tensor:
    """Gradients of the mean loss of a batch, ``micro`` clips at a time.

    Gives float64 ``(2,)``: the batch's mean cross-entropy without smoothing, and how many of its clips were right.
    """
    clips, labels, colour = batch
    runner.network.zero_grad(set_to_none=True)
    found = torch.zeros(2, device=runner.device, dtype=torch.float64)
    for begin in range(0, len(clips), micro):
        part = slice(begin, begin + micro)
        logits = runner.logits(clips[part], None if colour is None else colour[part])
        summed = partial(functional.cross_entropy, target=labels[part], reduction="sum")
        loss = summed(logits, label_smoothing=smoothing) / len(clips)
        loss.backward()  # type: ignore[no-untyped-call]
        known = logits.detach()
        plain = loss.detach() if smoothing == 0 else summed(known) / len(clips)
        found += torch.stack([plain, (known.argmax(1) == labels[part]).sum()])
    return found


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _probabilities(runner: _Runner, videos: VideoSet, view: View, size: int) -> torch.Tensor:
    """Softmax ``(V, classes)`` of one clip per video, on the CPU."""
    cuts = view_cuts(videos, view, size)

    def work(micro: int) -> torch.Tensor:
        parts = []
        for batch in batches(videos, cuts, micro, runner.device):
            check()
            parts.append(runner.logits(batch.clips).softmax(1))
        return torch.cat(parts).cpu()

    runner.network.eval()
    with torch.inference_mode():
        return runner.shrinking(work)


def _of_videos(
    runner: _Runner, videos: VideoSet, views: Sequence[View], size: int, known: tuple[View, torch.Tensor] | None = None
) -> torch.Tensor:
    """Mean softmax ``(V, classes)`` over ``views``; ``known`` is a view whose softmax is there already."""
    total: torch.Tensor | None = None
    for view in views:
        if known is not None and view.side == known[0].side and torch.equal(view.positions, known[0].positions):
            found = known[1]
        else:
            found = _probabilities(runner, videos, view, size)
        total = found if total is None else total + found
    assert total is not None
    return total / len(views)


def _views(recipe: LoopRecipe, videos: VideoSet, frames: int) -> list[View]:
    return evaluation_views(videos, frames, recipe.video_clips, 3 if recipe.views == 30 else 1)


def video_probabilities(
    network: nn.Module,
    data: ClipData,
    recipe: LoopRecipe,
    *,
    frames: int,
    size: int,
    device: torch.device,
    split: str = "val",
) -> torch.Tensor:
    """Mean softmax float32 ``(V, classes)`` of every video of a split, as video@1 has it; on the CPU.

    The mean of those of two networks, one fed with RGB and one with flow of the same videos, is what
    the two say together.
    """
    runner = _Runner(network, data, recipe, device)
    videos = resident(data, device, recipe.resident_share).splits[split]
    return _of_videos(runner, videos, _views(recipe, videos, frames), size)


@contextmanager
def _memory(where: str) -> Iterator[None]:
    """``EvaluationFailed`` if memory runs out within, which no smaller micro-batch would mend."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise EvaluationFailed(f"out of memory on {where} ({str(error).splitlines()[0]})") from None


def _made(epoch: Iterator[Batch], device: torch.device, batch: int) -> Iterator[Batch]:
    """The batches of ``epoch``; ``EvaluationFailed`` if memory runs out while one is made."""
    with _memory(f"{device} before a batch of {batch} clips was made; a smaller batch needs less"):
        yield from epoch


class _Epoch(NamedTuple):
    """What an epoch of training says of the batches that it trained on."""

    losses: float
    """sum over steps of the batches' mean cross-entropy"""
    steps: int
    clips: int
    right: int
    """clips whose class was the most probable one as they were trained on"""


def _one_epoch(
    runner: _Runner, optimiser: Optimiser, epoch: Iterator[Batch], rates: Sequence[float], smoothing: float
) -> _Epoch:
    """Train on the batches of ``epoch``."""
    runner.network.train()
    found = torch.zeros(2, device=runner.device, dtype=torch.float64)
    steps = clips = 0
    for batch in epoch:
        found += runner.shrinking(partial(_accumulate, runner, batch, smoothing))
        with _memory(f"{runner.device} as the weights were changed; `optimizer: sgd` needs least"):
            optimiser.step(rates[steps])
        steps, clips = steps + 1, clips + len(batch.labels)
    losses, right = found.tolist()
    _synchronise(runner.device)
    return _Epoch(losses, steps, clips, int(right))


class Trainer:
    """A training that goes epoch by epoch, and can be put away after any of them and taken up again.

    A function of the network's weights, the data, the recipe and ``generator`` (a CPU generator)
    alone; on CPU exactly so, however often it was put away.
    """

    def __init__(
        self,
        network: nn.Module,
        data: ClipData,
        recipe: LoopRecipe,
        *,
        frames: int,
        size: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self._clock, self._before = time.perf_counter(), 0.0
        self._recipe, self._frames, self._size, self._generator = recipe, frames, size, generator
        self._runner = _Runner(network, data, recipe, device)
        self._data = resident(data, device, recipe.resident_share)
        self._optimiser = Optimiser(self._runner.network, recipe)
        self._centre = evaluation_views(self._data.splits["val"], frames, 1)[0]
        self._known: tuple[View, torch.Tensor] | None = None
        self._loss_sum, self._busy, self._fresh = 0.0, 0.0, 0
        self.curve: list[Epoch] = []
        self.clips = 0
        """training clips seen, also before the training was put away"""
        self.rungs: list[Rung] = []

    @property
    def done(self) -> int:
        """Epochs trained."""
        return len(self.curve)

    @property
    def fresh(self) -> int:
        """Training clips seen since the training was begun or taken up."""
        return self._fresh

    def epoch(self) -> Epoch:
        """Train one more epoch and validate; ``EvaluationFailed`` for a loss that is not finite, or without memory."""
        begun, recipe, runner = time.perf_counter(), self._recipe, self._runner
        training, validation = self._data.splits["train"], self._data.splits["val"]
        per_epoch = -(-len(training) // recipe.batch)
        cuts = training_cuts(self._data, self._frames, self._size, recipe.batch, recipe.augment, self._generator)
        rates = [learning_rate(recipe, self.done * per_epoch + step, per_epoch) for step in range(per_epoch)]
        made = _made(batches(training, cuts, recipe.batch, runner.device), runner.device, recipe.batch)
        trained = _one_epoch(runner, self._optimiser, made, rates, recipe.label_smoothing)
        self._busy, self._fresh = self._busy + time.perf_counter() - begun, self._fresh + trained.clips
        self._loss_sum, self.clips = self._loss_sum + trained.losses, self.clips + trained.clips
        mean = trained.losses / max(1, trained.steps)
        if not math.isfinite(mean):
            raise EvaluationFailed(f"the loss is {mean} in epoch {self.done + 1} of {recipe.length} (lr {recipe.lr:g})")
        probabilities = _probabilities(runner, validation, self._centre, self._size)
        self._known = (self._centre, probabilities)
        self.curve.append(
            Epoch(
                epoch=self.done + 1,
                lr=rates[-1],
                train_loss=mean,
                clip_top1=accuracy(probabilities, validation.labels),
                seconds=time.perf_counter() - begun,
                train_top1=100.0 * trained.right / max(1, trained.clips),
                val_loss=cross_entropy(probabilities, validation.labels),
                steps=trained.steps,
            )
        )
        return self.curve[-1]

    def result(self) -> Training:
        """What there is by now, with video@1; at least one epoch is done. Does not change the training."""
        runner, validation = self._runner, self._data.splits["val"]
        views = _views(self._recipe, validation, self._frames)
        probabilities = _of_videos(runner, validation, views, self._size, self._known)
        return Training(
            clip_top1=self.curve[-1].clip_top1,
            curve=tuple(self.curve),
            loss_sum=self._loss_sum,
            seconds=self._before + time.perf_counter() - self._clock,
            clips_per_second=self._fresh / max(self._busy, 1e-9),
            micro_batch=runner.micro,
            residence=self._data.residence.text if self._data.residence else "",
            clips=self.clips,
            rungs=tuple(self.rungs),
            predictions=predictions(probabilities),
            **video_accuracies(probabilities, validation.labels, self._data.opposite),
        )

    def state(self) -> dict[str, Any]:
        """All that ``load`` needs, for ``torch.save``; tensors are shared with the training."""
        return {
            "network": self._runner.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "generator": self._generator.get_state(),
            "micro": self._runner.micro,
            "curve": [asdict(epoch) for epoch in self.curve],
            "rungs": [asdict(rung) for rung in self.rungs],
            "loss_sum": self._loss_sum,
            "clips": self.clips,
            "seconds": self._before + time.perf_counter() - self._clock,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state`` was taken of a training alike."""
        self._runner.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generator"])
        self._runner.micro = state["micro"]
        self.curve = [Epoch(**epoch) for epoch in state["curve"]]
        self.rungs = [Rung(**rung) for rung in state["rungs"]]
        self._loss_sum, self.clips, self._before = state["loss_sum"], state["clips"], state["seconds"]


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

    Raises ``EvaluationFailed`` for a loss that is not finite, or without memory.
    """
    trainer = Trainer(network, data, recipe, frames=frames, size=size, generator=generator, device=device)
    while trainer.done < recipe.length:
        epoch = trainer.epoch()
        if on_epoch is not None:
            on_epoch(epoch)
    return trainer.result()
