"""Further trainings of a study's networks, read back beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from stsearch.search.attributes import REPEAT_OF
from stsearch.search.metrics import ACCURACIES, KEPT
from stsearch.search.rows import loaded
from stsearch.search.tables import TRIALS, USER, state_is


@dataclass(frozen=True)
class Repeat:
    """A further training of a network, with another seed (``stsearch.search.repeats``)."""

    trial_id: int
    """Optuna's number of it in its storage"""
    of: int
    """number of the network's trial"""
    accuracies: Mapping[str, float]
    """per cent"""
    seconds: float


def read_repeats(connection: sa.Connection, study_id: int) -> dict[int, tuple[Repeat, ...]]:
    """Finished repeats by the number of their network's trial, in the order in which they were begun."""
    query = (
        sa.select(USER.c.trial_id, USER.c.key, USER.c.value_json)
        .select_from(USER.join(TRIALS, TRIALS.c.trial_id == USER.c.trial_id))
        .where(TRIALS.c.study_id == study_id, state_is("COMPLETE"))
        .order_by(USER.c.trial_id)
    )
    attributes: dict[int, dict[str, Any]] = {}
    for trial_id, key, value in connection.execute(query):
        attributes.setdefault(trial_id, {})[key] = loaded(value)
    found: dict[int, tuple[Repeat, ...]] = {}
    for trial_id, kept in attributes.items():
        of, seconds = kept.get(REPEAT_OF), kept.get("seconds", 0.0)
        accuracies = {name: kept[name] for name in (*ACCURACIES, *KEPT) if name in kept}  # older studies kept fewer
        if isinstance(of, int) and all(isinstance(value, int | float) for value in (seconds, *accuracies.values())):
            found[of] = (*found.get(of, ()), Repeat(trial_id, of, accuracies, seconds))
    return found


def joined(record: dict[str, Any], repeats: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A network's record with those of its further trainings."""
    if not (record and repeats):
        return record
    more = {key: [*record[key], *(value for r in repeats for value in r[key])] for key in ("trainings", "seeds")}
    return {**record, **more, "seconds": record["seconds"] + sum(r["seconds"] for r in repeats)}
