"""The one training loop: ``train(network, data, recipe)``.

Muon, AdamW or the paper's SGD with Nesterov momentum (section 4.1); warm-up, cosine or step schedule.
Accuracies are per cent: clip@1 of one centre clip, video@1 and video@5 of the mean softmax of clips
spread evenly over the video.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from stsearch.data.augment import View, evaluation_views, training_cuts, view_cuts
from stsearch.data.loader import Batch, batches, resident
from stsearch.data.videos import ClipData, VideoSet
from stsearch.evaluate.accuracy import accuracy, cross_entropy, predictions, video_accuracies
from stsearch.evaluate.averaging import Average
from stsearch.evaluate.mixing import Mix, draw_mix
from stsearch.evaluate.optimiser import Optimiser
from stsearch.evaluate.recipe import LoopRecipe, TrainRecipe, learning_rate
from stsearch.evaluate.results import Epoch, Rung, Training
from stsearch.evaluate.runner import EvaluationFailed, Runner, memory
from stsearch.interrupt import check

__all__ = ["EvaluationFailed", "Trainer", "train", "video_probabilities"]

_LOOKED_AT = 64
"""Steps between two looks at whether the loss is finite: each waits for the device."""


def _accumulate(runner: Runner, batch: Batch, smoothing: float, micro: int, *, mix: Mix | None = None) -> torch.Tensor:
    """Gradients of the mean loss of a batch, ``micro`` clips at a time.

    Gives float64 ``(2,)``: the batch's mean cross-entropy without smoothing, and how many of its clips were right.
    """
    runner.network.zero_grad(set_to_none=True)
    found = torch.zeros(2, device=runner.device, dtype=torch.float64)
    count = len(batch.clips)
    for begin in range(0, count, micro):
        part = slice(begin, begin + micro)
        logits, summed = _passed(runner, batch, part, mix)
        loss = summed(logits, label_smoothing=smoothing) / count
        loss.backward()  # type: ignore[no-untyped-call]
        known = logits.detach()
        plain = loss.detach() if smoothing == 0 else summed(known) / count
        found += torch.stack([plain, (known.argmax(1) == batch.labels[part]).sum()])
    return found


def _passed(
    runner: Runner, batch: Batch, part: slice, mix: Mix | None
) -> tuple[torch.Tensor, Callable[..., torch.Tensor]]:
    """Logits of a part of a batch, and the summed cross-entropy that they are to make small."""
    clips, labels, colour = batch
    own = partial(functional.cross_entropy, target=labels[part], reduction="sum")
    if mix is None:
        return runner.logits(clips[part], None if colour is None else colour[part]), own
    follow = (torch.arange(len(clips), device=labels.device)[part] + 1) % len(clips)
    neighbours = runner.normalised(clips[follow.to(clips.device)], None if colour is None else colour[follow])
    inputs = mix.mixed(runner.normalised(clips[part], None if colour is None else colour[part]), neighbours)
    other = partial(functional.cross_entropy, target=labels[follow], reduction="sum")

    def summed(logits: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        losses = [loss(logits, label_smoothing=label_smoothing) for loss in (own, other)]
        return mix.share * losses[0] + (1 - mix.share) * losses[1]

    return runner.of(inputs), summed


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _probabilities(runner: Runner, videos: VideoSet, view: View, size: int) -> torch.Tensor:
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
    runner: Runner, videos: VideoSet, views: Sequence[View], size: int, known: tuple[View, torch.Tensor] | None = None
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
    runner = Runner(network, data, recipe, device)
    videos = resident(data, device, recipe.resident_share).splits[split]
    return _of_videos(runner, videos, _views(recipe, videos, frames), size)


def _made(epoch: Iterator[Batch], device: torch.device, batch: int) -> Iterator[Batch]:
    """The batches of ``epoch``; ``EvaluationFailed`` if memory runs out while one is made."""
    with memory(f"{device} before a batch of {batch} clips was made; a smaller batch needs less"):
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
    runner: Runner,
    optimiser: Optimiser,
    epoch: Iterator[Batch],
    rates: Sequence[float],
    smoothing: float,
    *,
    mix: Callable[[], Mix | None] = lambda: None,
    stepped: Callable[[int], None] = lambda steps: None,
) -> _Epoch:
    """Train on the batches of ``epoch``, to its end or until the loss is not finite; ``stepped`` hears of each step."""
    runner.network.train()
    found = torch.zeros(2, device=runner.device, dtype=torch.float64)
    steps = clips = 0
    for batch in epoch:
        found += runner.shrinking(partial(_accumulate, runner, batch, smoothing, mix=mix()))
        with memory(f"{runner.device} as the weights were changed; `optimizer: sgd` needs least"):
            optimiser.step(rates[steps])
        steps, clips = steps + 1, clips + len(batch.labels)
        stepped(steps)
        if steps % _LOOKED_AT == 0 and not math.isfinite(float(found[0])):
            break
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
        on_step: Callable[[int, int], None] = lambda steps, per_epoch: None,
    ) -> None:
        self._clock, self._before, self._on_step = time.perf_counter(), 0.0, on_step
        self._recipe, self._frames, self._size, self._generator = recipe, frames, size, generator
        self._runner = Runner(network, data, recipe, device)
        self._data = resident(data, device, recipe.resident_share)
        self._optimiser = Optimiser(self._runner.network, recipe)
        decay = recipe.extras.ema
        self._average = Average(self._runner.network, decay) if decay else None
        self._settled: float | None = None
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
        trained = _one_epoch(
            runner,
            self._optimiser,
            made,
            rates,
            recipe.label_smoothing,
            mix=partial(draw_mix, recipe.extras, self._size, self._generator),
            stepped=partial(self._stepped, per_epoch),
        )
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

    def _stepped(self, per_epoch: int, steps: int) -> None:
        if self._average is not None:
            self._average.follow(self._runner.network)
        self._on_step(self.done * per_epoch + steps, per_epoch)

    def settle(self) -> None:
        """At the end, give the network the averaged weights, if they are averaged, and statistics that fit them.

        These are of one epoch of training clips, cut as the next one's would be.
        """
        if self._average is None:
            return
        recipe, runner = self._recipe, self._runner
        training, validation = self._data.splits["train"], self._data.splits["val"]
        generator = torch.Generator()
        generator.set_state(self._generator.get_state())
        cuts = training_cuts(self._data, self._frames, self._size, runner.micro, recipe.augment, generator)
        made = _made(batches(training, cuts, runner.micro, runner.device), runner.device, runner.micro)
        with memory(f"{runner.device} as the statistics of the averaged weights were computed"), runner.autocast():
            self._average.settle(runner.network, (runner.normalised(batch.clips, batch.colour) for batch in made))
        probabilities = _probabilities(runner, validation, self._centre, self._size)
        self._known = (self._centre, probabilities)
        self._settled = accuracy(probabilities, validation.labels)

    def result(self) -> Training:
        """What there is by now, with video@1; at least one epoch is done. Does not change the training."""
        runner, validation = self._runner, self._data.splits["val"]
        views = _views(self._recipe, validation, self._frames)
        probabilities = _of_videos(runner, validation, views, self._size, self._known)
        return Training(
            clip_top1=self.curve[-1].clip_top1 if self._settled is None else self._settled,
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

    def weights(self) -> dict[str, torch.Tensor]:
        """Those of the network, and its BatchNorm statistics, by name."""
        return dict(self._runner.network.state_dict())

    def state(self) -> dict[str, Any]:
        """All that ``load`` needs, for ``torch.save``; tensors are shared with the training."""
        return {
            "network": self._runner.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "average": self._average.state_dict() if self._average is not None else None,
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
        if self._average is not None:
            self._average.load_state_dict(state["average"])
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
