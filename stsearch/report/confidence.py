"""How sure a study's front is: standard errors, probabilities, a band and an interval for the hypervolume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from stsearch.search.metrics import ACCURACIES
from stsearch.search.reading import Record, Rows, StoredStudy
from stsearch.stats.accuracy import Measured
from stsearch.stats.draws import Draws, draw_fronts
from stsearch.stats.front import hypervolume, minimised

LIKELY = 0.1
"""A network that is on the front with this probability is named, though it is not on it as measured."""
OPEN = (0.05, 0.95)
"""Two networks whose order has a probability between these are not told apart."""
INTERVAL = (0.025, 0.975)
"""Quantiles of intervals and of the band"""
PAIRED = 30
"""Networks that are compared pair by pair, at most: the likeliest of the front."""
DETAILED = 500
"""Networks whose single trainings are read where all were repeated, evenly; the others are taken to be alike."""
_VOLUMES = 200
"""Draws whose hypervolume is computed one by one, for three objectives and more"""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """Two networks whose order in accuracy is open, the cheaper first."""

    first: Record
    second: Record
    probability: float
    """that the first is the more accurate one"""


@dataclass(frozen=True)
class Band:
    """Between which accuracies the front runs, with 95 % probability at each cost."""

    costs: Floats
    """``(M,)`` ascending; each level holds from here to the next"""
    low: Floats
    """``(M,)`` per cent"""
    high: Floats
    """``(M,)`` per cent"""


@dataclass(frozen=True)
class Noise:
    """What is known of how much trainings of one network differ."""

    deviation: float
    """standard deviation of one training, per cent, at the mean accuracy of the front"""
    networks: int
    """trained more than once"""
    trainings: int
    """of these networks"""
    videos: int
    """of the validation set"""


@dataclass(frozen=True)
class Certainty:
    """Of one network."""

    errors: Mapping[str, float]
    """standard error of its mean accuracy, per cent, by objective"""
    expected: Mapping[str, float]
    """accuracy to expect of one more training: the mean without the luck of having been picked"""
    trainings: int
    probability: float
    """of being on the front"""

    def as_dict(self) -> dict[str, Any]:
        """Its part of a network's JSON."""
        errors = {f"{name}_se": value for name, value in self.errors.items()}
        expected = {f"{name}_expected": value for name, value in self.expected.items()}
        return {**errors, **expected, "n": self.trainings, "p_front": self.probability}


@dataclass(frozen=True)
class Confidence:
    """Of a whole front."""

    numbers: Rows
    """``(N,)`` ascending, of the trials of all trained networks within the budget"""
    errors: Mapping[str, Floats]
    """``(N,)`` by objective, see ``Certainty``"""
    expected: Mapping[str, Floats]
    counts: Rows
    probabilities: Floats
    likely: tuple[Record, ...]
    """networks that are not on the front as measured but may well be, cheapest first"""
    pairs: tuple[Pair, ...]
    """networks of the front and ``likely`` that are not told apart: those with one of the measured front first, then
    the most open"""
    hypervolume: tuple[float, float]
    """95 % interval of the true front of the trained networks"""
    band: Band | None
    """for one accuracy and one cost"""
    noise: Noise

    def probability(self, record: Record) -> float:
        """Of being on the front; 0 for a network that is none of those that can be."""
        sure = self.of(record.trial) if record.trial is not None else None
        return sure.probability if sure else 0.0

    def of(self, trial: int) -> Certainty | None:
        """Of the network of one trial; ``None`` for one that failed or is over the budget."""
        place = int(np.searchsorted(self.numbers, trial))
        if place == len(self.numbers) or self.numbers[place] != trial:
            return None
        return Certainty(
            {name: float(values[place]) for name, values in self.errors.items()},
            {name: float(values[place]) for name, values in self.expected.items()},
            int(self.counts[place]),
            float(self.probabilities[place]),
        )


def confidence_of(stored: StoredStudy, feasible: Rows, front: Rows) -> Confidence | None:
    """Of the networks in ``feasible`` with the measured front ``front`` (rows, cheapest first).

    ``None`` where nothing is noisy (no accuracy is an objective), nothing was trained, or a study's records do not
    say how many videos validated it.
    """
    names = [name for name in stored.objectives if name in ACCURACIES]
    if not names or not len(front):
        return None
    repeated, details, videos = _details(stored, feasible, front)
    if not videos:
        return None
    data = {name: _measured(stored, name, feasible, repeated, details, videos) for name in names}
    draws = draw_fronts(list(data.values()))
    chance = np.zeros(len(feasible))
    chance[draws.networks] = draws.probabilities
    order = np.argsort(_costs(stored, feasible)[:, 0], kind="stable") if _exact(stored) else np.argsort(-chance)
    likely = feasible[[place for place in order if chance[place] >= LIKELY]]
    return Confidence(
        numbers=stored.numbers[feasible],
        errors={name: measured.errors() for name, measured in zip(names, draws.measured, strict=True)},
        expected=dict(zip(names, draws.expected, strict=True)),
        counts=data[names[0]].counts,
        probabilities=chance,
        likely=tuple(stored.records(likely[~np.isin(likely, front)])),
        pairs=_pairs(stored, draws, feasible, front, likely),
        hypervolume=_interval(stored, draws),
        band=_band(draws) if len(names) == 1 and len(_exact(stored)) == 1 else None,
        noise=_noise(data[names[0]], np.isin(feasible, front), details, videos),
    )


