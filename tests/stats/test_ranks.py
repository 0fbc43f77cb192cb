"""Rank correlations, pairs told apart and samples: against scipy, by hand, and in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stsearch.stats.accuracy import GUESS, fit
from stsearch.stats.agreement import pairs_of, stratified, tau_difference
from stsearch.stats.draws import measured
from stsearch.stats.ranks import RESAMPLES, kendall, spearman
from tests.benchmarks.audit import Planted, coverage, planted_pairs


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=30))
def test_values_are_those_of_scipy(pairs: list[tuple[int, int]]) -> None:
    x, y = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert kendall(x, y).value is None
        assert spearman(x, y).value is None
        return
    assert kendall(x, y).value == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_intervals_are_those_of_a_bootstrap_written_out() -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(0, 9, 14).astype(np.float64)
    y = x + rng.integers(0, 7, 14)
    draws = np.random.default_rng(3).integers(14, size=(RESAMPLES, 14))
    for mine, theirs in ((kendall, stats.kendalltau), (spearman, stats.spearmanr)):
        expected = np.percentile([theirs(x[d], y[d]).statistic for d in draws], (2.5, 97.5))
        found = mine(x, y, 3)
        assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)


def test_what_is_not_known_has_no_interval() -> None:
    x = np.arange(12.0)
    assert kendall(x[:9], x[:9]) == kendall(x[:9], 2 * x[:9])
    assert kendall(x[:9], -x[:9]).low is None, "fewer than ten"
    assert kendall(x, x).value == 1
    assert kendall(x, x).low is None, "perfect order cannot be resampled into another"
    assert kendall(x[:2], x[:2]).value is None
    tied = np.where(x == 3, 1.0, 0.0)
    assert kendall(tied, x[::-1].copy()).low is None, "it hangs on one of twelve"
    assert tau_difference(tied, x[::-1].copy(), x).low is None


def test_a_difference_of_taus() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40)
    near, far = truth + 0.2 * rng.normal(size=40), rng.normal(size=40)
    found = tau_difference(near, far, truth)
    assert found.value == pytest.approx(
        stats.kendalltau(near, truth).statistic - stats.kendalltau(far, truth).statistic
    )
    assert found.low is not None
    assert found.low > 0
    joint = tau_difference(near, far, truth, comparisons=10)
    assert joint.low is not None
    assert joint.low < found.low, "one of ten comparisons needs a wider interval"
    same = tau_difference(near, near, truth)
    assert same.value == 0
    assert same.low is None
    assert tau_difference(near[:5], far[:5], truth[:5]).low is None


def test_pairs_by_hand() -> None:
    # networks that are not of the search stand for themselves: no trend is between their trainings and the verdict
    alone = np.array([True, False, False, False])
    once = fit(measured(np.ones((4, 1)), [[50.0], [50.0], [60.0], [60.5]], 2400, alone))
    errors = once.measured.errors()
    assert errors[1] == pytest.approx(100 * np.sqrt(GUESS * 0.25 / 2400), rel=1e-3), "twice the binomial variance"
    found = pairs_of(once, np.array([1, 2, 3]), np.array([1.0, 3.0, 2.0]))
    assert [(p.one, p.other, p.told_apart, p.agrees) for p in found] == [
        (0, 1, True, True),
        (0, 2, True, True),
        (1, 2, False, False),
    ]
    assert found[0].standard_error == pytest.approx(float(np.hypot(errors[1], errors[2])))
    assert found[2].p == pytest.approx(2 * stats.norm.sf(0.5 / found[2].standard_error), abs=0.05)
    assert pairs_of(once, np.array([1]), np.zeros(1)) == ()


def test_a_pair_that_far_apart_is_told_apart_by_few_repeats_too() -> None:
    # six networks of two trainings that vary by 1.7, and two whose difference is nine of their standard errors
    trainings = [[m - 1.2, m + 1.2] for m in (40.0, 41.0, 42.0, 43.0, 44.0, 45.0)] + [[22.5], [44.7]]
    posterior = fit(measured(np.arange(1.0, 9)[:, None], trainings, 225))
    (pair,) = pairs_of(posterior, np.array([6, 7]), np.zeros(2))
    assert pair.told_apart
    # what a pair is said to be does not hang on whom it is compared beside
    many = {(p.one, p.other): p.p for p in pairs_of(posterior, np.arange(8), np.zeros(8))}
    assert many[6, 7] == pair.p
    drawn = posterior.draw(20_000, np.arange(8), np.random.default_rng(0))
    for (one, other), p in many.items():
        share = (drawn[:, one] > drawn[:, other]).mean()
        assert 2 * min(share, 1 - share) == pytest.approx(p, abs=0.08), "the sum over the grid is what is drawn"


def test_a_sample_is_spread_and_fair() -> None:
    rng = np.random.default_rng(0)
    cost, quality = rng.normal(size=60), rng.normal(size=60)
    drawn = np.zeros(60)
    for seed in range(3000):
        chosen = stratified(cost, quality, 12, np.random.default_rng(seed))
        assert len(set(chosen.tolist())) == 12
        drawn[chosen] += 1
    assert np.abs(drawn / 3000 - 0.2).max() < 0.035, "each network is as likely as any other"
    cheap = cost < np.median(cost)
    shares = [cheap[stratified(cost, quality, 12, np.random.default_rng(s))].mean() for s in range(200)]
    assert np.std(shares) < 0.1, "a plain random sample would vary by 0.13"
    assert stratified(cost, quality, 99, rng).tolist() == list(range(60))
    assert stratified(cost, quality, 0, rng).tolist() == []


def test_intervals_cover_the_planted_tau() -> None:
    """250 simulated studies: 95 % of 250, less three standard deviations, is 90.9 %."""
    for found in coverage(Planted(networks=24, noise=4.0), simulations=250, seed=1):
        assert 0.91 <= found.covered <= 1.0, found


def test_equal_networks_are_not_told_apart() -> None:
    found = planted_pairs(Planted(networks=24, noise=1.0), simulations=40, seed=2)
    assert found.null_told_apart <= 0.15, "a pair that is the same in distribution: one in twenty"
    assert found.false_of_all <= 0.03, "of all pairs that are told apart, those in the wrong order or equal"
    assert found.told_apart > 0.1, "and still something is told apart"
