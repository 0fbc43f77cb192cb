"""How sure a study's front is: standard errors, probabilities, a band and an interval for the hypervolume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from stsearch.report.pool import Pool, exact, pool_of
from stsearch.search.answers import ANSWERED
from stsearch.search.metrics import ACCURACIES
from stsearch.search.reading import Record, Rows, StoredStudy
from stsearch.stats.accuracy import Floats, Ints, Measured, Posterior, told_apart
from stsearch.stats.draws import Draws, draw_fronts
from stsearch.stats.front import hypervolume, minimised
from stsearch.stats.power import settled

LIKELY = 0.1
"""A network that is on the front with this probability is named, though it is not on it as measured."""
INTERVAL = (0.025, 0.975)
"""Quantiles of intervals and of the band"""
PAIRED = 30
"""Networks that are compared pair by pair, at most: the likeliest of the front."""
_VOLUMES = 200
"""Draws whose hypervolume is computed one by one, for three objectives and more"""


@dataclass(frozen=True)
class Pair:
    """Two networks whose order in accuracy is open, the cheaper first."""

    first: Record
    second: Record
    probability: float
    """that the first is the more accurate one"""


@dataclass(frozen=True)
class Band:
    """Between which accuracies the front runs on videos like these, with 95 % probability at each cost."""

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
    """standard deviation of one training that errors are taken from, per cent, at the mean accuracy of the front"""
    networks: int
    """trained more than once"""
    trainings: int
    """of these networks"""
    videos: int
    """of the validation set"""
    measured: float | None
    """the same as the repeats alone have it, pooled over their networks; ``None`` where nothing was repeated"""
    degrees: int
    """of freedom of it"""
    guessed: float
    """share of ``deviation``'s square that is a guess from ``videos``: 1 without repeats, less with each"""
    paired: bool = False
    """whether differences are compared video by video, on the same validation videos"""
    why_unpaired: str = ""
    """why they are not, else empty"""
    difference: float | None = None
    """standard error of the difference of two networks' accuracies, per cent, median over pairs of the front (of all
    networks where the front is one); ``None`` for a single network"""
    difference_unpaired: float | None = None
    """the same if the videos' luck were each network's own"""

    @property
    def settled(self) -> float | None:
        """Points by which two networks of the front must differ to be told apart, in most cases; as ``difference``."""
        return None if self.difference is None else settled(self.difference)

    def as_dict(self) -> dict[str, Any]:
        """Plain data with stable keys."""
        return {**asdict(self), "settled": self.settled}


@dataclass(frozen=True)
class Certainty:
    """Of one network."""

    errors: Mapping[str, float]
    """standard error of its mean accuracy, per cent, by objective"""
    expected: Mapping[str, float]
    """accuracy to expect of one more training: the mean without the luck of having been picked"""
    trainings: int
    probability: float | None
    """of being on the front; ``None`` for a network outside the space or over the budget, which cannot be on it"""

    def as_dict(self) -> dict[str, Any]:
        """Its part of a network's JSON."""
        errors = {f"{name}_se": value for name, value in self.errors.items()}
        expected = {f"{name}_expected": value for name, value in self.expected.items()}
        chance = {} if self.probability is None else {"p_front": self.probability}
        return {**errors, **expected, "n": self.trainings, **chance}


@dataclass(frozen=True)
class Confidence:
    """Of a whole front."""

    pool: Pool
    """all that were trained, ``N`` of them"""
    posteriors: Mapping[str, Posterior]
    """by accuracy that is an objective"""
    errors: Mapping[str, Floats]
    """``(N,)`` by objective, see ``Certainty``"""
    expected: Mapping[str, Floats]
    probabilities: Floats
    """``(N,)``, NaN outside the space and over the budget"""
    likely: tuple[Record, ...]
    """networks that are not on the front as measured but may well be, cheapest first"""
    pairs: tuple[Pair, ...]
    """networks of the front and ``likely`` that are not told apart: those with one of the measured front first, then
    the most open"""
    hypervolume: tuple[float, float]
    """95 % interval of the true front of the trained networks, on videos like these"""
    band: Band | None
    """for one accuracy and one cost"""
    noise: Noise

    def probability(self, record: Record) -> float:
        """Of being on the front; 0 for a network that is none of those that can be."""
        sure = self.of(record)
        return sure.probability or 0.0 if sure else 0.0

    def of(self, record: Record) -> Certainty | None:
        """Of one network; ``None`` for one that failed."""
        place = self.pool.place(record)
        if place is None:
            return None
        chance = float(self.probabilities[place])
        return Certainty(
            {name: float(values[place]) for name, values in self.errors.items()},
            {name: float(values[place]) for name, values in self.expected.items()},
            int(self.pool.counts[place]),
            None if np.isnan(chance) else chance,
        )


