"""Every sampler under a hard budget: nothing over it, nothing twice, nothing left out."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.study import Study as OptunaStudy

from stsearch.resources import find
from stsearch.search.attributes import ARCHITECTURE, INTERRUPTED, REASON
from stsearch.search.nni_sampler import NNI_SAMPLERS, scalarised
from stsearch.search.proposals import tried
from stsearch.search.samplers import (
    SAMPLERS,
    Exhausted,
    HardBudget,
    distribution,
    suggest,
)
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS
from stsearch.space.search_space import Parameter, SearchSpace, load_space, space_from_data
from stsearch.space.table import CostTable

CLIP = ClipShape(3, 8, 32, 32)
SPACE = load_space(find("search_spaces", "paper-18"))
TABLE = CostTable(SPACE, CLIP, 4)


def searched(
    sampler: HardBudget, trials: int, directions: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize")
) -> OptunaStudy:
    """Ask and tell on a smooth made-up accuracy; Optuna in memory, the sampler as in a run."""
    study = optuna.create_study(sampler=sampler, directions=directions)

    def objective(trial: optuna.Trial) -> Any:
        architecture = suggest(trial, sampler.space)
        trial.set_user_attr(ARCHITECTURE, architecture.id)
        costs = sampler.table.cost_of(architecture)
        for name, cap in sampler.budget.items():
            trial.set_constraint(name, costs[name] - cap)
        temporal = sum(kind != "2d" for kind in (architecture.stem, *(k[0] for k in architecture.stages)))
        return (50.0 + 8 * temporal, costs["gmacs"])[: len(directions)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.optimize(objective, n_trials=trials)
    return study


def architectures(study: OptunaStudy) -> list[str]:
    return [trial.user_attrs[ARCHITECTURE] for trial in study.trials]


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in NNI_SAMPLERS])
def test_nothing_over_budget_and_nothing_twice(name: str) -> None:
    count = 14 if name == "gp" else 40  # ten random ones, then the Gaussian process
    sampler = HardBudget(name, TABLE, {"gmacs": 1.3}, seed=1, trials=count)
    found = architectures(searched(sampler, count))
    assert len(set(found)) == count
    for identifier in found:
        digits = SPACE.digits(sampler._known(identifier))  # type: ignore[arg-type]
        assert TABLE.cost_of(SPACE.from_digits(digits))["gmacs"] <= 1.3


@pytest.mark.parametrize("name", ["random", "tpe", "ehvi", "exhaustive"])
def test_a_space_is_used_up_to_the_last_network(name: str) -> None:
    budget = {"gmacs": 1.02}
    sampler = HardBudget(name, TABLE, budget, seed=0, trials=99)
    assert sampler.feasible is not None
    assert 5 < sampler.feasible < 60
    study = searched(sampler, sampler.feasible)
    assert len(set(architectures(study))) == sampler.feasible
    assert not sampler.left(study.trials)
    with pytest.raises(Exhausted):
        searched_on(study)


def searched_on(study: OptunaStudy) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.ask().suggest_categorical("stem", ["2d", "3d", "2plus1d"])


@pytest.mark.parametrize("name", ["tpe", "ehvi"])
def test_proposals_depend_on_seed_and_history_alone(name: str) -> None:
    def run(seed: int) -> list[str]:
        return architectures(searched(HardBudget(name, TABLE, {}, seed=seed, trials=25), 25))

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_start_networks_come_first_and_may_be_over_budget() -> None:
    start = [NETWORKS["MC3-18"], NETWORKS["f-R2D-18"]]
    sampler = HardBudget("random", TABLE, {"gmacs": 1.2}, seed=0, trials=5, start=start)
    assert not sampler.keeps(NETWORKS["MC3-18"])
    assert architectures(searched(sampler, 4))[:2] == [a.id for a in start]


def test_auto_enumerates_what_is_small() -> None:
    assert HardBudget("auto", TABLE, {}, seed=0, trials=300).name == "exhaustive"
    assert HardBudget("auto", TABLE, {}, seed=0, trials=100).name == "ehvi"
    large = CostTable(load_space(find("search_spaces", "r18")), CLIP, 4)
    assert HardBudget("auto", large, {}, seed=0, trials=1000).name == "ehvi"


def huge() -> SearchSpace:
    kinds = ["2d", "3d", "2plus1d"]
    stages = {f"conv{n}_x": {"kind": kinds, "depth": [3, 4]} for n in (2, 3, 4, 5)}
    return space_from_data({"name": "huge", "granularity": "block", "stem": {"kind": kinds}, "stages": stages})


@pytest.mark.parametrize("name", ["random", "tpe", "nsga2", "ehvi"])
def test_a_space_too_large_to_enumerate(name: str) -> None:
    table = CostTable(huge(), CLIP, 4)
    cheapest = table.cost_of(table.extreme("gmacs"))["gmacs"]
    sampler = HardBudget(name, table, {"gmacs": 1.2 * cheapest}, seed=0, trials=12)
    assert sampler.feasible is None
    study = searched(sampler, 12)
    assert len(set(architectures(study))) == 12
    assert all(trial.values[1] <= 1.2 * cheapest for trial in study.trials)


@pytest.mark.parametrize("name", ["tpe", "ehvi"])
def test_single_objective(name: str) -> None:
    sampler = HardBudget(name, TABLE, {}, seed=0, trials=15, objectives=["video_top1"])
    assert len(set(architectures(searched(sampler, 15, ("maximize",))))) == 15


def test_what_counts_as_tried() -> None:
    study = optuna.create_study()
    states = optuna.trial.TrialState
    cases: list[tuple[str, optuna.trial.TrialState, dict[str, Any], bool]] = [
        ("a", states.COMPLETE, {}, True),
        ("b", states.RUNNING, {}, True),
        ("c", states.FAIL, {REASON: "the loss is nan"}, True),
        ("d", states.FAIL, {REASON: "interrupted", INTERRUPTED: True}, False),
        ("e", states.FAIL, {}, False),  # ended from outside, by a heartbeat that stopped
    ]
    for name, state, attributes, _ in cases:
        study.add_trial(optuna.create_trial(
            state=state, value=1.0 if state == states.COMPLETE else None, user_attrs={ARCHITECTURE: name, **attributes}
        ))  # fmt: skip
    assert tried(study.trials) == {name for name, *_, expected in cases if expected}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1, 2, 3), IntDistribution(1, 3)),
        ((4, 6, 8), IntDistribution(4, 8, step=2)),
        ((1, 2, 4), CategoricalDistribution((1, 2, 4))),
        ((0.5, 1.0), CategoricalDistribution((0.5, 1.0))),
        (("2d", "3d"), CategoricalDistribution(("2d", "3d"))),
    ],
)
def test_distributions(values: tuple[Any, ...], expected: Any) -> None:
    assert distribution(Parameter("x", values)) == expected


def test_proposals_of_workers_that_ask_at_once_differ() -> None:
    """Four proposals before anything is finished: they are not neighbours of one another by construction."""
    large = CostTable(load_space(find("search_spaces", "r18")), CLIP, 4)
    study = optuna.create_study(sampler=HardBudget("random", large, {}, seed=0, trials=9), directions=["maximize"])
    chosen = []
    for _ in range(4):
        trial = study.ask()
        chosen.append(suggest(trial, large.space))
        trial.set_user_attr(ARCHITECTURE, chosen[-1].id)
    assert len({(a.stem, a.stages[0], a.stages[1]) for a in chosen}) == 4


def test_a_scalar_keeps_the_order_of_one_objective_and_of_dominance() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((30, 1))
    assert (np.argsort(scalarised(values, rng)) == np.argsort(-values[:, 0])).all()
    values = rng.random((30, 3))
    for _ in range(20):
        scalars = scalarised(values, rng)
        for one, scalar in zip(values, scalars, strict=True):
            better = (values < one).all(1)
            assert (scalars[better] > scalar).all()


def test_scalars_aim_at_every_part_of_a_front() -> None:
    """On a line of trade-offs each network is the best in some direction."""
    rng = np.random.default_rng(0)
    share = np.linspace(0, 1, 6)
    values = np.stack([share, 1 - share], 1)
    assert {int(scalarised(values, rng).argmax()) for _ in range(200)} == set(range(6))
    assert np.isfinite(scalarised(np.ones((4, 2)), rng)).all()
