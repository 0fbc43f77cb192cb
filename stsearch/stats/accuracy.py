"""How sure accuracies are: a hierarchical model of networks whose trainings differ by their seeds.

A network ``i`` of cost ``c_i`` has an expected accuracy ``m_i ~ N(x(c_i) b, t^2)``; each of its ``n_i``
trainings finds ``m_i`` plus noise of variance ``f v_i``. Where it is known which videos each training had right,
``v_i`` is what chance at each video gives beside the other networks, and the mean has the noise ``l_i`` besides that
lasts however often a network is trained (``stsearch.stats.paired``): differences are paired then, and noise is
correlated between networks. Elsewhere ``v_i`` is the binomial variance of one measurement on the validation videos
at the accuracy expected of the network (at the measured one the lucky would seem to be measured better), and
``l_i`` is 0. The dispersion ``f`` says how many times ``v_i`` trainings really differ. The posterior
of ``f`` and of the spread ``t`` is computed on a grid with ``b`` integrated out (Gelman et al., Bayesian Data
Analysis, 3rd ed., sections 5.4 and 15), the rest is drawn. So a network that was trained once borrows its noise
from those that were trained more often, few repeats give wide tails, and the luck of the best is taken off.

Every printed standard error, every probability and every pair that is called told apart comes from here: workers
decide with it, and ``pareto``, ``audit``, reports and the dashboard show it. Accuracies are per cent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from stsearch.stats.paired import Paired

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

GUESS, GUESS_WEIGHT = 2.0, 3.0
"""Dispersion before anything was repeated, and the degrees of freedom that this counts for: it may well be 6."""
ALIKE = 8.0
"""Degrees of freedom that the pooled noise counts for in one network's own: noise differs by about a quarter."""
FITTED = 1000
"""Networks that trend and spread are fitted to, at most, evenly by cost."""
CUT = 2.5
"""Networks so many standard deviations below the trend are blind or do not learn: neither fitted nor shrunk to it."""
SPREAD, SPREAD_BELOW, SPREAD_ABOVE = 2.5, 0.8, 2.0
"""Prior of the networks' spread around the trend: its mode in points, and the standard deviations of its log below
and above. A spread of nothing is unlikely, however well few noisy trainings agree with it (Gelman, 2006)."""
TOLD = 0.975
"""Two networks are told apart where one is better with this probability: a 95 % interval leaves out no difference"""
_LEAST = 1e-6
"""Variance of a difference, at least"""
_NO_WEIGHT = 1e-7
"""Cells of the grid below it are left out where pairs are compared"""
_AT_ONCE = 256
"""Pairs whose probabilities are computed at a time"""
_LOG_STEPS = np.linspace(-4.0, 4.0, 25)
_SPREADS = np.geomspace(0.02, 4.0, 24)


