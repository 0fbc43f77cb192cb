"""Rank correlations, pairs told apart and samples: against scipy, by hand, and in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stsearch.stats.agreement import false_discovery, noise_of, pairs_of, stratified, tau_difference
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


def test_standard_errors_by_hand() -> None:
    noise = noise_of([50.0, 100.0], [[50.0], [100.0]], [1, 1], 98)
    assert noise.between_trainings is None
    assert noise.standard_errors[0] == pytest.approx(100 * np.sqrt(0.25 / 98))
    assert noise.standard_errors[1] == pytest.approx(100 * np.sqrt(0.99 * 0.01 / 98)), "not 0: (98 + 1) / (98 + 2)"
    # 40, 60 and 50, 50: sums of squares 200 and 0 over 2 degrees of freedom
    noise = noise_of([50.0, 50.0], [[40.0, 60.0], [50.0, 50.0]], [2, 1], 10_000)
    assert noise.between_trainings == pytest.approx(10)
    assert noise.degrees == 2
    assert noise.standard_errors.tolist() == pytest.approx([10 / np.sqrt(2), 10])
    floored = noise_of([50.0, 50.0], [[50.0, 50.1], [50.0, 50.1]], [2, 2], 100)
    assert floored.standard_errors.tolist() == pytest.approx([5.0, 5.0], rel=1e-2), "the binomial error is the floor"


def test_pairs_by_hand() -> None:
    figures, reference = np.array([50.0, 60.0, 60.5]), np.array([1.0, 3.0, 2.0])
    noise = noise_of(figures.tolist(), [[f] for f in figures], [1, 1, 1], 2400)
    found = pairs_of(figures, noise, reference)
    assert [(p.one, p.other, p.told_apart, p.agrees) for p in found] == [
        (0, 1, True, True),
        (0, 2, True, True),
        (1, 2, False, False),
    ]
    error = float(np.hypot(noise.standard_errors[0], noise.standard_errors[1]))
    assert found[0].p == pytest.approx(2 * stats.norm.sf(10 / error))
    assert pairs_of(figures[:1], noise, reference[:1]) == ()


def test_false_discoveries_by_hand() -> None:
    # thresholds 0.0125, 0.025, 0.0375, 0.05: the largest that holds is the third
    assert false_discovery(np.array([0.03, 0.9, 0.001, 0.02])).tolist() == [True, False, True, True]
    assert not false_discovery(np.array([0.03, 0.9, 0.04, 0.2])).any()


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
    found = planted_pairs(Planted(networks=24, noise=1.0), simulations=250, seed=2)
    assert found.null_told_apart <= 0.05, "a pair that is the same in distribution"
    assert found.false_share <= 0.05, "of all pairs that are told apart, those in the wrong order or equal"
    assert found.told_apart > 0.1, "and still something is told apart"
