"""Trainings that were run once and are looked up ever after: the table of a whole space.

``evaluate: {name: replay, table: FILE}`` searches it in milliseconds a network. Import this module
(or ``stsearch.testing``) to have it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from stsearch.errors import UserError, brief
from stsearch.evaluate.earlier import as_begun
from stsearch.evaluate.evaluators import EVALUATORS, Evaluation, Evaluator, OnEpoch, Task, mean_of
from stsearch.evaluate.results import ACCURACIES, Epoch, Training
from stsearch.evaluate.train import EvaluationFailed
from stsearch.schema import Strict
from stsearch.texts import parse_json, path_of, read_bytes, unpacked

FORMAT = 1


@dataclass(frozen=True)
class Recorded:
    """One training of one network."""

    seed: int
    """of the training"""
    clip_top1: tuple[float, ...]
    """validation after each epoch, per cent"""
    train_loss: tuple[float, ...]
    """mean of each epoch, nats per clip"""
    lr: tuple[float, ...]
    """at the end of each epoch"""
    video_top1: float
    video_top5: float
    per_class: tuple[float | None, ...]
    loss_sum: float
    seconds: float
    clips_per_second: float
    clips: int = 0
    """training clips seen; 0 where the record does not say"""
    order_top1: float | None = None
    """``None`` where the record does not say, as the next one"""
    frames_top1: float | None = None

    @classmethod
    def of(cls, seed: int, training: Mapping[str, Any]) -> Recorded:
        """From what a trial's record keeps of a training."""
        curve = training["curve"]
        known = {field.name: training[field.name] for field in fields(cls) if field.name in training}
        columns = {name: tuple(epoch[name] for epoch in curve) for name in ("clip_top1", "train_loss", "lr")}
        return cls(**{**known, **columns, "seed": seed, "per_class": tuple(training["per_class"])})

    def training(self) -> Training:
        """As the training loop would have returned it; epochs share its seconds evenly."""
        each = self.seconds / len(self.clip_top1)
        rows = zip(self.lr, self.train_loss, self.clip_top1, strict=True)
        return Training(
            clip_top1=self.clip_top1[-1],
            video_top1=self.video_top1,
            video_top5=self.video_top5,
            per_class=self.per_class,
            curve=tuple(Epoch(number, *row, each) for number, row in enumerate(rows, 1)),
            loss_sum=self.loss_sum,
            seconds=self.seconds,
            clips_per_second=self.clips_per_second,
            micro_batch=0,
            confusion=(),
            residence="looked up",
            clips=self.clips,
            order_top1=self.order_top1,
            frames_top1=self.frames_top1,
        )


@dataclass(frozen=True)
class Table:
    """Trainings of many networks with one recipe."""

    about: Mapping[str, Any]
    """``identity`` of the study that they are of (space, inputs, data, recipe) and ``provenance`` of its pieces"""
    trainings: Mapping[str, tuple[Recorded, ...]]
    """by the architecture's id; different seeds"""

    def write(self, path: Path) -> None:
        """As compressed JSON; the same table gives the same bytes."""
        rows = {name: [_row(one) for one in some] for name, some in sorted(self.trainings.items())}
        text = json.dumps({"format": FORMAT, "about": self.about, "trainings": rows}, separators=(",", ":"))
        path.write_bytes(gzip.compress(text.encode(), mtime=0))


@lru_cache(maxsize=4)
def read_table(path: Path) -> Table:
    """What ``Table.write`` wrote; ``UserError`` for anything else."""
    before = f"cannot read the table {path}: "
    packed = read_bytes(path, before)
    try:
        plain = unpacked(packed)
    except ValueError as error:
        raise UserError(f"{before}{error}") from None
    try:
        content = parse_json(plain.decode())
        if content["format"] != FORMAT:
            raise UserError(f"{path}: a table of format {brief(content['format'])}; this version reads {FORMAT}")
        rows = {name: tuple(_recorded(row) for row in some) for name, some in content["trainings"].items()}
        return Table(content["about"], rows)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is no table of trainings") from None


def _row(one: Recorded) -> dict[str, Any]:
    """What a table keeps of a training: what is not known is left out, so that older versions read it too."""
    return {name: value for name, value in asdict(one).items() if value is not None}


def _recorded(row: Mapping[str, Any]) -> Recorded:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    return Recorded(**values)


def merged(tables: Iterable[Table]) -> Table:
    """One table of several pieces; a training that is in two of them counts once.

    Raises ``UserError`` if they are not of one recipe; seeds of studies may differ.
    """
    about: dict[str, Any] = {}
    trainings: dict[str, dict[int, Recorded]] = {}
    for table in tables:
        begun = table.about["identity"]
        mine = {**begun, "evaluate": as_begun(begun["evaluate"]), "seed": None}
        if about.setdefault("identity", mine) != mine:
            other = {key: value for key, value in mine.items() if about["identity"].get(key) != value}
            raise UserError(f"tables of different studies do not merge; they differ in {', '.join(other)}")
        about["provenance"] = list(
            {json.dumps(one): one for one in [*about.get("provenance", []), *table.about["provenance"]]}.values()
        )
        for name, some in table.trainings.items():
            trainings.setdefault(name, {}).update({one.seed: one for one in some})
    if not about:
        raise UserError("there is no table to merge")
    return Table(about, {name: tuple(some.values()) for name, some in trainings.items()})


class ReplayRecipe(Strict):
    """The ``evaluate:`` section for looking trainings up."""

    name: Literal["replay"]
    table: str
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """trainings of a network that count, in the order of the table"""


def evaluate_by_replay(task: Task, on_epoch: OnEpoch) -> Evaluation:
    """The recorded trainings of ``task.architecture``; ``EvaluationFailed`` where there are too few."""
    recipe: ReplayRecipe = task.recipe
    name = replace(task.architecture, width=1.0).id
    found = read_table(path_of(recipe.table, "evaluate.table: ")).trainings.get(name, ())
    if len(found) < recipe.repeats:
        raise EvaluationFailed(f"{recipe.table} has {len(found)} trainings of {name}; {recipe.repeats} are asked for")
    chosen = found[: recipe.repeats]
    trainings = tuple(one.training() for one in chosen)
    for repeat, training in enumerate(trainings):
        for epoch in training.curve:
            on_epoch(repeat, epoch)
    return mean_of(trainings, tuple(one.seed for one in chosen), "a table")


EVALUATORS.add("replay", Evaluator(ReplayRecipe, evaluate_by_replay, metrics=ACCURACIES))
