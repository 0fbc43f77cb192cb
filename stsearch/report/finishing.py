"""What the training of a chosen network shows, on stderr while it runs and on stdout at its end."""

from __future__ import annotations

import time

from rich.console import Console

from stsearch.evaluate.finish import Finished
from stsearch.evaluate.results import Epoch
from stsearch.evaluate.whole import WholeRecipe
from stsearch.hiding import safe
from stsearch.report.live import duration
from stsearch.report.words import counted
from stsearch.search.finishing import Prepared

_AGAIN_S = 1.0
"""A line that renews itself does so that often."""
_PLAIN_S = 60.0
"""... and elsewhere than on a terminal a line is said that often within an epoch."""


class Course:
    """Says how a training goes: a line for each epoch, and within it how far it is; with the time to go."""

    def __init__(self, recipe: WholeRecipe, quiet: bool) -> None:
        self.console, self.epochs = Console(stderr=True, quiet=quiet), recipe.epochs
        self.started, self.first, self.at = time.monotonic(), -1, (0, 0)
        self.said = self.started

    def note(self, text: str) -> None:
        """Something that a user should know."""
        self._line(f"note: {safe(text)}")

    def began(self, prepared: Prepared) -> None:
        """What is trained on what."""
        task, about = prepared.task, prepared.about
        recipe, self.epochs = task.recipe, task.recipe.epochs
        videos = len(task.data.splits["train"])
        begun = f", begun from {about.begun_from}" if about.begun_from else ""
        epochs = counted(recipe.epochs, "epoch")
        self._line(
            f"{about.network} on {videos:,} videos of {len(about.classes)} classes, clip {task.clip}, {epochs} "
            f"of {recipe.optimizer} in batches of {recipe.batch}, on {task.device}{begun}"
        )

    def step(self, done: int, of: int) -> None:
        """One more batch of ``of`` was trained on."""
        now = time.monotonic()
        if self.first < 0:
            self.started, self.first = now, done
        self.at = done, of
        if now - self.said >= (_AGAIN_S if self.console.is_terminal else _PLAIN_S):
            self.said = now
            self._line(f"step {done:,} of {of:,}{self._left(now)}", end="\r" if self.console.is_terminal else "\n")

    def epoch(self, epoch: Epoch) -> None:
        """One more epoch is whole."""
        trained = f", of training {epoch.train_top1:.1f} %" if epoch.train_top1 is not None else ""
        self._line(
            f"epoch {epoch.epoch}/{self.epochs}: loss {epoch.train_loss:.3f}, clip@1 {epoch.clip_top1:.1f} %{trained}, "
            f"lr {epoch.lr:.2g}, {duration(epoch.seconds)}{self._left(time.monotonic())}"
        )

    def _left(self, now: float) -> str:
        done, of = self.at
        if done <= self.first or done == of:
            return ""
        return f", {duration((now - self.started) / (done - self.first) * (of - done))} to go"

    def _line(self, text: str, end: str = "\n") -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True, end=end)


def print_finished(found: Finished) -> None:
    """What a training came to."""
    figures = found.about.record
    names = {"clip_top1": "clip@1", "video_top1": "video@1", "video_top5": "video@5"}
    said = ", ".join(f"{name} {figures[key]:.1f} %" for key, name in names.items())
    already = "" if found.fresh else "trained already: "
    text = f"{already}{found.about.network}, {counted(figures['epochs'], 'epoch')}, validation: {said}"
    Console().print(text, highlight=False, markup=False, soft_wrap=True)
