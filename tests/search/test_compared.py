"""Networks that a study is compared with: trained beside it, never of it unless its space holds them."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.study import Study as OptunaStudy
from optuna.trial import TrialState, create_trial

import stsearch.testing  # noqa: F401  (registers the evaluator `simulated`)
from stsearch.errors import SpecError
from stsearch.report.compared import Compared
from stsearch.report.pareto import Pareto, pareto_of
from stsearch.search import workers
from stsearch.search.attributes import ARCHITECTURE, LOST, REASON, RECORD, REFERENCE, SCREEN, WORKER
from stsearch.search.burial import MOST_LOST, REFERENCE_PATIENCE_S, bury_dead
from stsearch.search.compared import compared_faults
from stsearch.search.reading import read_study
from stsearch.search.session import open_session, standing
from stsearch.search.spec import Study, load_study
from stsearch.search.state import State, state_of
from stsearch.search.storage import this_worker
from stsearch.search.training import Event
from stsearch.search.worker import work
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.published import NETWORKS
from stsearch.space.zoo import ZOO

BESIDE = "search.compare_with=[x3d-s, MC3-18, slowfast-r50-4X16]"


def quiet(*_: object) -> None:
    """No progress."""


def run(tiny: Path, *settings: str, retry: bool = False) -> tuple[OptunaStudy, list[Event]]:
    session = open_session(load_study(str(tiny), settings), quiet, retry_failed=retry)
    events: list[Event] = []
    work(session, events.append)
    return session.optuna_study, events


def front(name: str = "tiny") -> Pareto:
    return pareto_of(read_study(name))


def compared() -> dict[str, Compared]:
    return {one.name: one for one in front().compared}


def began(events: list[Event]) -> list[str]:
    return [event["network"] for event in events if event["event"] == "start"]


def spec(tiny: Path, networks: str, *settings: str) -> Study:
    return load_study(str(tiny), [f"search.compare_with={networks}", *settings])


def test_all_faults_of_the_list_are_told_at_once(tiny: Path) -> None:
    with pytest.raises(SpecError) as refused:
        spec(tiny, "[X3D-Z, mc3_18, SlowFast-R50, 7, 9d-2d-2d-2d-2d@18]")
    first, second, third, fourth = refused.value.faults
    assert first.startswith("search.compare_with[0]: unknown network 'X3D-Z'. Did you mean 'X3D-")
    assert second.startswith("search.compare_with[2]: unknown network 'SlowFast-R50'. Did you mean 'SlowFast-R50-")
    assert third.startswith("search.compare_with[3]: should be a valid string; given 7.")
    assert fourth.startswith("search.compare_with[4]: unknown stem '9d'")
    with pytest.raises(SpecError, match="names a network once; given twice: X3D-S"):
        spec(tiny, "[X3D-S, x3d-s]")
    assert spec(tiny, "[x3d-s, MC3_18, r(2+1)d-34]").spec.search.compare_with == ["X3D-S", "mc3_18", "R(2+1)D-34"]


def test_a_network_of_which_nothing_could_be_shown_is_refused(tiny: Path) -> None:
    """S3D sees no clips of 16 pixels: its published accuracy stays. A target that it does not see gives no cost."""
    assert spec(tiny, "[S3D]").references() == {}
    assert set(spec(tiny, "[S3D]", "proxy={frames: 8, size: 32}").references()) == {"S3D"}
    with pytest.raises(SpecError, match=r"S3D has no cost on the target: clips of 3x8x16x16 .* too small"):
        spec(tiny, "[S3D]", "target.size=16")
    assert set(spec(tiny, "[3d-3d-2d-2d-2d]").references()) == {"3d-3d-2d-2d-2d"}
    mine, large, small = replace(ZOO["S3D"], name="mine"), ClipShape(3, 8, 32, 32), ClipShape(3, 4, 16, 16)
    (fault,) = compared_faults({"mine": mine, "S3D": ZOO["S3D"]}, large, small)
    assert fault.startswith("search.compare_with: mine cannot be trained, and no accuracy of it is published: clips of")


@pytest.mark.slow
def test_they_are_trained_as_the_studys_own_and_change_nothing_of_it(tiny: Path) -> None:
    outside, videos = "search.compare_with=[x3d-s, slowfast-r50-4X16, 2d-3d-2d-2d-3d@34]", "data.val_clips=40"
    study, events = run(tiny, outside, videos)
    assert began(events)[:3] == ["X3D-S", "SlowFast-R50-4x16", "2d-3d-2d-2d-3d@34"]
    assert [event["compared"] for event in events if event["event"] == "start" and event["trial"] is None] == [True] * 3
    with_them = front()
    alone, _ = run(tiny, "name=alone", videos)
    without = front("alone")
    assert [t.user_attrs[ARCHITECTURE] for t in study.trials] == [t.user_attrs[ARCHITECTURE] for t in alone.trials]
    assert [t.values for t in study.trials] == [t.values for t in alone.trials]
    for of in ("front", "dominated", "references", "hypervolume", "reference_point", "trained", "failed"):
        assert getattr(with_them, of) == getattr(without, of), of
    with_noise, alone_noise = with_them.confidence, without.confidence
    assert with_noise is not None
    assert alone_noise is not None
    assert with_noise.hypervolume == pytest.approx(alone_noise.hypervolume)
    for one in without.front:
        mine, theirs = without.certainty(one), with_them.certainty(one)
        assert mine is not None
        assert theirs is not None
        assert theirs.as_dict() == pytest.approx(mine.as_dict())
    assert without.compared == ()
    found = {one.name: one for one in with_them.compared}
    for name in ("X3D-S", "SlowFast-R50-4x16"):
        record = found[name].record
        assert record is not None
        cost = network_cost(ZOO[name], ClipShape(3, 8, 32, 32), 2).total
        assert (record.trial, record.metrics["gmacs"], record.feasible) == (None, cost.macs / 1e9, True)
        assert 0 <= record.metrics["video_top1"] <= 100
        sure = with_them.certainty(record)
        assert sure is not None
        assert (sure.trainings, sure.probability) == (1, None)
    deep = found["2d-3d-2d-2d-3d@34"]
    assert deep.placed
    assert deep.printed is None
    kept = study.user_attrs[f"{REFERENCE}X3D-S"]
    assert kept["state"] == State.COMPLETE
    narrow = network_cost(ZOO["X3D-S"].scaled(0.125), ClipShape(3, 4, 16, 16), 2).total
    assert narrow.params < 0.1 * kept["params"], "what was trained is narrower than what it stands for"
    assert kept["flops_counted"] == 2 * cost_of("X3D-S")
    assert kept[RECORD]


def cost_of(name: str) -> int:
    return network_cost(ZOO[name], ClipShape(3, 8, 32, 32), 2).total.macs


@pytest.mark.slow
def test_one_that_is_added_later_is_all_that_is_trained(tiny: Path) -> None:
    run(tiny)
    study, events = run(tiny, BESIDE)
    assert began(events) == ["X3D-S", "SlowFast-R50-4x16", "MC3-18"], "MC3-18 is of the space: a trial, on top"
    assert [t.user_attrs["network"] for t in study.trials][4:] == ["MC3-18"]
    session = open_session(load_study(str(tiny), [BESIDE]), quiet)
    now = standing(session)
    assert (now.complete, now.wanted, now.open) == (5, 5, 0)
    assert began(run(tiny, BESIDE)[1]) == []
    inside = compared()["MC3-18"]
    assert inside.record is not None
    assert inside.record.trial == 4
    run(tiny)
    assert front().compared == (), "named no more, it is shown no more"
    assert began(run(tiny, BESIDE)[1]) == [], "and named again, it is there"
    assert all(one.record for one in front().compared)
    assert len(began(run(tiny, BESIDE, "search.trials=6")[1])) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "state"),
    [({SCREEN: {"score": "naswot", "clips": 4, "value": 0.0, "out": True}}, State.SCREENED), ({}, State.OVER)],
)
def test_one_that_was_spared_its_training_is_trained_once_it_is_named(
    tiny: Path, how: dict[str, Any], state: State
) -> None:
    """Screened out, or over a measured cap; others were trained since."""
    study = open_session(load_study(str(tiny), ["search.trials=1"]), quiet).optuna_study
    known = {ARCHITECTURE: NETWORKS["MC3-18"].id, "network": "MC3-18", REASON: "not trained", **how}
    study.add_trial(create_trial(state=TrialState.PRUNED, user_attrs=known))
    assert state_of(study.trials[0]) is state
    assert "MC3-18" not in began(run(tiny)[1])
    _, events = run(tiny, "search.compare_with=[MC3-18]")
    assert began(events) == ["MC3-18"]
    assert compared()["MC3-18"].record is not None
    assert began(run(tiny, "search.compare_with=[MC3-18]")[1]) == []


@pytest.mark.slow
def test_of_the_space_and_over_the_budget_it_is_a_trial_that_cannot_be_on_the_front(tiny: Path) -> None:
    study, events = run(tiny, "search.compare_with=[R3D-18, r3d_18]", "budget.gmacs=1.2")
    dear = network_cost(NETWORKS["R3D-18"], ClipShape(3, 8, 32, 32), 2).total.macs / 1e9
    assert dear > 1.2
    assert began(events)[:2] == ["r3d_18", "R3D-18"]
    assert len(study.trials) == 4
    found = front()
    assert "R3D-18" not in {record.network for record in found.front}
    for one in found.compared:
        assert one.record is not None
        assert not one.record.feasible
    assert [one.record.trial for one in found.compared if one.record] == [0, None]


@pytest.mark.slow
def test_what_its_clips_do_not_allow_is_left_to_what_is_published(tiny: Path) -> None:
    _, events = run(tiny, "search.compare_with=[S3D]", "search.trials=1")
    assert "S3D" not in began(events)
    (one,) = front().compared
    assert one.record is None
    assert one.why.startswith("not trained: clips of 3x4x16x16 (C x T x H x W) are too small")
    assert one.published == "68.4 % on Kinetics-400"
    assert set(one.metrics) == {"gmacs", "params", "activations"}, "a published accuracy is none of the study's"


@pytest.mark.slow
def test_one_that_kills_its_workers_is_given_up_and_tried_again_when_asked(tiny: Path) -> None:
    asked = ["search.compare_with=[X3D-XS]", "search.trials=1"]
    session = open_session(load_study(str(tiny), asked), quiet)
    gone: dict[str, Any] = {**this_worker(), "pid": 2**22 + 1}
    running = {"state": State.RUNNING, WORKER: gone, "beat": time.time(), LOST: MOST_LOST - 1}
    session.optuna_study.set_user_attr(f"{REFERENCE}X3D-XS", running)
    assert "X3D-XS" not in began(run(tiny, *asked)[1])
    (one,) = front().compared
    assert one.record is None
    assert one.why == f"failed: given up: {MOST_LOST} workers were killed while they trained it (out of memory?)"
    assert began(run(tiny, *asked, retry=True)[1]) == ["X3D-XS"]
    assert compared()["X3D-XS"].record is not None


@pytest.mark.slow
def test_one_that_is_silent_for_long_is_waited_for_while_its_worker_lives_here(tiny: Path) -> None:
    session = open_session(load_study(str(tiny), ["search.compare_with=[X3D-XS]"]), quiet)
    key, study = f"{REFERENCE}X3D-XS", session.optuna_study
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        worker = {**this_worker(), "pid": other.pid, "born": workers._born(other.pid), "token": "another"}
        for at, state in (({}, State.RUNNING), ({"host": "elsewhere"}, State.OPEN)):
            known = {"state": State.RUNNING, WORKER: {**worker, **at}, "beat": time.time() - 2 * REFERENCE_PATIENCE_S}
            study.set_user_attr(key, known)
            bury_dead(session)
            assert study.user_attrs[key]["state"] == state
        study.set_user_attr(key, {**known, WORKER: worker})
        other.kill()
    bury_dead(session)
    assert (study.user_attrs[key]["state"], study.user_attrs[key][LOST]) == (State.OPEN, 1)


@pytest.mark.slow
def test_of_the_papers_networks_one_that_is_named_no_more_is_not_shown(tiny: Path) -> None:
    """R2D, which the study trains by itself, is."""
    asked = ["search.trials=1", "search.start_with=paper"]
    run(tiny, *asked, "search.compare_with=[R3D-34]")
    before = {record.network for record in front().references}
    run(tiny, *asked)
    assert {record.network for record in front().references} == before - {"R3D-34"}
    assert {"R3D-34", "R2D-18"} <= before


@pytest.mark.slow
@pytest.mark.parametrize(
    "evaluate",
    ["{name: score, score: naswot, clips: 8}", "{name: score, score: synflow}", "{name: score, score: entropy}",
     "{name: halving, rungs: [1, 2], batch: 12}", "{name: train, epochs: 1, batch: 12, repeats: 2}",
     "{name: simulated, seconds: 0}"],
)  # fmt: skip
def test_they_are_evaluated_as_the_study_evaluates(tiny: Path, evaluate: str) -> None:
    settings = [f"evaluate={evaluate}", "search.compare_with=[X3D-XS, Slow-R50-4x16]", "search.trials=1"]
    if "score" in evaluate:
        settings.append("objectives={score: maximize, gmacs: minimize}")
    study, events = run(tiny, *settings)
    assert began(events)[:2] == ["X3D-XS", "Slow-R50-4x16"]
    for name in ("X3D-XS", "Slow-R50-4x16"):
        one, kept = compared()[name], study.user_attrs[f"{REFERENCE}{name}"]
        assert kept["state"] == State.COMPLETE, kept
        assert one.record is not None
        assert set(study.trials[0].user_attrs) >= {"seconds", "flops_counted"}
        assert set(one.record.metrics) >= set(front().objectives)
