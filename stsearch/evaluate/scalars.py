"""Learning curves for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from stsearch.evaluate.results import Epoch


class Scalars:
    """Writes the points of a curve into ``folder``; a disk that refuses them ends no training. A context manager."""

    def __init__(self, folder: Path, done: int, note: Callable[[str], None]) -> None:
        from torch.utils.tensorboard import SummaryWriter  # a second that only trainings wait for

        self._note = note
        self._writer: SummaryWriter | None = None
        try:
            # points after the last whole epoch are of a training that was killed: they are hidden
            self._writer = SummaryWriter(str(folder), purge_step=done + 1)
        except OSError as error:
            self._give_up(error)

    def add(self, epoch: Epoch) -> None:
        """One more point of each curve."""
        points = {
            "loss/training": epoch.train_loss,
            "loss/validation": epoch.val_loss,
            "top1/training": epoch.train_top1,
            "top1/validation_clips": epoch.clip_top1,
            "learning_rate": epoch.lr,
        }
        if self._writer is None:
            return
        try:
            for name, value in points.items():
                if value is not None:
                    self._writer.add_scalar(name, value, epoch.epoch)
            self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._writer = None
        self._note(f"curves for TensorBoard cannot be written: {error.strerror or error}; training goes on")

    def __enter__(self) -> Scalars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as fault:
                self._give_up(fault)
