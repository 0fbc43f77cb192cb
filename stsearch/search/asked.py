"""Further trainings that a user asks for: of some networks by name, or of all where ``evaluate.repeats`` has grown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial

from stsearch.evaluate.evaluators import EVALUATORS
from stsearch.search.attributes import ARCHITECTURE, REPEAT_OF
from stsearch.search.spec import Study
from stsearch.search.state import State, state_of


def grown(study: Study, stored: Mapping[str, Any] | None) -> tuple[Study, int]:
    """``study`` with as many ``evaluate.repeats`` as it was begun with, and how many more are wanted now.

    The first trainings of its networks count; the others are trained beside them, as repeats are.
    """
    before = stored["evaluate"].get("repeats") if stored else None
    recipe = study.spec.evaluate
    now = getattr(recipe, "repeats", None)
    if (
        not isinstance(before, int)
        or now is None
        or now <= before
        or EVALUATORS[study.spec.evaluate.name].again is None
    ):
        return study, 0
    spec = study.spec.model_copy(update={"evaluate": recipe.model_copy(update={"repeats": before})})
    return replace(study, spec=spec), now - before


class Asked:
    """How many further trainings of each network are asked for, and which of them there are."""

    def __init__(
        self, study: Study, more: int, networks: Sequence[FrozenTrial], repeats: Sequence[FrozenTrial]
    ) -> None:
        by_name = study.asked_again
        self._wanted = {t.number: max(more, by_name.get(t.user_attrs[ARCHITECTURE], 0)) for t in networks}
        known = [(t.user_attrs[REPEAT_OF], state_of(t)) for t in repeats if REPEAT_OF in t.user_attrs]
        self._there = Counter(of for of, state in known if state.counts)
        self._failed = {of for of, state in known if state is State.FAILED}
        self._networks = networks

    @property
    def total(self) -> int:
        """Further trainings that are asked for."""
        return sum(self._wanted.values())

    @property
    def spent(self) -> int:
        """Of these, those that there are."""
        return sum(min(wanted, self._there[number]) for number, wanted in self._wanted.items())

    def next(self) -> FrozenTrial | None:
        """The network with fewest of those that lack some; one whose repeat failed is not trained again."""
        open_ = [
            t for t in self._networks if self._there[t.number] < self._wanted[t.number] and t.number not in self._failed
        ]
        return min(open_, key=lambda t: (self._there[t.number], t.number), default=None)
