"""Scores as a screen: who is trained, what counts, and whole studies, killed and resumed."""

from __future__ import annotations

import io
import math
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console

from stsearch.errors import SpecError, WorldError
from stsearch.evaluate.evaluators import EVALUATORS, Scored, ScoreRecipe, Task
from stsearch.evaluate.scores import SCORES, Subject
from stsearch.report.audit_plan import sample
from stsearch.report.collect import report_of
from stsearch.report.html import html
from stsearch.report.live import Display
from stsearch.report.markdown import markdown
from stsearch.report.notes import study_note, trial_note
from stsearch.report.pareto import pareto_of
from stsearch.report.tables import print_pareto
from stsearch.search.attributes import ARCHITECTURE, REASON, REFERENCE, RUNGS, SCREEN, STOPPED
from stsearch.search.halving import ladder_of
from stsearch.search.networks import by_network, stopped_networks
from stsearch.search.reading import StoredStudy, read_study
from stsearch.search.session import FAILURES_IN_A_ROW, Session, open_session, standing
from stsearch.search.spec import Study, load_study
from stsearch.search.state import State, state_of
from stsearch.search.training import Event
from stsearch.search.worker import work
from stsearch.space.architecture import parse_placement
from stsearch.space.published import NETWORKS
from tests.conftest import TINY, awaited

SCREENED = TINY.replace("batch: 12", "batch: 12, video_clips: 1") + "seed: 8\n"
SCREENED = SCREENED.replace("trials: 4", "trials: 4, screen: {score: naswot, clips: 8}")
"""A study that screens some networks out."""


def quiet(*_: object) -> None:
    """No progress."""


def run(study: Study, emit: Callable[[Event], None] = quiet) -> Session:
    session = open_session(study, quiet)
    work(session, emit)
    return session


@pytest.fixture
def screened(tmp_path: Path) -> Path:
    """The file of the study."""
    path = tmp_path / "screened.yaml"
    path.write_text(SCREENED)
    return path


@dataclass(frozen=True)
class Whole:
    """The study, run without a break."""

    study: Study
    session: Session
    events: list[Event]

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.session.trials()

    @property
    def out(self) -> list[FrozenTrial]:
        return [trial for trial in self.trials if state_of(trial) is State.SCREENED]

    @property
    def stored(self) -> StoredStudy:
        return read_study("whole", self.study.storage_url)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "whole.yaml").write_text(f"{SCREENED}storage: sqlite:///{folder}/whole.db\n")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    events: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STSEARCH_CACHE", str(folder / "cache"))
        study = load_study(str(folder / "whole.yaml"))
        yield Whole(study, run(study, events.append), events)
    torch.set_num_threads(threads)


# Who is trained -----------------------------------------------------------------------------


def by_hand(scored: Sequence[FrozenTrial], reduction: int, cost: str = "gmacs") -> str | None:
    """Why the last of ``scored`` is not trained, counted one by one."""
    pairs = [(t.user_attrs[cost], t.user_attrs[SCREEN]["value"]) for t in scored]
    better = [sum(c <= cost and s > score for c, s in pairs) for cost, score in pairs]
    place, room = sum(b < better[-1] for b in better), math.ceil(len(pairs) / reduction)
    if better[-1] == 0 or place < room:
        return None
    rivals = sum(c <= pairs[-1][0] for c, _ in pairs) - 1
    return (
        f"screened out by naswot: {better[-1]} of {rivals} networks that cost no more score better, which is place "
        f"{place + 1} of {len(pairs)}, with room for {room}"
    )


def test_the_rule_of_halving_decides_who_is_trained(whole: Whole) -> None:
    assert whole.out
    for number, trial in enumerate(whole.trials):
        reason = by_hand(whole.trials[: number + 1], 3)
        assert (trial.state.name, trial.user_attrs.get(REASON)) == ("PRUNED" if reason else "COMPLETE", reason)
        assert trial.user_attrs[SCREEN]["out"] == (state_of(trial) is State.SCREENED) == (reason is not None)
        assert ("video_top1" in trial.user_attrs) == (reason is None)


