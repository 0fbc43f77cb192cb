"""How sure a front is: against truth tables, closed forms, and planted truths."""

from __future__ import annotations

import numpy as np
import pytest

from stsearch.stats.accuracy import GUESS, Floats, Measured, fit
from stsearch.stats.draws import contenders, draw_fronts, gains, measured
from stsearch.stats.front import non_dominated, on_front
from tests.benchmarks.front_probability import Outcome, calibration, simulate, summary


def flat(means: list[float], counts: list[int], squares: list[float], videos: int = 200) -> Measured:
    """Networks without costs."""
    return Measured(np.zeros((len(means), 0)), np.array(means), np.array(counts), np.array(squares), videos)


@pytest.mark.parametrize(("accuracies", "costs"), [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)])
def test_members_are_the_non_dominated_of_every_draw(accuracies: int, costs: int) -> None:
    """Small whole numbers, so that ties of every sort occur."""
    rng = np.random.default_rng(accuracies * 10 + costs)
    drawn = rng.integers(0, 4, (accuracies, 60, 9)).astype(float)
    exact = rng.integers(0, 4, (9, costs)).astype(float)
    members = on_front(drawn, exact)
    for number in range(60):
        rows = np.concatenate([-drawn[:, number].T, exact], axis=1)
        assert members[number].tolist() == non_dominated(rows).tolist()


def test_sums_of_trainings() -> None:
    data = measured(np.array([[1.0], [2.0]]), [[80.0], [70.0, 74.0, 75.0]], 100)
    assert data.means.tolist() == [80.0, 73.0]
    assert data.counts.tolist() == [1, 3]
    assert data.squares.tolist() == [0.0, 14.0]
    assert data.freedom == 2


def test_without_repeats_the_binomial_noise_is_the_guess() -> None:
    """80 % of 200 videos, two right and two wrong added: sqrt(GUESS p (1 - p) / 200), in points."""
    rate = 162 / 204
    guess = 100 * np.sqrt(GUESS * rate * (1 - rate) / 200)
    assert flat([80.0], [1], [0.0]).errors() == pytest.approx(guess)


def test_two_equal_trainings_are_no_certainty() -> None:
    """A plain bootstrap would call this mean exact."""
    data = flat([80.0, 80.0], [2, 1], [0.0, 0.0])
    assert 1.0 < data.errors()[0] < data.errors()[1]
    draws = draw_fronts([data])
    assert draws.accuracies[0].std(0).min() > 0.5


def test_many_repeats_speak_for_themselves() -> None:
    """With 400 trainings the standard error is that of the textbook, whatever the others do."""
    found = np.random.default_rng(0).normal(80, 6, 400)
    squares = float(np.square(found - found.mean()).sum())
    error = flat([float(found.mean()), 60.0, 60.0], [400, 2, 2], [squares, 0.5, 0.5]).errors()[0]
    assert error == pytest.approx(found.std(ddof=1) / 20, rel=0.02)


def test_the_noise_of_those_repeated_is_lent_to_the_others() -> None:
    """Standard deviation 6 planted, 1.4 times the guess: a network trained once gets what 30 others show."""
    rng = np.random.default_rng(1)
    found = [list(rng.normal(75, 6, 4)) for _ in range(30)] + [[75.0]]
    data = measured(np.zeros((31, 0)), found, 200)
    pooled = np.sqrt(data.squares.sum() / data.freedom)
    assert data.errors()[-1] == pytest.approx(pooled, rel=0.06)
    assert abs(data.errors()[-1] - flat([75.0], [1], [0.0]).errors()[0]) > 0.5


def test_the_luck_of_the_best_is_taken_off() -> None:
    """Of 30 alike the best measured is 2 noises lucky; what is expected of it is right on average."""
    lucky, left = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        truth = rng.normal(75, 2, 30)
        found = [list(rng.normal(value, 4, 2)) for value in truth]
        data = measured(np.zeros((30, 0)), found, 200)
        best = int(data.means.argmax())
        lucky.append(data.means[best] - truth[best])
        left.append(fit(data).expected()[best] - truth[best])
    assert np.mean(lucky) > 2.5
    assert abs(np.mean(left)) < 0.25 * np.mean(lucky)


def test_networks_far_below_the_trend_are_not_pulled_up_to_it() -> None:
    rng = np.random.default_rng(2)
    truth = np.where(np.arange(40) % 4 == 0, 50.0, 80.0)
    data = measured(np.linspace(10, 40, 40)[:, None], [list(rng.normal(value, 2, 2)) for value in truth], 200)
    blind = fit(data).expected()[::4]
    assert np.abs(blind - data.means[::4]).max() < 1e-9


