"""All trainings of a study's networks at its own fidelity in one pool, whoever asked for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from stsearch.search.answers import ANSWERED, right
from stsearch.search.metrics import ACCURACIES
from stsearch.search.stored import Record, Rows, StoredStudy
from stsearch.stats.accuracy import Floats, Measured, fit
from stsearch.stats.draws import contenders
from stsearch.stats.paired import FEWEST_VIDEOS, Paired, paired_of

DETAILED = 500
"""Networks whose single trainings are read where all were repeated, evenly; the others are taken to be alike."""
ANSWERS = 3_000_000
"""Answers to validation videos that are compared, at most: of more networks those that can be near the front."""


@dataclass(frozen=True)
class Pool:
    """Every trained network, those outside the space and over the budget among them, by place."""

    numbers: Rows
    """``(T,)`` ascending, of the trials; references come after them"""
    outside: tuple[str, ...]
    """architectures of the references"""
    counts: Rows
    """``(N,)`` trainings of each"""
    measured: Mapping[str, Measured]
    """by accuracy"""
    networks: int
    """trained more than once"""
    trainings: int
    """of these networks"""
    why_unpaired: str = ""
    """why no two networks are compared video by video, in words; empty where some are"""

    def place(self, record: Record) -> int | None:
        """Of one network; ``None`` for one that failed or that nothing is kept of."""
        if record.trial is None:
            known = record.architecture in self.outside
            return len(self.numbers) + self.outside.index(record.architecture) if known else None
        place = int(np.searchsorted(self.numbers, record.trial))
        return place if place < len(self.numbers) and self.numbers[place] == record.trial else None


def pool_of(stored: StoredStudy, names: Sequence[str]) -> Pool | None:
    """The pool of the accuracies ``names``; ``None`` where a study's records do not say how many videos measured them.

    Networks of the search that keep the budget are ``within``; accuracies that are no objective are read one by one.
    """
    rows = stored.complete
    if not len(rows) or not names or not stored.videos:
        return None
    references = [r for r in stored.references() if all(name in r.metrics for name in (*names, *exact(stored)))]
    columns = {name: _column(stored, rows, references, name) for name in (*names, *exact(stored))}
    if any(column is None for column in columns.values()):
        return None
    costs = [columns[name] for name in exact(stored)]
    numbers, outside = stored.numbers[rows], tuple(r.architecture for r in references)
    counts = np.full(len(rows) + len(outside), stored.trainings)
    for of in stored.repeats:
        counts[_places(numbers, outside, of)] = stored.count(of)
    again = _repeated(stored, rows, counts)
    read = _records(stored, rows, outside, again)
    repeated = {place: record for place, record in read.items() if len(record["trainings"]) > 1}
    within = np.concatenate([stored.feasible[rows], np.zeros(len(outside), dtype=bool)])
    data = {}
    for name in names:
        means = columns[name]
        assert means is not None
        grid = np.stack([c for c in costs if c is not None], axis=1) if costs else np.zeros((len(means), 0))
        bare = Measured(grid, means, counts, means * 0, stored.videos, within=within)
        if name == ANSWERED and len(stored.labels):
            bare = replace(bare, paired=_paired(stored, rows, outside, bare, read))
        data[name] = _measured(
            bare,
            np.array(list(repeated), dtype=np.int64),
            [np.array([training[name] for training in record["trainings"]]) for record in repeated.values()],
        )
    trainings = [len(record["trainings"]) for record in repeated.values()]
    return Pool(numbers, outside, counts, data, len(trainings), sum(trainings), _why_unpaired(stored, data))


def _why_unpaired(stored: StoredStudy, data: Mapping[str, Measured]) -> str:
    if any(measured.paired for measured in data.values()):
        return ""
    if ANSWERED not in data:
        return f"answers to each video are kept for {ANSWERED} alone"
    if not len(stored.labels):
        return "an earlier stsearch began the study and did not store the videos' classes; the next `run` does"
    if stored.videos < FEWEST_VIDEOS:
        return f"{stored.videos} videos are too few, {FEWEST_VIDEOS} are needed"
    return "fewer than two networks have their answers to each video stored"


def exact(stored: StoredStudy) -> list[str]:
    """The objectives that training does not blur."""
    return [name for name in stored.objectives if name not in ACCURACIES]


def _column(stored: StoredStudy, rows: Rows, references: Sequence[Record], name: str) -> Floats | None:
    """A metric of all networks; ``None`` where some do not have it."""
    if name in stored.objectives:
        own = stored.values[rows][:, list(stored.objectives).index(name)].tolist()
    else:
        own = [record.metrics.get(name) for record in stored.records(rows)]
    found = [*own, *(record.metrics[name] for record in references)]
    return None if None in found or len(own) != len(rows) else np.array(found, dtype=np.float64)


def _places(numbers: Rows, outside: Sequence[str], of: int | str) -> npt.NDArray[np.int64]:
    """Where the network ``of`` is in the pool; empty where it is none of it."""
    if isinstance(of, int):
        return np.flatnonzero(numbers == of)
    return np.array([len(numbers) + outside.index(of)] if of in outside else [], dtype=np.int64)


def _repeated(stored: StoredStudy, rows: Rows, counts: Rows) -> Rows:
    """Places of networks with several trainings that are read; every reference with several is among them."""
    inside = counts[: len(rows)]
    again = np.flatnonzero(inside > stored.trainings)
    if stored.trainings > 1:
        feasible = np.flatnonzero(stored.feasible[rows])
        again = np.union1d(again, feasible[:: -(-len(feasible) // DETAILED) or 1])
    return np.union1d(again, len(rows) + np.flatnonzero(counts[len(rows) :] > 1))


def _records(stored: StoredStudy, rows: Rows, outside: Sequence[str], places: Rows) -> dict[int, dict[str, Any]]:
    """Records of the networks at ``places``, by place; without those of which none is kept."""
    inside = places[places < len(rows)]
    found = dict(zip(inside.tolist(), stored.details(rows[inside]), strict=True))
    if len(inside) < len(places):
        kept = stored.reference_details()
        found |= {len(rows) + n: kept[name] for n, name in enumerate(outside) if len(rows) + n in places}
    return {place: record for place, record in found.items() if record and record.get("trainings")}


def _paired(
    stored: StoredStudy, rows: Rows, outside: Sequence[str], data: Measured, read: Mapping[int, dict[str, Any]]
) -> Paired | None:
    """Answers of the networks that can be near the front, or of all where they are not too many."""
    count, most = len(data.means), max(2, ANSWERS // len(stored.labels))
    near = np.arange(count)
    if count > most:
        near = contenders([data], fit(data).expected()[None])
        near = np.union1d(near[:most], np.arange(len(rows), count))
    missing = near[~np.isin(near, list(read))]
    records = {**{p: r for p, r in read.items() if p in near}, **_records(stored, rows, outside, missing)}
    found = {place: right(record["trainings"], stored.labels) for place, record in records.items()}
    answers = {place: known for place, known in found.items() if known is not None}
    return paired_of(answers, data.binomial(), data.searched)


def _measured(data: Measured, repeated: npt.NDArray[np.int64], values: Sequence[Floats]) -> Measured:
    """``data`` with the squares of the ``values`` at ``repeated``; those not read are taken to be like the others."""
    squares, counts = data.squares, np.ones_like(data.counts)
    squares[repeated] = [float(np.square(found - found.mean()).sum()) for found in values]
    counts[repeated] = data.counts[repeated]
    read = replace(data, counts=counts, squares=squares)
    unread = data.counts - counts
    if unread.any():
        squares = squares + unread * read.dispersion() * read.unit()
    return replace(data, squares=squares)
