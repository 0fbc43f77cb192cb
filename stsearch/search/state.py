"""How a trial stands, worked out in one place from what its storage holds; everything else asks for a ``State``."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any, Protocol

from stsearch.search.attributes import INTERRUPTED, REASON, SCREEN, STOPPED


class State(StrEnum):
    """How a training stands: a trial's, a repeat's, an audit's or a reference's."""

    OPEN = "open"
    """nobody has begun it"""
    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    """ended at a rung of successive halving, where its network waits unless a later trial took it up"""
    SCREENED = "screened"
    """not trained: others that cost no more score better"""
    OVER = "over"
    """not trained: over a measured budget"""
    FAILED = "failed"
    """for a reason of its own"""
    INTERRUPTED = "interrupted"
    """ended with its worker: its network is tried again"""
    DAMAGED = "damaged"
    """complete once; somebody spoiled its row in the database"""

    @property
    def ended(self) -> bool:
        """Whether it never changes again, but for a failure that a user wants tried again."""
        return self not in (State.OPEN, State.RUNNING)

    @property
    def counts(self) -> bool:
        """Whether it is somebody's, or spent: its network is not to be begun anew."""
        return self not in (State.OPEN, State.INTERRUPTED, State.DAMAGED)


KEYS = (REASON, INTERRUPTED, STOPPED, SCREEN)
"""User attributes that a state depends on."""
_OF_OPTUNA = {"WAITING": State.OPEN, "RUNNING": State.RUNNING, "COMPLETE": State.COMPLETE}


def classify(state: str, known: Mapping[str, Any]) -> State:
    """The state of a trial by Optuna's name of it and the trial's user attributes, of which ``KEYS`` matter.

    Reasons are written before a trial ends, so one that failed without any was ended from outside.
    """
    if state == "FAIL":
        return State.FAILED if REASON in known and not known.get(INTERRUPTED) else State.INTERRUPTED
    if state == "PRUNED":
        if STOPPED in known:
            return State.STOPPED
        return State.SCREENED if known.get(SCREEN, {}).get("out") else State.OVER
    return _OF_OPTUNA[state]


class _Trial(Protocol):
    """Optuna's ``FrozenTrial``, which is not imported here: studies are read back without Optuna."""

    @property
    def state(self) -> Enum: ...

    @property
    def user_attrs(self) -> Mapping[str, Any]: ...


def state_of(trial: _Trial) -> State:
    """The state of one of Optuna's trials."""
    return classify(trial.state.name, trial.user_attrs)
