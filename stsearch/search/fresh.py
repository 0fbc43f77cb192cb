"""Trials that had not ended when one last looked: a study is looked at again before every network."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from optuna.trial import FrozenTrial


class Fresh:
    """Gives each ended trial once, since it never changes again, and those that have not ended each time."""

    def __init__(self) -> None:
        self._first = 0
        self._ended: set[int] = set()

    def of(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Those of a study's ``trials``, which are in order of their numbers; some may be left out."""
        later = trials[bisect_left(trials, self._first, key=lambda trial: trial.number) :]
        found = [trial for trial in later if trial.number not in self._ended]
        self._ended.update(trial.number for trial in found if trial.state.is_finished())
        while self._first in self._ended:  # all before it have ended
            self._ended.remove(self._first)
            self._first += 1
        return found
