"""Trials of Optuna's tables, read as plain rows, and many attributes of one written at once.

Optuna makes an object of every row and reads the running trials of all workers again each time: with 64 workers that
is 2,000 objects, several times per network. And it writes each attribute with a transaction of its own.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.dialects import mysql, postgresql, sqlite

from stsearch.search.attributes import ARCHITECTURE, REPEAT_OF
from stsearch.search.rows import SPOILED, all_loaded
from stsearch.search.tables import CHUNK

TRIALS = models.TrialModel.__table__
"""Optuna's, with its own kinds of columns"""
_PARAMS = models.TrialParamModel.__table__
_VALUES = models.TrialValueModel.__table__
_STEPS = models.TrialIntermediateValueModel.__table__
_USER = models.TrialUserAttributeModel.__table__
_SYSTEM = models.TrialSystemAttributeModel.__table__
_COLUMNS = tuple(TRIALS.c[n] for n in ("trial_id", "number", "state", "datetime_start", "datetime_complete"))
_STEP_OF = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value


def read_trials(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[FrozenTrial]:
    """The trials of which ``condition`` on ``TRIALS`` is true, by id.

    One that others spoiled has failed: a complete one with an attribute that is no JSON, or without values or network.
    A network whose trial is not whole is trained again: nothing says why it failed. Raises ``ValueError`` and the like
    for parameters that cannot be read.
    """
    rows = connection.execute(sa.select(*_COLUMNS).where(condition).order_by(TRIALS.c.trial_id)).all()
    parts = [rows[begin : begin + CHUNK] for begin in range(0, len(rows), CHUNK)]
    return [trial for part in parts for trial in _whole(connection, part)]


def _whole(connection: sa.Connection, rows: Sequence[Any]) -> Iterator[FrozenTrial]:
    """A few trials with all that they have."""
    ids = [row.trial_id for row in rows]
    params = _by_trial(connection, _PARAMS, ids, ("param_name", "distribution_json", "param_value"), "param_id")
    values = _by_trial(connection, _VALUES, ids, ("value", "value_type"), "objective")
    steps = _by_trial(connection, _STEPS, ids, ("step", "intermediate_value", "intermediate_value_type"), "step")
    user, system = (_attributes(connection, table, ids) for table in (_USER, _SYSTEM))
    for row in rows:
        own = {name: _parameter(text, value) for name, text, value in params.get(row.trial_id, ())}
        told = [models.TrialValueModel.stored_repr_to_value(*value) for value in values.get(row.trial_id, ())]
        trial = FrozenTrial(
            number=row.number, state=row.state, value=None, values=told or None,
            datetime_start=local(row.datetime_start), datetime_complete=local(row.datetime_complete),
            params={name: value for name, (_, value) in own.items()},
            distributions={name: kind for name, (kind, _) in own.items()},
            user_attrs=user.get(row.trial_id, {}), system_attrs=system.get(row.trial_id, {}),
            intermediate_values={step: _STEP_OF(*value) for step, *value in steps.get(row.trial_id, ())},
            trial_id=row.trial_id,
        )  # fmt: skip
        yield _unspoiled(trial)


def _by_trial(
    connection: sa.Connection, table: sa.Table, ids: Sequence[int], columns: Sequence[str], order: str
) -> dict[int, list[Any]]:
    """Rows of a table by trial, each without the trial's id."""
    query = sa.select(table.c.trial_id, *(table.c[name] for name in columns)).where(table.c.trial_id.in_(ids))
    found: dict[int, list[Any]] = {}
    for trial_id, *row in connection.execute(query.order_by(table.c[order])):
        found.setdefault(trial_id, []).append(row)
    return found


def _attributes(connection: sa.Connection, table: sa.Table, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Attributes by trial; the values of spoiled ones are ``SPOILED``."""
    query = sa.select(table.c.trial_id, table.c.key, table.c.value_json).where(table.c.trial_id.in_(ids))
    rows = connection.execute(query).all()
    found: dict[int, dict[str, Any]] = {}
    for (trial_id, key, _), value in zip(rows, all_loaded([text for *_, text in rows]), strict=True):
        found.setdefault(trial_id, {})[key] = value
    return found


def utc_now() -> datetime:
    """As Optuna keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


def local(kept: datetime | None) -> datetime | None:
    """A time as Optuna tells it, of what it keeps."""
    return kept and kept.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


@functools.lru_cache(maxsize=4096)
def _parameter(text: str, value: float) -> tuple[BaseDistribution, Any]:
    """What a parameter may be, and what it is."""
    kind = json_to_distribution(text)
    return kind, kind.to_external_repr(value)


def _unspoiled(trial: FrozenTrial) -> FrozenTrial:
    """``trial`` without what is spoiled of it; it has failed then, and where it lacks values or its network."""
    spoiled = [(of, key) for of in (trial.user_attrs, trial.system_attrs) for key in of if of[key] is SPOILED]
    for of, key in spoiled:
        del of[key]
    if trial.state != TrialState.COMPLETE:
        return trial
    known = ARCHITECTURE in trial.user_attrs or REPEAT_OF in trial.user_attrs
    if spoiled or (trial.user_attrs and (trial.values is None or not known)):
        trial.state, trial.values = TrialState.FAIL, None
    return trial


def write_attributes(
    storage: RDBStorage, trial: optuna.Trial, user: Mapping[str, Any], system: Mapping[str, Any]
) -> None:
    """Attributes of a running trial, all or none of them, in place of what it had under these names.

    Raises ``UpdateFinishedTrialError`` where the trial has ended.
    """
    number = trial._trial_id
    with storage.engine.begin() as connection:
        _check_running(storage, connection, number)
        for table, attributes in ((_USER, user), (_SYSTEM, system)):
            rows = [{"trial_id": number, "key": key, "value_json": json.dumps(v)} for key, v in attributes.items()]
            if rows:
                connection.execute(_in_place(table, connection.dialect.name), rows)
    trial._cached_frozen_trial.user_attrs.update(user)
    trial._cached_frozen_trial.system_attrs.update(system)


def end_trial(storage: RDBStorage, trial_id: int, state: TrialState, values: Sequence[float] | None) -> None:
    """End a running trial with its values; raises ``UpdateFinishedTrialError`` where it has ended."""
    with storage.engine.begin() as connection:
        # First, so that nobody else ends it meanwhile: SQLite begins a transaction at what writes, and locks no rows.
        running = (TRIALS.c.trial_id == trial_id) & (TRIALS.c.state == TrialState.RUNNING)
        ended = sa.update(TRIALS).where(running).values(state=state, datetime_complete=utc_now())
        if not connection.execute(ended).rowcount:
            _check_running(storage, connection, trial_id)
        told = [models.TrialValueModel.value_to_stored_repr(value) for value in values or ()]
        rows = [
            {"trial_id": trial_id, "objective": number, "value": value, "value_type": kind}
            for number, (value, kind) in enumerate(told)
        ]
        if rows:
            connection.execute(sa.insert(_VALUES), rows)


def _check_running(storage: RDBStorage, connection: sa.Connection, trial_id: int) -> None:
    state = sa.select(TRIALS.c.state).where(TRIALS.c.trial_id == trial_id).with_for_update()
    storage.check_trial_is_updatable(trial_id, connection.execute(state).scalar_one())


@functools.cache
def _in_place(table: sa.Table, database: str) -> sa.Insert:
    """An insertion of attributes that replaces those of the same name."""
    if database == "mysql":
        put = mysql.insert(table)
        return put.on_duplicate_key_update(value_json=put.inserted.value_json)
    keys = ["trial_id", "key"]
    if database == "postgresql":
        into = postgresql.insert(table)
        return into.on_conflict_do_update(index_elements=keys, set_={"value_json": into.excluded.value_json})
    beside = sqlite.insert(table)
    return beside.on_conflict_do_update(index_elements=keys, set_={"value_json": beside.excluded.value_json})