@dataclass(frozen=True)
class Measured:
    """What is known of ``N`` networks."""

    costs: Floats
    """``(N, C)``, minimised; ``C`` may be 0"""
    means: Floats
    """``(N,)``, per cent, over all trainings"""
    counts: Ints
    """``(N,)`` trainings"""
    squares: Floats
    """``(N,)`` sum of squared deviations of the trainings from their mean"""
    videos: int
    """of the validation set"""
    expected: Floats | None = None
    """``(N,)``, per cent: the accuracies that ``binomial`` is taken at; ``None``: the measured ones"""
    within: Bools | None = None
    """``(N,)`` networks of the search, that trend and spread are about; others (outside the space, over the budget)
    stand for themselves alone. ``None``: all, and so where there is none"""
    paired: Paired | None = None
    """which videos the trainings had right; ``None`` where that is not known"""

    @property
    def searched(self) -> Bools:
        """``(N,)`` ``within`` as it is used."""
        return np.ones(len(self.means), dtype=bool) if self.within is None or not self.within.any() else self.within

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the noise within networks; 0 where nothing was repeated."""
        return int((self.counts - 1).sum())

    def binomial(self) -> Floats:
        """``(N,)`` binomial variance of one measurement, two right and two wrong added (Agresti and Coull, 1998)."""
        means = self.means if self.expected is None else self.expected
        rate = (np.clip(means, 0, 100) / 100 * self.videos + 2) / (self.videos + 4)
        return np.asarray(1e4 * rate * (1 - rate) / self.videos)

    def unit(self) -> Floats:
        """``(N,)`` variance ``v`` of one training by chance: paired, beside the others, or binomial."""
        return self.paired.unit if self.paired else self.binomial()

    def lasting(self) -> Floats:
        """``(N,)`` variance ``l`` of the mean that no further training removes; 0 unpaired."""
        return self.paired.lasting if self.paired else np.zeros(len(self.means))

    def dispersion(self) -> float:
        """Variance of a training in units of ``unit``, shrunk towards ``GUESS``."""
        spread = float((self.squares / self.unit()).sum())
        return (GUESS_WEIGHT * GUESS + spread) / (GUESS_WEIGHT + self.freedom)

    def measured_deviation(self) -> float | None:
        """Standard deviation of one training as the repeats alone have it, in points; ``None`` without repeats."""
        return float(np.sqrt(self.squares.sum() / self.freedom)) if self.freedom else None

    def guessed(self) -> float:
        """Share of ``dispersion`` that is ``GUESS`` and no measurement."""
        return GUESS_WEIGHT / (GUESS_WEIGHT + self.freedom)

    def variances(self) -> Floats:
        """``(N,)`` variance of one training of each network, shrunk to the pooled one."""
        pooled = self.dispersion() * self.unit()
        return np.asarray(((ALIKE - 2) * pooled + self.squares) / (ALIKE + self.counts - 3))

    def errors(self) -> Floats:
        """``(N,)`` standard errors of ``means``; paired, beside the other networks on the same videos."""
        return np.asarray(np.sqrt(self.lasting() + self.variances() / self.counts))

    def differences(self, first: Ints, second: Ints) -> Floats:
        """``(P,)`` standard errors of the means of ``first`` ``(P,)`` less those of ``second``."""
        squares = np.square(self.errors())
        found = squares[first] + squares[second] - 2 * self._common(first, second, squares)
        return np.asarray(np.sqrt(np.maximum(found, self.paired.least if self.paired else 0.0)))

    def _common(self, first: Ints, second: Ints, squares: Floats) -> Floats:
        """``(P,)`` covariance of two networks' noise, whose variances ``squares`` ``(N,)`` are."""
        if self.paired is None:
            return np.zeros(len(first))
        scales = np.ones(len(squares))
        places = np.union1d(first, second)
        scales[places] = self.shares(places, squares[places])
        return scales[first] * scales[second] * self.paired.covariance(first, second)

    def shares(self, networks: Ints, variance: Floats) -> Floats:
        """How much of the residuals' noise enters where a network's ``variance`` ``(..., n)`` is taken to be less."""
        assert self.paired is not None
        own = np.maximum(self.paired.own(networks), 1e-12)
        return np.minimum(1.0, np.sqrt(variance / own))


