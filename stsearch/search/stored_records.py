"""Full records of trainings, read back from the attributes that hold them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from stsearch.search.attributes import LABELS, RECORD, REFERENCE
from stsearch.search.packed import further, whole
from stsearch.search.rows import SPOILED, loaded
from stsearch.search.tables import CHUNK, SYSTEM, reading


def records_of(url: str, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Full records of trials by their Optuna numbers; those that have none, or a spoiled one, are left out."""
    if not ids:
        return {}
    with reading(url) as connection:
        found = _system(connection, ids, [RECORD])
        rest = {name for kept in found.values() for name in further(RECORD, kept[RECORD])}
        long = [trial_id for trial_id, kept in found.items() if further(RECORD, kept[RECORD])]
        for trial_id, parts in _system(connection, long, sorted(rest)).items():
            found[trial_id] |= parts
    return {trial_id: record for trial_id, kept in found.items() if (record := _whole(kept, RECORD)) is not None}


def _whole(attributes: Mapping[str, Any], key: str) -> Any:
    """The record at ``key``; ``None`` where somebody spoiled it, or a part of it."""
    try:
        return whole(attributes, key)
    except (KeyError, ValueError, TypeError, zlib.error):
        return None


def _system(connection: sa.Connection, ids: Sequence[int], keys: Sequence[str]) -> dict[int, dict[str, Any]]:
    """System attributes ``keys`` of trials by their Optuna numbers."""
    query = sa.select(SYSTEM.c.trial_id, SYSTEM.c.key, SYSTEM.c.value_json).where(SYSTEM.c.key.in_(keys))
    found: dict[int, dict[str, Any]] = {}
    for begin in range(0, len(ids), CHUNK):
        rows = connection.execute(query.where(SYSTEM.c.trial_id.in_(ids[begin : begin + CHUNK])))
        for trial_id, key, text in rows:
            if (value := loaded(text)) is not SPOILED:
                found.setdefault(trial_id, {})[key] = value
    return found


def labels_of(system: Mapping[str, Any]) -> tuple[int, ...]:
    """The class of every validation video from a study's ``system`` attributes; empty where it is not kept."""
    found = _whole(system, LABELS)
    return tuple(found) if isinstance(found, list) and all(isinstance(label, int) for label in found) else ()


def join_references(user: dict[str, Any], system: Mapping[str, Any]) -> None:
    """Put together the records of trained references in a study's ``user`` attributes; long parts are in ``system``."""
    for key, value in user.items():
        if key.startswith(REFERENCE) and isinstance(value, dict) and RECORD in value:
            full = f"{RECORD}:{key.removeprefix(REFERENCE)}"
            user[key] = {**value, RECORD: _whole({**system, full: value[RECORD]}, full) or {}}