def _exact(stored: StoredStudy) -> list[str]:
    """Objectives that are no accuracies: costs, which are exact."""
    return [name for name in stored.objectives if name not in ACCURACIES]


def _costs(stored: StoredStudy, rows: Rows) -> Floats:
    """``(N, C)``"""
    return stored.values[rows][:, [name not in ACCURACIES for name in stored.objectives]]


def _details(stored: StoredStudy, feasible: Rows, front: Rows) -> tuple[Rows, list[dict[str, Any]], int]:
    """Rows with several trainings, their records, and how many videos validated them."""
    again = np.flatnonzero(np.isin(stored.numbers, list(stored.repeats)))
    if stored.trainings > 1:
        again = np.union1d(again, feasible[:: -(-len(feasible) // DETAILED)])
    rows = np.intersect1d(again, feasible)
    details = stored.details(rows)
    kept = [*details, *([] if any(details) else stored.details(front[:1]))]
    counts = [sum(n for *_, n in record["trainings"][0].get("confusion", ())) for record in kept if record]
    told = [bool(record) for record in details]
    return rows[told], [record for record in details if record], max(counts, default=0)


def _measured(
    stored: StoredStudy, name: str, feasible: Rows, repeated: Rows, details: Sequence[Mapping[str, Any]], videos: int
) -> Measured:
    """One accuracy of all networks; squares of those whose trainings were not read are taken from the others."""
    means = stored.values[feasible][:, list(stored.objectives).index(name)]
    further = np.zeros(len(feasible), dtype=np.int64)
    for number, found in stored.repeats.items():
        further[stored.numbers[feasible] == number] = len(found)
    all_of = stored.trainings + further
    places = np.searchsorted(feasible, repeated)
    values = [np.array([training[name] for training in record["trainings"]]) for record in details]
    counts = np.where(np.isin(feasible, repeated), all_of, 1)
    squares = np.zeros(len(feasible))
    squares[places] = [float(np.square(found - found.mean()).sum()) for found in values]
    read = Measured(_costs(stored, feasible), means, counts, squares, videos)
    unread = all_of - counts
    if not unread.any():
        return read
    return Measured(read.costs, means, counts + unread, squares + unread * read.dispersion() * read.binomial(), videos)


def _noise(data: Measured, front: npt.NDArray[np.bool_], details: Sequence[Mapping[str, Any]], videos: int) -> Noise:
    return Noise(
        deviation=float(np.sqrt(data.dispersion() * data.binomial()[front].mean())),
        networks=len(details),
        trainings=sum(len(record["trainings"]) for record in details),
        videos=videos,
    )


def _pairs(stored: StoredStudy, draws: Draws, feasible: Rows, front: Rows, likely: Rows) -> tuple[Pair, ...]:
    places = np.flatnonzero(np.isin(feasible[draws.networks], np.union1d(likely, front)))
    places = places[np.argsort(-draws.probabilities[places], kind="stable")][:PAIRED]
    places = places[np.lexsort((places, *draws.costs[places].T[::-1]))]
    records = dict(zip(places.tolist(), stored.records(feasible[draws.networks[places]]), strict=True))
    found = []
    for first, second in combinations(places.tolist(), 2):
        chance = float((draws.accuracies[0][:, first] > draws.accuracies[0][:, second]).mean())
        if OPEN[0] <= chance <= OPEN[1]:
            found.append(Pair(records[first], records[second], chance))
    on_front = set(stored.numbers[front].tolist())

    def rank(pair: Pair) -> tuple[bool, float]:
        return on_front.isdisjoint({pair.first.trial, pair.second.trial}), abs(pair.probability - 0.5)

    return tuple(sorted(found, key=rank))


def _staircase(draws: Draws) -> tuple[Floats, Floats]:
    """Costs ``(M,)`` ascending, and the best accuracy ``(B, M)`` at no higher cost."""
    order = np.argsort(draws.costs[:, 0], kind="stable")
    return draws.costs[order, 0], np.maximum.accumulate(draws.accuracies[0][:, order], axis=1)


def _band(draws: Draws) -> Band:
    costs, best = _staircase(draws)
    low, high = np.quantile(best, INTERVAL, axis=0)
    return Band(costs, low, high)


def _interval(stored: StoredStudy, draws: Draws) -> tuple[float, float]:
    names, point = list(stored.objectives), stored.reference_point
    exact = _exact(stored)
    if len(names) == 2 and len(exact) == 1:
        costs, best = _staircase(draws)
        widths = np.diff(np.minimum(np.append(costs, point[exact[0]]), point[exact[0]]))
        (accuracy,) = (name for name in names if name in ACCURACIES)
        volumes = np.maximum(best - point[accuracy], 0.0) @ widths
    else:
        worst = minimised([[point[name] for name in names]], stored.objectives.values())[0]
        volumes = np.array([hypervolume(_values(names, draws, b), worst) for b in range(len(draws.members))[:_VOLUMES]])
    low, high = np.quantile(volumes, INTERVAL)
    return float(low), float(high)


def _values(names: Sequence[str], draws: Draws, number: int) -> Floats:
    """The front of one draw ``(networks, objectives)``, minimised."""
    members = draws.members[number]
    accuracies, costs = iter(-draws.accuracies[:, number, members]), iter(draws.costs[members].T)
    return np.stack([next(accuracies if name in ACCURACIES else costs) for name in names], axis=1)
