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
    learnt: bool
    """false where its networks have not learnt"""

    @property
    def ranks(self) -> bool:
        """Whether it is known to rank at all: its interval is above 0, or it has never been seen to fail."""
        if self.tau.value is None:
            return False
        return self.tau.low > 0 if self.tau.low is not None else self.tau.value > 1 - 1e-9

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


def standings(ways: Sequence[tuple[float, Agreement, bool]]) -> list[Standing]:
    """Of ways given as ``(seconds per network, agreement, learnt)``; the best is the highest tau that learnt."""
    known = [number for number, (_, found, learnt) in enumerate(ways) if learnt and found.tau.value is not None]
    best = max(known, key=lambda number: (ways[number][1].tau.value, -ways[number][0]), default=None)
    return [Standing(seconds, found.tau, *_behind(ways, best, found), learnt) for seconds, found, learnt in ways]


def _behind(
    ways: Sequence[tuple[float, Agreement, bool]], best: int | None, own: Agreement
) -> tuple[float | None, float | None]:
    first = ways[best][1] if best is not None else None
    if first is None or first.tau.value is None or own.tau.value is None:
        return None, None
    behind = first.tau.value - own.tau.value
    if first.resampled is None or own.resampled is None:
        return behind, None
    return behind, float(np.nanstd(first.resampled - own.resampled))


def pick(ways: Sequence[Standing]) -> int | None:
    """The cheapest that has learnt, is known to rank, and ranks as well as the best; ``None`` where there is none."""
    able = [number for number, way in enumerate(ways) if way.learnt and way.ranks and way.as_good]
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
