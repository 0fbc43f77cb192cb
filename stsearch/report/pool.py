"""All trainings of a study's networks at its own fidelity in one pool, whoever asked for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stsearch.search.metrics import ACCURACIES
from stsearch.search.stored import Record, Rows, StoredStudy
from stsearch.stats.accuracy import Floats, Measured

DETAILED = 500
"""Networks whose single trainings are read where all were repeated, evenly; the others are taken to be alike."""


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
    repeated, details = _repeated(stored, rows, outside, counts)
    within = np.concatenate([stored.feasible[rows], np.zeros(len(outside), dtype=bool)])
    data = {}
    for name in names:
        means = columns[name]
        assert means is not None
        grid = np.stack([c for c in costs if c is not None], axis=1) if costs else np.zeros((len(means), 0))
        values = [np.array([training[name] for training in record["trainings"]]) for record in details]
        data[name] = _measured(Measured(grid, means, counts, means * 0, stored.videos, within=within), repeated, values)
    again = [len(record["trainings"]) for record in details]
    return Pool(numbers, outside, counts, data, len(again), sum(again))


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


def _repeated(
    stored: StoredStudy, rows: Rows, outside: Sequence[str], counts: Rows
) -> tuple[npt.NDArray[np.int64], list[dict[str, Any]]]:
    """Places of networks with several trainings that are read, and their records."""
    inside = counts[: len(rows)]
    again = np.flatnonzero(inside > stored.trainings)
    if stored.trainings > 1:
        feasible = np.flatnonzero(stored.feasible[rows])
        again = np.union1d(again, feasible[:: -(-len(feasible) // DETAILED) or 1])
    records = dict(zip(again.tolist(), stored.details(rows[again]), strict=True))
    if (counts[len(rows) :] > 1).any():
        kept = stored.reference_details()
        records |= {len(rows) + number: kept[name] for number, name in enumerate(outside)}
    told = {place: record for place, record in records.items() if record and len(record["trainings"]) > 1}
    return np.array(list(told), dtype=np.int64), list(told.values())


def _measured(data: Measured, repeated: npt.NDArray[np.int64], values: Sequence[Floats]) -> Measured:
    """``data`` with the squares of the ``values`` at ``repeated``; those not read are taken to be like the others."""
    squares, counts = data.squares, np.ones_like(data.counts)
    squares[repeated] = [float(np.square(found - found.mean()).sum()) for found in values]
    counts[repeated] = data.counts[repeated]
    read = Measured(data.costs, data.means, counts, squares, data.videos, within=data.within)
    unread = data.counts - counts
    if unread.any():
        squares = squares + unread * read.dispersion() * read.binomial()
    return Measured(data.costs, data.means, data.counts, squares, data.videos, within=data.within)
