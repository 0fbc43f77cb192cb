"""``EVALUATORS``: ways to say how good an architecture is, and what they report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from stsearch.data.videos import ClipData
from stsearch.evaluate.train import Epoch, EvaluationFailed, Training, TrainRecipe, train
from stsearch.nets.build import build
from stsearch.registry import Registry
from stsearch.schema import Strict
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost


@dataclass(frozen=True)
class Evaluation:
    """What is known of a network after its trainings; accuracies are means over them, per cent."""

    clip_top1: float
    video_top1: float
    seconds: float
    clips_per_second: float
    trainings: tuple[Training, ...]
    seeds: tuple[int, ...]
    device: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a record."""
        return asdict(self)


OnEpoch = Callable[[int, Epoch], None]
"""``(repeat from 0, epoch)``"""


@dataclass(frozen=True)
class Task:
    """One network to evaluate. ``architecture`` is the proxy: already scaled in width."""

    architecture: Architecture
    clip: ClipShape
    """of the proxy"""
    data: ClipData
    recipe: Any
    seed: int
    """of the study; the trainings' seeds follow from it and the architecture"""
    device: torch.device


@dataclass(frozen=True)
class Evaluator:
    """A recipe model (a section of YAML) and ``run(task, on_epoch) -> Evaluation``."""

    recipe: type[Strict]
    run: Callable[[Task, OnEpoch], Evaluation]


EVALUATORS: Registry[Evaluator] = Registry("evaluator")


def training_seed(seed: int, architecture: Architecture, repeat: int) -> int:
    """The seed of one training: a function of study seed, architecture and repeat, not of the moment."""
    digest = hashlib.sha256(f"{seed} {architecture.id} {repeat}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def _train_once(task: Task, repeat: int, on_epoch: OnEpoch) -> Training:
    generator = torch.Generator().manual_seed(training_seed(task.seed, task.architecture, repeat))
    classes = len(task.data.classes)
    network = build(task.architecture, task.clip, classes, generator=generator)
    expected = network_cost(task.architecture, task.clip, classes).total.params
    built = sum(parameter.numel() for parameter in network.parameters())
    if built != expected:
        raise EvaluationFailed(f"the closed form says {expected:,} parameters, the built network has {built:,}")
    return train(
        network,
        task.data,
        task.recipe,
        frames=task.clip.frames,
        size=task.clip.height,
        generator=generator,
        device=task.device,
        on_epoch=lambda epoch: on_epoch(repeat, epoch),
    )


def evaluate_by_training(task: Task, on_epoch: OnEpoch) -> Evaluation:
    """Train ``recipe.repeats`` times with different seeds; raises ``EvaluationFailed``."""
    recipe: TrainRecipe = task.recipe
    trainings = tuple(_train_once(task, repeat, on_epoch) for repeat in range(recipe.repeats))
    count = len(trainings)
    return Evaluation(
        clip_top1=sum(t.clip_top1 for t in trainings) / count,
        video_top1=sum(t.video_top1 for t in trainings) / count,
        seconds=sum(t.seconds for t in trainings),
        clips_per_second=sum(t.clips_per_second for t in trainings) / count,
        trainings=trainings,
        seeds=tuple(training_seed(task.seed, task.architecture, repeat) for repeat in range(count)),
        device=str(task.device),
    )


EVALUATORS.add("train", Evaluator(TrainRecipe, evaluate_by_training))