def test_the_score_is_that_of_a_study_of_scores(whole: Whole) -> None:
    recipe = ScoreRecipe(score="naswot", clips=8)
    proxy = parse_placement(whole.out[0].user_attrs[ARCHITECTURE]).scaled(0.125)
    task = Task(proxy, whole.study.proxy_clip(), whole.session.data, recipe, 8, torch.device("cpu"))
    found = EVALUATORS["score"].run(task, quiet)
    assert isinstance(found, Scored)
    assert whole.out[0].user_attrs[SCREEN] == {"score": "naswot", "clips": 8, "value": found.score, "out": True}


def test_networks_that_were_asked_for_are_trained_and_those_over_the_budget_are_no_rivals(screened: Path) -> None:
    sets = ["search.start_with=paper-all", "search.trials=12", "search.screen.reduction=1000"]
    session = run(load_study(str(screened), [*sets, "budget.params=20000000.0"]))
    trials = session.trials()
    start, proposed = trials[:11], trials[11:]
    assert [t.user_attrs[ARCHITECTURE] for t in start] == [a.id for a in session.sampler.start]
    assert {t.state for t in start} == {TrialState.COMPLETE}
    within = [t for t in start if t.user_attrs["params"] <= 20e6]
    assert 0 < len(within) < 11
    assert any(by_hand(within[:n], 1000) for n in range(1, len(within) + 1)), "one that was not asked for would be out"
    for number, trial in enumerate(proposed, 1):
        assert trial.user_attrs.get(REASON) == by_hand([*within, *proposed[:number]], 1000)
    reference = session.optuna_study.user_attrs[f"{REFERENCE}R2D-18"]
    assert reference["state"] == "complete"
    assert SCREEN not in reference


