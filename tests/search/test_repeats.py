"""Repeats of near-ties in whole studies: chosen, stored beside the study, merged, resumed, killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from stsearch.errors import SpecError, UserError
from stsearch.evaluate import evaluators
from stsearch.evaluate.evaluators import Evaluation, Evaluator, OnEpoch, Task, mean_of, training_seed
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.results import Training
from stsearch.evaluate.train import EvaluationFailed
from stsearch.report.confidence import Confidence
from stsearch.report.effects_text import _caveats
from stsearch.report.live import Display
from stsearch.report.pareto import Pareto, pareto_of
from stsearch.report.plot import figure, plot
from stsearch.report.study_effects import study_effects
from stsearch.search.attributes import REASON, REPEAT, REPEAT_OF, REPEATS, WORKER
from stsearch.search.edited import edits
from stsearch.search.reading import read_study
from stsearch.search.repeats import run_repeat
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.state import State
from stsearch.search.storage import open_storage, this_worker
from stsearch.search.training import Event
from stsearch.search.worker import work
from stsearch.space.published import NETWORKS
from tests.conftest import Cli, awaited

pytestmark = pytest.mark.slow

VIDEOS = 200
Accuracy = Callable[[str, np.random.Generator], float]


def quiet(*_: object) -> None:
    """No progress."""


def run(tiny: Path, *settings: str) -> list[Event]:
    events: list[Event] = []
    work(open_session(load_study(str(tiny), list(settings)), quiet), events.append)
    return events


def repeats_of(name: str, url: str = "") -> list[optuna.trial.FrozenTrial]:
    storage = open_storage(url or f"sqlite:///studies/{name}.db")
    return optuna.load_study(study_name=name + REPEATS, storage=storage).trials


def sure(pareto: Pareto) -> Confidence:
    assert pareto.confidence is not None
    return pareto.confidence


def planted(monkeypatch: pytest.MonkeyPatch, accuracy: Accuracy) -> None:
    """An evaluator that trains nothing: accuracies are drawn, by the training's own seed."""

    def training(task: Task, repeat: int) -> Training:
        name = next((name for name, a in NETWORKS.items() if a.scaled(0.125) == task.architecture), "")
        seed = training_seed(task.seed, task.architecture, repeat)
        found = accuracy(name or task.architecture.id, np.random.default_rng(seed))
        right = round(min(max(found, 0.0), 100.0) / 100 * VIDEOS)
        value = 100 * right / VIDEOS
        confusion = ((0, 0, right), (0, 1, VIDEOS - right))
        return Training(value, value, min(100.0, value + 20), (value, None), (), 1.0, 0.1, 10.0, 12, confusion, "", 24)

    def evaluation(task: Task, repeats: range) -> Evaluation:
        trainings = tuple(training(task, repeat) for repeat in repeats)
        return mean_of(trainings, tuple(training_seed(task.seed, task.architecture, r) for r in repeats), "cpu")

    def first(task: Task, on_epoch: OnEpoch) -> Evaluation:
        return evaluation(task, range(task.recipe.repeats))

    def again(task: Task, repeat: int, on_epoch: OnEpoch) -> Evaluation:
        return evaluation(task, range(repeat, repeat + 1))

    monkeypatch.setitem(evaluators.EVALUATORS._items, "train", Evaluator(TrainRecipe, first, again=again))


