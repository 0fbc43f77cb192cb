"""The chosen network trained to the end, in a folder of its own: ``checkpoint.pt``, ``weights.pt``, ``record.json``.

It is the training loop of the search. A training that was killed goes on from its last whole epoch, and on a CPU ends
with the same weights, bit for bit.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from stsearch.errors import UserError, WorldError, brief
from stsearch.evaluate.evaluators import Task, begun, trainer_of
from stsearch.evaluate.results import Epoch, Training
from stsearch.evaluate.runner import in_step
from stsearch.evaluate.scalars import Scalars
from stsearch.evaluate.train import EvaluationFailed, Trainer
from stsearch.evaluate.warm import Start
from stsearch.evaluate.weights import About, Weights, write_weights, write_whole
from stsearch.nets.tensors import WEIGHTS, load_torch
from stsearch.profiling.allocator import keep_memory
from stsearch.texts import read_json

CHECKPOINT, RECORD, SCALARS, LOCK = "checkpoint.pt", "record.json", "tensorboard", ".lock"
_OURS = re.compile(rf"{CHECKPOINT}|{WEIGHTS}|{RECORD}|{SCALARS}|.*\.part|\..*")
"""What may lie in a folder before a training begins: parts of one that was killed, and hidden files."""
_AS_THEY_ARE = {"trace", "resident_share", "sync_norm"}
"""Keys of a recipe that change no result; the last one does where it is false, see ``identity``."""


@dataclass(frozen=True)
class Heard:
    """Who is told how a training goes."""

    step: Callable[[int, int], None] = lambda done, of: None
    """``(steps done, of)``"""
    epoch: Callable[[Epoch], None] = lambda epoch: None
    note: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Finished:
    """A training that reached its end."""

    about: About
    training: Mapping[str, Any]
    """the fields of ``Training``"""
    fresh: bool
    """whether anything was trained now; else the folder held it already"""


def identity(task: Task[Any], start: Start | None) -> dict[str, Any]:
    """All that a training is a function of."""
    return {
        "architecture": task.architecture.id,
        "clip": str(task.clip),
        "recipe": task.recipe.model_dump(exclude=_AS_THEY_ARE),
        "seed": task.seed,
        "data": task.data.fingerprint,
        "weights": start.digest if start else None,
        # with statistics of their own, another number of processes is another training
        "processes": None if in_step(task.recipe, task.world) else task.world.size,
    }


def check_folder(folder: Path) -> None:
    """``UserError`` where a training's folder, or what should hold it, is a file, and where it holds other things."""
    for place in (folder, *folder.parents):
        with _writing(place):
            if place.exists() and not place.is_dir():
                raise NotADirectoryError
    with _writing(folder):
        strange = sorted(one.name for one in folder.glob("*") if not _OURS.fullmatch(one.name))
    if strange and not any((folder / name).exists() for name in (RECORD, CHECKPOINT)):
        names = ", ".join(map(brief, strange[:3])) + ", ..." * (len(strange) > 3)
        raise UserError(f"--out {folder}: holds {names}, and no training; name a new or empty folder")


def train_whole(task: Task[Any], folder: Path, about: About, start: Start | None, heard: Heard) -> Finished:
    """Train ``task`` into ``folder``, or go on there; ``about`` is completed with what was found.

    Raises ``UserError`` where the folder holds another training or is used by another process, ``WorldError`` where
    it cannot be written, ``EvaluationFailed`` with the reason where training cannot go on.
    """
    _refuse_too_many(task)
    keep_memory(task.device)
    task = replace(task, precise=heard.note if task.world.first else task.precise)
    if not task.world.first:
        return _followed(task, about)
    with _own(folder):
        of = identity(task, start)
        known = _finished(folder, of)
        if known is not None:
            task.world.told(b"")
            return known
        trainer = _taken_up(task, folder, of, start, heard)
        task.world.told(_state(of, trainer))
        try:
            with Scalars(folder / SCALARS, trainer.done, heard.note) as scalars:
                while trainer.done < task.recipe.length:
                    epoch = trainer.epoch()
                    _put_away(folder, of, trainer)
                    scalars.add(epoch)
                    heard.epoch(epoch)
        except EvaluationFailed as error:
            kept = f"{folder / CHECKPOINT} holds the state after epoch {trainer.done}"
            raise EvaluationFailed(f"{error}; {kept}") from None
        trainer.settle()
        return _written(folder, of, about, trainer)


def _refuse_too_many(task: Task[Any]) -> None:
    """``UserError`` where a process would have nothing to do."""
    least = min(task.recipe.extras.micro_batch or task.recipe.batch, len(task.data.splits["train"]))
    if task.world.size > least:
        raise UserError(
            f"{task.world.size} processes share {least} clips at a time (of evaluate.batch, evaluate.micro_batch and "
            "the training videos the least); there is at least one for each"
        )