@dataclass(frozen=True)
class Posterior:
    """What is believed of expected accuracies: dispersions and spreads on a grid, and the trend at each."""

    measured: Measured
    """with the accuracies expected by a first fit"""
    design: Floats
    """``(N, K)`` the trend's terms"""
    outside: Bools
    """``(N,)`` networks far below the trend or not of the search, about which it says nothing"""
    weights: Floats
    """``(G,)`` of the grid's cells, summing to 1"""
    dispersions: Floats
    """``(G,)`` f"""
    spreads: Floats
    """``(G,)`` t, per cent"""
    trends: Floats
    """``(G, K)`` b"""
    roots: Floats
    """``(G, K, K)`` a square root of the covariance of b"""

    def draw(self, count: int, networks: Ints, generator: np.random.Generator) -> Floats:
        """``(count, len(networks))`` joint draws of expected accuracies."""
        data = self.measured
        cells = generator.choice(len(self.weights), count, p=self.weights)
        noise = generator.standard_normal((count, self.trends.shape[1]))
        trend = self.trends[cells] + np.einsum("bij,bj->bi", self.roots[cells], noise)
        freedom = ALIKE + data.counts[networks] - 1
        pooled = (ALIKE - 2) * self.dispersions[cells, None] * data.unit()[networks]
        own = (pooled + data.squares[networks]) / generator.chisquare(freedom, (count, len(networks)))
        error = data.lasting()[networks] + own / data.counts[networks]
        share, centre = self._shrink(error, self.spreads[cells, None], trend, networks)
        return np.clip(centre + np.sqrt(share) * self._noise(error, networks, generator), 0.0, 100.0)

    def _noise(self, error: Floats, networks: Ints, generator: np.random.Generator) -> Floats:
        """Joint draws ``(count, n)`` of noise with the variances ``error``, correlated as the videos say."""
        paired = self.measured.paired
        if paired is None:
            return np.asarray(np.sqrt(error) * generator.standard_normal(error.shape))
        scale = self.measured.shares(networks, error)
        shared = scale * paired.draw(networks, len(error), generator)
        rest = np.maximum(error - np.square(scale) * paired.own(networks), 0.0)
        return np.asarray(shared + np.sqrt(rest) * generator.standard_normal(error.shape))

    def expected(self) -> Floats:
        """``(N,)`` accuracies expected of one more training: means shrunk towards the trend."""
        spread = np.sqrt(self.weights @ self.spreads**2)
        everyone = np.arange(len(self.measured.means))
        return np.clip(
            self._shrink(self.measured.errors() ** 2, spread, self.weights @ self.trends, everyone)[1], 0.0, 100.0
        )

    def orders(self, first: Ints, second: Ints) -> Floats:
        """``(P,)`` probability that network ``first`` ``(P,)`` is truly more accurate than ``second`` ``(P,)``.

        Summed over the grid, not drawn: the same pair has the same figure whoever else is looked at.
        """
        parts = range(0, len(first), _AT_ONCE)
        found = [self._orders(first[k : k + _AT_ONCE], second[k : k + _AT_ONCE]) for k in parts]
        return np.concatenate(found) if found else np.zeros(0)

    def _orders(self, first: Ints, second: Ints) -> Floats:
        cells = np.flatnonzero(self.weights > _NO_WEIGHT)
        weights, spreads = self.weights[cells], self.spreads[cells, None]
        trends, roots = self.trends[cells], self.roots[cells]
        centre, variance = np.zeros((len(cells), len(first))), np.zeros((len(cells), len(first)))
        slopes = np.zeros((len(cells), len(first), trends.shape[1]))
        common = np.ones((len(cells), len(first)))
        for sign, networks in ((1.0, first), (-1.0, second)):
            counts = self.measured.counts[networks]
            pooled = (ALIKE - 2) * self.dispersions[cells, None] * self.measured.unit()[networks]
            error = (pooled + self.measured.squares[networks]) / (ALIKE + counts - 3) / counts
            error = error + self.measured.lasting()[networks]
            share, middle = self._shrink(error, spreads, trends, networks)
            centre += sign * middle
            variance += share * error
            slopes += sign * (1 - share)[..., None] * self.design[networks]
            if self.measured.paired:
                common *= np.sqrt(share) * self.measured.shares(networks, error)
        if self.measured.paired:
            variance = np.maximum(variance - 2 * common * self.measured.paired.covariance(first, second), _LEAST)
        variance += np.square(np.einsum("gpi,gij->gpj", slopes, roots)).sum(2)
        return np.asarray(weights @ ndtr(centre / np.sqrt(variance)) / weights.sum())

    def _shrink(self, variance: Floats, spread: Floats, trend: Floats, networks: Ints) -> tuple[Floats, Floats]:
        """Weights of the measured means against the trend, and what comes of both."""
        share = np.where(self.outside[networks], 1.0, spread**2 / (spread**2 + variance))
        return share, share * self.measured.means[networks] + (1 - share) * (trend @ self.design[networks].T)


