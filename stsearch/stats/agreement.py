"""How far two measurements of the same networks agree, and which networks one of them tells apart.

Rank correlations and their intervals are ``stsearch.stats.ranks``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from stsearch.stats.accuracy import Ints, Posterior, told_apart
from stsearch.stats.ranks import LEAST_FOR_INTERVAL, RESAMPLES, UNDEFINED, Floats, tau_b, varies

LEAST = 3
"""Networks without which there is no order to compare."""


@dataclass(frozen=True)
class Difference:
    """Kendall's tau-b of one measurement less that of another, both against the same third."""

    value: float | None
    low: float | None
    high: float | None
    """percentile bootstrap interval over the networks, the same ones for both, 95 % jointly over all comparisons;
    ``None`` below 10 networks and where nearly all are tied"""


def tau_difference(one: Floats, other: Floats, reference: Floats, seed: int = 0, comparisons: int = 1) -> Difference:
    """``tau(one, reference) - tau(other, reference)`` of figures ``(n,)``.

    One of so many ``comparisons``, for which its interval is widened (Bonferroni).
    """
    n = len(reference)
    if n < 2 or not all(map(varies, (one, other, reference))):
        return Difference(None, None, None)
    statistics = [tau_b(values, reference) for values in (one, other)]
    value = float(np.subtract(*(statistic(np.ones((1, n)))[0] for statistic in statistics)))
    if n < LEAST_FOR_INTERVAL or np.array_equal(one, other):
        return Difference(value, None, None)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=5 * RESAMPLES).astype(np.float64)
    resampled = np.subtract(*(statistic(drawn) for statistic in statistics))
    if np.isnan(resampled).mean() > UNDEFINED:
        return Difference(value, None, None)
    tail = 2.5 / comparisons
    low, high = np.nanpercentile(resampled, (tail, 100 - tail))
    return Difference(value, float(low), float(high))


@dataclass(frozen=True)
class Pair:
    """Two networks, by their numbers."""

    one: int
    other: int
    difference: float
    """of ``one`` less ``other``"""
    standard_error: float
    p: float
    """twice the probability that the order is the other one"""
    told_apart: bool
    agrees: bool | None
    """whether the reference orders them alike; ``None`` where either calls them equal"""


def pairs_of(posterior: Posterior, networks: Ints, reference: Floats) -> tuple[Pair, ...]:
    """Every pair of ``networks`` ``(n,)``: whether ``posterior`` tells it apart, and ``reference`` orders it alike."""
    couples = list(combinations(range(len(networks)), 2))
    if not couples:
        return ()
    one, other = (np.array(side) for side in zip(*couples, strict=True))
    figures = posterior.measured.means[networks]
    errors = posterior.measured.differences(networks[one], networks[other])
    apart = figures[one] - figures[other]
    chance = posterior.orders(networks[one], networks[other])
    order = np.sign(apart) * np.sign(reference[one] - reference[other])
    rows = zip(couples, apart, errors, chance, told_apart(chance), order, strict=True)
    return tuple(
        Pair(a, b, float(d), float(e), float(2 * min(p, 1 - p)), bool(t), None if o == 0 else bool(o > 0))
        for (a, b), d, e, p, t, o in rows
    )


def stratified(cost: Floats, quality: Floats, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """``count`` of ``n`` networks, spread over cost and quality ``(n,)``; each is as likely as any other.

    Strata of equal size by cost; a systematic sample with a random start along quality, up in one
    stratum and down in the next.
    """
    n = len(cost)
    if count >= n:
        return np.arange(n)
    if count < 1:
        return np.zeros(0, dtype=np.int64)
    strata = max(1, round(count**0.5))
    by_cost = np.lexsort((quality, cost))
    path: list[int] = []
    for number, part in enumerate(np.array_split(by_cost, strata)):
        inside = part[np.argsort(quality[part], kind="stable")]
        path += list(inside[::-1] if number % 2 else inside)
    places = ((rng.random() + np.arange(count)) * n / count).astype(int)
    return np.sort(np.array(path)[places])
