"""Rows of Optuna's tables, as they are read; some that others spoiled cost those trials alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from stsearch.search.attributes import ARCHITECTURE, CONSTRAINT, NETWORK
from stsearch.search.state import KEYS, State, classify
from stsearch.search.tables import CHUNK, STUDIES, SYSTEM, TRIALS, USER, VALUES, attributes_of, state_is

SPOILED = object()
"""Instead of an attribute's value that is no JSON."""
Floats = npt.NDArray[np.float64]


def loaded(text: Any) -> Any:
    """The value of an attribute, or ``SPOILED``."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return SPOILED


def all_loaded(texts: Sequence[Any]) -> list[Any]:
    """The same of many: at once, which is far faster, unless one of them is spoiled."""
    try:
        values: list[Any] = json.loads(f"[{','.join(texts)}]")
    except (ValueError, TypeError, RecursionError):
        values = []
    return values if len(values) == len(texts) else [loaded(text) for text in texts]


def numbers_of(columns: Sequence[Sequence[Any]], rows: int) -> Floats:
    """Columns as numbers ``(columns, rows)``; what is none becomes NaN."""
    try:
        found = np.array(columns, dtype=np.float64)
    except (ValueError, TypeError):
        found = np.array([[_number(value) for value in column] for column in columns], dtype=np.float64)
    return found.reshape(len(columns), rows)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError):
        return np.nan


def is_reference(value: Any) -> bool:
    """Whether what is kept of a network outside the space is that of a trained one, whole."""
    keys = (ARCHITECTURE, NETWORK, "metrics", "feasible")
    return isinstance(value, dict) and value.get("state") == State.COMPLETE and all(key in value for key in keys)


def states_of(
    connection: sa.Connection,
    study: int,
    ids: Sequence[int],
    states: Sequence[str],
    values: Floats,
    constraints: Floats,
) -> list[State]:
    """States of the trials, ``DAMAGED`` for a complete one that lacks its architecture, a value or a constraint.

    ``values`` and ``constraints`` are as ``numbers_of`` gave them, a trial in every row and in every column.
    """
    query = (
        sa.select(USER.c.trial_id)
        .select_from(USER.join(TRIALS, TRIALS.c.trial_id == USER.c.trial_id))
        .where(TRIALS.c.study_id == study, USER.c.key == ARCHITECTURE, USER.c.value_json.like('"_%"'))
    )
    named = np.isin(np.array(ids, dtype=np.int64), [row[0] for row in connection.execute(query)])
    sound = named & ~np.isnan(values).any(1) & ~np.isnan(constraints).any(0)
    known = _endings(connection, study) if {"FAIL", "PRUNED"} & set(states) else {}
    return [
        State.DAMAGED if state == "COMPLETE" and not fine else classify(state, known.get(trial_id, {}))
        for trial_id, state, fine in zip(ids, states, sound, strict=True)
    ]


def _endings(connection: sa.Connection, study: int) -> dict[int, dict[str, Any]]:
    """What trials that failed or were pruned say of that, by Optuna's number of them."""
    query = (
        sa.select(USER.c.trial_id, USER.c.key, USER.c.value_json)
        .select_from(USER.join(TRIALS, TRIALS.c.trial_id == USER.c.trial_id))
        .where(TRIALS.c.study_id == study, state_is("FAIL") | state_is("PRUNED"), USER.c.key.in_(KEYS))
    )
    found = connection.execute(query).all()
    known: dict[int, dict[str, Any]] = {}
    for (trial_id, key, _), value in zip(found, all_loaded([text for *_, text in found]), strict=True):
        if value is not SPOILED:
            known.setdefault(trial_id, {})[key] = value
    return known


def study_id(name: str) -> Any:
    """Number of the study of a name, as part of a query."""
    return sa.select(STUDIES.c.study_id).where(STUDIES.c.study_name == name).scalar_subquery()


def in_parts(
    connection: sa.Connection, name: str, query: Any, table: sa.TableClause, ids: list[int], trials: int
) -> Iterator[Any]:
    """Run ``query`` for a few trials by their ids, for many over the whole study."""
    if len(ids) * 4 > trials:
        joined = query.select_from(table.join(TRIALS, TRIALS.c.trial_id == table.c.trial_id))
        yield connection.execute(joined.where(TRIALS.c.study_id == study_id(name)))
        return
    for begin in range(0, len(ids), CHUNK):
        yield connection.execute(query.where(table.c.trial_id.in_(ids[begin : begin + CHUNK])))


def study_attributes(connection: sa.Connection, who: str, study: int) -> dict[str, Any]:
    """Attributes of a study by ``user`` or ``system``; spoiled ones are left out."""
    table = attributes_of("study", who)
    query = sa.select(table.c.key, table.c.value_json).where(table.c.study_id == study)
    return {key: value for key, text in connection.execute(query) if (value := loaded(text)) is not SPOILED}


def trial_columns(connection: sa.Connection, study: int, objectives: int, caps: Sequence[str]) -> list[Sequence[Any]]:
    """Columns of the trials by number: id, number, state, a value per objective, a constraint per cap."""
    source: Any = TRIALS
    columns: list[Any] = [TRIALS.c.trial_id, TRIALS.c.number, TRIALS.c.state]
    for objective in range(objectives):
        values = VALUES.alias(f"value_{objective}")
        of = (values.c.trial_id == TRIALS.c.trial_id) & (values.c.objective == objective)
        source = source.outerjoin(values, of)
        columns.append(values.c.value)
    for number, cap in enumerate(caps):
        constraint = SYSTEM.alias(f"constraint_{number}")
        of = (constraint.c.trial_id == TRIALS.c.trial_id) & (constraint.c.key == f"{CONSTRAINT}{cap}")
        source = source.outerjoin(constraint, of)
        columns.append(constraint.c.value_json)
    query = sa.select(*columns).select_from(source).where(TRIALS.c.study_id == study).order_by(TRIALS.c.number)
    rows = connection.execute(query).all()
    return list(zip(*rows, strict=True)) if rows else [()] * len(columns)