def terms(costs: Floats) -> tuple[Floats, Floats]:
    """``(N, K)`` the trend's terms, Legendre polynomials of each log cost, and ``(K,)`` how rough each is.

    Constant and slope are free (0); a bend of power ``p`` is held back as ``2^(p - 1)``.
    """
    count, objectives = costs.shape
    columns, rough = [np.ones(count)], [0.0]
    logs = np.log(np.maximum(costs, 1e-300))
    low, high = logs.min(0), logs.max(0)
    degree = min(4 if objectives == 1 else 2, count // 4)
    for column in np.flatnonzero(high > low):
        scaled = (2 * logs[:, column] - low[column] - high[column]) / (high[column] - low[column])
        for power in range(1, degree + 1):
            columns.append(np.polynomial.legendre.legval(scaled, np.eye(degree + 1)[power]))
            rough.append(2.0 ** (power - 1) if power > 1 else 0.0)
    return np.stack(columns, axis=1), np.array(rough)


def fit(data: Measured) -> Posterior:
    """The posterior of expected accuracies; of at least one network."""
    first = _fit(data)
    return _fit(replace(data, expected=first.expected()))


def _fit(data: Measured) -> Posterior:
    inside = np.flatnonzero(data.searched)
    own, rough = terms(data.costs[inside])
    design = np.zeros((len(data.means), own.shape[1]))
    design[inside] = own
    order = inside[np.argsort(data.costs[inside, 0], kind="stable")] if data.costs.shape[1] else inside
    chosen = order[:: -(-len(order) // FITTED)]
    chosen = chosen[_typical(design[chosen][:, rough <= 2], data.means[chosen])]  # bends would follow the blind
    x, y = design[chosen], data.means[chosen]
    noise, lasting = data.unit()[chosen] / data.counts[chosen], data.lasting()[chosen]
    dispersions, spreads, prior = _grid(data, y - x @ np.linalg.lstsq(x, y, rcond=None)[0], noise)
    variance = spreads[:, None] ** 2 + lasting + dispersions[:, None] * noise  # (G, networks)
    held = np.square(rough / max(float(y.std()), 1e-3))
    precision = np.einsum("gf,fi,fj->gij", 1 / variance, x, x, optimize=True) + np.diag(held)
    covariance = np.linalg.pinv(precision, hermitian=True)
    trends = np.einsum("gij,fj,gf,f->gi", covariance, x, 1 / variance, y, optimize=True)
    misfit = (np.log(variance) + np.square(y - trends @ x.T) / variance).sum(1) + np.square(trends) @ held
    logs = prior - 0.5 * (misfit + np.linalg.slogdet(precision)[1])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    far = CUT * np.sqrt(weights @ spreads**2 + data.errors() ** 2)
    outside = ~data.searched | (data.means < design @ (weights @ trends) - far)
    values, vectors = np.linalg.eigh(covariance)
    roots = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
    return Posterior(data, design, outside, weights, dispersions, spreads, trends, roots)


def _typical(x: Floats, y: Floats) -> Bools:
    """Which networks are not far below the trend of the others."""
    keep = np.ones(len(y), dtype=bool)
    for _ in range(5):
        rest = y - x @ np.linalg.lstsq(x[keep], y[keep], rcond=None)[0]
        middle = float(np.median(rest[keep]))
        above = rest[keep & (rest >= middle)] - middle
        inside = rest >= middle - CUT * max(float(np.sqrt(np.mean(above**2))), 1e-9)
        if (inside == keep).all() or inside.sum() < max(2 * x.shape[1], 0.3 * len(y)):
            break
        keep = inside
    return keep


def _grid(data: Measured, rest: Floats, noise: Floats) -> tuple[Floats, Floats, Floats]:
    """Dispersions, spreads and log prior ``(G,)``: scaled inverse chi-squared in f, log-normal in two pieces in t."""
    freedom = GUESS_WEIGHT + data.freedom
    logs = np.log(data.dispersion()) + _LOG_STEPS * np.sqrt(2 / freedom)
    scale = max(float(np.sqrt(np.mean(rest**2))), float(np.sqrt(noise.mean())))
    log_f, t = (axis.ravel() for axis in np.meshgrid(logs, scale * _SPREADS, indexing="ij"))
    away = np.log(t / SPREAD)
    prior = -0.5 * freedom * (log_f + data.dispersion() / np.exp(log_f))
    prior -= 0.5 * np.square(away / np.where(away < 0, SPREAD_BELOW, SPREAD_ABOVE))
    return np.exp(log_f), t, prior


def told_apart(probability: Floats) -> Bools:
    """Whether an order of such a probability ``(P,)``, as of ``Posterior.orders``, is one to speak of."""
    return np.asarray(np.maximum(probability, 1 - probability) >= TOLD)
