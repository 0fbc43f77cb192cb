"""Trainings put away in the middle, so that a kill costs minutes: whole files, and what they are of is compared.

A training that goes on from its file gives what one without a break gives; on CPU bit for bit.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from stsearch.errors import WorldError
from stsearch.evaluate.train import Trainer
from stsearch.evaluate.weights import write_whole

EVERY_S = 60.0
"""Seconds of training between two files, where nobody says otherwise: shorter trainings are never put away"""


def taken_up(new: Callable[[], Trainer], file: Path, of: str, note: Callable[[str], None]) -> Trainer:
    """A new training at the epoch at which ``file`` was written, if it is ``of`` the same training; else at 0.

    ``note`` hears that a file is of no use.
    """
    trainer = new()
    if not file.is_file():
        return trainer
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        if state["of"] != of:
            raise ValueError("it is of another training")
        trainer.load(state)
    except Exception as error:  # a broken pickle raises anything; a training that begins anew is right in any case
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        note(f"the checkpoint {file} is of no use ({reason}): trained from the beginning")
        del trainer  # two would be in memory
        return new()
    return trainer


def put_away(trainer: Trainer, file: Path, of: str) -> None:
    """Write ``file``, whole or not at all; where that raises ``OSError``, an older one stays."""
    kept = io.BytesIO()
    torch.save({"of": of, **trainer.state()}, kept)
    write_whole(file, kept.getbuffer())


@dataclass(frozen=True)
class Shelf:
    """Where the trainings of one network are put away while they last."""

    stem: Path
    """their files begin so; a training's number follows"""
    note: Callable[[str], None]
    every_s: float = EVERY_S
    """0: after every epoch"""

    def file(self, repeat: int) -> Path:
        """Of one training."""
        return self.stem.with_name(f"{self.stem.name}-{repeat}.pt")


@dataclass
class Keeper:
    """Puts one training away now and then, and clears up behind it."""

    shelf: Shelf
    file: Path
    of: str
    """all that the training is a function of"""
    name: str
    """of its network"""
    last: float = field(default_factory=time.monotonic)
    told: bool = False

    def begin(self, new: Callable[[], Trainer], length: int) -> Trainer:
        """The training, taken up where its file says, which ``shelf.note`` hears."""
        trainer = taken_up(new, self.file, self.of, self.shelf.note)
        if trainer.done:
            self.shelf.note(f"{self.name} goes on after epoch {trainer.done} of {length}")
        return trainer

    def look(self, trainer: Trainer) -> None:
        """After an epoch: put the training away if it is time; a disk that is full is told once."""
        if time.monotonic() - self.last < self.shelf.every_s:
            return
        try:
            put_away(trainer, self.file, self.of)
        except OSError as error:
            if not self.told:
                text = "if this training is cut off, it begins anew"
                self.shelf.note(f"cannot write the checkpoint {self.file}: {error.strerror}; {text}")
            self.told = True
        self.last = time.monotonic()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """What fails within would fail again from its file, which is removed; not what the world did to it."""
        try:
            yield
        except (WorldError, OSError):
            raise
        except Exception:  # of a kind or a driver, of any class: it goes on to whoever asked
            self.end()
            raise

    def end(self) -> None:
        """Remove the file, and the last one's folder; what cannot be removed is left."""
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)
            self.file.parent.rmdir()
