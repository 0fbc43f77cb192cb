"""``EVALUATORS``: ways to say how good an architecture is, and what they report."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal

import torch
from pydantic import AfterValidator, Field
from torch import nn
from typing_extensions import TypeVar

from stsearch.data.videos import ClipData
from stsearch.errors import unknown
from stsearch.evaluate.checkpoint import Keeper, Shelf
from stsearch.evaluate.earlier import as_then
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.results import ACCURACIES, Epoch, Rung, Training
from stsearch.evaluate.scores import SCORES, Subject
from stsearch.evaluate.train import EvaluationFailed, Trainer
from stsearch.evaluate.world import ALONE, World
from stsearch.nets.build import build_plan, scale_branches
from stsearch.registry import Registry
from stsearch.schema import Strict
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import AnyNetwork, ClipShape, blueprint, with_stem
from stsearch.space.cost import cost_of_blueprint


@dataclass(frozen=True)
class Evaluation:
    """What is known of a network after its trainings; accuracies are means over them, per cent."""

    clip_top1: float
    video_top1: float
    video_top5: float
    per_class: tuple[float | None, ...]
    """video@1 of the videos of each class; ``None`` for a class without validation videos"""
    seconds: float
    clips_per_second: float
    trainings: tuple[Training, ...]
    seeds: tuple[int, ...]
    device: str
    clips_trained: int
    """training clips seen in this evaluation; not those that a checkpoint brought"""
    epochs_trained: int
    """epochs of this evaluation, over all repeats; not those that a checkpoint brought"""
    stopped: str = ""
    """why training ended at a rung; empty where it went to its end"""
    order_top1: float | None = None
    """of data with ``ClipData.opposite``, as the next one; see ``stsearch.evaluate.accuracy``"""
    frames_top1: float | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """What may be an objective."""
        found = {name: getattr(self, name) for name in ACCURACIES}
        return {name: value for name, value in found.items() if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a record."""
        return asdict(self)


@dataclass(frozen=True)
class Scored:
    """What is known of a network that was not trained; there is no accuracy."""

    name: str
    """of the score"""
    score: float
    """mean over the seeds, larger is better"""
    scores: tuple[float, ...]
    """one per seed"""
    seconds: float
    seeds: tuple[int, ...]
    """of the initial weights"""
    device: str

    @property
    def metrics(self) -> dict[str, float]:
        """What may be an objective."""
        return {"score": self.score}

    def as_dict(self) -> dict[str, Any]:
        """Plain data for a record."""
        return asdict(self)


def _known_score(given: str) -> str:
    if given not in SCORES:
        raise ValueError(unknown("score", given, SCORES))
    return given


ScoreName = Annotated[str, AfterValidator(_known_score)]
"""One of ``SCORES``."""
LookedAt = Annotated[int, Field(ge=2, le=4096)]
"""Training clips that a score looks at."""


class ScoreRecipe(Strict):
    """The ``evaluate:`` section for a training-free score."""

    name: Literal["score"] = "score"
    score: ScoreName
    """synflow, naswot or entropy"""
    clips: LookedAt = 32
    """training clips to look at, for ``naswot``; the same for all networks of a study"""
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """initial weights; the score is the mean"""


OnEpoch = Callable[[int, Epoch], None]
"""``(repeat from 0, epoch)``"""


@dataclass(frozen=True)
class Reached:
    """A network at a rung."""

    rungs: tuple[Rung, ...]
    """its results at all rungs so far; the last is the one that it has reached"""
    clips: int
    """training clips seen since it was begun or taken up"""
    epochs: int
    """the same in epochs"""


@dataclass(frozen=True)
class Course:
    """What a training that may end early asks of the search, and where it is put away."""

    reached: Callable[[Reached], str | None]
    """told at every rung; why training ends here, or ``None`` to go on"""
    checkpoint: Path
    """file to go on from, if it is there"""
    expected: bool
    """whether it should be there"""
    note: Callable[[str], None]
    """hears what a user should know: that there is no checkpoint, or that none can be written"""


NetworkT = TypeVar("NetworkT", Architecture, AnyNetwork, default=Architecture)


