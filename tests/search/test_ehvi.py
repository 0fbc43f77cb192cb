"""Expected hypervolume improvement: the model, the integral, and what is proposed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState
from scipy.optimize import approx_fprime, minimize

from stsearch.resources import find
from stsearch.search.attributes import ARCHITECTURE, EXPECTED_FROM
from stsearch.search.ehvi import Ehvi, improvement
from stsearch.search.samplers import HardBudget, suggest
from stsearch.search.surrogate import Distances, Surrogate
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.search_space import SearchSpace, load_space
from stsearch.space.table import CostTable, Ints
from stsearch.stats.front import hypervolume

SPACE = load_space(find("search_spaces", "paper-18"))
TABLE = CostTable(SPACE, ClipShape(3, 8, 32, 32), 4)
ALL, _ = TABLE.population()
SHIPPED = ["paper-18", "r18", "blockwise-18"]


def planted(digits: Ints, rng: np.random.Generator, noise: float) -> np.ndarray:
    """Accuracies that depend on two of six digits, and on one pair."""
    clean = 60 + 15 * (digits[:, 1] == 2) + 10 * (digits[:, 3] != 0) - 8 * ((digits[:, 1] == 2) & (digits[:, 5] == 1))
    return np.asarray(clean + rng.normal(0, noise, len(digits)))


def some(space: SearchSpace, count: int, seed: int) -> Ints:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(radix, size=count) for radix in space.radix], axis=1)


# The model ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_distances_are_shares_and_their_kernel_is_one(name: str) -> None:
    space = load_space(find("search_spaces", name))
    digits = some(space, 80, 0)
    each = Distances(space).each(digits, digits)
    assert each.min() == 0
    assert each.max() <= 1
    assert np.allclose(each, each.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(np.exp(-each.sum(0))).min() > -1e-8


def test_a_block_beyond_the_depth_counts_as_another() -> None:
    space = load_space(find("search_spaces", "blockwise-18"))
    distances = Distances(space)
    (number,) = [n for n, group in enumerate(distances.groups) if group.digit == 2 and not group.ordered]
    stage = space.stages[0]
    assert stage.depths == (2,)
    rows = np.zeros((2, 6), dtype=np.int64)
    rows[1, 2] = stage.places[("2d", "3d")]
    assert distances.each(rows[:1], rows[1:])[number, 0, 0] == 0.5


def test_the_gradient_of_what_is_minimised(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    digits = ALL[rng.choice(len(ALL), 20, replace=False)]
    caught: list[tuple[Any, np.ndarray]] = []

    def minimise(loss: Any, start: np.ndarray, **rest: Any) -> Any:
        caught.append((loss, start))
        return minimize(loss, start, **rest)

    monkeypatch.setattr("stsearch.search.surrogate.minimize", minimise)
    Surrogate(Distances(SPACE), digits, planted(digits, rng, 2), np.arange(20) % 2)
    ((loss, start),) = caught
    for shift in (0.0, 0.7, -0.7):
        at = start + shift
        assert np.allclose(loss(at)[1], approx_fprime(at, lambda logs: loss(logs)[0], 1e-6), atol=1e-3)


def test_what_was_not_trained_is_foreseen_and_what_matters_is_learnt() -> None:
    rng = np.random.default_rng(1)
    trained = rng.permutation(len(ALL))
    seen, unseen = ALL[trained[:40]], ALL[trained[40:]]
    model = Surrogate(Distances(SPACE), seen, planted(seen, rng, 1.0))
    mean, spread = model.predict(unseen)
    truth = planted(unseen, rng, 0.0)
    assert np.corrcoef(mean, truth)[0, 1] > 0.9
    assert 0.85 < np.mean(np.abs(mean - truth) < 2 * spread) <= 1
    weights = dict(zip([group.digit for group in model.distances.groups], model.weights, strict=True))
    assert min(weights[1], weights[3]) > 2 * max(weights[2], weights[4])


def test_stopped_trainings_are_believed_less() -> None:
    rng = np.random.default_rng(2)
    digits = ALL[rng.permutation(len(ALL))[:80]]
    levels = np.arange(80) % 2
    values = planted(digits, rng, 0.5) + np.where(levels == 1, rng.normal(0, 12, 80), 0)
    model = Surrogate(Distances(SPACE), digits, values, levels)
    assert model.noise[1] > 10 * model.noise[0]
    blind = Surrogate(Distances(SPACE), digits, values)
    truth = planted(ALL, rng, 0.0)
    assert np.abs(model.predict(ALL)[0] - truth).mean() < 0.7 * np.abs(blind.predict(ALL)[0] - truth).mean()


def test_equal_accuracies_are_no_fault() -> None:
    model = Surrogate(Distances(SPACE), ALL[:6], np.full(6, 50.0))
    assert np.allclose(model.predict(ALL)[0], 50.0)


def test_a_network_in_training_leaves_less_to_find_out_near_it() -> None:
    rng = np.random.default_rng(3)
    digits = ALL[rng.permutation(len(ALL))[:12]]
    model = Surrogate(Distances(SPACE), digits, planted(digits, rng, 1.0))
    before = model.predict(ALL)
    model.believe(ALL[200:201])
    after = model.predict(ALL)
    assert np.allclose(before[0], after[0], atol=1e-6)
    assert (after[1] <= before[1] + 1e-9).all()
    assert after[1][200] < 0.8 * before[1][200]


# The integral -------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), count=st.integers(1, 12))
def test_improvement_is_what_the_hypervolume_gains(seed: int, count: int) -> None:
    """Of networks whose accuracy is certain, at one cost."""
    rng = np.random.default_rng(seed)
    had, paid = rng.uniform(30, 90, count), rng.uniform(1, 9, (count, 1))
    mean, costs = rng.uniform(25, 99, 30), rng.uniform(1, 9, (30, 1))
    found = improvement(mean, np.full(30, 1e-9), costs, had, paid, floor=20.0)
    every = np.concatenate([costs, paid])
    low, high = float(every.min()), float(every.max())
    worst = np.array([-20.0, high])
    points = np.column_stack([-had, paid])
    before = hypervolume(points, worst)
    gains = [hypervolume(np.vstack([points, [-a, c]]), worst) - before for a, (c,) in zip(mean, costs, strict=True)]
    assert np.allclose(found * (high - low), gains, atol=1e-6)


def test_improvement_is_an_expectation() -> None:
    rng = np.random.default_rng(0)
    had, paid = np.array([50.0, 70.0]), np.array([[1.0], [3.0]])
    mean, spread, costs = np.array([55.0, 75.0, 40.0]), np.array([8.0, 3.0, 20.0]), np.array([[0.5], [2.0], [4.0]])
    found = improvement(mean, spread, costs, had, paid, floor=30.0)
    drawn = [
        improvement(np.maximum(rng.normal(mean, spread), 30.0), np.full(3, 1e-9), costs, had, paid, floor=30.0)
        for _ in range(4000)
    ]
    assert np.allclose(found, np.mean(drawn, axis=0), rtol=0.05, atol=0.02)


def test_improvement_with_two_costs_is_near_the_exact_one() -> None:
    rng = np.random.default_rng(4)
    had, paid = rng.uniform(30, 90, 6), rng.uniform(0, 1, (6, 2))
    mean, costs = rng.uniform(25, 99, 40), rng.uniform(0, 1, (40, 2))
    found = improvement(mean, np.full(40, 1e-9), costs, had, paid, floor=20.0)
    every = np.concatenate([costs, paid])
    worst = np.array([-20.0, *every.max(0)])
    points = np.column_stack([-had, paid])
    before = hypervolume(points, worst)
    rows = zip(mean, costs, strict=True)
    gains = np.array([hypervolume(np.vstack([points, [-a, *c]]), worst) - before for a, c in rows])
    exact = gains / np.ptp(every, axis=0).prod()
    assert np.allclose(found, exact, atol=0.6)
    assert np.corrcoef(found, exact)[0, 1] > 0.99


# Proposals ----------------------------------------------------------------------------------


def trial_of(number: int, network: Architecture, state: TrialState, values: list[float] | None, **more: Any) -> Any:
    trial = optuna.create_trial(state=state, values=values, user_attrs={ARCHITECTURE: network.id, **more})
    trial.number = number
    return trial


def told(rows: Ints, accuracy: np.ndarray) -> list[FrozenTrial]:
    networks = [SPACE.from_digits(tuple(int(digit) for digit in row)) for row in rows]
    gmacs = TABLE.values(rows, "gmacs")
    return [
        trial_of(number, network, TrialState.COMPLETE, [float(a), float(cost)])
        for number, (network, a, cost) in enumerate(zip(networks, accuracy, gmacs, strict=True))
    ]


def test_it_needs_a_fraction_of_the_trainings_of_random_search() -> None:
    def needed(name: str, seed: int) -> float:
        accuracy = planted(ALL, np.random.default_rng(seed), 1.0)
        costs = TABLE.values(ALL, "gmacs")
        points = np.column_stack([-accuracy, costs])
        worst = points.max(0)
        by_id = {
            SPACE.from_digits(tuple(int(d) for d in row)).id: point for row, point in zip(ALL, points, strict=True)
        }
        sampler = HardBudget(name, TABLE, {}, seed=seed, trials=80)
        study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
        found: list[np.ndarray] = []
        for count in range(1, 81):
            trial = study.ask()
            network = suggest(trial, SPACE)
            trial.set_user_attr(ARCHITECTURE, network.id)
            found.append(by_id[network.id])
            study.tell(trial, [-found[-1][0], found[-1][1]])
            if hypervolume(np.array(found), worst) >= 0.95 * hypervolume(points, worst):
                return count
        return math.inf

    ours, random = (np.median([needed(name, seed) for seed in range(7)]) for name in ("ehvi", "random"))
    assert ours <= random / 2


def test_the_same_history_is_answered_in_the_same_way() -> None:
    rows = ALL[np.random.default_rng(0).permutation(len(ALL))[:20]]
    trials = told(rows, planted(rows, np.random.default_rng(1), 1.0))

    def asked() -> int:
        return Ehvi(TABLE, ["video_top1", "gmacs"], {}).propose(trials, ALL, np.random.default_rng(5))

    assert asked() == asked()


def test_two_workers_are_sent_to_different_places() -> None:
    rows = ALL[np.random.default_rng(0).permutation(len(ALL))[:12]]
    trials = told(rows, planted(rows, np.random.default_rng(1), 1.0))
    ehvi = Ehvi(TABLE, ["video_top1", "gmacs"], {})
    first = ALL[ehvi.propose(trials, ALL, np.random.default_rng(0))]
    network = SPACE.from_digits(tuple(int(digit) for digit in first))
    busy = [*trials, trial_of(12, network, TrialState.RUNNING, None)]
    second = ALL[ehvi.propose(busy, ALL, np.random.default_rng(0))]
    assert not np.array_equal(first, second)


def test_a_measured_cap_is_kept_away_from() -> None:
    """Latency is known of what was measured, also of what was pruned for it: all with 3D in conv1 are over the cap."""
    rows = ALL[np.random.default_rng(0).permutation(len(ALL))[:40]]
    accuracy = planted(rows, np.random.default_rng(1), 1.0) + 20 * (rows[:, 1] == 1)
    trials = told(rows, accuracy)
    for trial, row in zip(trials, rows, strict=True):
        trial.user_attrs = {**trial.user_attrs, "latency_ms": 30.0 if row[1] == 1 else 10.0}
        if row[1] == 1:
            trial.state, trial.values = TrialState.PRUNED, None
    unseen = np.array([row for row in ALL if not (row == rows).all(1).any()])
    for seed in range(5):
        ehvi = Ehvi(TABLE, ["video_top1", "gmacs"], {"latency_ms": 20.0})
        assert unseen[ehvi.propose(trials, unseen, np.random.default_rng(seed))][1] != 1


def test_measured_objectives_are_foreseen() -> None:
    rows = ALL[np.random.default_rng(0).permutation(len(ALL))[:40]]
    trials = told(rows, planted(rows, np.random.default_rng(1), 1.0))
    for trial, row in zip(trials, rows, strict=True):
        latency = 10.0 + 5.0 * row[1]
        trial.values = [trial.values[0], latency]
    ehvi = Ehvi(TABLE, ["video_top1", "latency_ms"], {})
    assert 0 <= ehvi.propose(trials, ALL, np.random.default_rng(0)) < len(ALL)
    assert len(ehvi.front(trials)) >= 1


def test_first_networks_are_spread_and_a_score_is_an_objective_too() -> None:
    sampler = HardBudget("ehvi", TABLE, {}, seed=0, trials=9, objectives=["score", "params"])
    study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
    begun = []
    for _ in range(9):
        trial = study.ask()
        network = suggest(trial, SPACE)
        trial.set_user_attr(ARCHITECTURE, network.id)
        begun.append(SPACE.digits(network))
        study.tell(trial, [float(sum(begun[-1])), TABLE.cost_of(network)["params"]])
    assert len(set(begun)) == 9
    assert sum(a != b for a, b in zip(begun[0], begun[1], strict=True)) == 5


def test_failed_and_foreign_networks_teach_nothing() -> None:
    rows = ALL[:8]
    trials = told(rows, planted(rows, np.random.default_rng(1), 1.0))
    ehvi = Ehvi(TABLE, ["video_top1", "gmacs"], {})
    known = ehvi._known(trials)
    failed = trial_of(8, SPACE.from_digits((0, 2, 2, 2, 2, 2)), TrialState.FAIL, None)
    foreign = optuna.create_trial(
        state=TrialState.COMPLETE, values=[1.0, 1.0], user_attrs={ARCHITECTURE: "collapse-2dx2-2dx2-2dx2-2dx2"}
    )
    again = ehvi._known([*trials, failed, foreign])
    assert np.array_equal(known.digits, again.digits)


def test_what_is_expected_of_a_stopped_network_has_its_own_level() -> None:
    rows = ALL[:4]
    trials = told(rows, np.array([50.0, 60, 70, 80]))
    trials[1].user_attrs = {**trials[1].user_attrs, EXPECTED_FROM: 1}
    trials[2].user_attrs = {**trials[2].user_attrs, EXPECTED_FROM: 3}
    assert Ehvi(TABLE, ["video_top1", "gmacs"], {})._known(trials).levels.tolist() == [0, 2, 1, 0]
