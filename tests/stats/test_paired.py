"""Differences on the same validation videos: closed forms, planted truths, and what a study says of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from stsearch.report.confidence import confidence_of
from stsearch.report.confidence_text import about_pairing
from stsearch.report.pareto import pareto_of
from stsearch.search.reading import read_study
from stsearch.stats.accuracy import GUESS, Measured, fit
from stsearch.stats.draws import draw_fronts, measured
from stsearch.stats.paired import FEWEST_VIDEOS, Bools, paired_of
from tests.benchmarks.paired import World, both, look, world
from tests.conftest import Cli
from tests.search.test_repeats import run


def answers(seed: int, networks: int, videos: int) -> dict[int, Bools]:
    """Networks that are right where a video is easy, most of the time."""
    rng = np.random.default_rng(seed)
    easy = rng.beta(0.8, 0.3, videos)
    return {network: rng.random((1, videos)) < easy for network in range(networks)}


@pytest.mark.parametrize("networks", [2, 3, 12])
def test_of_single_trainings_the_variance_is_mcnemars(networks: int) -> None:
    """``var(y_i - y_j) / V`` over videos, exactly, however many networks there are."""
    correct = answers(1, networks, 150)
    found = paired_of(correct, np.full(networks, 10.0))
    assert found is not None
    for one, other in combinations(range(networks), 2):
        first, second = np.array([one]), np.array([other])
        variance = found.own(first) + found.own(second) - 2 * found.covariance(first, second)
        textbook = np.var(100.0 * correct[one][0] - 100.0 * correct[other][0]) / 150
        assert variance == pytest.approx(textbook)
        ours = look(correct)
        excess = (GUESS - 1) * (ours.unit()[one] + ours.unit()[other])  # by which trainings are guessed to vary more
        assert ours.differences(first, second) ** 2 == pytest.approx(textbook + excess)


def test_what_lasts_is_told_from_what_trainings_average() -> None:
    """Planted: each network has a tenth of the videos for certain that no other has, and chance at the others."""
    rng, networks, videos, n = np.random.default_rng(0), 8, 2000, 6
    chance = rng.choice([0.5, 1.0], videos)
    correct = {}
    for network in range(networks):
        own = np.where(rng.random(videos) < 0.1, rng.integers(0, 2, videos), chance)
        correct[network] = rng.random((n, videos)) < own
    found = paired_of(correct, np.full(networks, 10.0))
    assert found is not None
    planted = 1e4 * 0.9 * 0.5 * 0.25 / videos  # half of the videos are a coin's
    assert found.unit == pytest.approx(np.full(networks, planted), rel=0.1)
    assert found.lasting.mean() == pytest.approx(1e4 * 0.1 * 0.34 / videos, rel=0.25)
    few = paired_of({network: known[:1] for network, known in correct.items()}, np.full(networks, 10.0))
    assert few is not None
    assert (few.lasting == 0).all(), "of single trainings nobody can tell: all of it is taken to be chance"
    assert few.unit.mean() > found.unit.mean()


def test_networks_without_answers_borrow_the_variances_and_share_nothing() -> None:
    correct = answers(2, 6, 200)
    del correct[3]
    found = paired_of(correct, np.array([10.0, 10, 10, 30, 10, 10]))
    assert found is not None
    assert found.unit[3] == pytest.approx(3 * np.delete(found.unit, 3).mean())
    assert found.covariance(np.array([3, 0]), np.array([1, 3])).tolist() == [0.0, 0.0]
    drawn = found.draw(np.arange(6), 50, np.random.default_rng(0))
    assert (drawn[:, 3] == 0).all()
    assert np.delete(drawn, 3, axis=1).std() > 0


@pytest.mark.parametrize(("networks", "videos"), [(1, 100), (5, FEWEST_VIDEOS - 1), (0, 100)])
def test_too_few_are_not_paired(networks: int, videos: int) -> None:
    assert paired_of(answers(0, networks, videos), np.full(networks, 10.0)) is None


def test_draws_have_the_variances_of_the_differences() -> None:
    """Far from a trend's pull: networks in the order of their answers, 20 points apart at most."""
    planted = world(3, 10, 3, 600, 0.05)
    data = look(planted.correct)
    posterior = fit(data)
    drawn = posterior.draw(20_000, np.arange(10), np.random.default_rng(0))
    one, other = (np.array(side) for side in zip(*combinations(range(10), 2), strict=True))
    chance = (drawn[:, one] > drawn[:, other]).mean(0)
    assert np.abs(chance - posterior.orders(one, other)).max() < 0.06, "drawn and summed figures agree"
    alone = fit(replace(data, paired=None)).draw(20_000, np.arange(10), np.random.default_rng(0))
    assert float(np.asarray(np.corrcoef(alone.T)).ravel()[1]) < 0.2


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    """60 studies of 12 networks with two trainings each; the whole table is docs/results/paired.md."""
    return [world(seed, 12, 2, 600, 0.03) for seed in range(60)]