def test_near_ties_are_trained_again_and_stay_one_network(tiny: Path, database: str) -> None:
    events = run(tiny, "search.trials=6", "search.repeats=4", f"storage={database}")
    again = [event for event in events if event["event"] == "done" and "again" in event]
    assert [event["again"] for event in again] == [1, 2, 3, 4]
    stored = read_study("tiny", database)
    assert len(stored.numbers) == 6, "a repeat is no trial of the study"
    assert pareto_of(stored).trained == 6
    repeats = repeats_of("tiny", database)
    assert [t.user_attrs[REPEAT_OF] for t in repeats] == [event["trial"] for event in again]
    for number, further in stored.repeats.items():
        (row,) = np.flatnonzero(stored.numbers == number)
        (record,) = stored.details(np.array([row]))
        values = [training["video_top1"] for training in record["trainings"]]
        assert len(values) == 1 + len(further) == len(set(record["seeds"]))
        assert stored.values[row, 0] == pytest.approx(np.mean(values))
        (shown,) = stored.records(np.array([row]))
        assert shown.metrics["video_top1"] == pytest.approx(np.mean(values))
        certainty = sure(pareto_of(stored)).of(shown)
        assert certainty is None or certainty.trainings == len(values)
    assert again[-1]["means"]["video_top1"] in stored.values[:, 0]
    effects = study_effects(stored, pareto_of(stored))
    most = 1 + max(map(len, stored.repeats.values()))
    assert f"that of a network is the mean of its 1 to {most} trainings" in _caveats(effects)[-1]


