"""Training that may end at a rung and go on from there later: ``evaluate: {name: halving}``.

Who ends is the search's to say (``Task.course``, by the rule of ``stsearch.stats.rungs``). A
training that goes on from its checkpoint gives what one without a break gives; on CPU bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from stsearch.evaluate.checkpoint import put_away, taken_up
from stsearch.evaluate.evaluators import (
    EVALUATORS,
    Evaluation,
    Evaluator,
    OnEpoch,
    Reached,
    Task,
    begun,
    mean_of,
    train_again,
    trainer_of,
    training_identity,
    training_seed,
)
from stsearch.evaluate.recipe import Count, LoopRecipe, TrainRecipe
from stsearch.evaluate.results import ACCURACIES, Rung, Training
from stsearch.evaluate.train import Trainer


class HalvingRecipe(LoopRecipe):
    """The ``evaluate:`` section for successive halving; one training per network."""

    MEANT: ClassVar[Mapping[str, str]] = {"epochs": "rungs"}
    name: Literal["halving"] = "halving"
    rungs: Annotated[list[Count], Field(min_length=2)] = [1, 3, 9]
    """epochs at which a network is compared; at the last one its training is whole"""
    reduction: Annotated[int, Field(ge=2, le=1000)] = 3
    """of the networks at a rung one in so many goes on, and besides those that none beats at its cost"""
    tolerance: Annotated[float, Field(ge=0, le=100)] | Literal["auto"] = "auto"
    """points by which another one must be better to count; ``auto``: one standard error of the accuracy"""

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, given: list[int]) -> list[int]:
        if any(later <= earlier for earlier, later in pairwise(given)):
            raise ValueError(f"should be epochs, each more than the one before; given {given}")
        return given

    @property
    def length(self) -> int:
        """The last rung: accuracy at an earlier one is a point of the whole training's curve."""
        return self.rungs[-1]

    @property
    def whole(self) -> TrainRecipe:
        """Plain training of so many epochs, which a network that reaches the last rung has had."""
        return TrainRecipe.model_validate(
            {"epochs": self.length} | {name: getattr(self, name) for name in LoopRecipe.model_fields}
        )


def evaluate_by_halving(task: Task, on_epoch: OnEpoch) -> Evaluation:
    """Train from rung to rung until the search says that it is enough; raises ``EvaluationFailed``."""
    recipe: HalvingRecipe = task.recipe
    trainer = _taken_up(task)
    before = trainer.done
    why = _told(task, trainer, before) if before else None
    found: Training | None = None
    while why is None and trainer.done < recipe.length:
        on_epoch(0, trainer.epoch())
        if trainer.done in recipe.rungs:
            found = trainer.result()
            trainer.rungs.append(_rung(trainer.done, found))
            _put_away(task, trainer)
            why = _told(task, trainer, before)
    training = replace(found, rungs=tuple(trainer.rungs)) if found is not None else trainer.result()
    seed = training_seed(task.seed, task.architecture, 0)
    return replace(
        mean_of((training,), (seed,), task.device),
        clips_trained=trainer.fresh,
        epochs_trained=trainer.done - before,
        stopped=why or "",
    )


def _rung(epoch: int, found: Training) -> Rung:
    return Rung(epoch, found.clip_top1, found.video_top1, found.order_top1, found.frames_top1)


def train_whole_again(task: Task, repeat: int, on_epoch: OnEpoch) -> Evaluation:
    """One training to the last rung with the seed of ``repeat``; raises ``EvaluationFailed``."""
    return train_again(replace(task, recipe=task.recipe.whole), repeat, on_epoch)


def _told(task: Task, trainer: Trainer, before: int) -> str | None:
    """Why the training ends at the rung that it has reached, if it does."""
    if task.course is None:
        return None
    return task.course.reached(Reached(tuple(trainer.rungs), trainer.fresh, trainer.done - before))


def _new(task: Task) -> Trainer:
    return trainer_of(task, *begun(task, 0))


def _taken_up(task: Task) -> Trainer:
    """A training at its last rung if its checkpoint is there, else at its beginning, with a note if that is a pity."""
    course = task.course
    if course is None:
        return _new(task)
    if course.expected and not course.checkpoint.is_file():
        course.note(f"no checkpoint {course.checkpoint} on this machine: trained from the beginning")
    return taken_up(partial(_new, task), course.checkpoint, training_identity(task), course.note)


def _put_away(task: Task, trainer: Trainer) -> None:
    """Write the checkpoint; where it cannot be written, the older one stays."""
    if task.course is None:
        return
    try:
        put_away(trainer, task.course.checkpoint, training_identity(task))
    except OSError as error:
        task.course.note(
            f"cannot write the checkpoint {task.course.checkpoint}: {error.strerror}; if {task.architecture.id} is "
            "stopped and goes on later, it does so from an earlier one or from the beginning"
        )


EVALUATORS.add("halving", Evaluator(HalvingRecipe, evaluate_by_halving, again=train_whole_again, metrics=ACCURACIES))