@dataclass(frozen=True)
class Task(Generic[NetworkT]):
    """One network to evaluate. ``architecture`` is the proxy: already scaled in width.

    A study's networks are architectures; the loop itself trains any network, one of the zoo included.
    """

    architecture: NetworkT
    clip: ClipShape
    """of the proxy"""
    data: ClipData
    recipe: Any
    seed: int
    """of the study; the trainings' seeds follow from it and the architecture"""
    device: torch.device
    course: Course | None = None
    """``None``: training goes to its end, and nothing is put away"""
    space: Any = None
    """the search space of the study in the proxy's widths, for evaluators that share weights; opaque here"""
    known: Mapping[int, Training] = field(default_factory=dict)
    """trainings by number that were finished before the evaluation was cut off"""
    world: World = ALONE
    """processes that train it together"""
    keep: Callable[[int, Training], None] | None = None
    """is given every one of several trainings as soon as it has ended"""
    shelf: Shelf | None = None
    """where plain trainings are put away in the middle; ``None``: nowhere"""
    precise: Callable[[str], None] = lambda text: None
    """hears what the precision of a training comes to on this device"""


def _nothing_missing() -> None: ...


@dataclass(frozen=True)
class Evaluator:
    """A recipe model (a section of YAML) and ``run(task, on_epoch)``."""

    recipe: type[Strict]
    run: Callable[[Task[Any], OnEpoch], Evaluation | Scored]
    check: Callable[[], None] = _nothing_missing
    """raises ``UserError`` where something that it needs is not installed; called before a study is begun"""
    again: Callable[[Task, int, OnEpoch], Evaluation] | None = None
    """one training from scratch to the end, with the seed of the repeat of this number (from 0); ``None`` where
    another seed would say nothing new"""
    metrics: tuple[str, ...] = ("video_top1", "clip_top1")
    """what it says of a network; these may be objectives, ``order_top1`` and ``frames_top1`` where data have pairs"""


EVALUATORS: Registry[Evaluator] = Registry("evaluator")


def training_seed(seed: int, architecture: AnyNetwork, repeat: int) -> int:
    """The seed of one training: a function of study seed, architecture and repeat, not of the moment."""
    return _seed_of(f"{seed} {architecture.id} {repeat}")


def _seed_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


def begun(task: Task[Any], repeat: int) -> tuple[nn.Module, torch.Generator]:
    """The network of a task with its first weights, and the generator that all else is drawn from.

    In a ``paired`` recipe that is the same for all networks of the study.
    """
    generator = torch.Generator().manual_seed(training_seed(task.seed, task.architecture, repeat))
    classes = len(task.data.classes)
    least = getattr(task.recipe, "stem_channels", 1)  # a plug-in's recipe may have no such key
    plan = with_stem(blueprint(task.architecture, task.clip, classes), least)
    network = build_plan(plan, generator)
    expected = cost_of_blueprint(plan, task.clip, classes).total.params
    built = sum(parameter.numel() for parameter in network.parameters())
    if built != expected:
        raise EvaluationFailed(f"the closed form says {expected:,} parameters, the built network has {built:,}")
    scale_branches(network, getattr(task.recipe, "residual_scale", 1.0))
    if getattr(task.recipe, "paired", False):
        generator = torch.Generator().manual_seed(_seed_of(f"{task.seed} clips {repeat}"))
    return network, generator


def trainer_of(
    task: Task[Any],
    network: nn.Module,
    generator: torch.Generator,
    on_step: Callable[[int, int], None] = lambda steps, per_epoch: None,
) -> Trainer:
    """A training, at its beginning, of what ``begun`` gave."""
    clip = task.clip
    shape = {"frames": clip.frames, "size": clip.height}
    return Trainer(
        network,
        task.data,
        task.recipe,
        **shape,
        generator=generator,
        device=task.device,
        on_step=on_step,
        world=task.world,
        note=task.precise,
    )


def training_identity(task: Task, repeat: int = 0) -> str:
    """All that a training is a function of, as earlier versions wrote it where they trained like this."""
    recipe = as_then(task.recipe.model_dump(exclude={"trace", "resident_share"}))
    about = [task.architecture.id, str(task.clip), recipe, task.seed, task.data.fingerprint]
    return json.dumps([*about, repeat] if repeat else about, sort_keys=True)


