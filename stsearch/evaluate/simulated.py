"""Trainings that take time and compute nothing: hundreds of workers on two cores.

``evaluate: {name: simulated, seconds: 2}`` says an accuracy that is a function of the architecture, its seed and the
recipe alone, so what a study should come to is known beforehand, whatever befell its workers. Import this module (or
``stsearch.testing``) to have it.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import Field

from stsearch.evaluate.evaluators import (
    EVALUATORS,
    Evaluation,
    Evaluator,
    OnEpoch,
    Task,
    mean_of,
    training_seed,
)
from stsearch.evaluate.replay import Recorded
from stsearch.interrupt import pause
from stsearch.schema import Strict
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import AnyNetwork

_LEAST, _SPREAD, _TIME = 40.0, 25.0, 2.0
"""Accuracy of the worst network, what chance adds to it at most, and what every group that sees time adds; points"""
_MOST = 99.0


class SimulatedRecipe(Strict):
    """The ``evaluate:`` section for trainings that only take time."""

    name: Literal["simulated"]
    seconds: Annotated[float, Field(ge=0, le=86400)] = 1.0
    """of one training"""
    noise: Annotated[float, Field(ge=0, le=50)] = 1.0
    """points by which trainings of a network differ at most from its expected accuracy"""
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """trainings per network with different seeds; accuracies are their mean"""


def _share(text: str) -> float:
    """A number from 0 to 1 that is a function of ``text``."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12


def accuracy(network: AnyNetwork, seed: int, noise: float) -> float:
    """Video@1, per cent, of the training with ``seed``; of a network of the zoo by its id alone."""
    kinds = (network.stem, *(stage[0] for stage in network.stages)) if isinstance(network, Architecture) else ()
    seen = sum(kind != "2d" for kind in kinds)
    expected = _LEAST + _TIME * seen + _SPREAD * _share(network.id)
    return min(_MOST, max(0.0, expected + noise * (2 * _share(f"{network.id} {seed}") - 1)))


def _evaluated(task: Task, repeats: list[int], on_epoch: OnEpoch) -> Evaluation:
    recipe: SimulatedRecipe = task.recipe
    trainings, seeds = [], []
    for repeat in repeats:
        pause(recipe.seconds)
        seed = training_seed(task.seed, task.architecture, repeat)
        found = accuracy(task.architecture, seed, recipe.noise)
        one = Recorded(
            seed=seed,
            clip_top1=(found,),
            train_loss=(1.0,),
            lr=(0.1,),
            video_top1=found,
            video_top5=100.0,
            per_class=(found,) * len(task.data.classes),
            loss_sum=1.0,
            seconds=recipe.seconds,
            clips_per_second=0.0,
        ).training()
        on_epoch(repeat, one.curve[0])
        trainings.append(one)
        seeds.append(seed)
    return mean_of(tuple(trainings), tuple(seeds), "simulated")


def evaluate_by_simulation(task: Task, on_epoch: OnEpoch) -> Evaluation:
    """Wait ``recipe.seconds`` for each training; ``Interrupted`` at once after Ctrl-C or SIGTERM."""
    return _evaluated(task, list(range(task.recipe.repeats)), on_epoch)


def simulate_again(task: Task, repeat: int, on_epoch: OnEpoch) -> Evaluation:
    """One training with the seed of ``repeat``."""
    return _evaluated(task, [repeat], on_epoch)


EVALUATORS.add("simulated", Evaluator(SimulatedRecipe, evaluate_by_simulation, again=simulate_again))
