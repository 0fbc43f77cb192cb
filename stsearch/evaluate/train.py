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
from typing import Any

import torch
from torch import nn

from stsearch.data.augment import Cuts, View, evaluation_views, training_cuts, view_cuts
from stsearch.data.loader import Batch, batches, resident
from stsearch.data.videos import ClipData, VideoSet
from stsearch.evaluate.accuracy import accuracy, cross_entropy, predictions, video_accuracies
from stsearch.evaluate.averaging import Average
from stsearch.evaluate.mixing import draw_mix
from stsearch.evaluate.optimiser import Optimiser
from stsearch.evaluate.recipe import LoopRecipe, TrainRecipe, learning_rate
from stsearch.evaluate.results import Epoch, Rung, Training
from stsearch.evaluate.runner import EvaluationFailed, Runner, in_step, memory
from stsearch.evaluate.sound import make_right
from stsearch.evaluate.steps import Plan, Step, one_epoch
from stsearch.evaluate.world import ALONE, World, own_clips
from stsearch.interrupt import check
from stsearch.nets.layers import StepDropout, name_draws
from stsearch.nets.sync import synchronise

__all__ = ["EvaluationFailed", "Trainer", "train", "video_probabilities"]


def _probabilities(runner: Runner, videos: VideoSet, view: View, size: int) -> torch.Tensor:
    """Softmax ``(V, classes)`` of one clip per video, on the CPU; every process computes its share."""
    own = runner.world.share(len(videos))
    cuts = view_cuts(videos, view, size).part(own.start, own.stop)

    def work(micro: int) -> torch.Tensor:
        parts = [torch.empty(0, runner.classes, device=runner.device)]
        for batch in batches(videos, cuts, micro, runner.device):
            check()
            parts.append(runner.logits(batch.clips).softmax(1))
        return torch.cat(parts).cpu()

    runner.network.eval()
    with torch.inference_mode():
        return runner.world.gathered(runner.shrinking(work), len(videos))


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
        world: World = ALONE,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._before, self._on_step = 0.0, on_step
        self._recipe, self._frames, self._size, self._generator = recipe, frames, size, generator
        self._drops = any(isinstance(module, StepDropout) for module in network.modules())
        if world.size > 1 and in_step(recipe, world):
            synchronise(network)
        self._runner = Runner(network, data, recipe, device, world)
        sizes = (data.channels, frames, size, size)
        self._sound = make_right(self._runner.network, sizes, self._runner.micro, self._runner.precision, device)
        if self._sound:
            note(self._sound)
        self._clock = time.perf_counter()  # a probe is no part of a training
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
        validation = self._data.splits["val"]
        plan = self._plan()
        trained = one_epoch(runner, self._optimiser, plan)
        self._meet()
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
                lr=plan.rates[-1],
                train_loss=mean,
                clip_top1=accuracy(probabilities, validation.labels),
                seconds=time.perf_counter() - begun,
                train_top1=100.0 * trained.right / max(1, trained.clips),
                val_loss=cross_entropy(probabilities, validation.labels),
                steps=trained.steps,
            )
        )
        return self.curve[-1]

    def _plan(self) -> Plan:
        """The next epoch: its batches, of which this process has a share, and what is done with them."""
        recipe, runner, training = self._recipe, self._runner, self._data.splits["train"]
        per_epoch = -(-len(training) // recipe.batch)
        cuts = training_cuts(self._data, self._frames, self._size, recipe.batch, recipe.augment, self._generator)
        counts = [min(recipe.batch, len(cuts) - begin) for begin in range(0, len(cuts), recipe.batch)]
        whole = runner.world.size == 1 or recipe.extras.mixes  # a clip's neighbour may be another process's
        return Plan(
            self._made(cuts, recipe.batch) if whole else self._shares(cuts, recipe.batch),
            counts,
            [learning_rate(recipe, self.done * per_epoch + step, per_epoch) for step in range(per_epoch)],
            self._step,
            partial(self._stepped, per_epoch),
        )

    def _made(self, cuts: Cuts, batch: int) -> Iterator[Batch]:
        """Batches of ``cuts``; ``EvaluationFailed`` if memory runs out while one is made."""
        device = self._runner.device
        with memory(f"{device} before a batch of {batch} clips was made; a smaller batch needs less"):
            yield from batches(self._data.splits["train"], cuts, batch, device)

    def _shares(self, cuts: Cuts, batch: int) -> Iterator[Batch]:
        """This process's clips of every batch of ``cuts``; of the last there may be none."""
        world, micro, count = self._runner.world, self._runner.micro, len(cuts)
        size = len(own_clips(min(batch, count), batch, micro, world))
        own = cuts.chosen(own_clips(count, batch, micro, world))
        made: Batch | None = None
        for made in self._made(own, size):
            yield made
        if made is not None and -(-len(own) // size) < -(-count // batch):
            yield Batch(made.clips[:0], made.labels[:0], None if made.colour is None else made.colour[:0])

    def _step(self, clips: int) -> Step:
        recipe = self._recipe
        mix = draw_mix(recipe.extras, self._size, self._generator)
        seed = int(torch.randint(2**62, (), generator=self._generator)) if self._drops else None
        return Step(recipe.label_smoothing, mix, seed, clips)

    def _meet(self) -> None:
        """Where every process has BatchNorm statistics of its own, all go on with their mean."""
        if not self._runner.in_step:
            self._runner.world.average([one for one in self._runner.network.buffers() if one.is_floating_point()])

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
        recipe, runner, validation = self._recipe, self._runner, self._data.splits["val"]
        generator = torch.Generator()
        generator.set_state(self._generator.get_state())
        cuts = training_cuts(self._data, self._frames, self._size, runner.micro, recipe.augment, generator)
        parts = (self._made if runner.world.size == 1 else self._shares)(cuts, runner.micro)
        name_draws(runner.network, None)  # those of the last step are of its batch
        made = (batch for batch in parts if len(batch.labels) or runner.in_step)
        with memory(f"{runner.device} as the statistics of the averaged weights were computed"), runner.autocast():
            self._average.settle(runner.network, (runner.normalised(batch.clips, batch.colour) for batch in made))
        self._meet()
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
            precision=self._sound or self._runner.precision,
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