def _followed(task: Task[Any], about: About) -> Finished:
    """The same training in a process beside the first one, which alone reads and writes the folder."""
    content = task.world.told(b"")
    if not content:
        return Finished(about, {}, fresh=False)
    trainer = trainer_of(task, *begun(task, 0))
    trainer.load(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["state"])
    while trainer.done < task.recipe.length:
        trainer.epoch()
    trainer.settle()
    return Finished(about, asdict(trainer.result()), fresh=True)


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """The folder is there and nobody else trains into it."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        with _writing(folder):
            lock.acquire()
    except Timeout:
        raise UserError(f"another process trains into {folder}; wait for its end or give another --out") from None
    try:
        for part in folder.glob("*.part"):  # of one that was killed
            part.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"--out {folder}: there is a file of that name; expected a folder") from None
    except Timeout:
        raise
    except OSError as error:
        raise WorldError(
            f"cannot write into {folder}: {error.strerror or error}. Mend that; what is there is whole, and the same "
            "command goes on from it"
        ) from None


def _finished(folder: Path, of: Mapping[str, Any]) -> Finished | None:
    """What the folder holds already; ``UserError`` if that is another training."""
    if not (folder / RECORD).is_file():
        return None
    record = read_json(folder / RECORD, "cannot read the record of a training: ")
    try:
        _refuse_other(folder, record["of"], of)
        plain = record["about"]
        about = About(**{**plain, **{key: tuple(plain[key]) for key in ("classes", "mean", "std")}})
        return Finished(about, record["training"], fresh=False)
    except (KeyError, TypeError):
        raise UserError(f"{folder / RECORD} is no record of a training; give another --out") from None


def _refuse_other(folder: Path, kept: Mapping[str, Any], of: Mapping[str, Any]) -> None:
    plain = json.loads(json.dumps(of))
    changed = [f"{key}: {brief(kept.get(key))} -> {brief(plain[key])}" for key in plain if kept.get(key) != plain[key]]
    if changed:
        lines = "".join(f"\n  {line}" for line in _told(kept, plain) or changed)
        raise UserError(f"{folder} holds another training; give another --out, or the settings of that one:{lines}")


def _told(kept: Mapping[str, Any], plain: Mapping[str, Any], path: str = "") -> list[str]:
    lines: list[str] = []
    for key, value in plain.items():
        before = kept.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            lines += _told(before, value, f"{path}{key}.")
        elif before != value:
            lines.append(f"{path}{key}: {brief(before)} -> {brief(value)}")
    return lines


def _taken_up(task: Task[Any], folder: Path, of: Mapping[str, Any], start: Start | None, heard: Heard) -> Trainer:
    """The training as its checkpoint has it, or at its beginning, with a checkpoint of that."""
    network, generator = begun(task, 0)
    kept = _checkpoint(folder, of)
    if kept is None and start is not None:
        start.put(network)
        for note in start.notes:
            heard.note(note)
    total = task.recipe.length
    trainer = trainer_of(task, network, generator, lambda steps, per_epoch: heard.step(steps, total * per_epoch))
    if kept is None:
        _put_away(folder, of, trainer)
        return trainer
    trainer.load(kept)
    if trainer.done:
        heard.note(f"goes on after epoch {trainer.done} of {total}")
    return trainer


def _checkpoint(folder: Path, of: Mapping[str, Any]) -> dict[str, Any] | None:
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    kept = load_torch(path)
    try:
        _refuse_other(folder, json.loads(kept["of"]), of)
        state: dict[str, Any] = kept["state"]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{path} is no checkpoint of a training; remove it or give another --out") from None
    return state


def _put_away(folder: Path, of: Mapping[str, Any], trainer: Trainer) -> None:
    content = _state(of, trainer)
    with _writing(folder):
        write_whole(folder / CHECKPOINT, memoryview(content))


def _state(of: Mapping[str, Any], trainer: Trainer) -> bytes:
    kept = io.BytesIO()
    torch.save({"of": json.dumps(of), "state": trainer.state()}, kept)
    return kept.getvalue()


def _written(folder: Path, of: Mapping[str, Any], about: About, trainer: Trainer) -> Finished:
    """The weights, then the record that says that they are whole."""
    training = trainer.result()
    whole = replace(about, record=_figures(training))
    with _writing(folder):
        write_weights(folder / WEIGHTS, Weights(whole, trainer.weights()))
        record = {"of": of, "about": whole.as_dict(), "training": asdict(training)}
        write_whole(folder / RECORD, memoryview(f"{json.dumps(record, indent=1)}\n".encode()))
    return Finished(whole, asdict(training), fresh=True)


def _figures(training: Training) -> dict[str, Any]:
    names = ("clip_top1", "video_top1", "video_top5", "order_top1", "frames_top1", "clips")
    found = {name: getattr(training, name) for name in names}
    return {**{name: value for name, value in found.items() if value is not None}, "epochs": len(training.curve)}