def test_intervals_of_differences_cover(worlds: list[World]) -> None:
    outcomes = [both(look(planted.correct), planted.truth) for planted in worlds]
    assert 0.90 <= np.mean([paired.covered for paired, _ in outcomes]) <= 0.98


def test_of_single_trainings_paired_intervals_are_narrower_and_cover() -> None:
    outcomes = [both(look(one.correct), one.truth) for one in (world(seed, 12, 1, 600, 0.08) for seed in range(60))]
    assert np.mean([paired.covered for paired, _ in outcomes]) >= 0.90
    assert np.mean([unpaired.width / paired.width for paired, unpaired in outcomes]) > 1.4


@pytest.mark.parametrize("trainings", [1, 2])
def test_networks_that_are_not_searched_change_nothing_of_the_others(trainings: int) -> None:
    """Three at chance level beside twelve: the same errors, probabilities and luck of all; differences stay McNemar's.

    Two of the searched have no answers stored, and borrow from the searched alone.
    """
    rng, planted = np.random.default_rng(0), world(0, 12, trainings, 300, 0.06)
    known = {place: right for place, right in planted.correct.items() if place not in (3, 7)}
    beside = {place: rng.random((1, 300)) < 0.1 for place in (12, 13, 14)}
    costs, percent = (
        np.linspace(10, 40, 12)[:, None],
        [(100 * right.mean(1)).tolist() for right in planted.correct.values()],
    )
    alone = measured(costs, percent, 300, correct=known)
    other = measured(
        np.concatenate([costs, [[5.0], [60.0], [80.0]]]), [*percent, *([100 * r.mean()] for r in beside.values())], 300,
        within=np.arange(15) < 12, correct=known | beside,
    )  # fmt: skip
    assert alone.paired is not None
    assert other.paired is not None
    assert other.paired.easiness == pytest.approx(alone.paired.easiness)
    assert other.errors()[:12] == pytest.approx(alone.errors())
    first, second = draw_fronts([alone]), draw_fronts([other])
    assert first.networks.tolist() == second.networks.tolist()
    assert second.probabilities == pytest.approx(first.probabilities)
    assert second.elsewhere() == pytest.approx(first.elsewhere())
    if trainings == 1:
        excess = (GUESS - 1) * (other.unit()[0] + other.unit()[12])
        textbook = np.var(100.0 * known[0][0] - 100.0 * beside[12][0]) / 300
        assert other.differences(np.array([0]), np.array([12])) ** 2 == pytest.approx(textbook + excess)


