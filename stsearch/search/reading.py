"""Studies read back, fast: a few SELECTs, no torch, no Optuna.

Optuna builds an object per trial, with all its attributes: minutes for 100,000 trials. A front
needs their values, and the attributes of a few.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from stsearch.errors import UserError, quoted, unknown
from stsearch.resources import find, names
from stsearch.search.attributes import (
    ARCHITECTURE,
    FORMAT,
    METRIC_NAMES,
    REFERENCE_POINT,
    REPEATS,
    SPEC,
)
from stsearch.search.place import exists, shown
from stsearch.search.recognise import check_whole
from stsearch.search.rows import (
    numbers_of,
    states_of,
    study_attributes,
    trial_columns,
)
from stsearch.search.stored import Ended as Ended
from stsearch.search.stored import Record as Record
from stsearch.search.stored import Rows as Rows
from stsearch.search.stored import StoredStudy as StoredStudy
from stsearch.search.stored_records import join_references, labels_of
from stsearch.search.stored_repeats import audit_repeats, read_repeats
from stsearch.search.tables import STUDIES, reading


def study_place(name: str, storage: str | None) -> tuple[str, str]:
    """``(study name, storage URL)`` of a study that a user names by file or by name."""
    if name.endswith((".yaml", ".yml")) or (storage is None and name in names("studies")):
        from stsearch.schema import read_yaml

        path = find("studies", name)
        data = read_yaml(path)
        given, place = data.get("name") or path.stem, data.get("storage")
        if isinstance(given, str) and isinstance(place, str | None):
            name, storage = given, place if storage is None else storage
        else:  # the whole check says what is wrong with the file
            from stsearch.search.spec import load_study

            study = load_study(name)
            name, storage = study.name, study.storage_url if storage is None else storage
    return name, f"sqlite:///studies/{name}.db" if storage is None else storage


def read_study(name: str, storage: str | None = None) -> StoredStudy:
    """A study that was begun before, by name or file; its plug-ins are loaded.

    Raises ``UserError`` that says how to begin it, for a storage that is none, of another Optuna
    schema, and for a study of a newer stsearch.
    """
    study_name, url = study_place(name, storage)
    if not exists(url):
        known = sorted({*names("studies"), *(path.stem for path in Path("studies").glob("*.db"))})
        begins = name in known or name.endswith((".yaml", ".yml"))
        hint = f"`stsearch run {name}` begins it" if begins else unknown("study", name, known)
        raise UserError(f"the study {study_name!r} has not been run here ({shown(url)} is not there); {hint}")
    with reading(url) as connection:
        check_whole(connection, url)
        stored = _read(connection, study_name, url)
    stored = _with_audits(stored)
    space = stored.user_attributes[SPEC]["space"]
    if space["plugins"]:
        from stsearch.space.search_space import load_plugins

        load_plugins(space["plugins"], space["folder"], f"study {study_name}")
    return stored


def check_format(name: str, stored: Mapping[str, Any]) -> None:
    """``UserError`` for a study that a newer stsearch wrote; ``stored`` is its attribute ``SPEC``."""
    version = stored.get("format", FORMAT)
    if isinstance(version, int) and version > FORMAT:
        raise UserError(
            f"the study {name!r} was written by a newer stsearch (format {version}; up to {FORMAT} is read here): "
            "pip install --upgrade stsearch"
        )


def _read(connection: sa.Connection, name: str, url: str) -> StoredStudy:
    known = {row[1]: row[0] for row in connection.execute(sa.select(STUDIES.c.study_id, STUDIES.c.study_name))}
    if name not in known or name.endswith(REPEATS):
        known = {key: number for key, number in known.items() if not key.endswith(REPEATS) and "/" not in key}
        held = unknown("study", name, known) if known else f"no study {name!r} has begun yet"
        raise UserError(f"{held} (in {shown(url)})")
    user, system = (study_attributes(connection, who, known[name]) for who in ("user", "system"))
    join_references(user, system)
    if not isinstance(user.get(SPEC), dict):
        raise UserError(f"the study {name!r} was not begun by stsearch, or its attribute {SPEC!r} is damaged")
    check_format(name, user[SPEC])
    if "classes" not in user[SPEC]:
        raise UserError(f"the study {name!r} was begun by a preview of stsearch that kept less; run it anew")
    if missing := [key for key in ("identity", "resolved", "space") if not isinstance(user[SPEC].get(key), dict)]:
        raise UserError(f"the study {name!r} is damaged: its attribute {SPEC!r} has no {quoted(missing)}")
    if not isinstance(user.get(REFERENCE_POINT), dict):
        raise UserError(
            f"the study {name!r} is damaged or only beginning: no {REFERENCE_POINT!r}; `stsearch run` adds it"
        )
    wanted = user[SPEC]["resolved"]["objectives"]
    objectives = {metric: wanted[metric] for metric in system.get(METRIC_NAMES) or wanted}
    columns = trial_columns(connection, known[name], len(objectives), list(user[SPEC]["resolved"]["budget"]))
    ids, numbers, states, *rest = columns
    constraints = numbers_of(rest[len(objectives) :], len(ids))
    values = numbers_of(rest[: len(objectives)], len(ids)).T
    stored = StoredStudy(
        url=url,
        name=name,
        study_id=known[name],
        user_attributes=user,
        objectives=objectives,
        trial_ids=np.array(ids, dtype=np.int64),
        numbers=np.array(numbers, dtype=np.int64),
        states=np.array(states_of(connection, known[name], ids, states, values, constraints), dtype="U11"),
        values=values,
        first=values,
        feasible=np.asarray(~(constraints > 0).any(0)),
        repeats=read_repeats(connection, known[name + REPEATS]) if name + REPEATS in known else {},
        labels=labels_of(system),
    )
    return stored.with_repeats(stored.repeats)


def _with_audits(stored: StoredStudy) -> StoredStudy:
    """``stored`` with the trainings of its audits at its own fidelity among its networks' own."""
    audited = audit_repeats(stored.url, stored.name, stored.identity)
    if not audited:
        return stored
    repeats = dict(stored.repeats)
    rows = np.intersect1d(stored.find(ARCHITECTURE, list(audited)), stored.complete)
    inside = zip(rows, stored.attributes([ARCHITECTURE], rows), strict=True)
    of: dict[str, int | str] = {found[ARCHITECTURE]: int(stored.numbers[row]) for row, found in inside}
    for architecture, found in audited.items():
        of_network = of.get(architecture, architecture)
        repeats[of_network] = (*repeats.get(of_network, ()), *found)
    return stored.with_repeats(repeats)
