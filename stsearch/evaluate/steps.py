"""The steps of an epoch: gradients of a batch, a part of it at a time, and the change of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch.nn import functional

from stsearch.data.loader import Batch
from stsearch.evaluate.mixing import Mix
from stsearch.evaluate.optimiser import Optimiser
from stsearch.evaluate.runner import Runner, memory
from stsearch.evaluate.world import shares
from stsearch.nets.layers import Draws, name_draws

_LOOKED_AT = 64
"""Steps between two looks at whether the loss is finite: each waits for the device."""


@dataclass(frozen=True)
class Step:
    """What a step does with its batch, besides."""

    smoothing: float = 0.0
    mix: Mix | None = None
    seed: int | None = None
    """of what dropouts draw; ``None`` where there are none"""
    clips: int | None = None
    """of the whole batch, of all processes; ``None``: those that are there"""


def accumulate(runner: Runner, batch: Batch, step: Step, micro: int) -> torch.Tensor:
    """Gradients of the mean loss of a batch, ``micro`` clips at a time.

    Gives float64 ``(2,)``: the batch's mean cross-entropy without smoothing, and how many of its clips were right. With
    other processes ``batch`` is this one's share, or the whole of it where clips are mixed, and so is what is found.
    """
    runner.network.zero_grad(set_to_none=True)
    found = torch.zeros(2, device=runner.device, dtype=torch.float64)
    count, behind = step.clips or len(batch.clips), 0
    for place in shares(count, micro, runner.world):
        here = slice(behind, behind + place.stop - place.start)
        behind = here.stop
        if place.start == place.stop and not runner.in_step:
            continue  # no statistics come of nothing
        part = place if step.mix is not None else here
        if step.seed is not None:
            name_draws(runner.network, Draws(step.seed, count, place.start))
        logits, summed = _passed(runner, batch, part, step.mix)
        loss = summed(logits, label_smoothing=step.smoothing) / count
        loss.backward()  # type: ignore[no-untyped-call]
        known = logits.detach()
        plain = loss.detach() if step.smoothing == 0 else summed(known) / count
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


class Ran(NamedTuple):
    """What an epoch of training says of the batches that it trained on."""

    losses: float
    """sum over steps of the batches' mean cross-entropy"""
    steps: int
    clips: int
    right: int
    """clips whose class was the most probable one as they were trained on"""


@dataclass(frozen=True)
class Plan:
    """An epoch before it is run."""

    batches: Iterator[Batch]
    """with other processes, this one's shares"""
    counts: Sequence[int]
    """clips of every batch, of all processes"""
    rates: Sequence[float]
    """learning rate of every step"""
    step: Callable[[int], Step]
    """of a batch of so many clips"""
    stepped: Callable[[int], None] = field(default=lambda steps: None)
    """hears of each step"""


def one_epoch(runner: Runner, optimiser: Optimiser, plan: Plan) -> Ran:
    """Train on the batches of ``plan``, to their end or until the loss is not finite."""
    runner.network.train()
    weights = list(runner.network.parameters())
    found = torch.zeros(2, device=runner.device, dtype=torch.float64)
    steps = clips = 0
    for count, batch in zip(plan.counts, plan.batches, strict=True):
        found += runner.shrinking(partial(accumulate, runner, batch, plan.step(count)))
        runner.world.add_gradients(weights)
        with memory(f"{runner.device} as the weights were changed; `optimizer: sgd` needs least"):
            optimiser.step(plan.rates[steps])
        steps, clips = steps + 1, clips + count
        plan.stepped(steps)
        if steps % _LOOKED_AT == 0 and not math.isfinite(float(runner.world.summed(found)[0])):
            break
    losses, right = runner.world.summed(found).tolist()
    if runner.device.type == "cuda":
        torch.cuda.synchronize(runner.device)
    return Ran(losses, steps, clips, int(right))
