"""Which of several ways to train ranks networks, and the cheapest that does.

A way (a fidelity) has trained the same networks once or several times. It is judged by one Kendall tau: that of its
rankings with those of the longest way, each by trainings of other seeds, so that it counts both how well a ranking
repeats and whether it is that of longer training; where the longest has none, by the tau from one seed to the next. All
ways are resampled over the same networks, so that differences between them have a standard error of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from stsearch.stats.accuracy import TOLD, Floats, Measured
from stsearch.stats.ranks import COVERAGE, LEAST, LEAST_FOR_INTERVAL, RESAMPLES, UNDEFINED, Correlation, tau_b, varies

CLEARLY = 2.0
"""Standard errors by which a way is clearly worse than the best"""
WITHIN = 1.0
"""Standard errors within which a way ranks as well as the best: the rule of Breiman et al. (1984), section 3.4.3"""

Rankings = Sequence[tuple[Floats, Floats]]
"""Pairs of trainings, each the accuracies ``(n,)`` of the same networks"""


@dataclass(frozen=True)
class Agreement:
    """The mean tau over pairs of rankings."""

    tau: Correlation
    resampled: Floats | None
    """``(RESAMPLES,)`` over the networks; ``None`` below 10 networks and where the tau is not known"""


def agreement(pairs: Rankings, seed: int = 0) -> Agreement:
    """The mean Kendall tau-b of ``pairs`` with a 95 % percentile bootstrap interval over the networks.

    One ``seed`` and one number of networks draw the same networks, whatever is compared.
    """
    n = len(pairs[0][0]) if pairs else 0
    if n < LEAST or not all(varies(x) and varies(y) for x, y in pairs):
        return Agreement(Correlation("Kendall", None, None, None), None)
    statistics = [tau_b(x, y) for x, y in pairs]

    def mean(times: Floats) -> Floats:
        return np.asarray(np.mean([statistic(times) for statistic in statistics], axis=0))

    value = float(np.clip(mean(np.ones((1, n)))[0], -1, 1))
    if n < LEAST_FOR_INTERVAL:
        return Agreement(Correlation("Kendall", value, None, None), None)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
    resampled = mean(drawn)
    known = resampled[~np.isnan(resampled)]
    if len(known) < (1 - UNDEFINED) * RESAMPLES or np.ptp(known) < 1e-9:
        return Agreement(Correlation("Kendall", value, None, None), resampled)
    low, high = np.percentile(known, ((100 - COVERAGE) / 2, (100 + COVERAGE) / 2))
    return Agreement(Correlation("Kendall", value, float(max(low, -1)), float(min(high, 1))), resampled)


def seed_to_seed(values: Floats, seed: int = 0) -> Agreement:
    """Of trainings ``(n, s)`` of ``n`` networks with each other, all pairs of the ``s`` seeds."""
    return agreement([(values[:, a], values[:, b]) for a, b in combinations(range(values.shape[1]), 2)], seed)


def with_reference(values: Floats, reference: Floats, seed: int = 0) -> Agreement:
    """Of trainings ``(n, s)`` with those of another way ``(n, r)``, all pairs."""
    both = product(range(values.shape[1]), range(reference.shape[1]))
    return agreement([(values[:, a], reference[:, b]) for a, b in both], seed)


@dataclass(frozen=True)
class Standing:
    """How a way stands among the others."""

    seconds: float
    """per network"""
    tau: Correlation
    """by which it is judged"""
    behind: float | None
    """tau of the best less its own; ``None`` where either is not known"""
    error: float | None
    """standard error of ``behind``; ``None`` where it is not known"""
    repeats: bool
    """whether its rankings are known to agree from seed to seed at all"""
    learnt: bool
    """false where its networks have not learnt"""

    @property
    def as_good(self) -> bool:
        """Whether it ranks as well as the best, to within ``WITHIN`` standard errors."""
        return self.behind is not None and self.behind <= WITHIN * (self.error or 0.0)

    @property
    def clearly_worse(self) -> bool:
        """Whether it has not learnt, or is behind the best by over ``CLEARLY`` standard errors."""
        if not self.learnt:
            return True
        return self.behind is not None and self.error is not None and self.behind > CLEARLY * self.error


class Candidate(NamedTuple):
    """A way before it is compared."""

    seconds: float
    """per network"""
    judged: Agreement
    """with the longest, or from seed to seed where there is none"""
    seeds: Agreement
    """from seed to seed"""
    learnt: bool


def standings(ways: Sequence[Candidate]) -> list[Standing]:
    """How ``ways`` stand; the best is the highest tau that learnt."""
    known = [way for way in ways if way.learnt and way.judged.tau.value is not None]
    best = max(known, key=lambda way: (way.judged.tau.value, -way.seconds), default=None)
    return [
        Standing(way.seconds, way.judged.tau, *_behind(best, way.judged), above_chance(way.seeds.tau), way.learnt)
        for way in ways
    ]


def above_chance(tau: Correlation) -> bool:
    """Whether a tau is known to be above 0: its interval is, or nothing has been seen to be in another order."""
    if tau.value is None:
        return False
    return tau.low > 0 if tau.low is not None else tau.value > 1 - 1e-9


def _behind(best: Candidate | None, own: Agreement) -> tuple[float | None, float | None]:
    first = best.judged if best is not None else None
    if first is None or first.tau.value is None or own.tau.value is None:
        return None, None
    behind = first.tau.value - own.tau.value
    if first.resampled is None or own.resampled is None:
        return behind, None
    return behind, float(np.nanstd(first.resampled - own.resampled))


def pick(ways: Sequence[Standing]) -> int | None:
    """The cheapest that has learnt, is known to rank, and ranks as well as the best; ``None`` where there is none.

    Known to rank is one whose taus, that by which it is judged and that from seed to seed, are both above chance.
    """
    able = [k for k, way in enumerate(ways) if way.learnt and way.repeats and above_chance(way.tau) and way.as_good]
    return min(able, key=lambda number: ways[number].seconds, default=None)


def stays(ways: Sequence[Standing]) -> list[bool]:
    """Which are trained again: not those that are clearly worse, nor those that another one beats at its cost.

    One whose tau is not known yet stays.
    """
    return [not way.clearly_worse and not any(_replaces(other, way) for other in ways) for way in ways]


def _replaces(one: Standing, other: Standing) -> bool:
    if one.tau.value is None or other.tau.value is None or one.clearly_worse:
        return False
    no_worse = one.tau.value >= other.tau.value and one.seconds <= other.seconds
    return no_worse and (one.tau.value > other.tau.value or one.seconds < other.seconds)


def settles(data: Measured) -> float:
    """Points of difference that tell two networks apart, each trained once: of the middle one of ``data``."""
    return float(ndtri(TOLD) * np.sqrt(2 * np.median(data.variances())))