def test_means_are_of_finished_trainings_while_others_repeat(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second worker takes up a repeat, and ends it, in the middle of every repeat of the first."""
    planted(monkeypatch, lambda name, rng: rng.normal(60, 6))
    settings = ["search.start_with=[MC2-18, f-R2D-18]", "search.trials=2", "search.repeats=8"]
    inner = evaluators.EVALUATORS["train"]
    assert inner.again is not None
    events: list[Event] = []
    busy: list[int] = []

    def again(task: Task, repeat: int, on_epoch: OnEpoch) -> Evaluation:
        if not busy:
            busy.append(1)
            session = open_session(load_study(str(tiny), settings), quiet)
            with session.lock:
                run_repeat(session, events.append)
            busy.clear()
        return inner.again(task, repeat, on_epoch)  # type: ignore[misc]

    monkeypatch.setitem(evaluators.EVALUATORS._items, "train", Evaluator(TrainRecipe, inner.run, again=again))
    work(open_session(load_study(str(tiny), settings), quiet), events.append)
    finished: dict[int, list[float]] = {}
    at_once, running = 0, 0
    for event in events:
        if event["event"] == "start":
            running += 1
        elif event["event"] == "done":
            running -= 1
            at_once += running
            mine = finished.setdefault(event["trial"], [])
            mine.append(event["video_top1"])
            if "again" in event:
                assert (event["trainings"], event["means"]["video_top1"]) == (len(mine), pytest.approx(np.mean(mine)))
    assert at_once >= 3, "two repeats ran side by side"
    stored = read_study("tiny")
    for number, values in finished.items():
        (record,) = stored.records(np.flatnonzero(stored.numbers == number))
        assert record.metrics["video_top1"] == pytest.approx(np.mean(values))
        assert record.metrics["video_top5"] == pytest.approx(np.mean([min(100.0, value + 20) for value in values]))


def test_a_repeat_is_the_training_that_evaluate_repeats_would_have_made(tiny: Path) -> None:
    """Seeds follow from study, network and number alone: the second training is the same, bit for bit."""
    start = ["search.start_with=[R3D-18, MC2-18, f-R2D-18]", "search.trials=3"]
    run(tiny, *start, "search.repeats=3")
    run(tiny, *start, "name=thrice", "evaluate.repeats=4")
    stored, thrice = read_study("tiny"), read_study("thrice")
    for once, all_at_once in zip(stored.details(stored.complete), thrice.details(thrice.complete), strict=True):
        count = len(once["trainings"])
        assert once["seeds"] == all_at_once["seeds"][:count]
        for own, other in zip(once["trainings"], all_at_once["trainings"], strict=False):
            assert (own["loss_sum"], own["video_top1"]) == (other["loss_sum"], other["video_top1"])
    assert sum(len(found) for found in stored.repeats.values()) == 3
    shown = pareto_of(thrice).as_dict()
    assert {row["n"] for row in shown["front"]} == {4}
    assert shown["noise"]["trainings"] == 12


def test_the_same_front_bit_for_bit_also_when_it_was_stopped(tiny: Path) -> None:
    settings = ["search.trials=4", "search.repeats=4"]

    def shown(name: str) -> str:
        found = pareto_of(read_study(name)).as_dict()
        found["learning"].pop("said")  # what to type names the study
        return json.dumps({key: value for key, value in found.items() if key != "study"})

    run(tiny, *settings)
    run(tiny, *settings, "name=again")
    assert shown("again") == shown("tiny")
    for after in (1, 3):
        session = open_session(load_study(str(tiny), [*settings, "name=stopped"]), quiet)
        with pytest.raises(KeyboardInterrupt):
            work(session, stop_in_repeat(after))
    run(tiny, *settings, "name=stopped")
    assert shown("stopped") == shown("tiny")
    interrupted = [t for t in repeats_of("stopped") if t.state == TrialState.FAIL]
    assert len(interrupted) == 2


def stop_in_repeat(number: int) -> Callable[[Event], None]:
    """Ctrl-C while so manyeth repeat is trained."""

    def emit(event: Event) -> None:
        if event["event"] == "epoch" and event.get("again") == number:
            raise KeyboardInterrupt

    return emit


def test_the_search_is_the_same_with_repeats(tiny: Path) -> None:
    """More networks after the repeats: the sampler proposes what it would have proposed without them."""
    run(tiny, "search.trials=3", "search.repeats=3", "search.sampler=tpe")
    run(tiny, "search.trials=6", "search.repeats=5", "search.sampler=tpe")
    run(tiny, "search.trials=6", "name=plain", "search.sampler=tpe")
    with_repeats, plain = read_study("tiny"), read_study("plain")
    assert with_repeats.attributes(["architecture"]) == plain.attributes(["architecture"])
    assert sum(len(found) for found in with_repeats.repeats.values()) == 5


def test_killed_workers_lose_no_repeat_and_spend_none_twice(tiny: Path) -> None:
    rng = random.Random(0)
    command = [
        sys.executable, "-m", "stsearch.cli", "run", str(tiny), "--set=engine.workers=2", "--quiet",
        "--set=search.trials=3", "--set=search.repeats=8", "--set=data.clips=100",
    ]  # fmt: skip

    def repeated(least: int) -> bool:
        return sum(map(len, read_study("tiny").repeats.values())) >= least

    for least in (1, 3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert awaited(process, partial(repeated, least))
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert last.returncode == 0, last.stderr
    states = Counter(t.state for t in repeats_of("tiny"))
    assert states[TrialState.COMPLETE] == 8
    assert not states[TrialState.RUNNING]
    done = [t.user_attrs for t in repeats_of("tiny") if t.state == TrialState.COMPLETE]
    assert len({(found[REPEAT_OF], found[REPEAT]) for found in done}) == 8, "no training was made twice"


def test_twins_are_reported_as_not_told_apart(tiny: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """rMC3 and rMC4, little dearer, are planted alike in distribution; MC4 is far better, f-R2D far worse."""
    level = {"f-R2D-18": 40.0, "rMC3-18": 70.0, "rMC4-18": 70.0, "MC4-18": 92.0}
    planted(monkeypatch, lambda name, rng: level[name] + rng.normal(0, 3))
    settings = [f"search.start_with=[{', '.join(level)}]", "search.trials=4", "search.repeats=24"]
    run(tiny, *settings, f"data.val_clips={VIDEOS}")
    stored = read_study("tiny")
    confidence = sure(pareto_of(stored))
    assert {frozenset((p.first.network, p.second.network)) for p in confidence.pairs} == {
        frozenset(("rMC3-18", "rMC4-18"))
    }
    names = {int(n): a["network"] for n, a in zip(stored.numbers, stored.attributes(["network"]), strict=True)}
    spent = Counter({names[int(number)]: len(found) for number, found in stored.repeats.items()})
    assert spent["rMC3-18"] + spent["rMC4-18"] >= 0.75 * spent.total(), "trainings go where they decide something"
    answer = cli("pareto", "tiny")
    assert answer.returncode == 0, answer.stderr
    said = " ".join(answer.stdout.split())
    assert "Not told apart in accuracy: rMC3-18 and rMC4-18." in said
    assert "p(front)" in said
    data = json.loads(cli("pareto", "tiny", "--format", "json").stdout)
    for row in (*data["front"], *data["likely"]):
        assert set(row) >= {"video_top1", "video_top1_se", "video_top1_expected", "n", "p_front"}
    low, high = data["hypervolume_interval"]
    assert 0 < low < high
    (pair,) = data["not_told_apart"]
    assert set(pair) == {"trials", "networks", "p_first_better"}
    of_trainings = {"deviation", "networks", "trainings", "videos", "measured", "degrees", "guessed"}
    assert set(data["noise"]) == {
        *of_trainings,
        "paired",
        "why_unpaired",
        "difference",
        "difference_unpaired",
        "settled",
    }
    assert data["noise"]["videos"] == VIDEOS
    table = cli("pareto", "tiny", "--format", "csv").stdout.splitlines()
    assert table[0].endswith("video_top1_se,video_top1_expected,n,p_front,place")


def test_without_repeats_it_says_that_nothing_is_known(tiny: Path, cli: Cli) -> None:
    run(tiny, "search.trials=3")
    assert sure(pareto_of(read_study("tiny"))).noise.networks == 0
    said = " ".join(cli("pareto", "tiny").stdout.split())
    assert "± is a guess from 10 validation videos, since no network was trained twice" in said


def test_settled_fronts_spend_nothing(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks fifty points apart: no training would tell more."""
    planted(monkeypatch, lambda name, rng: {"f-R2D-18": 30.0, "R3D-18": 90.0}[name])
    run(tiny, "search.start_with=[f-R2D-18, R3D-18]", "search.trials=2", "search.repeats=50")
    assert sum(len(found) for found in read_study("tiny").repeats.values()) < 10


def test_a_repeat_that_fails_is_told_counts_and_is_not_tried_again(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda name, rng: 70 + rng.normal(0, 3))
    fine = evaluators.EVALUATORS["train"]

    def failing(task: Task, repeat: int, on_epoch: OnEpoch) -> Evaluation:
        raise EvaluationFailed("the loss is nan in epoch 1 of 1")

    broken = Evaluator(TrainRecipe, fine.run, again=failing)
    monkeypatch.setitem(evaluators.EVALUATORS._items, "train", broken)
    events = run(tiny, "search.trials=3", "search.repeats=5")
    failed = [event for event in events if event["event"] == "failed"]
    assert len(failed) == len({event["trial"] for event in failed}) >= 2
    assert all("the loss is nan" in event["reason"] for event in failed)
    assert all("the loss is nan" in t.user_attrs[REASON] for t in repeats_of("tiny"))
    assert pareto_of(read_study("tiny")).failed == 0, "its network did not fail"


def test_faults_of_the_specification(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=r"search\.repeats: no accuracy is an objective, so nothing is noisy; given 3"):
        load_study(str(tiny), ["search.repeats=3", "objectives={gmacs: minimize, params: minimize}"])
    with pytest.raises(SpecError, match=r"search\.repeats"):
        load_study(str(tiny), ["search.repeats=-1"])
    with pytest.raises(SpecError, match=r"search\.repeat: .*'R3D-19'.* Did you mean 'R3D-18'"):
        load_study(str(tiny), ["search.repeat={R3D-19: 2}"])
    with pytest.raises(SpecError, match=r"search\.repeat: the space 'paper-18' does not contain R3D-34"):
        load_study(str(tiny), ["search.repeat={R3D-34: 2}"])
    evaluator = evaluators.EVALUATORS["train"]
    once = Evaluator(TrainRecipe, evaluator.run)
    monkeypatch.setitem(evaluators.EVALUATORS._items, "train", once)
    with pytest.raises(SpecError, match=r"search\.repeats: evaluate 'train' trains nothing again; given 3"):
        load_study(str(tiny), ["search.repeats=3"])


def test_the_study_beside_it_is_nobodys_to_open(tiny: Path) -> None:
    run(tiny, "search.trials=3", "search.repeats=1")
    with pytest.raises(UserError, match="unknown study 'tiny:repeats'") as error:
        read_study("tiny:repeats", "sqlite:///studies/tiny.db")
    assert "Allowed: tiny" in str(error.value)


@pytest.mark.parametrize("objectives", [
    "{video_top1: maximize}", "{video_top1: maximize, clip_top1: maximize, gmacs: minimize}",
    "{video_top1: maximize, gmacs: minimize, params: minimize}",
])  # fmt: skip
def test_other_objectives(tiny: Path, objectives: str) -> None:
    run(tiny, "search.trials=5", "search.repeats=3", f"objectives={objectives}")
    pareto = pareto_of(read_study("tiny"))
    confidence = sure(pareto)
    assert confidence.band is None
    assert confidence.hypervolume[0] <= confidence.hypervolume[1]
    assert all(0 <= row["p_front"] <= 1 for row in pareto.as_dict()["front"])


def test_plots_draw_errors_and_the_band(tiny: Path, tmp_path: Path) -> None:
    run(tiny, "search.trials=4", "search.repeats=2")
    pareto = pareto_of(read_study("tiny"))
    drawn: dict[str, Any] = {trace.name: trace for trace in figure(pareto).data if trace.name}
    confidence = sure(pareto)
    bars = drawn["standard error"]
    assert len(bars.y) == len(pareto.front) + len(confidence.likely)
    first = pareto.certainty(pareto.front[0])
    assert first is not None
    assert bars.error_y.array[0] == pytest.approx(first.errors["video_top1"])
    band = drawn["front, 95 % band; bars: standard errors"]
    assert confidence.band is not None
    assert list(band.y) == pytest.approx(list(confidence.band.high))
    assert (confidence.band.low <= confidence.band.high).all()
    plot(pareto, tmp_path / "front.svg")
    text = (tmp_path / "front.svg").read_text()
    assert "FillBetweenPolyCollection" in text
    assert "LineCollection" in text


def trainings(events: list[Event]) -> Counter[tuple[str, int]]:
    """Ended trainings by network and number, as their last epochs tell."""
    return Counter((e["architecture"], e["repeat"]) for e in events if e["event"] == "epoch")


def test_any_network_can_be_asked_for_further_trainings(tiny: Path) -> None:
    start = "search.start_with=[R3D-18, MC3-18, MC2-18, rMC3-18]"
    run(tiny, start)
    asked = run(tiny, start, "search.repeat={R3D-18: 3, mc2-18: 1}")
    r3d, mc2 = NETWORKS["R3D-18"].id, NETWORKS["MC2-18"].id
    assert trainings(asked) == {(r3d, 1): 1, (r3d, 2): 1, (r3d, 3): 1, (mc2, 1): 1}
    assert not trainings(run(tiny, start, "search.repeat={R3D-18: 3}")), "it is there already"
    assert sum(trainings(run(tiny, start, "search.repeat={R3D-18: 4}", "search.repeats=2")).values()) in (1, 2, 3)
    counted = Counter(t.user_attrs[REPEAT_OF] for t in repeats_of("tiny") if t.state == TrialState.COMPLETE)
    assert counted[0] >= 4
    stored = read_study("tiny")
    (record,) = stored.details(stored.find("network", ["R3D-18"]))
    assert len(record["trainings"]) == len(set(record["seeds"])) == 1 + counted[0]


def test_repeats_of_a_finished_study_may_grow_and_its_first_trainings_count(tiny: Path) -> None:
    run(tiny, "evaluate.repeats=1")
    before = read_study("tiny")
    first = [record["trainings"] for record in before.details(before.complete)]
    more = run(tiny, "evaluate.repeats=3")
    assert sorted(trainings(more).values()) == [1] * 8
    assert {number for _, number in trainings(more)} == {1, 2}
    stored = read_study("tiny")
    found = stored.details(stored.complete)
    assert [record["trainings"][:1] for record in found] == first
    assert [len(record["trainings"]) for record in found] == [3] * 4
    assert not trainings(run(tiny, "evaluate.repeats=3")), "all are there"
    assert len(trainings(run(tiny, "evaluate.repeats=3", "search.trials=5"))) == 3, "a new network is trained as often"
    assert not trainings(run(tiny, "evaluate.repeats=1", "search.trials=5")), "what is there stays"
    run(tiny, "evaluate.repeats=3", "search.trials=4", "name=whole")
    whole = read_study("whole")
    assert [sorted(r["seeds"]) for r in whole.details(whole.complete)] == [sorted(r["seeds"]) for r in found]
    tiny.write_text(tiny.read_text().replace("batch: 12", "batch: 12, repeats: 3"))
    run(tiny, "search.trials=5")
    assert edits(str(tiny), read_study("tiny")) == []


def test_ctrl_c_in_the_third_training_keeps_two(tiny: Path) -> None:
    three = ["evaluate.repeats=3", "search.trials=1"]

    def stop(event: Event) -> None:
        if event["event"] == "epoch" and event["repeat"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(open_session(load_study(str(tiny), three), quiet), stop)
    assert [number for _, number in trainings(run(tiny, *three))] == [2]
    run(tiny, *three, "name=whole")
    kept, whole = read_study("tiny"), read_study("whole")
    (one,), (other,) = kept.details(kept.complete), whole.details(whole.complete)
    assert one["seeds"] == other["seeds"]
    for mine, theirs in zip(one["trainings"], other["trainings"], strict=True):
        assert [e["clip_top1"] for e in mine["curve"]] == [e["clip_top1"] for e in theirs["curve"]]
        assert (mine["loss_sum"], mine["confusion"]) == (theirs["loss_sum"], theirs["confusion"])


def test_two_runs_side_by_side_count_together(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = open_session(load_study(str(tiny)), quiet)
    display = Display(session, 1)
    said: list[str] = []

    def emit(event: Event) -> None:
        if event["event"] == "start" and event["trial"] == 0:  # another run trains two while this one trains its first
            command = [sys.executable, "-m", "stsearch.cli", "run", str(tiny)]
            other = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            assert awaited(other, lambda: read_study("tiny").rows(State.COMPLETE).size >= 2)
            other.send_signal(signal.SIGINT)
            said.append(other.communicate(timeout=100)[1])
        display.emit(event)

    with display:
        work(session, emit)
    assert f"note: process {os.getpid()} on " in said[0]
    assert "train networks of this study too; all count together" in said[0]
    here = capsys.readouterr().err
    assert "note: another run trains networks of this study too; they are counted here" in here
    assert "[4/4]" in here
    assert "[5/" not in here
    assert display.done == 4


def test_what_workers_of_one_run_finish_is_counted_once_however_late_it_is_heard(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a terminal holds up the process that listens, while its workers go on."""
    session = open_session(load_study(str(tiny)), quiet)
    display = Display(session, 2)
    events: list[Event] = []
    work(session, events.append)
    with display:
        for event in events:
            display.emit(event)
    said = capsys.readouterr().err
    assert "another run" not in said
    assert "[4/4]" in said
    assert (display.done, len(display.trained)) == (4, 4)


def test_a_repeat_has_its_first_sign_of_life_with_its_worker(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one, whose machine failed at that moment would be waited for without end."""
    session = open_session(load_study(str(tiny), ["search.trials=2", "search.repeats=1"]), quiet)
    monkeypatch.setattr(session.storage, "record_heartbeat", lambda _: None)
    alive: list[int] = []

    def emit(event: Event) -> None:
        if event["event"] == "start" and "again" in event:
            assert session.repeats is not None
            (repeat,) = session.repeats.get_trials()
            assert repeat.user_attrs[WORKER] == this_worker()
            with session.storage.engine.connect() as connection:
                query = "SELECT count(*) FROM trial_heartbeats WHERE trial_id = :trial"
                alive.append(connection.execute(sqlalchemy.text(query), {"trial": repeat._trial_id}).scalar_one())

    work(session, emit)
    assert alive == [1]
