"""Networks that failed by themselves, tried again where a user asks for it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial

from stsearch.search.attributes import INTERRUPTED, REFERENCE, REPEATS, RETRIED
from stsearch.search.proposals import asked_again, tried
from stsearch.search.state import State, state_of
from stsearch.search.tables import USER
from stsearch.space.architecture import Architecture, parse_placement


def reopen(storage: RDBStorage, study: OptunaStudy) -> int:
    """Make trials, repeats, references and trainings of audits that failed by themselves count as interrupted.

    Gives how many there were. The next audit trains its own again. The caller holds the lock. Optuna lets nobody change
    a trial that ended, so its attributes are written past it; whoever read them before does not see it.
    """
    names = (study.study_name, study.study_name + REPEATS)
    beside = f"{study.study_name}/"  # its audits and calibrations
    known = storage.get_all_studies()
    numbers = [one._study_id for one in known if one.study_name in names or one.study_name.startswith(beside)]
    trials = [trial for number in numbers for trial in storage.get_all_trials(number, deepcopy=False)]
    failed = [trial for trial in trials if state_of(trial) is State.FAILED]
    rows = [
        {"trial_id": trial._trial_id, "key": key, "value_json": json.dumps(True)}
        for trial in failed
        for key in (INTERRUPTED, RETRIED)
    ]
    if rows:
        with storage.engine.begin() as connection:
            connection.execute(sa.insert(USER), rows)
    outside = [k for k, v in study.user_attrs.items() if k.startswith(REFERENCE) and v.get("state") == State.FAILED]
    for key in outside:
        study.set_user_attr(key, {"state": State.OPEN})
    return len(failed) + len(outside)


def to_retry(trials: Sequence[FrozenTrial]) -> list[Architecture]:
    """Networks that are to be tried again, and were not yet."""
    return [parse_placement(name) for name in sorted(asked_again(trials) - tried(trials))]


def first_again(study: optuna.Study, start: Sequence[Architecture]) -> list[Architecture]:
    """``start`` with the networks before it that are to be tried again."""
    again = to_retry(study.get_trials(deepcopy=False))
    return [*again, *(architecture for architecture in start if architecture not in again)]