@pytest.mark.parametrize(("trainings", "blind"), [(1, 0), (3, 5)])
def test_figures_of_the_front_hold_the_luck_that_all_networks_share(trainings: int, blind: int) -> None:
    """The mean height of the true front lies in its interval in most studies; without that luck in few.

    Also where many networks guess, to which no video is easy.
    """
    held = {"beside": 0, "elsewhere": 0}
    for seed in range(40):
        planted = world(seed, 12, trainings, 600, 0.06)
        guess = np.random.default_rng(seed).random((blind, trainings, 600)) < 0.2
        planted = World(
            np.append(planted.truth[: 12 - blind], np.full(blind, 20.0)),
            {**planted.correct, **{12 - blind + number: known for number, known in enumerate(guess)}},
        )
        draws = draw_fronts([replace(look(planted.correct), costs=np.linspace(10, 40, 12)[:, None])])
        truth = np.maximum.accumulate(planted.truth).mean()
        assert draws.networks[0] == 0, "the cheapest is on every front"
        for name, accuracies in (("beside", draws.accuracies), ("elsewhere", draws.elsewhere())):
            whole = np.zeros((accuracies.shape[1], 12))
            whole[:, draws.networks] = accuracies[0]
            low, high = np.quantile(np.maximum.accumulate(whole, axis=1).mean(1), (0.025, 0.975))
            held[name] += bool(low <= truth <= high)
    assert held["elsewhere"] >= 36
    assert held["beside"] <= 34
    unpaired = replace(look(planted.correct), paired=None)
    draws = draw_fronts([unpaired])
    assert (draws.elsewhere() == draws.accuracies).all(), "nobody knows what they share"


def test_orders_are_calibrated(worlds: list[World]) -> None:
    """Of pairs with a probability of about p, about so many are truly in that order."""
    one, other = (np.array(side) for side in zip(*combinations(range(12), 2), strict=True))
    chance = np.concatenate([fit(look(planted.correct)).orders(one, other) for planted in worlds])
    truly = np.concatenate([planted.truth[one] > planted.truth[other] for planted in worlds])
    for low, high in ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0)):
        inside = (chance >= low) & (chance < high)
        assert abs(chance[inside].mean() - truly[inside].mean()) < 0.08


def test_perfect_and_equal_networks_do_not_break_it() -> None:
    everyone = np.ones((2, 100), dtype=bool)
    found = look({0: everyone, 1: everyone, 2: everyone})
    assert (found.errors() > 0).all()
    assert np.isfinite(fit(found).orders(np.array([0]), np.array([1]))).all()
    draws = draw_fronts([replace(found, costs=np.arange(3.0)[:, None])])
    assert np.isfinite(draws.accuracies).all()


def test_measured_without_answers_is_as_before() -> None:
    data = measured(np.zeros((2, 0)), [[80.0], [70.0]], 200)
    assert isinstance(data, Measured)
    assert data.paired is None
    assert data.unit().tolist() == data.binomial().tolist()
    assert (data.lasting() == 0).all()


def test_a_study_is_paired_and_says_so_everywhere(tiny: Path, cli: Cli) -> None:
    """One noise for ``pareto``, its JSON and the workers; without the videos' classes it is unpaired and says why."""
    run(tiny, "search.trials=4", "data.val_clips=40")
    stored = read_study("tiny")
    pareto = pareto_of(stored)
    assert len(stored.labels) == 40
    assert pareto.confidence is not None
    noise = pareto.confidence.noise
    assert noise.paired
    assert noise.difference is not None
    assert noise.difference_unpaired is not None
    assert noise.difference != noise.difference_unpaired
    told = json.loads(cli("pareto", "tiny", "--format", "json").stdout)["noise"]
    assert (told["paired"], told["difference"]) == (True, noise.difference)
    assert about_pairing(noise) in " ".join(cli("pareto", "tiny").stdout.split())

    old = replace(stored, labels=())
    numbers = [record.trial for record in pareto.front if record.trial is not None]
    front = np.flatnonzero(np.isin(stored.numbers, numbers))
    before = confidence_of(old, front)
    assert before is not None
    assert not before.noise.paired
    assert "did not store the videos' classes" in about_pairing(before.noise)
    assert before.noise.difference == noise.difference_unpaired
