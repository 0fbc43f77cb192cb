"""How far two measurements of the same networks agree, and which networks one of them tells apart.

numpy and scipy alone. Rank correlations and their intervals are ``stsearch.stats.ranks``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

from stsearch.stats.ranks import LEAST_FOR_INTERVAL, RESAMPLES, UNDEFINED, Floats, tau_b, varies

FALSE_SHARE = 0.05
"""Of the pairs that are said to be told apart, the share that may be noise (expected, at most)."""


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
class Noise:
    """What a network's figure would vary by if it were measured again."""

    standard_errors: Floats
    """``(n,)``, per cent"""
    between_trainings: float | None
    """standard deviation of one training with another seed, pooled over networks; ``None`` without repeats"""
    degrees: int
    """of freedom of it; 0 without repeats"""
    floor: Floats
    """``(n,)``, binomial standard error of the validation videos, per cent"""


def noise_of(
    figures: Sequence[float], trainings: Sequence[Sequence[float]], counted: Sequence[int], videos: int
) -> Noise:
    """Standard errors of ``figures`` ``(n,)`` (per cent of ``videos`` validation videos).

    ``trainings`` are all figures of single trainings of each network at this fidelity, of which a
    figure is the mean of ``counted``. Where some networks have several, their variance is pooled, as
    two or three of one network tell little. The binomial error is the floor: trainings measured on
    the same videos do not show what other videos would change.
    """
    hits = np.asarray(figures, dtype=np.float64) / 100 * videos
    share = (hits + 1) / (videos + 2)  # Laplace: no error of 0 at 0 and 100 %
    floor = 100 * np.sqrt(share * (1 - share) / videos)
    repeated = [np.asarray(group, dtype=np.float64) for group in trainings if len(group) > 1]
    degrees = sum(len(group) - 1 for group in repeated)
    if not degrees:
        return Noise(floor, None, 0, floor)
    pooled = float(np.sqrt(sum(float(((g - g.mean()) ** 2).sum()) for g in repeated) / degrees))
    errors = pooled / np.sqrt(np.asarray(counted, dtype=np.float64))
    return Noise(np.maximum(errors, floor), pooled, degrees, floor)


@dataclass(frozen=True)
class Pair:
    """Two networks, by their numbers."""

    one: int
    other: int
    difference: float
    """of ``one`` less ``other``"""
    standard_error: float
    p: float
    """two-sided, of no difference"""
    told_apart: bool
    agrees: bool | None
    """whether the reference orders them alike; ``None`` where either calls them equal"""


def pairs_of(figures: Floats, noise: Noise, reference: Floats) -> tuple[Pair, ...]:
    """Every pair of networks: whether ``figures`` tell it apart, and whether ``reference`` orders it alike.

    Student's t with the degrees of freedom of the repeats (normal without), and Benjamini and
    Hochberg's rule (1995) over all pairs: of those told apart at most 5 % are expected to be noise.
    """
    couples = list(combinations(range(len(figures)), 2))
    if not couples:
        return ()
    one, other = (np.array(side) for side in zip(*couples, strict=True))
    apart = figures[one] - figures[other]
    errors = np.hypot(noise.standard_errors[one], noise.standard_errors[other])
    law = stats.t(noise.degrees) if noise.degrees else stats.norm()
    p = 2 * law.sf(np.abs(apart) / errors)
    told = false_discovery(p)
    order = np.sign(apart) * np.sign(reference[one] - reference[other])
    return tuple(
        Pair(a, b, float(d), float(e), float(q), bool(t), None if o == 0 else bool(o > 0))
        for (a, b), d, e, q, t, o in zip(couples, apart, errors, p, told, order, strict=True)
    )


def false_discovery(p: Floats, share: float = FALSE_SHARE) -> npt.NDArray[np.bool_]:
    """Which hypotheses ``(m,)`` Benjamini and Hochberg's rule rejects."""
    count = len(p)
    below = np.sort(p) <= share * np.arange(1, count + 1) / count
    if not below.any():
        return np.zeros(count, dtype=bool)
    return np.asarray(p <= np.sort(p)[np.flatnonzero(below)[-1]])


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
