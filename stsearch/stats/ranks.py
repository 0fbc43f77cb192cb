"""Rank correlations of two figures of the same things, with bootstrap intervals over the things.

Kendall's tau-b and Spearman's rho, both with ties. The bootstrap draws things with replacement and
takes percentiles; a thing that is drawn twice is a tie in both figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Of multiplicities ``(B, n)``: how often each of ``n`` things was drawn; ``(B,)``, NaN where it is undefined."""

LEAST = 3
"""Things without which a rank correlation says nothing."""
LEAST_FOR_INTERVAL = 10
"""Things without which a bootstrap interval would be narrower than what is known."""
UNDEFINED = 0.025
"""Share of resamples without any order, above which there is no interval: it hangs on a network or two."""
RESAMPLES = 1000
COVERAGE = 95
"""per cent"""


@dataclass(frozen=True)
class Correlation:
    """A rank correlation: 1 where both figures order alike, -1 where oppositely, about 0 by chance."""

    name: str
    value: float | None
    """``None`` where there are too few things, or all are equal in one of the two"""
    low: float | None
    high: float | None
    """95 % percentile bootstrap interval; ``None`` with fewer than 10 things, where no resample differs from another,
    as in perfect order (what was not seen cannot be resampled), and where nearly all things are tied"""


def varies(values: Floats) -> bool:
    """Whether there is an order at all."""
    return bool(np.any(values != values[0]))


def kendall(x: Floats, y: Floats, seed: int = 0) -> Correlation:
    """Kendall's tau-b of two figures ``(n,)`` with its interval."""
    return _correlation("Kendall", tau_b(x, y), x, y, seed)


def spearman(x: Floats, y: Floats, seed: int = 0) -> Correlation:
    """Spearman's rho of two figures ``(n,)`` with its interval."""
    return _correlation("Spearman", _rho(x, y), x, y, seed)


def _correlation(name: str, statistic: Statistic, x: Floats, y: Floats, seed: int) -> Correlation:
    n = len(x)
    if n < LEAST or not (varies(x) and varies(y)):
        return Correlation(name, None, None, None)
    value = float(np.clip(statistic(np.ones((1, n)))[0], -1, 1))
    if n < LEAST_FOR_INTERVAL:
        return Correlation(name, value, None, None)
    drawn = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    places = drawn + n * np.arange(RESAMPLES)[:, None]
    resampled = statistic(np.bincount(places.ravel(), minlength=n * RESAMPLES).reshape(RESAMPLES, n).astype(np.float64))
    if np.isnan(resampled).mean() > UNDEFINED:
        return Correlation(name, value, None, None)
    resampled = resampled[~np.isnan(resampled)]
    if np.ptp(resampled) < 1e-9:
        return Correlation(name, value, None, None)
    low, high = np.percentile(resampled, ((100 - COVERAGE) / 2, (100 + COVERAGE) / 2))
    return Correlation(name, value, float(max(low, -1)), float(min(high, 1)))


def tau_b(x: Floats, y: Floats) -> Statistic:
    """Kendall's tau-b of ``x`` and ``y`` ``(n,)`` as a function of how often each thing was drawn."""
    signs_x, signs_y = (np.sign(values[:, None] - values) for values in (x, y))
    agree, order_x, order_y = signs_x * signs_y, np.abs(signs_x), np.abs(signs_y)

    def of(times: Floats) -> Floats:
        pairs, in_x, in_y = (((times @ m) * times).sum(1) for m in (agree, order_x, order_y))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(pairs / np.sqrt(in_x * in_y))

    return of


def _rho(x: Floats, y: Floats) -> Statistic:
    below_x, below_y = ((v < v[:, None]) + 0.5 * (v == v[:, None]) for v in (x, y))

    def of(times: Floats) -> Floats:
        n = times.sum(1, keepdims=True)
        ranks = [times @ below.T for below in (below_x, below_y)]
        a, b = (r - (times * r).sum(1, keepdims=True) / n for r in ranks)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((times * a * b).sum(1) / np.sqrt((times * a * a).sum(1) * (times * b * b).sum(1)))

    return of
