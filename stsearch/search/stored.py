"""A study as its storage holds it at one moment; ``stsearch.search.reading`` makes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from stsearch.evaluate.earlier import as_begun
from stsearch.search.attributes import (
    ARCHITECTURE,
    NETWORK,
    REASON,
    RECORD,
    REFERENCE,
    REFERENCE_POINT,
    SPEC,
    VIDEOS,
)
from stsearch.search.metrics import METRICS
from stsearch.search.rows import (
    SPOILED,
    all_loaded,
    in_parts,
    is_reference,
    study_id,
)
from stsearch.search.state import State
from stsearch.search.stored_records import records_of
from stsearch.search.stored_repeats import Repeat, joined
from stsearch.search.tables import SYSTEM, TRIALS, USER, reading
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.blueprint import ClipShape

Rows = npt.NDArray[np.int64]
_ASKED = 8
"""Networks of a study of an earlier version whose records are asked for the number of its validation videos"""


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
    """``(N,)``, each a ``State``"""
    values: npt.NDArray[np.float64]
    """``(N, objectives)``, NaN where there is none; accuracies are means over all trainings of a network"""
    feasible: npt.NDArray[np.bool_]
    """``(N,)``, whether no constraint is broken"""
    first: npt.NDArray[np.float64]
    """``(N, objectives)``, what each trial's own evaluation found"""
    repeats: Mapping[int | str, tuple[Repeat, ...]]
    """number of a trial, or architecture of a reference, to the further trainings of its network, whoever asked for
    them"""
    labels: tuple[int, ...] = ()
    """the class of every validation video, in the order of predictions; empty where earlier versions kept none"""

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
        return np.flatnonzero((self.states == State.COMPLETE) & ~np.isnan(self.values).any(1))

    def rows(self, *states: State) -> Rows:
        """Rows in one of ``states``."""
        return np.flatnonzero(np.isin(self.states, states))

    @property
    def spoiled(self) -> str:
        """A line about the trained networks that cannot be read, where there are any."""
        numbers = ", ".join(map(str, self.numbers[self.rows(State.DAMAGED)][:10]))
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

    def mean(self, of: int | str, name: str, first: float) -> float:
        """A metric of a network over all its trainings; ``of`` as in ``repeats``, ``first`` is its evaluation's."""
        again = [r for r in self.repeats.get(of, ()) if name in r.accuracies]
        if not again:
            return first
        total = self.trainings * first + sum(r.trainings * r.accuracies[name] for r in again)
        return total / (self.trainings + sum(r.trainings for r in again))

    def count(self, of: int | str) -> int:
        """Trainings of a network that its figures are means of."""
        return self.trainings + sum(repeat.trainings for repeat in self.repeats.get(of, ()))

    def video_top1(self, number: int) -> tuple[float | None, int]:
        """Of a trial's network over all its trainings, per cent, and how many they are; ``None`` where it has none."""
        found = [record.metrics.get("video_top1") for record in self.records(np.flatnonzero(self.numbers == number))]
        return (found[0] if found else None), self.count(number)

    def with_repeats(self, repeats: Mapping[int | str, tuple[Repeat, ...]]) -> StoredStudy:
        """The same with other further trainings."""
        found = replace(self, repeats=repeats, values=self.first.copy())
        for row in np.flatnonzero(np.isin(self.numbers, [of for of in repeats if isinstance(of, int)])):
            pairs = zip(self.objectives, self.first[row], strict=True)
            found.values[row] = [found.mean(int(self.numbers[row]), *pair) for pair in pairs]
        return found

    @property
    def as_searched(self) -> StoredStudy:
        """The same without what audits trained, so that they do not change what they are of."""
        own = {of: tuple(one for one in found if not one.audit) for of, found in self.repeats.items()}
        return self.with_repeats({of: found for of, found in own.items() if found})

    @cached_property
    def videos(self) -> int:
        """Of the validation set; 0 where neither the study nor its records say."""
        kept = self.user_attributes[SPEC].get(VIDEOS)
        if isinstance(kept, int):
            return kept
        records = (record for row in self.complete[:_ASKED] for record in self.details(self.complete[[row]]))
        return next((n for one in records if (n := _validated(one))), 0)

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

    @property
    def _outside(self) -> list[dict[str, Any]]:
        kept = ((key, value) for key, value in self.user_attributes.items() if key.startswith(REFERENCE))
        return [value for _, value in kept if is_reference(value)]

    def references(self) -> list[Record]:
        """Trained networks outside the space."""
        return [
            Record(
                None,
                value[ARCHITECTURE],
                value[NETWORK],
                {
                    name: self.mean(value[ARCHITECTURE], name, first)
                    for name, first in {**{n: value[n] for n in METRICS if n in value}, **value["metrics"]}.items()
                },
                value["feasible"],
            )
            for value in self._outside
        ]

    def reference_details(self) -> dict[str, dict[str, Any]]:
        """As ``details``, of the trained networks outside the space, by architecture."""
        again = {value[ARCHITECTURE]: self.repeats.get(value[ARCHITECTURE], ()) for value in self._outside}
        kept = records_of(self.url, [repeat.trial_id for found in again.values() for repeat in found])
        return {
            value[ARCHITECTURE]: joined(
                value.get(RECORD, {}), [kept[r.trial_id] for r in again[value[ARCHITECTURE]] if r.trial_id in kept]
            )
            for value in self._outside
        }

    def ended(self, state: State) -> list[Ended]:
        """Trials that became no network of the front, and why."""
        rows = self.rows(state)
        found = zip(self.numbers[rows].tolist(), self.attributes([NETWORK, REASON], rows), strict=True)
        return [Ended(number, a.get(NETWORK, "?"), a.get(REASON, "unknown")) for number, a in found]

    def times(self) -> tuple[list[str], list[str]]:
        """When each trial began and ended, UTC, as sortable text; empty where it has not."""
        with reading(self.url) as connection:
            query = sa.select(TRIALS.c.trial_id, TRIALS.c.datetime_start, TRIALS.c.datetime_complete).where(
                TRIALS.c.study_id == study_id(self.name)
            )
            found = {row[0]: (str(row[1] or ""), str(row[2] or "")) for row in connection.execute(query)}
        both = [found.get(int(trial_id), ("", "")) for trial_id in self.trial_ids]
        return [start for start, _ in both], [end for _, end in both]

    def repeated(self) -> tuple[str, str]:
        """When the first of its own further trainings began and the last one ended, as ``times``."""
        ids = [one.trial_id for found in self.repeats.values() for one in found if not one.audit]
        query = sa.select(sa.func.min(TRIALS.c.datetime_start), sa.func.max(TRIALS.c.datetime_complete))
        with reading(self.url) as connection:
            began, ended = connection.execute(query.where(TRIALS.c.trial_id.in_(ids))).one()
        return str(began or ""), str(ended or "")


def _validated(record: Mapping[str, Any]) -> int:
    """Videos that a record's first training was measured on; 0 where it does not say."""
    trainings: Sequence[Mapping[str, Any]] = record.get("trainings") or ({},)
    return sum(count for *_, count in trainings[0].get("confusion", ()))
