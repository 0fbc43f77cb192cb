"""Whose database is it: empty, Optuna's and whole, one whose making was cut short, or another program's.

Only looks, so that nothing is written into what is not ours. Knows Optuna's tables by their names, without Optuna.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from stsearch.errors import UserError
from stsearch.search.place import shown

SCHEMA = 12
"""Version of Optuna's tables that is known here."""
REVISION = "alembic_version"
"""The table that Optuna writes last: the revision of its tables."""
COLUMNS: dict[str, tuple[str, ...]] = {
    name: tuple(columns.split())
    for name, columns in {
        "studies": "study_id study_name",
        "version_info": "version_info_id schema_version library_version",
        "study_directions": "study_direction_id direction study_id objective",
        "study_system_attributes": "study_system_attribute_id study_id key value_json",
        "study_user_attributes": "study_user_attribute_id study_id key value_json",
        "trials": "trial_id number study_id state datetime_start datetime_complete",
        "trial_heartbeats": "trial_heartbeat_id trial_id heartbeat",
        "trial_intermediate_values": "trial_intermediate_value_id trial_id step intermediate_value "
        "intermediate_value_type",
        "trial_params": "param_id trial_id param_name param_value distribution_json",
        "trial_system_attributes": "trial_system_attribute_id trial_id key value_json",
        "trial_user_attributes": "trial_user_attribute_id trial_id key value_json",
        "trial_values": "trial_value_id trial_id objective value value_type",
    }.items()
}
"""Optuna's tables and their columns."""
State = Literal["empty", "whole", "unfinished", "other"]


@dataclass(frozen=True)
class Recognised:
    """What a database is."""

    state: State
    why: str = ""
    """of ``other``: what it is instead; of ``unfinished``: what is missing"""
    revision: str = ""
    """of Optuna's tables, where they are whole"""


def recognise(connection: sa.Connection) -> Recognised:
    """Look at a database; raises what the driver raises where it cannot be read."""
    inspector = sa.inspect(connection)
    tables = set(inspector.get_table_names())
    if not tables:
        return Recognised("empty")
    ours, foreign = sorted(tables & set(COLUMNS)), sorted(tables - set(COLUMNS) - {REVISION})
    version = _version(connection) if "version_info" in ours and _has(inspector, "version_info") else None
    if version is not None and version[0] != SCHEMA:
        return Recognised(
            "other",
            f"of another Optuna version (schema {version[0]}, written by Optuna {version[1]}; {SCHEMA} is known here)",
        )
    wrong = [name for name in ours if not _has(inspector, name)]
    if wrong and version is not None:
        return Recognised("other", f"of another Optuna version ({version[1]}): its table {wrong[0]!r} is not as here")
    if wrong:
        return Recognised("other", f"another program's: its table {wrong[0]!r} is not Optuna's")
    revision = _revision(connection) if REVISION in tables else ""
    missing = [name for name in COLUMNS if name not in tables]
    if missing and foreign:
        return Recognised("other", f"another program's, with tables such as {', '.join(map(repr, foreign[:3]))}")
    if missing and revision:
        return Recognised("other", f"of another program or another Optuna (revision {revision})")
    if missing or version is None or not revision:
        what = f"no table {missing[0]!r}" if missing else "no version yet"
        return Recognised("unfinished", f"it has {what}")
    if not _names_are_unique(inspector):
        return Recognised("unfinished", "two studies could have one name in it", revision)
    return Recognised("whole", revision=revision)


def check_whole(connection: sa.Connection, url: str) -> Recognised:
    """``UserError`` with a true sentence where there are no studies to read."""
    found = recognise(connection)
    if found.state == "other":
        raise not_ours(found, url)
    if found.state == "empty":
        raise UserError(f"the database {shown(url)} is empty: no study has begun in it yet")
    if found.state == "unfinished" and not found.revision:
        raise UserError(
            f"the making of the database {shown(url)} was cut short ({found.why}); no study has begun in it. "
            "`stsearch run` makes the rest"
        )
    return found


def not_ours(found: Recognised, url: str) -> UserError:
    """Why nothing is written there."""
    return UserError(
        f"the database {shown(url)} is {found.why}. Nothing was written into it; choose another with --storage URL"
    )


def _version(connection: sa.Connection) -> tuple[int, str] | None:
    row = connection.execute(sa.text("SELECT schema_version, library_version FROM version_info")).first()
    return (row[0], row[1]) if row is not None else None


def _revision(connection: sa.Connection) -> str:
    return str(connection.execute(sa.select(sa.table(REVISION, sa.column("version_num")))).scalar() or "")


def _has(inspector: sa.Inspector, table: str) -> bool:
    """Whether a table has the columns that Optuna's has."""
    return set(COLUMNS[table]) <= {column["name"] for column in inspector.get_columns(table)}


def _names_are_unique(inspector: sa.Inspector) -> bool:
    indexes = [(index["column_names"], index["unique"]) for index in inspector.get_indexes("studies")]
    return (["study_name"], True) in indexes
