"""How many of a study's trials ended how, counted once each: a study is looked at again before every network."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile

from optuna.trial import FrozenTrial, TrialState

from stsearch.search.networks import is_screened, is_stopped, stopped_networks
from stsearch.search.proposals import failed_by_itself


@dataclass
class Tally:
    """Counts of ended trials, which never change again."""

    complete: int = 0
    screened: int = 0
    failed: int = 0
    """for a reason of their own"""
    halted: int = 0
    """at a rung of successive halving, be it that they went on later"""
    _counted: set[int] = field(default_factory=set)
    _recent: list[FrozenTrial] = field(default_factory=list)
    """begun since this run was, the last to end last"""

    def add(self, trials: Sequence[FrozenTrial], first: int) -> int:
        """Count those that ended since the last time; how many are running. Those of this run begin at ``first``."""
        running = 0
        for trial in trials:
            if trial.number in self._counted:
                continue
            if trial.state.is_finished():
                self._counted.add(trial.number)
                self._count(trial, first)
            elif trial.state == TrialState.RUNNING:
                running += 1
        return running

    def _count(self, trial: FrozenTrial, first: int) -> None:
        own = failed_by_itself(trial)
        if trial.state == TrialState.FAIL and not own:
            return
        self.complete += trial.state == TrialState.COMPLETE
        self.screened += is_screened(trial)
        self.failed += own
        self.halted += is_stopped(trial)
        if trial.number >= first:
            insort(self._recent, trial, key=lambda t: (t.datetime_complete or datetime.min, -t.number))

    @property
    def failing(self) -> int:
        """Networks that failed in a row at the end."""
        return sum(1 for _ in takewhile(failed_by_itself, (t for t in reversed(self._recent) if not is_screened(t))))

    @property
    def pruning(self) -> int:
        """Networks over a measured budget in a row at the end."""
        return sum(1 for _ in takewhile(_over_measured_budget, reversed(self._recent)))

    def stopped(self, trials: Sequence[FrozenTrial]) -> int:
        """Networks that wait at a rung."""
        return len(stopped_networks(trials)) if self.halted else 0


def _over_measured_budget(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.PRUNED and not is_stopped(trial) and not is_screened(trial)
