"""What samplers keep between proposals, so that each trial is looked at once after it ended, and what they propose.

A study of thousands of trials is read again before every network; what an ended trial says does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.trial import FrozenTrial

from stsearch.search.attributes import ARCHITECTURE, RETRIED
from stsearch.search.fresh import Fresh
from stsearch.search.state import State, state_of
from stsearch.space.architecture import Architecture
from stsearch.space.table import Ints


@dataclass(frozen=True)
class Proposal:
    """Networks to train next, made from what was known at a moment."""

    choices: tuple[Architecture, ...]
    """best first; none where nothing is left"""
    alike: bool
    """whether all are as good as the first"""
    known: int
    """networks that had been begun at that moment"""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """system attributes that the sampler wants to find with the trial"""

    def free(self, seen: Set[str], *, any_of_them: bool) -> Architecture | None:
        """The first that nobody has begun meanwhile; ``None`` where the proposal is to be made again."""
        choices = self.choices if self.alike or any_of_them else self.choices[:1]
        return next((architecture for architecture in choices if architecture.id not in seen), None)


def tried(trials: Sequence[FrozenTrial], named: Set[str] = frozenset()) -> set[str]:
    """Ids of architectures that are not to be proposed again: all but those whose worker was stopped.

    Those that are ``named`` are to be trained for certain: one that was spared its training is proposed again too.
    """
    own = [(t.user_attrs[ARCHITECTURE], state_of(t)) for t in trials if ARCHITECTURE in t.user_attrs]
    return {of for of, state in own if state.counts and not (of in named and state in (State.SCREENED, State.OVER))}


def asked_again(trials: Sequence[FrozenTrial]) -> set[str]:
    """Ids of architectures that failed by themselves, and that a user wants tried again."""
    return {t.user_attrs[ARCHITECTURE] for t in trials if t.user_attrs.get(RETRIED) and ARCHITECTURE in t.user_attrs}


class Tried:
    """``tried`` for a study that grows: of ended trials it is remembered."""

    def __init__(self) -> None:
        self._fresh = Fresh()
        self._known: set[str] = set()
        self._asked: set[str] = set()
        self.named: Set[str] = frozenset()

    def of(self, trials: Sequence[FrozenTrial]) -> set[str]:
        """As ``tried``; a set of the caller's own."""
        fresh = self._fresh.of(trials)
        ended = [trial for trial in fresh if trial.state.is_finished()]
        self._known |= tried(ended, self.named)
        self._asked |= asked_again(ended)
        return self._known | tried(fresh, self.named)

    def again(self, trials: Sequence[FrozenTrial]) -> set[str]:
        """Those that are to be tried again, and were not yet."""
        seen = self.of(trials)
        return self._asked - seen


class Unseen:
    """The architectures ``(N, 6)`` of a space that keep the budget, without those that were tried."""

    def __init__(self, feasible: Ints, radix: Sequence[int], digits: Callable[[str], tuple[int, ...] | None]) -> None:
        self.feasible, self._digits = feasible, digits
        self._weights = np.concatenate([np.cumprod(np.array(radix)[:0:-1])[::-1], [1]])
        numbers = feasible @ self._weights
        self._order = np.argsort(numbers, kind="stable")
        self._numbers = numbers[self._order]
        self._places: dict[str, Ints] = {}
        self._free, self._taken = np.ones(len(feasible), dtype=bool), frozenset[str]()

    def _places_of(self, identifier: str) -> Ints:
        """Rows of ``feasible`` that are of an architecture: none, one, or several of a sample."""
        found = self._places.get(identifier)
        if found is None:
            digits = self._digits(identifier)
            if digits is None:
                found = self._order[:0]
            else:
                number = np.array(digits) @ self._weights
                low, high = np.searchsorted(self._numbers, number), np.searchsorted(self._numbers, number, "right")
                found = self._order[low:high]
            self._places[identifier] = found
        return found

    def rows(self, seen: Set[str]) -> npt.NDArray[np.int64]:
        """Rows of ``feasible`` that are not in ``seen``, ascending."""
        taken = frozenset(seen)
        for others, free in ((taken - self._taken, False), (self._taken - taken, True)):  # since the last time
            for identifier in others:
                self._free[self._places_of(identifier)] = free
        self._taken = taken
        return np.flatnonzero(self._free)

    def left(self, seen: Set[str]) -> bool:
        """Whether there are any; of a whole space, where each has one row."""
        return len(seen) < len(self.feasible) or sum(len(self._places_of(one)) for one in seen) < len(self.feasible)
