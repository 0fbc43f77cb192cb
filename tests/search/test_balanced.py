"""The design of a study's first networks, and the questions that it is for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from stsearch.report.effects import Effects, placement_effects_of_ids
from stsearch.report.effects_text import effects_json, paragraph
from stsearch.report.pareto import pareto_of
from stsearch.report.study_effects import study_effects
from stsearch.search.balanced import balanced, sees
from stsearch.search.reading import read_study
from stsearch.search.session import _sampler, check_budget
from stsearch.search.spec import load_study
from stsearch.space.architecture import GROUPS, Architecture
from stsearch.space.cost import network_cost
from stsearch.space.published import NETWORKS
from tests.conftest import Cli
from tests.search.test_repeats import run


def started(*settings: str) -> list[Architecture]:
    study = load_study("quickstart", ["search.start_with=balanced", "search.trials=24", *settings])
    return list(_sampler(study, check_budget(study, 10)).start)


def crossed(networks: Sequence[Architecture]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Intercept, two columns of kinds per group and a depth per stage of r18, worked out by hand."""
    rows = []
    for a in networks:
        kinds = [a.stem, *(stage[0] for stage in a.stages)]
        rows.append([1.0, *(float(kind == k) for kind in kinds for k in ("3d", "2plus1d")), *map(float, a.depths)])
    return np.array(rows)


def test_the_first_networks_answer_each_question_within_budget_and_trials() -> None:
    start = started()
    assert start[: len(NETWORKS)].count(NETWORKS["MC3-18"]) == 1
    assert len(start) == len(set(start)) == 18, "three quarters of 24 trials: the sampler has the rest"
    patterns = [sees(a) for a in start]
    assert patterns.count((False,) * 5) >= 2
    for group in range(5):
        assert tuple(k == group for k in range(5)) in patterns
    assert all(network_cost(a, load_study("quickstart").target_clip(), 10).total.macs <= 45e9 for a in start)


def test_effects_of_all_kinds_and_depths_can_be_told_from_thirty() -> None:
    start = started("search.trials=40")
    x = crossed(start)
    assert len(start) == 30
    assert np.linalg.matrix_rank(x) == x.shape[1] == 15
    random = np.random.default_rng(0)
    space = load_study("quickstart").space
    paper = start[:11]
    others = [space.architecture(int(n)) for n in random.integers(space.size, size=len(start) - len(paper))]
    by_chance = crossed([*paper, *others])
    ours, theirs = (np.linalg.slogdet(table.T @ table)[1] for table in (x, by_chance))
    assert ours > theirs, "more information than as many drawn at random"


def test_the_design_is_repeatable_and_differs_by_seed() -> None:
    assert started() == started()
    assert started("seed=1") != started()


@pytest.mark.parametrize(
    "settings",
    [["space=paper-18"], ["space=r18-kinds"], ["space=blockwise-18"], ["budget.gmacs=20"], ["search.trials=3"]],
)
def test_any_space_budget_and_number_of_trials(settings: list[str]) -> None:
    study = load_study("quickstart", ["search.start_with=balanced", *settings])
    sampler = _sampler(study, check_budget(study, 10))
    assert len(set(sampler.start)) == len(sampler.start)
    assert all(a in study.space for a in sampler.start)
    assert all(sampler.keeps(a) for a in sampler.start)


def test_a_space_that_always_sees_time_has_crossed_networks_alone() -> None:
    study = load_study("quickstart", ["space=r18-kinds"])
    table = check_budget(study, 10)
    digits, _ = table.population(0)
    some = digits[:3000]
    only = some[[all(sees(study.space.from_digits(tuple(map(int, row))))) for row in some]]
    found = balanced(study.space, only, [], 12, 0)
    assert len(found) == 12
    assert all(all(sees(a)) for a in found)


def learnt(a: Architecture) -> float:
    """As on the built-in set: the first group that sees time is worth most, the rest little."""
    return [55.0, 75.0, 77.0, 77.5, 78.0, 78.5][sum(sees(a))]


def answered(accuracy: Callable[[Architecture], float], noise: float, seed: int) -> Effects:
    rng = np.random.default_rng(seed)
    networks = started("search.trials=32")
    found = [accuracy(a) + noise * rng.normal() for a in networks]
    costs = [float(sum(a.depths)) for a in networks]
    return placement_effects_of_ids([a.id for a in networks], found, costs, importance=False, asked=True)


def test_without_noise_the_answers_are_the_planted_ones() -> None:
    effects = answered(learnt, 0.0, 0)
    assert effects.asked is not None
    alone = {one.group: one.estimate.mean for one in effects.asked.answers if one.question == "alone"}
    assert alone == pytest.approx(dict.fromkeys(GROUPS, 20.0), abs=1.0)


def test_at_the_noise_of_one_training_where_time_pays_is_claimed_and_said() -> None:
    for seed in range(5):
        effects = answered(learnt, 1.3, seed)
        assert effects.asked is not None
        claims = effects.asked.claims
        assert sum(one.question == "alone" for one in claims) == 5
        assert all(one.estimate.mean > 0 for one in claims if one.question in ("alone", "several"))
        said = paragraph(effects)
        assert "time in one group alone, against nowhere, is worth +" in said
        assert "Tran et al. (CVPR 2018)" in said
        assert "is not shown, which is not the same" not in said, "what is open is said once"
        assert "Xie et al. (ECCV 2018, S3D)" in said
        told = json.loads(json.dumps(effects_json(effects)))["asked"]
        assert told["level"] == 0.95
        assert told["questions"] == len(told["answers"]) == len(effects.asked.answers)


def test_of_nothing_a_study_in_twenty_claims_something_at_most() -> None:
    """60 studies: 3 false ones are expected, 9 would come once in 300 times."""
    false = 0
    for seed in range(60):
        effects = answered(lambda _: 50.0, 2.0, seed)
        assert effects.asked is not None
        false += bool(effects.asked.claims)
    assert false <= 8


def test_a_study_that_asked_answers_and_another_does_not(tiny: Path, cli: Cli) -> None:
    run(tiny, "space=paper-18", "search.start_with=balanced", "search.trials=12")
    stored = read_study("tiny")
    effects = study_effects(stored, pareto_of(stored))
    assert effects.asked is not None
    told = json.loads(cli("pareto", "tiny", "--effects", "--format", "json").stdout)["effects"]["asked"]
    assert told["questions"] == len(effects.asked.answers)
    answer = cli("run", str(tiny), "--set=search.start_with=balance")
    assert answer.returncode == 2
    assert "balanced" in answer.stderr