def _train_once(task: Task, repeat: int, on_epoch: OnEpoch) -> Training:
    """One training, which is put away now and then where ``task`` has a shelf for that."""

    def new() -> Trainer:
        return trainer_of(task, *begun(task, repeat))

    shelf, length = task.shelf, task.recipe.length
    if shelf is None:
        trainer = new()
        while trainer.done < length:
            on_epoch(repeat, trainer.epoch())
        return trainer.result()
    keeper = Keeper(shelf, shelf.file(repeat), training_identity(task, repeat), task.architecture.id)
    trainer = keeper.begin(new, length)
    while trainer.done < length:
        with keeper.watching():
            epoch = trainer.epoch()
        on_epoch(repeat, epoch)
        keeper.look(trainer)
    with keeper.watching():
        found = trainer.result()
    keeper.end()
    return found


def _train_or_take(task: Task, repeat: int, on_epoch: OnEpoch, of: int) -> Training:
    if repeat in task.known:
        return task.known[repeat]
    training = _train_once(task, repeat, on_epoch)
    if task.keep is not None and of > 1:
        task.keep(repeat, training)
    return training


def _mean_per_class(trainings: Sequence[Training]) -> tuple[float | None, ...]:
    """Which classes have validation videos is the same for all trainings."""
    columns = zip(*(training.per_class for training in trainings), strict=True)
    known = ([value for value in column if value is not None] for column in columns)
    return tuple(sum(values) / len(values) if values else None for values in known)


def _trained(task: Task, repeats: Sequence[int], on_epoch: OnEpoch) -> Evaluation:
    trainings = tuple(_train_or_take(task, repeat, on_epoch, len(repeats)) for repeat in repeats)
    seeds = tuple(training_seed(task.seed, task.architecture, repeat) for repeat in repeats)
    return mean_of(trainings, seeds, task.device)


def mean_of(trainings: tuple[Training, ...], seeds: tuple[int, ...], device: object) -> Evaluation:
    """The evaluation that says the mean of ``trainings``."""
    count = len(trainings)
    return Evaluation(
        clip_top1=sum(t.clip_top1 for t in trainings) / count,
        video_top1=sum(t.video_top1 for t in trainings) / count,
        video_top5=sum(t.video_top5 for t in trainings) / count,
        per_class=_mean_per_class(trainings),
        seconds=sum(t.seconds for t in trainings),
        clips_per_second=sum(t.clips_per_second for t in trainings) / count,
        trainings=trainings,
        seeds=seeds,
        device=str(device),
        clips_trained=sum(t.clips for t in trainings),
        epochs_trained=sum(len(t.curve) for t in trainings),
        order_top1=_mean([t.order_top1 for t in trainings]),
        frames_top1=_mean([t.frames_top1 for t in trainings]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def evaluate_by_training(task: Task, on_epoch: OnEpoch) -> Evaluation:
    """Train ``recipe.repeats`` times with different seeds; raises ``EvaluationFailed``."""
    return _trained(task, range(task.recipe.repeats), on_epoch)


def train_again(task: Task, repeat: int, on_epoch: OnEpoch) -> Evaluation:
    """One training with the seed of ``repeat``; raises ``EvaluationFailed``."""
    return _trained(task, [repeat], on_epoch)


EVALUATORS.add("train", Evaluator(TrainRecipe, evaluate_by_training, again=train_again, metrics=ACCURACIES))


def subject_of(task: Task, repeat: int, clips: int) -> Subject:
    """``task`` as scores see it: weights as for its training number ``repeat``, clips as for all networks."""
    weights = training_seed(task.seed, task.architecture, repeat)
    return Subject(task.architecture, task.clip, task.data, weights, task.seed, clips, task.device)


def evaluate_by_score(task: Task, on_epoch: OnEpoch) -> Scored:
    """Score ``recipe.repeats`` initial weights; raises ``EvaluationFailed`` where a score is not finite."""
    recipe: ScoreRecipe = task.recipe
    begun = time.perf_counter()
    subjects = [subject_of(task, repeat, recipe.clips) for repeat in range(recipe.repeats)]
    scores = tuple(SCORES[recipe.score](subject) for subject in subjects)
    if not all(map(math.isfinite, scores)):
        raise EvaluationFailed(f"the score {recipe.score} is {', '.join(map(str, scores))}")
    return Scored(
        name=recipe.score,
        score=sum(scores) / len(scores),
        scores=scores,
        seconds=time.perf_counter() - begun,
        seeds=tuple(subject.weights_seed for subject in subjects),
        device=str(task.device),
    )


EVALUATORS.add("score", Evaluator(ScoreRecipe, evaluate_by_score, metrics=("score",)))