def confidence_of(stored: StoredStudy, front: Rows) -> Confidence | None:
    """Of all trained networks with the measured front ``front`` (rows, cheapest first).

    ``None`` where nothing is noisy (no accuracy is an objective), nothing was trained, or a study's records do not
    say how many videos validated it.
    """
    names = [name for name in stored.objectives if name in ACCURACIES]
    pool = pool_of(stored, names) if len(front) else None
    if pool is None:
        return None
    data = pool.measured[names[0]]
    draws = draw_fronts(list(pool.measured.values()))
    elsewhere = replace(draws, accuracies=draws.elsewhere())
    chance = np.where(data.searched, 0.0, np.nan)
    chance[draws.networks] = draws.probabilities
    order = np.argsort(data.costs[:, 0], kind="stable") if exact(stored) else np.argsort(-chance)
    likely = stored.complete[[place for place in order if chance[place] >= LIKELY]]
    return Confidence(
        pool=pool,
        posteriors=dict(zip(names, draws.posteriors, strict=True)),
        errors={name: one.measured.errors() for name, one in zip(names, draws.posteriors, strict=True)},
        expected=dict(zip(names, draws.expected, strict=True)),
        probabilities=chance,
        likely=tuple(stored.records(likely[~np.isin(likely, front)])),
        pairs=_pairs(stored, draws, front, likely),
        hypervolume=_interval(stored, elsewhere),
        band=_band(elsewhere) if len(names) == 1 and len(exact(stored)) == 1 else None,
        noise=noise_of(pool, names[0], np.flatnonzero(np.isin(stored.complete, front))),
    )


def noise_of(pool: Pool, name: str, front: Rows) -> Noise:
    """What the errors of the accuracy ``name`` rest on; ``front`` is of places in the pool."""
    data = pool.measured[name]
    among = front if len(front) > 1 else np.arange(len(data.means))
    couples = np.array(list(combinations(among[:PAIRED].tolist(), 2)), dtype=np.int64).reshape(-1, 2).T
    return Noise(
        deviation=float(np.sqrt(data.dispersion() * data.unit()[front].mean())),
        networks=pool.networks,
        trainings=pool.trainings,
        videos=data.videos,
        measured=data.measured_deviation(),
        degrees=data.freedom,
        guessed=data.guessed(),
        paired=data.paired is not None,
        why_unpaired="" if data.paired else pool.why_unpaired or f"answers to each video are kept for {ANSWERED} alone",
        difference=_median(data, couples),
        difference_unpaired=_median(replace(data, paired=None), couples),
    )


def _median(data: Measured, couples: Ints) -> float | None:
    """Median standard error of the differences of ``couples`` ``(2, P)``."""
    return float(np.median(data.differences(*couples))) if couples.shape[1] else None


def _pairs(stored: StoredStudy, draws: Draws, front: Rows, likely: Rows) -> tuple[Pair, ...]:
    rows = stored.complete[draws.networks]
    places = np.flatnonzero(np.isin(rows, np.union1d(likely, front)))
    places = places[np.argsort(-draws.probabilities[places], kind="stable")][:PAIRED]
    places = places[np.lexsort((places, *draws.costs[places].T[::-1]))]
    couples = list(combinations(places.tolist(), 2))
    if not couples:
        return ()
    one, other = (draws.networks[list(side)] for side in zip(*couples, strict=True))
    chances = draws.posteriors[0].orders(one, other)
    records = dict(zip(places.tolist(), stored.records(rows[places]), strict=True))
    found = [
        Pair(records[first], records[second], chance)
        for (first, second), chance, told in zip(couples, chances.tolist(), told_apart(chances), strict=True)
        if not told
    ]
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
    costly = exact(stored)
    if len(names) == 2 and len(costly) == 1:
        costs, best = _staircase(draws)
        widths = np.diff(np.minimum(np.append(costs, point[costly[0]]), point[costly[0]]))
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
