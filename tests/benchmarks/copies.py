"""Studies of thousands of trials, made of copies of one that was really trained, straight into the tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

CHILDREN = ("trial_values", "trial_user_attributes", "trial_system_attributes", "trial_params", "trial_heartbeats")
_IDS = (
    "trial_id", "param_id", "trial_value_id", "trial_user_attribute_id", "trial_system_attribute_id",
    "trial_heartbeat_id",
)  # fmt: skip
_AT_ONCE = 1000

Template = dict[str, list[dict[str, Any]]]
"""Rows of one trial by table, without the database's own numbers"""


@dataclass(frozen=True)
class Copy:
    """What a copy has instead of its template's."""

    number: int
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """user attributes"""
    values: Mapping[int, float] = field(default_factory=dict)
    """by objective"""


def tables_of(connection: sa.Connection) -> sa.MetaData:
    """Optuna's tables as they are there."""
    meta = sa.MetaData()
    meta.reflect(connection)
    return meta


def template(connection: sa.Connection, meta: sa.MetaData, trial_id: int) -> Template:
    """The rows of a trial."""
    found: Template = {}
    for name in ("trials", *CHILDREN):
        table = meta.tables[name]
        rows = connection.execute(sa.select(table).where(table.c.trial_id == trial_id))
        found[name] = [{key: value for key, value in row._mapping.items() if key not in _IDS} for row in rows]
    return found


def insert(
    connection: sa.Connection, meta: sa.MetaData, of: Template, copies: Sequence[Copy], **trial: Any
) -> Iterator[int]:
    """Write copies, with columns of their row in ``trials`` as in ``trial``; how many there are after each part."""
    trials = meta.tables["trials"]
    study = trial.get("study_id", of["trials"][0]["study_id"])
    for begin in range(0, len(copies), _AT_ONCE):
        part = copies[begin : begin + _AT_ONCE]
        connection.execute(sa.insert(trials), [{**of["trials"][0], **trial, "number": copy.number} for copy in part])
        asked = sa.select(trials.c.number, trials.c.trial_id).where(
            trials.c.study_id == study, trials.c.number >= part[0].number
        )
        ids = dict(connection.execute(asked).tuples().all())
        for name in CHILDREN:
            rows = [{**_own(name, row, copy), "trial_id": ids[copy.number]} for copy in part for row in of[name]]
            if rows:
                connection.execute(sa.insert(meta.tables[name]), rows)
        yield begin + len(part)


def _own(table: str, row: Mapping[str, Any], copy: Copy) -> dict[str, Any]:
    """A row of the template as the copy has it."""
    own = dict(row)
    if table == "trial_values":
        own["value"] = copy.values.get(row["objective"], row["value"])
    if table == "trial_user_attributes" and row["key"] in copy.attributes:
        own["value_json"] = json.dumps(copy.attributes[row["key"]])
    return own
