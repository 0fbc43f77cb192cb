"""What is kept between proposals, proposals that were overtaken, and claims in one transaction."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.study import Study as OptunaStudy
from optuna.trial import TrialState

from stsearch.resources import find
from stsearch.search import worker
from stsearch.search.attributes import ARCHITECTURE, INTERRUPTED, REASON, WORKER
from stsearch.search.claims import begin_trial
from stsearch.search.proposals import Proposal, Tried, Unseen, tried
from stsearch.search.samplers import HardBudget, suggest
from stsearch.search.session import open_session
from stsearch.search.shown import Shown
from stsearch.search.spec import load_study
from stsearch.search.storage import this_worker
from stsearch.search.surrogate import Distances
from stsearch.search.training import Event
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS
from stsearch.space.search_space import load_space
from stsearch.space.table import CostTable
from stsearch.stats.front import best_for_their_costs

SPACE = load_space(find("search_spaces", "paper-18"))
TABLE = CostTable(SPACE, ClipShape(3, 8, 32, 32), 4)
ALL, _ = TABLE.population()


def quiet(*_: object) -> None:
    """No progress."""


def test_what_was_tried_is_remembered_as_it_is() -> None:
    """Also where a running trial ends as interrupted, which frees its network."""
    study, kept = optuna.create_study(directions=["maximize"]), Tried()
    rng = np.random.default_rng(0)
    for number in range(40):
        trial = study.ask()
        trial.set_user_attr(ARCHITECTURE, f"n{number}")
        running = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.RUNNING]
        end = running[int(rng.integers(len(running)))]
        kind = int(rng.integers(4))
        if kind == 1:
            study._storage.set_trial_user_attr(end._trial_id, REASON, "it failed")
        if kind == 2:
            study._storage.set_trial_user_attr(end._trial_id, REASON, "stopped")
            study._storage.set_trial_user_attr(end._trial_id, INTERRUPTED, True)
        if kind:
            study.tell(
                end.number, 1.0 if kind == 3 else None, state=TrialState.COMPLETE if kind == 3 else TrialState.FAIL
            )
        trials = study.get_trials(deepcopy=False)
        assert kept.of(trials) == tried(trials)


def test_the_unseen_are_the_feasible_less_the_seen() -> None:
    ids = {SPACE.from_digits(tuple(map(int, row))).id: tuple(map(int, row)) for row in ALL}
    feasible = ALL[np.random.default_rng(0).permutation(len(ALL))[:100]]
    unseen = Unseen(feasible, SPACE.radix, lambda identifier: ids.get(identifier))
    seen = {*list(ids)[::3], "a network of elsewhere"}
    expected = [
        row for row, digits in enumerate(feasible) if not {tuple(map(int, digits))} & {ids.get(s) for s in seen}
    ]
    assert unseen.rows(seen).tolist() == expected
    assert unseen.rows(set()).tolist() == list(range(100))
    assert unseen.left(seen)
    assert not unseen.left(set(ids))


@pytest.mark.parametrize("costs", [0, 1, 2])
def test_the_best_for_their_costs(costs: int) -> None:
    rng = np.random.default_rng(costs)
    value, paid = rng.integers(0, 30, 80).astype(float), rng.integers(0, 9, (80, costs)).astype(float)
    beaten = (paid[:, None] <= paid[None]).all(2) & (value[:, None] > value[None])
    assert best_for_their_costs(value, paid).tolist() == (~beaten.any(0)).tolist()


def test_weighted_distances_are_the_sum_of_each() -> None:
    for name in ("paper-18", "blockwise-18"):
        space = load_space(find("search_spaces", name))
        rng, distances = np.random.default_rng(0), Distances(space)
        a, b = (np.stack([rng.integers(radix, size=count) for radix in space.radix], 1) for count in (30, 50))
        weights = rng.random(len(distances.groups))
        assert np.allclose(distances.weighted(weights, a, b), np.tensordot(weights, distances.each(a, b), 1))


def test_a_proposal_that_was_overtaken_is_made_again_unless_its_networks_are_alike() -> None:
    one, other = NETWORKS["R3D-18"], NETWORKS["MC3-18"]
    best = Proposal((one, other), alike=False, known=0)
    assert best.free(set(), any_of_them=False) == one
    assert best.free({one.id}, any_of_them=False) is None
    assert best.free({one.id}, any_of_them=True) == other
    assert Proposal((one, other), alike=True, known=0).free({one.id}, any_of_them=False) == other
    assert best.free({one.id, other.id}, any_of_them=True) is None


@pytest.mark.parametrize("name", ["random", "tpe", "ehvi", "exhaustive"])  # NSGA-II keeps parents that it drew
def test_thinking_writes_nothing_and_gives_what_asking_gives(name: str) -> None:
    sampler = HardBudget(name, TABLE, {}, seed=3, trials=20)
    study = optuna.create_study(sampler=sampler, directions=["maximize", "minimize"])
    for number in range(16):
        before = study.get_trials()
        thought = sampler.think(study, study.get_trials(deepcopy=False))
        assert study.get_trials() == before
        trial = study.ask()
        network = suggest(trial, SPACE)
        assert thought.choices[0] == network
        trial.set_user_attr(ARCHITECTURE, network.id)
        study.tell(trial, [float(number % 5), TABLE.cost_of(network)["gmacs"]])


def test_many_trainings_are_remembered_in_part_and_proposals_stay_new() -> None:
    table = CostTable(load_space(find("search_spaces", "r18")), ClipShape(3, 8, 32, 32), 4)
    study = optuna.create_study(directions=["maximize", "minimize"])
    rng = np.random.default_rng(0)
    for index in rng.choice(table.space.size, 600, replace=False):
        network = table.space.architecture(int(index))
        values = [50 + 3.0 * sum(map(len, network.stages)) + rng.normal(), table.cost_of(network)["gmacs"]]
        study.add_trial(optuna.create_trial(values=values, user_attrs={ARCHITECTURE: network.id}))

    def thought() -> Proposal:
        trials = study.get_trials(deepcopy=False)
        return HardBudget("ehvi", table, {}, seed=0, trials=9_999).think(study, trials)

    once = thought()
    assert len({network.id for network in once.choices} - tried(study.trials)) == len(once.choices) > 1
    assert thought() == once, "it depends on seed and history alone"


def test_a_claim_is_what_optuna_reads(tiny: Path) -> None:
    session = open_session(load_study(str(tiny)), quiet)
    space, kinds = session.study.space, session.sampler.distributions
    for number, name in enumerate(("R3D-18", "MC3-18")):
        values = space.encode(NETWORKS[name])
        params = {key: (value, kinds[key]) for key, value in values.items()}
        attributes = {ARCHITECTURE: NETWORKS[name].id, WORKER: this_worker(), "depths": [2, 2, 2, 2]}
        begun = begin_trial(session.storage, session.optuna_study._study_id, params, attributes, {"note": number})
        trial = session.optuna_study.trials[-1]
        assert (trial, trial.number, trial.state) == (begun, number, TrialState.RUNNING)
        assert (trial.params, trial.user_attrs, trial.system_attrs) == (values, attributes, {"note": number})
        assert trial.distributions == kinds
    assert not session.storage._get_stale_trial_ids(session.optuna_study._study_id)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["random", "tpe", "ehvi"])
def test_two_workers_that_think_of_one_network_train_two(tiny: Path, name: str) -> None:
    """The second thinks, and before it begins the first has thought of the same network and trained it."""
    study = load_study(str(tiny), [f"search.sampler={name}", "search.trials=6"])
    first, second = (open_session(study, quiet) for _ in range(2))
    view, overtaken, events = second.sampler.view, list[bool](), list[Event]()

    def slow(seen: OptunaStudy) -> OptunaStudy:
        if isinstance(seen, Shown) and len(overtaken) < 3:  # while it thinks, not when it tells
            overtaken.append(worker._step(first, events.append))
        return view(seen)

    second.sampler.view = slow
    worker.work(second, events.append)
    networks = Counter(t.user_attrs[ARCHITECTURE] for t in second.optuna_study.trials)
    assert len(overtaken) == 3
    assert sorted(networks.values()) == [1] * 6
    assert Counter(event["event"] for event in events)["done"] == 6
    assert all(trial.state == TrialState.COMPLETE for trial in second.optuna_study.trials)