def test_only_networks_near_the_front_are_drawn_and_nobody_is_missed() -> None:
    rng = np.random.default_rng(3)
    costs = np.sort(rng.uniform(10, 45, 300))[:, None]
    truth = 90 - 60 * np.exp(-costs[:, 0] / 15) - rng.exponential(8, 300)
    data = measured(costs, [list(rng.normal(value, 1.5, 3)) for value in truth], 400)
    posterior = fit(data)
    chosen = contenders([data], posterior.expected()[None])
    assert len(chosen) < 200
    everybody = posterior.draw(1000, np.arange(300), np.random.default_rng(0))
    probable = on_front(everybody[None], costs).mean(0)
    assert probable[np.setdiff1d(np.arange(300), chosen)].max() < 0.005


def test_a_further_training_goes_where_the_doubt_is() -> None:
    """The two alike in the middle, not the cheap one that is surely on the front nor the one surely beaten."""
    costs = np.array([[1.0], [2.0], [2.1], [3.0]])
    data = measured(costs, [[40.0] * 3, [70.0, 71, 72], [70.0, 71, 72], [50.0] * 3], 1000)
    draws = draw_fronts([data])
    gain = np.zeros(4)
    gain[draws.networks] = gains(draws)
    assert sorted(np.argsort(gain)[-2:]) == [1, 2]
    assert 10 * gain[[0, 3]].max() < gain[[1, 2]].min()
    assert gain.sum() < np.sum(draws.probabilities * (1 - draws.probabilities)), "no more than there is"


def test_the_same_trainings_give_the_same_draws() -> None:
    data = measured(np.arange(1.0, 21)[:, None], [[50.0 + n] for n in range(20)], 100)
    first, second = draw_fronts([data]), draw_fronts([data])
    assert first.accuracies.tobytes() == second.accuracies.tobytes()
    assert draw_fronts([data], seed=1).accuracies.tobytes() != first.accuracies.tobytes()


@pytest.mark.parametrize("networks", [1, 2, 3, 5])
def test_few_networks(networks: int) -> None:
    """One network is on the front for sure; of a few, each has a chance."""
    data = measured(np.arange(1.0, networks + 1)[:, None], [[60.0]] * networks, 50)
    chance = draw_fronts([data]).probabilities
    assert chance[0] == 1.0
    assert ((chance > 0.02) & (chance <= 1)).all()


def test_perfect_accuracies_are_possible() -> None:
    """All videos right: nothing above 100 %, and no division by zero."""
    data = measured(np.arange(1.0, 9)[:, None], [[100.0, 100.0]] * 8, 20)
    draws = draw_fronts([data])
    assert draws.accuracies.max() <= 100
    assert np.isfinite(draws.accuracies).all()


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """40 simulated studies in two planted worlds; the whole table is docs/results/front-probability.md."""
    return [simulate(seed, kind, 30, 3, 0) for kind in ("mixed", "flat") for seed in range(20)]


def test_probabilities_are_calibrated(outcomes: list[Outcome]) -> None:
    figures = summary(outcomes)
    assert figures["gap"] < 0.08
    assert figures["brier"] < 0.75 * figures["brier_as_measured"]
    for low, high, count, mean, share in calibration(outcomes):
        allowed = 0.1 + 3 * np.sqrt(max(mean * (1 - mean), 0.01) / count)
        assert abs(mean - share) < allowed, (low, high, count, mean, share)


def test_hypervolume_intervals_cover(outcomes: list[Outcome]) -> None:
    assert summary(outcomes)["coverage"] >= 0.85
    assert summary(outcomes)["excess"] > 0, "as measured, the front is better than it is"


def test_twins_are_not_told_apart_and_others_are() -> None:
    """Planted: two alike in distribution, a third 8 standard errors better. 60 studies."""
    apart, better = 0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = np.concatenate([[70.0, 70.0, 82.0], rng.normal(62, 3, 17)])
        costs = np.concatenate([[20.0, 21.0, 30.0], rng.uniform(10, 40, 17)])
        found: list[Floats] = [rng.normal(value, 3, 4) for value in truth]
        draws = draw_fronts([measured(costs[:, None], [list(values) for values in found], 200)])
        place = {int(network): number for number, network in enumerate(draws.networks)}
        chance = (draws.accuracies[0][:, place[0]] > draws.accuracies[0][:, place[1]]).mean()
        apart += not 0.05 <= chance <= 0.95
        better += (draws.accuracies[0][:, place[0]] > draws.accuracies[0][:, place[2]]).mean() < 0.05
    assert apart <= 11, "one in ten is what such bounds allow"
    assert better >= 57


def test_of_very_many_networks_some_enter_all_along_the_costs() -> None:
    """5,000 that nobody can tell apart: the band and the hypervolume still see the cheap and the dear ones."""
    rng = np.random.default_rng(4)
    costs = rng.uniform(10, 45, 5000)
    data = measured(costs[:, None], [[value] for value in rng.normal(70, 3, 5000)], 20)
    draws = draw_fronts([data])
    assert len(draws.networks) <= 600
    taken = np.sort(draws.costs[:, 0])
    assert taken[0] == costs.min()
    assert np.diff(taken).max() < 1.5
