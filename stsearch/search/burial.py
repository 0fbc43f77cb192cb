"""What becomes of trials and references whose workers are gone: they are tried again, and at last given up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState

from stsearch.search.attributes import (
    ARCHITECTURE,
    INTERRUPTED,
    LOST,
    NETWORK,
    PART,
    REASON,
    REFERENCE,
    REPEAT_OF,
    RETRIED,
    WORKER,
)
from stsearch.search.session import Session
from stsearch.search.state import State
from stsearch.search.storage import HEARTBEAT_S, surely_dead, this_worker
from stsearch.search.workers import surely_alive

REFERENCE_PATIENCE_S = 3600
"""A reference has no heartbeat but one per epoch; after so long its worker is given up, unless it is seen to live."""
MOST_LOST = 5
"""Workers of this machine killed while they trained one network, before that is given up."""
MOST_SILENT = 10
"""The same of workers elsewhere, which may have had to make room for others."""


_ALIKE = (ARCHITECTURE, REPEAT_OF, PART)
"""What trainings of one network for one purpose have in common."""


def bury_dead(session: Session) -> list[FrozenTrial]:
    """Fail the trials and references whose worker was killed, so that their networks are tried again.

    The caller holds the lock. Gives all trials, as ``Session.trials``.
    """
    if session.study.references():
        for key, value in session.optuna_study.user_attrs.items():
            if not key.startswith(REFERENCE) or value["state"] != State.RUNNING:
                continue
            worker = value.get(WORKER)
            silent = time.time() - value["beat"] > REFERENCE_PATIENCE_S and not surely_alive(worker)
            if worker == this_worker() or surely_dead(worker) or silent:
                _bury_reference(session, key, value)
    return bury_trials(session, session.optuna_study)


def _bury_reference(session: Session, key: str, value: Mapping[str, Any]) -> None:
    """Open a reference again, or give it up; one that this process left was not lost with a worker."""
    lost = value.get(LOST, 0) + (value.get(WORKER) != this_worker())
    now: dict[str, Any] = {"state": State.OPEN, LOST: lost}
    if lost >= MOST_LOST:
        now = {"state": State.FAILED, NETWORK: key.removeprefix(REFERENCE), REASON: given_up(lost)}
    session.optuna_study.set_user_attr(key, now)


def given_up(lost: int) -> str:
    """Why a network is trained no more."""
    return f"given up: {lost} workers were killed while they trained it (out of memory?)"


def bury_trials(session: Session, study: OptunaStudy) -> list[FrozenTrial]:
    """The same for the trials of one of Optuna's studies."""
    storage = session.storage
    trials = study.get_trials(deepcopy=False)
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    if not running:
        return trials
    if time.monotonic() - session.missed > 3 * HEARTBEAT_S:  # else nobody could give a sign of life for a while
        silent = set(storage._get_stale_trial_ids(study._study_id))  # workers of other machines, by their heartbeat
        over = {trial.number for trial in running if session.silence.is_over(trial, trial._trial_id in silent)}
    else:
        over = set()
    me, changed = this_worker(), False
    for trial in running:
        worker = trial.user_attrs.get(WORKER)
        # A trial gets its worker under the lock, and this worker is between trials.
        if worker is None or worker == me:
            interrupt(storage, trial._trial_id)
        elif surely_dead(worker):
            bury(storage, trial, trials, MOST_LOST)
        elif trial.number in over:
            bury(storage, trial, trials, MOST_SILENT)
        else:
            continue
        changed = True
    return study.get_trials(deepcopy=False) if changed else trials


def bury(storage: RDBStorage, trial: FrozenTrial, trials: Sequence[FrozenTrial], most: int) -> str:
    """End a trial whose worker is gone. Gives why its network is given up: this befell it ``most`` times."""
    about = [trial.user_attrs.get(key) for key in _ALIKE]
    alike = [t.user_attrs for t in trials if [t.user_attrs.get(key) for key in _ALIKE] == about]
    since = max((place for place, known in enumerate(alike) if RETRIED in known), default=-1)  # asked for once more
    lost = 1 + sum(LOST in known for known in alike[since + 1 :])
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_user_attr(trial._trial_id, LOST, True)
        if lost >= most:
            why = given_up(lost)
            storage.set_trial_user_attr(trial._trial_id, REASON, why)
            storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
            return why
    interrupt(storage, trial._trial_id)
    return ""


def interrupt(storage: RDBStorage, trial_id: int) -> None:
    """End a running trial as interrupted: its network will be proposed again."""
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_user_attr(trial_id, INTERRUPTED, True)
        storage.set_trial_user_attr(trial_id, REASON, "interrupted: the worker was stopped or killed")
        storage.set_trial_state_values(trial_id, state=TrialState.FAIL)
