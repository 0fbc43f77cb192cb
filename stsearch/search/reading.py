"""Studies read back, fast: a few SELECTs, no torch, no Optuna.

Optuna builds an object per trial, with all its attributes: minutes for 100,000 trials. A front
needs their values, and the attributes of a few.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from stsearch.errors import UserError, quoted, unknown
from stsearch.evaluate.earlier import as_begun
from stsearch.resources import find, names
from stsearch.search.attributes import (
    ARCHITECTURE,
    FORMAT,
    INTERRUPTED,
    METRIC_NAMES,
    NETWORK,
    REASON,
    REFERENCE,
    REFERENCE_POINT,
    REPEATS,
    SPEC,
)
from stsearch.search.metrics import METRICS
from stsearch.search.place import exists, shown
from stsearch.search.recognise import check_whole
from stsearch.search.rows import (
    SPOILED,
    all_loaded,
    in_parts,
    is_reference,
    numbers_of,
    sound_states,
    study_attributes,
    study_id,
    trial_columns,
)
from stsearch.search.stored_records import join_references, records_of
from stsearch.search.stored_repeats import Repeat, joined, read_repeats
from stsearch.search.tables import STUDIES, SYSTEM, TRIALS, USER, reading
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.blueprint import ClipShape

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Record:
    """One trained network: a trial of the study or a reference outside the space."""

    trial: int | None
    """number of the trial; ``None`` for a reference"""
    architecture: str
    network: str
    metrics: Mapping[str, float]
    """accuracies of the proxy (per cent), costs of the target"""
    feasible: bool
    """whether it keeps the budget"""

    def parsed(self) -> Architecture:
        """Its architecture."""
        return parse_placement(self.architecture)


@dataclass(frozen=True)
class Ended:
    """A trial that did not become a network of the front: it failed, or was pruned."""

    trial: int
    network: str
    reason: str


@dataclass(frozen=True)
class StoredStudy:
    """A study as its storage holds it at one moment. Rows are trials by number."""

    url: str
    name: str
    study_id: int
    """Optuna's number of it in this storage"""
    user_attributes: dict[str, Any]
    objectives: dict[str, str]
    """name to ``maximize`` or ``minimize``, in the order of the values"""
    trial_ids: Rows
    """``(N,)``"""
    numbers: Rows
    """``(N,)``"""
    states: npt.NDArray[np.str_]
    """``(N,)``, COMPLETE, FAIL, PRUNED, RUNNING or WAITING"""
    values: npt.NDArray[np.float64]
    """``(N, objectives)``, NaN where there is none; accuracies are means over all trainings of a network"""
    feasible: npt.NDArray[np.bool_]
    """``(N,)``, whether no constraint is broken"""
    repeats: Mapping[int, tuple[Repeat, ...]]
    """number of a trial to the further trainings of its network"""

    @property
    def resolved(self) -> dict[str, Any]:
        """The specification that it was begun with, all defaults filled in."""
        resolved: dict[str, Any] = self.user_attributes[SPEC]["resolved"]
        return {**resolved, "evaluate": as_begun(resolved["evaluate"])}

    @property
    def identity(self) -> dict[str, Any]:
        """What may not change while it lives."""
        identity: dict[str, Any] = self.user_attributes[SPEC]["identity"]
        return {**identity, "evaluate": as_begun(identity["evaluate"])}

    @property
    def class_names(self) -> list[str]:
        """Classes of its data."""
        names: list[str] = self.user_attributes[SPEC]["classes"]
        return names

    @property
    def classes(self) -> int:
        """Classes of the target: of its classifier, and so of its cost."""
        return self.identity["target"]["classes"] or len(self.class_names)

    @property
    def target_clip(self) -> ClipShape:
        """The clip that costs are of."""
        return self._clip("target")

    @property
    def proxy_clip(self) -> ClipShape:
        """The clip that accuracies are of."""
        return self._clip("proxy")

    def _clip(self, section: str) -> ClipShape:
        given = self.identity[section]
        channels = 2 if self.identity["data"].get("modality") == "flow" else 3
        return ClipShape(channels, given["frames"], given["size"], given["size"])

    @property
    def reference_point(self) -> dict[str, float]:
        """Worst corner for the hypervolume, by objective."""
        point: dict[str, float] = self.user_attributes[REFERENCE_POINT]
        return point

    @cached_property
    def complete(self) -> Rows:
        """Rows of trained networks."""
        return np.flatnonzero((self.states == "COMPLETE") & ~np.isnan(self.values).any(1))

    def rows(self, state: str) -> Rows:
        """Rows in one state."""
        return np.flatnonzero(self.states == state)

    @property
    def spoiled(self) -> str:
        """A line about the trained networks that cannot be read, where there are any."""
        numbers = ", ".join(map(str, self.numbers[self.states == "SPOILED"][:10]))
        return f"trials whose rows in the database are damaged are left out: {numbers}" if numbers else ""

    def attributes(
        self, keys: Sequence[str], rows: Rows | None = None, *, system: bool = False
    ) -> list[dict[str, Any]]:
        """Attributes ``keys`` of the trials in ``rows`` (all of them by default), one dict each."""
        table = SYSTEM if system else USER
        chosen = np.arange(len(self.trial_ids)) if rows is None else rows
        found: dict[int, dict[str, Any]] = {int(self.trial_ids[row]): {} for row in chosen}
        query = sa.select(table.c.trial_id, table.c.key, table.c.value_json).where(table.c.key.in_(keys))
        with reading(self.url) as connection:
            for part in in_parts(connection, self.name, query, table, list(found), len(self.trial_ids)):
                rows_read = part.all()
                values = all_loaded([text for *_, text in rows_read])
                for (trial_id, key, _), value in zip(rows_read, values, strict=True):
                    if trial_id in found and value is not SPOILED:
                        found[trial_id][key] = value
        return [found[int(self.trial_ids[row])] for row in chosen]

    def find(self, key: str, values: Sequence[Any]) -> Rows:
        """Rows whose user attribute ``key`` is one of ``values``."""
        query = (
            sa.select(USER.c.trial_id)
            .select_from(USER.join(TRIALS, TRIALS.c.trial_id == USER.c.trial_id))
            .where(TRIALS.c.study_id == study_id(self.name))
            .where(USER.c.key == key, USER.c.value_json.in_([json.dumps(value) for value in values]))
        )
        with reading(self.url) as connection:
            ids = [row[0] for row in connection.execute(query)]
        return np.flatnonzero(np.isin(self.trial_ids, ids))

    def records(self, rows: Rows) -> list[Record]:
        """The networks trained in ``rows``, in that order; trials without an architecture are left out."""
        found = self.attributes([ARCHITECTURE, NETWORK, *METRICS], rows)
        return [
            Record(
                int(self.numbers[row]),
                attributes[ARCHITECTURE],
                attributes.get(NETWORK, attributes[ARCHITECTURE]),
                {
                    **dict(zip(self.objectives, self.values[row].tolist(), strict=True)),
                    **{
                        name: self.mean(int(self.numbers[row]), name, attributes[name])
                        for name in METRICS
                        if name in attributes
                    },
                },
                bool(self.feasible[row]),
            )
            for row, attributes in zip(rows, found, strict=True)
            if ARCHITECTURE in attributes
        ]

    def mean(self, number: int, name: str, first: float) -> float:
        """A metric of a trial's network over all its trainings; ``first`` is what its evaluation found."""
        again = [repeat.accuracies[name] for repeat in self.repeats.get(number, ()) if name in repeat.accuracies]
        return (self.trainings * first + sum(again)) / (self.trainings + len(again)) if again else first

    @property
    def trainings(self) -> int:
        """Trainings of every network in its evaluation, without further ones."""
        return int(self.identity["evaluate"].get("repeats", 1))

    def details(self, rows: Rows) -> list[dict[str, Any]]:
        """Everything that training found, for the trials in ``rows``; empty where nothing is kept.

        ``trainings`` and ``seeds`` are those of all trainings, ``seconds`` their sum; the rest is of the first.
        """
        ids = self.trial_ids[rows].tolist()
        repeats = [self.repeats.get(int(self.numbers[row]), ()) for row in rows]
        kept = records_of(self.url, [*ids, *(repeat.trial_id for found in repeats for repeat in found)])
        return [
            joined(kept.get(own, {}), [kept[repeat.trial_id] for repeat in found if repeat.trial_id in kept])
            for own, found in zip(ids, repeats, strict=True)
        ]

    def references(self) -> list[Record]:
        """Trained networks outside the space."""
        return [
            Record(
                None,
                value[ARCHITECTURE],
                value[NETWORK],
                {**{name: value[name] for name in METRICS if name in value}, **value["metrics"]},
                value["feasible"],
            )
            for key, value in self.user_attributes.items()
            if key.startswith(REFERENCE) and is_reference(value)
        ]

    def ended(self, state: str) -> list[Ended]:
        """Trials that failed for a reason of their own (``FAIL``) or were ``PRUNED``."""
        rows = self.rows(state)
        found = zip(rows, self.attributes([NETWORK, REASON, INTERRUPTED], rows), strict=True)
        return [
            Ended(int(self.numbers[row]), a.get(NETWORK, "?"), a.get(REASON, "unknown"))
            for row, a in found
            if REASON in a and not a.get(INTERRUPTED)
        ]

    def times(self) -> tuple[list[str], list[str]]:
        """When each trial began and ended, UTC, as sortable text; empty where it has not."""
        with reading(self.url) as connection:
            query = sa.select(TRIALS.c.trial_id, TRIALS.c.datetime_start, TRIALS.c.datetime_complete).where(
                TRIALS.c.study_id == study_id(self.name)
            )
            found = {row[0]: (str(row[1] or ""), str(row[2] or "")) for row in connection.execute(query)}
        both = [found.get(int(trial_id), ("", "")) for trial_id in self.trial_ids]
        return [start for start, _ in both], [end for _, end in both]


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
        hint = f"`stsearch run {name}` begins it" if name in known or "." in name else unknown("study", name, known)
        raise UserError(f"the study {study_name!r} has not been run here ({shown(url)} is not there); {hint}")
    with reading(url) as connection:
        check_whole(connection, url)
        stored = _read(connection, study_name, url)
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
        known = {key: number for key, number in known.items() if not key.endswith(REPEATS)}
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
    states = sound_states(connection, known[name], ids, states, values, constraints)
    stored = StoredStudy(
        url=url,
        name=name,
        study_id=known[name],
        user_attributes=user,
        objectives=objectives,
        trial_ids=np.array(ids, dtype=np.int64),
        numbers=np.array(numbers, dtype=np.int64),
        states=np.array(states, dtype="U8"),
        values=values,
        feasible=np.asarray(~(constraints > 0).any(0)),
        repeats=read_repeats(connection, known[name + REPEATS]) if name + REPEATS in known else {},
    )
    for number in stored.repeats:
        for row in np.flatnonzero(stored.numbers == number):
            values[row] = [stored.mean(number, *pair) for pair in zip(objectives, values[row], strict=True)]
    return stored