@pytest.mark.parametrize("way", ["not finite", "raises"])
def test_a_network_without_a_score_is_trained_with_a_note(
    screened: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def score(subject: Subject) -> float:
        if subject.architecture.stem == "2d":
            return -subject.architecture.placement.count("3d")
        if way == "raises":
            raise RuntimeError("out of memory")
        return math.inf

    monkeypatch.setitem(SCORES._items, "odd", score)
    events: list[Event] = []
    trials = run(load_study(str(screened), ["search.screen.score=odd"]), events.append).trials()
    without = [t for t in trials if not t.user_attrs[ARCHITECTURE].startswith("2d")]
    assert without
    assert all(t.state == TrialState.COMPLETE and SCREEN not in t.user_attrs for t in without)
    assert all(SCREEN in t.user_attrs for t in trials if t not in without)
    why = {"not finite": "the score odd is inf", "raises": "RuntimeError: out of memory"}[way]
    notes = [event["text"] for event in events if event["event"] == "note"]
    name = [t.user_attrs[ARCHITECTURE] for t in without]
    assert notes == [f"{one}: {why}" for one in (f"{n} is trained without a score to screen it by" for n in name)]


# What counts ------------------------------------------------------------------------------


def test_screened_networks_do_not_count_and_are_never_proposed_again(whole: Whole) -> None:
    names = [trial.user_attrs[ARCHITECTURE] for trial in whole.trials]
    assert len(set(names)) == len(names) == 4 + len(whole.out)
    now = standing(whole.session)
    assert (now.complete, now.screened, now.stopped, now.pruning) == (4, len(whole.out), 0, 0)
    assert (now.wanted, now.open) == (4, 0)
    kinds = [event["event"] for event in whole.events]
    assert (kinds.count("done"), kinds.count("screened"), kinds.count("pruned")) == (4, len(whole.out), 0)
    seen = whole.session.sampler.view(whole.session.optuna_study).get_trials(deepcopy=False)
    for stored, shown in zip(whole.trials, seen, strict=True):
        assert shown.state == (TrialState.FAIL if state_of(stored) is State.SCREENED else stored.state)
    assert State.SCREENED not in map(state_of, seen)


def test_an_audit_takes_trained_networks_alone(whole: Whole) -> None:
    chosen = sample(whole.stored, pareto_of(whole.stored), len(whole.trials), 0)
    trained = {t.user_attrs[ARCHITECTURE] for t in whole.trials} - {t.user_attrs[ARCHITECTURE] for t in whole.out}
    assert {one.record.architecture for one in chosen.networks} == trained
    assert chosen.trained == 4


def ended(state: TrialState, **attributes: Any) -> FrozenTrial:
    return create_trial(state=state, user_attrs={REASON: "so", **attributes})


def test_only_networks_over_a_measured_budget_are_counted_in_a_row(screened: Path) -> None:
    """A screened network keeps the budget, and says nothing of trainings that fail one after the other."""
    session = open_session(load_study(str(screened)), quiet)
    endings: dict[str, tuple[TrialState, dict[str, Any]]] = {
        "over": (TrialState.PRUNED, {}),
        "stopped": (TrialState.PRUNED, {STOPPED: 1}),
        "out": (TrialState.PRUNED, {SCREEN: {"score": "naswot", "clips": 8, "value": 0.0, "out": True}}),
        "failed": (TrialState.FAIL, {}),
    }
    for names, pruning, failing in (
        ("over over", 2, 0), ("out", 0, 0), ("over", 1, 0), ("failed out failed out", 0, 2), ("stopped out", 0, 0),
    ):  # fmt: skip
        for name in names.split():
            state, attributes = endings[name]
            session.optuna_study.add_trial(ended(state, **attributes))
        now = standing(session)
        assert (now.pruning, now.failing) == (pruning, failing), names
    assert now.screened == 4


def test_what_stopped_a_run_is_the_last_that_failed(screened: Path) -> None:
    session = open_session(load_study(str(screened)), quiet)
    for number in range(FAILURES_IN_A_ROW):
        session.optuna_study.add_trial(ended(TrialState.FAIL, network=f"failed {number}"))
    out = {SCREEN: {"score": "naswot", "clips": 8, "value": 0.0, "out": True}}
    session.optuna_study.add_trial(ended(TrialState.PRUNED, network="screened out", **out))
    with pytest.raises(WorldError, match=f"the last, failed {FAILURES_IN_A_ROW - 1}: so"):
        work(session, quiet)


def test_a_space_that_runs_out_ends_the_study(tmp_path: Path) -> None:
    kinds = "[2d, 3d, 2plus1d]"
    stages = ", ".join(f"conv{n}_x: {{kind: {kinds if n > 3 else '2d'}, depth: 1}}" for n in (2, 3, 4, 5))
    (tmp_path / "few.yaml").write_text(f"name: few\nblock: basic\nstem: {{kind: 2d}}\nstages: {{{stages}}}\n")
    (tmp_path / "out.yaml").write_text(SCREENED.replace("paper-18", "few.yaml").replace("trials: 4", "trials: 9"))
    study = load_study(str(tmp_path / "out.yaml"))
    session = run(study)
    now = standing(session)
    assert (now.complete + now.screened, now.failed, now.running) == (9, 0, 0)
    assert now.screened > 0
    assert (now.wanted, now.open) == (now.complete, 0)
    assert not session.sampler.left(session.trials())
    again: list[Event] = []
    run(study, again.append)
    assert [event["event"] for event in again] == ["clips"], "nothing is begun"
    assert Display(session, 1, quiet=True).wanted == now.complete


# Studies that are stopped and go on ---------------------------------------------------------


def outcome(trials: Sequence[FrozenTrial]) -> list[tuple[Any, ...]]:
    """What became of every network, but for trials that were cut off."""
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    return [(t.user_attrs[ARCHITECTURE], t.values, t.user_attrs.get(SCREEN), t.user_attrs.get(REASON)) for t in ended]


KILL = """\
import os, signal, sys
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.worker import work
import torch

torch.set_num_threads(1)
left = {"start": 3, "screened": 1}

def emit(event):
    if event["event"] in left:
        left[event["event"]] -= 1
        if max(left.values()) <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

work(open_session(load_study(sys.argv[1], storage=sys.argv[2]), lambda *_: None), emit)
"""


def test_a_killed_study_goes_on_as_if_it_had_not_been(whole: Whole, screened: Path, database: str) -> None:
    """One worker, one seed, CPU: bit for bit; killed before a screened trial has ended."""
    killed = subprocess.run([sys.executable, "-c", KILL, str(screened), database], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    study = load_study(str(screened), storage=database)
    trials = run(study).trials()
    assert outcome(trials) == outcome(whole.trials)
    assert len(trials) == len(whole.trials) + 1
    (cut,) = (trial for trial in trials if trial.state == TrialState.FAIL)
    assert cut.user_attrs[SCREEN]["out"], "that it is screened out was written, but its trial not ended"


@pytest.mark.slow
def test_two_workers_share_a_screen(screened: Path) -> None:
    """Killed once: as many are trained as were asked for, none twice; each verdict counts what was scored by then.

    The order is the workers' own. Begun with a cheap network of a high score and 10 trained, fewer than one in 2,000
    orders screens nobody out; begun with none and 7 trained, it would be one in 15.
    """
    wanted = 10
    command = [sys.executable, "-m", "stsearch.cli", "run", str(screened), f"--set=search.trials={wanted}"]
    command += ["--set=engine.workers=2", "--set=seed=0"]
    command += ["--set=search.start_with=[2plus1d-2d-2plus1d-2plus1d-2plus1d@18]"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stored = partial(read_study, "screened")
    assert awaited(process, lambda: stored().rows(State.COMPLETE).size >= 2 and stored().rows(State.SCREENED).size)
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert last.returncode == 0, last.stderr
    session = open_session(load_study(str(screened), [f"search.trials={wanted}", "seed=0"]), quiet)
    trials = session.trials()
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    out = [t for t in ended if state_of(t) is State.SCREENED]
    names = [t.user_attrs[ARCHITECTURE] for t in ended]
    assert len(set(names)) == len(names)
    assert (len(names), standing(session).complete) == (wanted + len(out), wanted)
    assert all(SCREEN in t.user_attrs for t in ended)
    assert len({t.user_attrs["worker"]["pid"] for t in ended}) >= 2
    assert out
    scored = {t.user_attrs[ARCHITECTURE]: t for t in trials if SCREEN in t.user_attrs}  # also who was cut off
    for trial in out:
        said = re.fullmatch(
            r"screened out by naswot: (\d+) of (\d+) networks that cost no more score better, "
            r"which is place (\d+) of (\d+), with room for (\d+)",
            trial.user_attrs[REASON],
        )
        assert said is not None
        better, rivals, place, networks, room = map(int, said.groups())
        value, cost = trial.user_attrs[SCREEN]["value"], trial.user_attrs["gmacs"]
        others = [t for name, t in scored.items() if name != trial.user_attrs[ARCHITECTURE]]
        cheaper = [t for t in others if t.user_attrs["gmacs"] <= cost]
        assert 0 < better <= sum(t.user_attrs[SCREEN]["value"] > value for t in cheaper)
        assert better <= rivals <= len(cheaper)
        assert (rivals < networks <= len(scored), room) == (True, math.ceil(networks / 3))
        assert place > room
    assert f"{len(out)} screened out" in " ".join(last.stdout.split())


def interrupt(event: Event) -> None:
    if event["event"] == "epoch":
        raise KeyboardInterrupt


def test_a_network_that_passed_is_not_screened_again(whole: Whole, screened: Path) -> None:
    study = load_study(str(screened))
    with pytest.raises(KeyboardInterrupt):
        run(study, interrupt)
    session = open_session(study, quiet)
    (begun,) = session.trials()
    assert not begun.user_attrs[SCREEN]["out"]
    for number, name in enumerate(("R3D-18", "MC3-18", "rMC3-18", "R(2+1)D-18")):  # score better, and cost nothing
        better = {**begun.user_attrs[SCREEN], "value": 1e6 + number, "out": True}
        known = {ARCHITECTURE: NETWORKS[name].id, "gmacs": 0.0, SCREEN: better}
        session.optuna_study.add_trial(ended(TrialState.PRUNED, **known))
    session.sampler.start = [parse_placement(begun.user_attrs[ARCHITECTURE])]
    first: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        work(session, lambda event: (first.append(event), interrupt(event))[0])  # type: ignore[func-returns-value]
    assert first[1][ARCHITECTURE] == begun.user_attrs[ARCHITECTURE]


HALVED = SCREENED.replace("name: train, epochs: 1", "name: halving, rungs: [1, 2], reduction: 9, tolerance: 0")
HALVED = HALVED.replace("val_clips: 10", "val_clips: 40")


def test_halving_and_a_screen_do_not_touch_each_other(tmp_path: Path) -> None:
    for name in ("straight", "broken"):
        (tmp_path / f"{name}.yaml").write_text(HALVED)
    session = run(load_study(str(tmp_path / "straight.yaml")))
    broken = load_study(str(tmp_path / "broken.yaml"))
    with pytest.raises(KeyboardInterrupt):
        run(broken, stop_at_second())
    assert last(run(broken).trials()) == last(session.trials())
    trials, now = session.trials(), standing(session)
    out = {t.user_attrs[ARCHITECTURE] for t in trials if state_of(t) is State.SCREENED}
    waiting = stopped_networks(trials)
    assert out
    assert not out & set(waiting)
    assert now.complete + now.stopped == now.wanted == 4
    assert (now.screened, now.open, now.pruning) == (len(out), 0, 0)
    ladder = ladder_of(session, trials)
    assert ladder.verdict(trials[0].user_attrs[ARCHITECTURE], 1).networks == 4
    assert all(RUNGS not in t.user_attrs for t in trials if state_of(t) is State.SCREENED)
    seen = session.sampler.view(session.optuna_study).get_trials(deepcopy=False)
    assert sum(trial.state == TrialState.COMPLETE for trial in seen) == 4, "stopped ones as if complete"
    stored = read_study("straight")
    front = pareto_of(stored)
    assert front.halved is not None
    assert (front.trained, len(front.halved.stopped), front.pruned) == (now.complete, now.stopped, 0)
    assert front.spared == f"; {front.halved.said}; {len(out)} screened out by naswot"


def stop_at_second() -> Callable[[Event], None]:
    """Ctrl-C in the second epoch that is trained."""
    left = [2]

    def emit(event: Event) -> None:
        left[0] -= event["event"] == "epoch"
        if left[0] == 0:
            raise KeyboardInterrupt

    return emit


def last(trials: Sequence[FrozenTrial]) -> Mapping[str, Any]:
    """How every network stands."""
    groups = {name: network.last for name, network in by_network(trials).items()}
    shown = (STOPPED, "video_top1", SCREEN, RUNGS)
    return {n: (t.state.name, t.values, *map(t.user_attrs.get, shown)) for n, t in groups.items()}


# What is shown ----------------------------------------------------------------------------


def test_screened_networks_are_said_to_be_screened_out(whole: Whole) -> None:
    stored, count = whole.stored, len(whole.out)
    front, report, said = pareto_of(stored), report_of(stored), f"{count} screened out by naswot"
    assert (front.trained, front.pruned, front.failed) == (4, 0, 0)
    assert front.as_dict()["screen"] == {"score": "naswot", "screened": count}
    text = io.StringIO()
    print_pareto(front, Console(file=text, width=200))
    assert f"4 networks trained; {said}" in text.getvalue()
    shown = (html(report), markdown(report), study_note(stored, front))
    assert all(said in one for one in shown)
    assert whole.out[0].user_attrs[REASON] in shown[0]
    assert (report.loss.pruned, len(report.loss.screened), report.standing) == ((), count, "")
    trial = whole.out[0]
    note = trial_note(stored, trial.number, State.SCREENED, trial.user_attrs, {})
    assert "**Screened out**: screened out by naswot: " in note


def test_a_study_without_a_screen_says_nothing_of_one(tiny: Path) -> None:
    run(load_study(str(tiny), ["search.trials=1"]))
    stored = read_study("tiny")
    assert pareto_of(stored).as_dict()["screen"] is None
    assert "screen" not in markdown(report_of(stored))


def test_what_the_terminal_says(whole: Whole, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(whole.session, 1)
    count = len(whole.out)
    assert f"resumed: 4 of 4 networks are trained already; {count} screened out" in capsys.readouterr().err
    display.complete, display.screened = 0, 0
    for event in whole.events:
        display.emit(event)
    lines = capsys.readouterr().err.splitlines()
    assert (display.complete, display.screened) == (4, count)
    first = next(line for line in lines if "screened out" in line)
    about = whole.out[0].user_attrs
    trained = whole.out[0].number  # all before it were trained
    assert first == f"[{trained}/4] #{trained} {about['network']}  {about['gmacs']:.2f} GMACs  {about[REASON]}"


# Study files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "answer"),
    [
        (["search.screen.score=naswott"], "search.screen.score: unknown score 'naswott'. Did you mean 'naswot'?"),
        (["search.screen.reduction=1"], "search.screen.reduction: should be greater than or equal to 2; given 1"),
        (["search.screen.clips=1"], "search.screen.clips: should be greater than or equal to 2; given 1"),
        (["search.screen.clips=4097"], "search.screen.clips: should be less than or equal to 4096; given 4097"),
        (["search.screen={}"], "search.screen.score: is missing"),
        (["search.screen.clip=8"], "search.screen.clip: unknown key 'clip'. Did you mean 'clips'?"),
        (["search.sampler=exhaustive"], "search.screen: the sampler exhaustive trains every network; given naswot"),
        (["objectives={gmacs: minimize}"], "search.screen: a score stands for an accuracy, so one of video_top1,"),
        (["evaluate={name: score, score: synflow}", "objectives={score: maximize}"],
         "search.screen: `evaluate: {name: score}` trains nothing, so nothing is saved; given naswot"),
    ],
)  # fmt: skip
def test_wrong_screens_are_answered(screened: Path, sets: list[str], answer: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_study(str(screened), sets)
    assert caught.value.faults[0].startswith(answer)
    assert len(caught.value.faults) == 1


def test_defaults(screened: Path) -> None:
    screen = load_study(str(screened), ["search.screen={score: synflow}"]).spec.search.screen
    assert screen is not None
    assert (screen.reduction, screen.clips) == (3, 32)
    assert load_study("quickstart").spec.search.screen is None


def test_scores_of_another_screen_are_not_compared(screened: Path) -> None:
    """A study may go on with another screen; what the first one screened out stays so."""
    before = run(load_study(str(screened), ["search.trials=2"])).trials()
    after = run(load_study(str(screened), ["search.screen.score=synflow"])).trials()[len(before) :]
    assert [t.user_attrs[SCREEN]["score"] for t in after] == ["synflow"] * len(after)
    for number, trial in enumerate(after, 1):
        reason = by_hand(after[:number], 3)
        assert trial.user_attrs.get(REASON) == (reason and reason.replace("naswot", "synflow"))
    assert not {t.user_attrs[ARCHITECTURE] for t in before} & {t.user_attrs[ARCHITECTURE] for t in after}
