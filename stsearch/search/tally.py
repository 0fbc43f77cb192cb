"""How many of a study's trials ended how, counted once each: a study is looked at again before every network."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile

from optuna.trial import FrozenTrial

from stsearch.search.fresh import Fresh
from stsearch.search.networks import stopped_networks
from stsearch.search.state import State, state_of


@dataclass
class Tally:
    """Counts of ended trials, which never change again."""

    _ended: Counter[State] = field(default_factory=Counter)
    _fresh: Fresh = field(default_factory=Fresh)
    _recent: list[tuple[datetime, int, State]] = field(default_factory=list)
    """begun since this run was, by when they ended: when, minus the number, and how"""

    def add(self, trials: Sequence[FrozenTrial], first: int) -> int:
        """Count those that ended since the last time; how many are running. Those of this run begin at ``first``."""
        running = 0
        for trial in self._fresh.of(trials):
            state = state_of(trial)
            running += state is State.RUNNING
            if state.ended:
                self._ended[state] += 1
                if state is not State.INTERRUPTED and trial.number >= first:
                    insort(self._recent, (trial.datetime_complete or datetime.min, -trial.number, state))
        return running

    def count(self, state: State) -> int:
        """Trials that ended so."""
        return self._ended[state]

    @property
    def failing(self) -> int:
        """Networks that failed in a row at the end."""
        return self._in_a_row(State.FAILED, besides=State.SCREENED)

    @property
    def pruning(self) -> int:
        """Networks over a measured budget in a row at the end."""
        return self._in_a_row(State.OVER)

    def _in_a_row(self, state: State, besides: State | None = None) -> int:
        last = (how for *_, how in reversed(self._recent) if how is not besides)
        return sum(1 for _ in takewhile(lambda how: how is state, last))

    def stopped(self, trials: Sequence[FrozenTrial]) -> int:
        """Networks that wait at a rung."""
        return len(stopped_networks(trials)) if self._ended[State.STOPPED] else 0
