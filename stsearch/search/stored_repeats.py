"""Further trainings of a study's networks, read back beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from stsearch.evaluate.earlier import as_begun
from stsearch.search.attributes import ARCHITECTURE, REPEAT_OF, SETTINGS
from stsearch.search.metrics import ACCURACIES, KEPT
from stsearch.search.rows import loaded
from stsearch.search.stored_records import records_of
from stsearch.search.tables import STUDIES, TRIALS, USER, attributes_of, reading, state_is


@dataclass(frozen=True)
class Repeat:
    """A further training of a network at the study's fidelity, with another seed, or several in one evaluation."""

    trial_id: int
    """Optuna's number of it in its storage"""
    of: int | str
    """number of the network's trial, or its architecture's id (``audit``)"""
    accuracies: Mapping[str, float]
    """per cent, means over ``trainings``"""
    seconds: float
    trainings: int = 1
    audit: bool = False
    """whether an audit asked for it (``stsearch.search.audit``), not the study (``stsearch.search.repeats``)"""


def read_repeats(connection: sa.Connection, study_id: int) -> dict[int | str, tuple[Repeat, ...]]:
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
    found: dict[int | str, tuple[Repeat, ...]] = {}
    for trial_id, kept in attributes.items():
        of, seconds = kept.get(REPEAT_OF), kept.get("seconds", 0.0)
        accuracies = {name: kept[name] for name in (*ACCURACIES, *KEPT) if name in kept}  # older studies kept fewer
        if isinstance(of, int) and all(isinstance(value, int | float) for value in (seconds, *accuracies.values())):
            found[of] = (*found.get(of, ()), Repeat(trial_id, of, accuracies, seconds))
    return found


def audit_repeats(url: str, name: str, identity: Mapping[str, Any]) -> dict[str, tuple[Repeat, ...]]:
    """Trainings that audits of the study ``name`` made at its own fidelity, by architecture, in their order."""
    attributes = attributes_of("study", "user")
    of_trial = sa.select(USER.c.trial_id, USER.c.value_json).select_from(
        USER.join(TRIALS, TRIALS.c.trial_id == USER.c.trial_id)
    )
    networks: dict[int, str] = {}
    with reading(url) as connection:
        rows = connection.execute(
            sa.select(attributes.c.study_id, attributes.c.value_json)
            .select_from(attributes.join(STUDIES, STUDIES.c.study_id == attributes.c.study_id))
            .where(attributes.c.key == SETTINGS, STUDIES.c.study_name.startswith(f"{name}/", autoescape=True))
        )
        for study, text in rows.all():
            if alike(loaded(text), identity):
                query = of_trial.where(TRIALS.c.study_id == study, state_is("COMPLETE"), USER.c.key == ARCHITECTURE)
                networks |= {trial: loaded(text) for trial, text in connection.execute(query)}
    found: dict[str, tuple[Repeat, ...]] = {}
    for trial_id, record in sorted(records_of(url, list(networks)).items()):
        of, kept = networks[trial_id], record.get("evaluation", {})
        accuracies = {key: kept[key] for key in (*ACCURACIES, *KEPT) if kept.get(key) is not None}
        if isinstance(of, str) and accuracies and kept.get("trainings"):
            one = Repeat(trial_id, of, accuracies, kept.get("seconds", 0.0), len(kept["trainings"]), audit=True)
            found[of] = (*found.get(of, ()), one)
    return found


def was_audited(url: str, name: str) -> bool:
    """Whether an audit of the study ``name`` was begun, at whatever fidelity."""
    of_audits = STUDIES.c.study_name.startswith(f"{name}/audit-", autoescape=True)
    with reading(url) as connection:
        return connection.execute(sa.select(STUDIES.c.study_id).where(of_audits).limit(1)).first() is not None


def alike(settings: Any, identity: Mapping[str, Any]) -> bool:
    """Whether trainings of these settings are what the study's own are: recipe, clip, width and data."""
    own = identity["evaluate"]
    if not isinstance(settings, dict) or own.get("name") not in ("train", "halving"):
        return False
    own = {**own, "epochs": own["rungs"][-1] if own.get("rungs") else own.get("epochs")}
    recipe = as_begun(settings.get("evaluate", {}))
    proxy, clip = identity["proxy"], list(settings.get("clip", ()))
    return (
        all(own.get(key) == value for key, value in recipe.items() if key not in ("name", "repeats"))
        and clip[1:] == [proxy["frames"], proxy["size"], proxy["size"]]
        and settings.get("width") == proxy["width"]
        and settings.get("data") == identity.get("data_fingerprint")
    )


def joined(record: dict[str, Any], repeats: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A network's record with those of its further trainings."""
    if not (record and repeats):
        return record
    repeats = [r.get("evaluation", r) for r in repeats]  # an audit keeps more beside it
    more = {key: [*record[key], *(value for r in repeats for value in r[key])] for key in ("trainings", "seeds")}
    return {**record, **more, "seconds": record["seconds"] + sum(r["seconds"] for r in repeats)}
