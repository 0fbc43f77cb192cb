"""Successive halving: trainings put away and taken up again, and whole studies, killed and resumed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy import stats

from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.data.videos import ClipData
from stsearch.errors import SpecError, UserError
from stsearch.evaluate.checkpoint import Shelf
from stsearch.evaluate.evaluators import EVALUATORS, Course, Evaluation, Reached, Task, evaluate_by_training
from stsearch.evaluate.halving import HalvingRecipe, evaluate_by_halving
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.report.collect import report_of
from stsearch.report.html import html
from stsearch.report.live import Display
from stsearch.report.markdown import markdown
from stsearch.report.notes import study_note, trial_note
from stsearch.report.pareto import pareto_of
from stsearch.resources import find
from stsearch.schema import check
from stsearch.search.attributes import ARCHITECTURE, CLIPS_TRAINED, CONTINUES, EPOCHS_TRAINED, REASON, RUNGS, STOPPED
from stsearch.search.halved import halved
from stsearch.search.halving import (
    checkpoint_file,
    checkpoint_folder,
    ladder_of,
    tidy,
)
from stsearch.search.networks import by_network, once_per_network, stopped_networks
from stsearch.search.reading import StoredStudy, read_study
from stsearch.search.samplers import HardBudget, suggest
from stsearch.search.session import open_session, standing
from stsearch.search.spec import Study, load_study
from stsearch.search.state import State, state_of
from stsearch.search.storage import open_study
from stsearch.search.training import Event
from stsearch.search.worker import work
from stsearch.space import table
from stsearch.space.architecture import parse_placement
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS
from stsearch.space.search_space import load_space
from stsearch.space.table import CostTable
from tests.conftest import Cli, awaited

CLIP = ClipShape(3, 4, 16, 16)
CPU = torch.device("cpu")
SEES, BLIND, SEES_TOO = "2d-2d-3d-3d-3d", "2d-2d-2d-2d-2d", "2d-2d-2d-3d-3d"
DEARER, DEAREST = "2d-2dx2-2d-2d-2d", "2d-2d-2dx2-2dx2-2d"
"""Networks of one block per stage, cheapest first. Without time in any stage they are blind to the order of frames,
so exactly half right."""
HALVING = f"""\
space: r18
target: {{frames: 8, size: 32}}
proxy: {{frames: 4, size: 16, width: 0.125}}
data: {{name: motions, classes: 2, clips: 80, val_clips: 40}}
evaluate: {{name: halving, rungs: [2, 3, 4], reduction: 2, tolerance: 0, batch: 8, lr: 0.02, video_clips: 1}}
search: {{sampler: random, trials: 5, start_with: [{SEES}, {BLIND}, {SEES_TOO}, {DEARER}, {DEAREST}]}}
engine: {{workers: 1}}
seed: 1
"""
"""A study that stops networks at both rungs and promotes one of them, on every processor: ``SEES`` and ``SEES_TOO`` are
far above one half (90 and 82.5 % after 2 epochs). Whichever of them is better, ``BLIND`` has one better rival and
waits, those dearer have two; with the fifth there is room for three."""


def quiet(*_: object) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def motions() -> ClipData:
    return load_motions(MotionsRecipe(classes=2, clips=40, val_clips=20), CLIP.frames, CLIP.height)


@pytest.fixture
def halving(tmp_path: Path) -> Path:
    """The file of a small study."""
    path = tmp_path / "halving.yaml"
    path.write_text(HALVING)
    return path


# Trainings --------------------------------------------------------------------------------

RECIPE = HalvingRecipe(rungs=[1, 2, 4], batch=8)


class Told:
    """Stops at some rungs, and remembers what it was told."""

    def __init__(self, place: Path, stop_at: Sequence[int] = (), expected: bool = False) -> None:
        self.stop_at, self.heard, self.notes = stop_at, list[Reached](), list[str]()
        self.course = Course(self.reached, place, expected, self.notes.append)

    def reached(self, now: Reached) -> str | None:
        self.heard.append(now)
        return "enough" if now.rungs[-1].epoch in self.stop_at else None


def evaluated(
    data: ClipData, told: Told | None, recipe: HalvingRecipe = RECIPE, on_epoch: Callable[..., None] = quiet
) -> Evaluation:
    task = Task(NETWORKS["rMC3-18"].scaled(0.125), CLIP, data, recipe, 0, CPU, told.course if told else None)
    return evaluate_by_halving(task, on_epoch)


def timeless(evaluation: Evaluation) -> tuple[object, ...]:
    (training,) = evaluation.trainings
    curve = [(e.train_loss, e.clip_top1, e.lr) for e in training.curve]
    return evaluation.video_top1, training.per_class, training.confusion, training.loss_sum, training.clips, curve


def same(one: Any, other: Any) -> bool:
    """Whether two checkpoints are equal, bit for bit, but for their times."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one if k != "seconds")
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.fixture(scope="module")
def straight(motions: ClipData) -> Evaluation:
    """A training without a break."""
    torch.set_num_threads(1)
    return evaluated(motions, None)


def test_a_whole_training_is_plain_training(motions: ClipData, straight: Evaluation) -> None:
    """The learning rate is scheduled over the last rung, so what rungs show are points of that curve."""
    whole = straight
    task = Task(NETWORKS["rMC3-18"].scaled(0.125), CLIP, motions, TrainRecipe(epochs=4, batch=8), 0, CPU)
    plain = evaluate_by_training(task, quiet)
    assert timeless(whole) == timeless(plain)
    assert plain.clips_trained == whole.clips_trained == 160
    assert plain.epochs_trained == whole.epochs_trained == 4
    assert [r.epoch for r in whole.trainings[0].rungs] == [1, 2, 4]
    assert whole.trainings[0].rungs[-1].video_top1 == whole.video_top1


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {
            "schedule": "step",
            "step_epochs": 1,
            "augment": {"crop": "resized", "jitter": 0.3},
            "optimizer": "sgd",
            "momentum": 0.0,
        },
    ],
    ids=["plain", "augmented"],
)
def test_going_on_from_a_checkpoint_is_never_having_stopped(
    motions: ClipData, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    chosen = HalvingRecipe.model_validate({"rungs": [1, 2, 4], "batch": 8, **recipe})
    whole = Told(tmp_path / "whole.pt")
    straight = evaluated(motions, whole, chosen)
    place = tmp_path / "parts.pt"
    first = evaluated(motions, Told(place, [1]), chosen)
    assert (first.stopped, first.epochs_trained, first.clips_trained) == ("enough", 1, 40)
    torch.manual_seed(5)  # what happens in between does not matter
    second = evaluated(motions, Told(place, [2], expected=True), chosen)
    assert (second.epochs_trained, [r.epoch for r in second.trainings[0].rungs]) == (1, [1, 2])
    third = evaluated(motions, told := Told(place, expected=True), chosen)
    assert timeless(third) == timeless(straight)
    assert third.trainings[0].rungs == straight.trainings[0].rungs
    assert (third.epochs_trained, third.clips_trained, third.trainings[0].clips) == (2, 80, 160)
    assert not told.notes
    states = [torch.load(path, weights_only=True) for path in (tmp_path / "whole.pt", place)]
    assert {"network", "optimiser", "generator", "micro"} <= set(states[0])
    assert any("running_mean" in name for name in states[0]["network"])
    assert any(part["state"] for part in states[0]["optimiser"]["parts"]) == (recipe.get("momentum") != 0.0)
    assert same(*states)
    assert third.seconds > second.seconds > first.seconds, "of all parts"


def test_an_interrupted_training_goes_on_from_its_last_rung(
    motions: ClipData, tmp_path: Path, straight: Evaluation
) -> None:
    def stop(repeat: int, epoch: Any) -> None:
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    place, whole = tmp_path / "x.pt", straight
    with pytest.raises(KeyboardInterrupt):
        evaluated(motions, Told(place), on_epoch=stop)
    again = evaluated(motions, told := Told(place, expected=True))
    assert timeless(again) == timeless(whole)
    assert again.epochs_trained == 2
    assert [now.rungs[-1].epoch for now in told.heard] == [2, 4], "the rung it may not have been judged at comes first"
    done = evaluated(motions, Told(place, expected=True))
    assert (timeless(done), done.epochs_trained) == (timeless(whole), 0), "killed after its last epoch"


@pytest.mark.parametrize("broken", ["missing", "cut", "no checkpoint", "another network", "another seed"])
def test_a_checkpoint_that_is_of_no_use_is_noted_and_trained_anew(
    motions: ClipData, tmp_path: Path, broken: str, straight: Evaluation
) -> None:
    place = tmp_path / "x.pt"
    evaluated(motions, Told(place, [1]))
    if broken == "missing":
        place.unlink()
    elif broken == "cut":
        place.write_bytes(place.read_bytes()[:-1000])
    elif broken == "no checkpoint":
        place.write_text("junk")
    else:
        task = Task(NETWORKS["MC3-18"].scaled(0.125), CLIP, motions, RECIPE, 1, CPU, Told(place, [1]).course)
        if broken == "another seed":
            task = replace(task, architecture=NETWORKS["rMC3-18"].scaled(0.125))
        EVALUATORS["halving"].run(task, quiet)
    again = evaluated(motions, told := Told(place, expected=True))
    assert timeless(again) == timeless(straight)
    assert again.epochs_trained == 4
    (note,) = told.notes
    assert note.endswith("trained from the beginning")
    assert ("no checkpoint" in note) == (broken == "missing")


def test_a_checkpoint_that_cannot_be_written_is_a_note(motions: ClipData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    result = evaluated(motions, told := Told(tmp_path / "file" / "x.pt"))
    assert result.epochs_trained == 4
    assert len(told.notes) == 3
    assert "cannot write the checkpoint" in told.notes[0]


def test_a_repeat_that_was_cut_off_goes_on_and_gives_the_same(motions: ClipData, tmp_path: Path) -> None:
    """A repeat is trained whole, whatever the rungs."""

    def stop(repeat: int, epoch: Any) -> None:
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    again, said, seen = EVALUATORS["halving"].again, list[str](), list[tuple[int, int]]()
    assert again is not None
    shelf = Shelf(tmp_path / "shelf" / "one", said.append, every_s=0)
    task = Task(NETWORKS["rMC3-18"].scaled(0.125), CLIP, motions, RECIPE, 0, CPU, shelf=shelf)
    whole = again(replace(task, shelf=None), 1, quiet)
    with pytest.raises(KeyboardInterrupt):
        again(task, 1, stop)
    gone_on = again(task, 1, lambda repeat, epoch: seen.append((repeat, epoch.epoch)))
    assert seen == [(1, 3), (1, 4)]
    assert said == [f"{task.architecture.id} goes on after epoch 2 of 4"]
    assert timeless(gone_on) == timeless(whole)
    assert not shelf.stem.parent.exists()


def test_the_file_of_a_repeat_is_its_own_to_remove(halving: Path) -> None:
    session = open_session(load_study(str(halving)), quiet)
    folder = checkpoint_folder(session.study, session.own)
    folder.mkdir(parents=True)
    network, repeat = folder / "0123456789abcdef0123.pt", folder / "0123456789abcdef0123-1.pt"
    for file in (network, repeat):
        file.write_bytes(b"")
    tidy(session, session.trials())
    assert (network.exists(), repeat.exists()) == (False, True), "of a network that nobody takes up"
    tidy(session, session.trials(), finished=True)
    assert not folder.exists()


def test_recipes() -> None:
    shared = set(TrainRecipe.model_fields) - {"epochs", "repeats"}
    assert set(HalvingRecipe.model_fields) == shared | {"rungs", "reduction", "tolerance"}
    for given, fault in (
        ({"rungs": [1, 3, 3]}, "evaluate.rungs: should be epochs, each more than the one before; given [1, 3, 3]"),
        ({"rungs": [3]}, "evaluate.rungs"),
        ({"rungs": [0, 3]}, "evaluate.rungs"),
        ({"reduction": 1}, "evaluate.reduction"),
        ({"tolerance": -1}, "evaluate.tolerance"),
        ({"epochs": 4}, "evaluate.epochs"),
    ):
        recipe, faults = check(HalvingRecipe, given, "evaluate.")
        assert recipe is None
        assert fault in faults[0]


def test_halving_needs_an_accuracy(halving: Path) -> None:
    with pytest.raises(SpecError, match="halving compares accuracies at its rungs, so one of video_top1, clip_top1"):
        load_study(str(halving), ["objectives={gmacs: minimize}"])


# What samplers see ------------------------------------------------------------------------


def trial_of(name: str, state: TrialState, accuracy: float | None, **attributes: Any) -> FrozenTrial:
    values = [accuracy, 1.0] if state == TrialState.COMPLETE else None
    known = {ARCHITECTURE: name, "gmacs": 1.0, **({"video_top1": accuracy} if accuracy is not None else {})}
    return create_trial(
        state=state, values=values, params={"stem": "2d"},  # type: ignore[arg-type]
        distributions={"stem": CategoricalDistribution(["2d", "3d"])}, user_attrs={**known, **attributes},
    )  # fmt: skip


def test_a_trial_that_is_only_begun_hides_nothing_of_its_network(whole: Whole) -> None:
    """Attributes are written one by one, while other workers read."""
    reached = {RUNGS: {"1": 50.0}, STOPPED: 1}
    begun = trial_of("a", TrialState.PRUNED, None)
    begun.state, begun.user_attrs = TrialState.RUNNING, {ARCHITECTURE: "a"}
    trials = [
        trial_of("a", TrialState.PRUNED, 50.0, **reached),
        trial_of("b", TrialState.PRUNED, 50.0, **reached),
        begun,
    ]
    ladder = ladder_of(open_session(whole.study, quiet), trials)
    assert [ladder.verdict(name, 1).among for name in "ab"] == [2, 2]


def test_samplers_see_a_network_once_with_what_is_expected_of_it() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    state = TrialState
    study.add_trials(
        [
            trial_of("a", state.COMPLETE, 70.0, **{RUNGS: {"1": 50.0, "3": 60.0, "9": 70.0}}),
            trial_of("b", state.COMPLETE, 90.0, **{RUNGS: {"1": 60.0, "9": 90.0}}),
            trial_of("c", state.PRUNED, 30.0, **{RUNGS: {"1": 30.0}, STOPPED: 1}),
            trial_of("d", state.PRUNED, 40.0, **{RUNGS: {"1": 40.0}, STOPPED: 1}),
            trial_of("e", state.FAIL, None, **{REASON: "the loss is nan"}),
            trial_of("f", state.PRUNED, None, **{REASON: "not trained: latency"}),
            trial_of("d", state.COMPLETE, 65.0, **{RUNGS: {"1": 40.0, "3": 61.0}, CONTINUES: 3}),
            trial_of("g", state.PRUNED, 45.0, **{RUNGS: {"1": 45.0}, STOPPED: 1}),
            trial_of("g", state.FAIL, None, **{REASON: "the loss is nan", CONTINUES: 7}),
            trial_of("h", state.PRUNED, 62.0, **{RUNGS: {"3": 62.0}, STOPPED: 3}),
            trial_of("h", state.FAIL, None),  # its worker was killed
        ]
    )
    seen = once_per_network(study, ["video_top1", "gmacs"])
    found = [(t.state.name, t.values[0] if t.values else None) for t in seen.get_trials(deepcopy=False)]
    gain_1, gain_3 = (20 + 30 + 25) / 3, (10 + 4) / 2
    assert found == [
        ("COMPLETE", 70.0),
        ("COMPLETE", 90.0),
        ("COMPLETE", 30 + gain_1),
        ("COMPLETE", 65.0),
        ("FAIL", None),
        ("PRUNED", None),
        ("FAIL", None),
        ("FAIL", None),
        ("FAIL", None),
        ("COMPLETE", 62 + gain_3),
        ("FAIL", None),
    ]
    assert [t.state.name for t in study.trials][2] == "PRUNED", "what is stored is as it was"
    assert len(seen.get_trials(deepcopy=False, states=(state.COMPLETE,))) == 5


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp"])
def test_samplers_search_on_with_stopped_and_promoted_networks(sampler: str) -> None:
    """On made-up accuracies: nothing twice, and a promotion does not touch the sampler."""
    table = CostTable(load_space(find("search_spaces", "paper-18")), ClipShape(3, 8, 32, 32), 4)
    chosen = HardBudget(sampler, table, {}, seed=0, trials=16)
    chosen.view = lambda study: once_per_network(study, ["video_top1", "gmacs"])
    study = optuna.create_study(sampler=chosen, directions=["maximize", "minimize"])

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        architecture = suggest(trial, table.space)
        accuracy, gmacs = 40.0 + 10 * architecture.placement.count("3d"), table.cost_of(architecture)["gmacs"]
        known = {ARCHITECTURE: architecture.id, "video_top1": accuracy, "gmacs": gmacs, RUNGS: {"1": accuracy}}
        for name, value in known.items():
            trial.set_user_attr(name, value)
        if chosen.given is None and trial.number % 2:
            trial.set_user_attr(STOPPED, 1)
            raise optuna.TrialPruned
        return accuracy, gmacs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.optimize(objective, n_trials=6)
        for number in (1, 3):
            chosen.given = parse_placement(study.trials[number].user_attrs[ARCHITECTURE])
            study.optimize(objective, n_trials=1)
            assert study.trials[-1].params == study.trials[number].params
        chosen.given = None
        study.optimize(objective, n_trials=8)
    assert len(by_network(study.trials)) == 14
    assert len(study.trials) == 16


# Studies ----------------------------------------------------------------------------------


def run(study: Study, emit: Callable[[Event], None] = quiet) -> optuna.Study:
    session = open_session(study, quiet)
    work(session, emit)
    return session.optuna_study


def outcome(name: str, storage: str | None = None) -> tuple[Any, Any]:
    """The front with all its metrics, and every network's last state, epoch and accuracy."""
    front = [(r.architecture, r.metrics) for r in pareto_of(read_study(name, storage)).front]
    last = {name: network.last for name, network in by_network(open_study(name, storage).trials).items()}
    return front, {n: (t.state.name, t.user_attrs.get(STOPPED), t.user_attrs["video_top1"]) for n, t in last.items()}


def check_finished(study: Study, trials: int) -> Counter[State]:
    """What must hold of any finished study; its last states."""
    session = open_session(study, quiet)
    networks = by_network(session.trials())
    states = Counter(network.state for network in networks.values())
    reasons = [n.last.user_attrs.get(REASON) for n in networks.values() if n.last.state == TrialState.FAIL]
    assert set(states) <= {State.COMPLETE, State.STOPPED}, reasons
    assert len(networks) == states.total() == trials
    for network in networks.values():
        assert sum(trial.state == TrialState.COMPLETE for trial in network.trials) <= 1
    waiting = stopped_networks(session.trials())
    assert len(waiting) == states[State.STOPPED]
    assert not ladder_of(session, session.trials()).promotable(waiting), "nothing is left to promote"
    now = standing(session)
    assert (now.complete, now.stopped, now.running, now.open) == (states[State.COMPLETE], states[State.STOPPED], 0, 0)
    assert not checkpoint_folder(study).exists()
    return states


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The study, run without a break."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "whole.yaml").write_text(f"{HALVING}storage: sqlite:///{folder}/whole.db\n")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    events: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STSEARCH_CACHE", str(folder / "cache"))
        study = load_study(str(folder / "whole.yaml"))
        trials = run(study, events.append).trials
    torch.set_num_threads(threads)
    return Whole(study, trials, events)


@dataclass(frozen=True)
class Whole:
    study: Study
    trials: list[FrozenTrial]
    events: list[Event]

    @property
    def stored(self) -> StoredStudy:
        return read_study("whole", self.study.storage_url)


@pytest.mark.slow
def test_a_study_begins_all_promotes_and_trains_no_epoch_twice(whole: Whole) -> None:
    states = check_finished(whole.study, 5)
    assert states[State.STOPPED] >= 2
    continued = [t for t in whole.trials if CONTINUES in t.user_attrs]
    assert BLIND in {trial.user_attrs[ARCHITECTURE] for trial in continued}
    for trial in continued:
        assert whole.trials[trial.user_attrs[CONTINUES]].user_attrs[ARCHITECTURE] == trial.user_attrs[ARCHITECTURE]
    for network in by_network(whole.trials).values():
        reached = network.last.user_attrs.get(STOPPED, 4)
        assert sum(t.user_attrs[EPOCHS_TRAINED] for t in network.trials) == reached
        assert sum(t.user_attrs[CLIPS_TRAINED] for t in network.trials) == 80 * reached
        assert [int(epoch) for epoch in network.last.user_attrs[RUNGS]] == [e for e in (2, 3, 4) if e <= reached]
    counts = Counter(event["event"] for event in whole.events)
    assert (counts["start"], counts["done"]) == (len(whole.trials), states[State.COMPLETE])
    assert counts["stopped"] == len(whole.trials) - states[State.COMPLETE]


@pytest.mark.slow
def test_a_network_is_evaluated_again_to_the_last_rung(whole: Whole, cli: Cli) -> None:
    trained = next(trial for trial in whole.trials if trial.state == TrialState.COMPLETE)
    storage = f"--storage={whole.study.storage_url}"
    ran = cli("evaluate", f"whole#{trained.number}", storage, "--format", "json", "--quiet")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["networks"][0]["each"] == [trained.user_attrs["video_top1"]], "bit for bit"


@pytest.mark.slow
@pytest.mark.parametrize("trials", [2, 4])
def test_the_first_networks_wait_for_others_while_there_are_any(halving: Path, trials: int) -> None:
    """Of ``reduction`` 3: the first goes on once three are there, or at once if no more are to come."""
    events: list[Event] = []
    study = load_study(str(halving), ["evaluate.reduction=3", f"search.trials={trials}"])
    run(study, events.append)
    course = [(e[ARCHITECTURE], e.get("reason", "")) for e in events if e["event"] in ("stopped", "done")]
    wait = "stopped at epoch {} of 4 until 3 networks have come so far: it is number {}"
    assert course[0] == (SEES, wait.format(2, 1))
    begun = [event[ARCHITECTURE] for event in events if event["event"] == "start"]
    if trials == 2:
        assert course[1][1].startswith("stopped at epoch 2 of 4: 1 of 1 networks"), "the last one is compared at once"
        assert begun == [SEES, BLIND, SEES]
        assert course[2] == (SEES, "")
    else:
        assert course[1] == (BLIND, wait.format(2, 2))
        assert begun[:3] == [SEES, BLIND, SEES_TOO]
        assert (SEES, wait.format(3, 1)) in course or (SEES_TOO, wait.format(3, 1)) in course
    check_finished(study, trials)
    assert (SEES, "") in course, "the cheapest is trained whole in any case"


@pytest.mark.slow
def test_those_that_wait_go_on_when_a_space_runs_out_that_cannot_be_listed(
    halving: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of such a space is not known before the sampler finds nothing."""
    monkeypatch.setattr(table, "ENUMERABLE", 1)
    stages = ", ".join(f"conv{n}_x: {{kind: {'[2d, 3d]' if n == 5 else '2d'}, depth: 1}}" for n in (2, 3, 4, 5))
    (tmp_path / "two.yaml").write_text(f"name: two\nblock: basic\nstem: {{kind: 2d}}\nstages: {{{stages}}}\n")
    sets = [
        "space=two.yaml",
        "search.start_with=none",
        "search.trials=9",
        "evaluate={name: halving, rungs: [2, 4], tolerance: 100, batch: 8}",
    ]
    study = load_study(str(halving), sets)
    session = open_session(study, quiet)
    assert not session.sampler.whole
    events: list[Event] = []
    work(session, events.append)
    assert session.exhausted
    kinds = Counter(event["event"] for event in events)
    assert (kinds["done"], kinds["stopped"]) == (2, 2), "both waited, and with such a tolerance none beats the other"
    assert {t.state for t in session.trials() if CONTINUES in t.user_attrs} == {TrialState.COMPLETE}


@pytest.mark.slow
def test_stopped_networks_are_said_to_be_stopped(whole: Whole) -> None:
    stored, trials = whole.stored, whole.trials
    found = halved(stored)
    assert found is not None
    waiting = sum(network.state is State.STOPPED for network in by_network(trials).values())
    assert (found.epochs, len(found.stopped), found.whole) == (4, waiting, 5 * 4 * 80)
    assert found.clips == sum(t.user_attrs[CLIPS_TRAINED] for t in trials)
    said = f"{waiting} stopped early, which saved {found.saved:,} of 1,600 training clips"
    pareto, report = pareto_of(stored), report_of(stored)
    assert (pareto.trained, pareto.pruned) == (5 - waiting, 0)
    assert pareto.as_dict()["halving"]["clips_saved"] == found.saved
    assert report.standing == ""
    assert report.effort.total == pytest.approx(sum(t.user_attrs["seconds"] for t in trials)), "the stopped among them"
    assert [(one.record.trial, one.epoch) for one in pareto.waiting] == [
        (stop.trial, trials[stop.trial].user_attrs[STOPPED]) for stop in found.stopped
    ]
    assert all(said in text for text in (html(report), markdown(report), study_note(stored, pareto)))
    stop = trials[found.stopped[0].trial]
    assert found.stopped[0].reason.startswith(f"stopped at epoch {stop.user_attrs[STOPPED]} of 4: ")
    assert "networks that cost no more are better by over 0.0 points" in found.stopped[0].reason
    assert f"stopped at epoch {stop.user_attrs[STOPPED]} of 4" in html(report)
    assert "**Stopped early**: stopped at epoch" in trial_note(stored, stop.number, State.STOPPED, stop.user_attrs, {})
    assert stored.details(np.array([stop.number]))[0]["trainings"][0]["curve"]
    again = next(t for t in trials if CONTINUES in t.user_attrs)
    note = trial_note(stored, again.number, state_of(again), again.user_attrs, {})
    assert f"Takes up the training of trial {again.user_attrs[CONTINUES]}" in note


@pytest.mark.slow
def test_what_rungs_are_worth_is_said(halving: Path, cli: Cli) -> None:
    """A tolerance that no difference exceeds, so that all are trained whole; tau against SciPy's."""
    run(load_study(str(halving), ["evaluate.tolerance=100", "search.trials=11"]))
    found = halved(read_study("halving"))
    assert found is not None
    ended = [t for t in open_study("halving").trials if t.state == TrialState.COMPLETE]
    curves = [[t.user_attrs[RUNGS][epoch] for epoch in ("2", "3", "4")] for t in ended]
    assert len(curves) == 11
    assert (found.ranked, len(found.ranking)) == (len(curves), 2)
    first, second, last = np.array(curves).T
    for one, epoch, reached in zip(found.ranking, (2, 3), (first, second), strict=True):
        assert one.epoch == epoch
        expected = stats.kendalltau(reached, last).statistic
        assert one.tau.value == (None if np.isnan(expected) else pytest.approx(expected)), "equal ones have no order"
    assert found.ranking[-1].tau.value is not None
    assert f"{found.agreement}." in " ".join(cli("pareto", "halving").stdout.split())
    stored = read_study("halving")
    assert found.agreement in " ".join(markdown(report_of(stored)).split())
    assert [row["epoch"] for row in pareto_of(stored).as_dict()["halving"]["ranking"]] == [2, 3]


@pytest.mark.slow
def test_the_same_front_however_often_it_was_interrupted(whole: Whole, halving: Path, database: str) -> None:
    """One worker, one seed, CPU: bit for bit; Ctrl-C in the middle of epochs, also of promoted networks."""
    stopped = load_study(str(halving), storage=database)
    for after in (3, 4, 5):
        with pytest.raises(KeyboardInterrupt):
            run(stopped, stop_after(after))
    run(stopped)
    assert outcome("halving", database) == outcome("whole", whole.study.storage_url)
    check_finished(stopped, 5)


def stop_after(epochs: int) -> Callable[[Event], None]:
    """Ctrl-C after so many epochs."""
    left = [epochs]

    def emit(event: Event) -> None:
        left[0] -= event["event"] == "epoch"
        if left[0] == 0 and event["event"] == "epoch":
            raise KeyboardInterrupt

    return emit


@pytest.mark.slow
def test_lost_checkpoints_cost_time_and_change_nothing(whole: Whole, halving: Path) -> None:
    notes: list[str] = []

    def lose(event: Event) -> None:
        if event["event"] == "note":
            notes.append(event["text"])
        for file in Path("studies/halving.checkpoints").glob("*.pt"):
            if event["event"] == "stopped":
                file.unlink()

    run(load_study(str(halving)), lose)
    assert outcome("halving") == outcome("whole", whole.study.storage_url)
    assert all("on this machine: trained from the beginning" in note for note in notes)
    assert notes
    found = halved(read_study("halving"))
    assert found is not None
    assert found.clips > sum(t.user_attrs[CLIPS_TRAINED] for t in whole.trials)


@pytest.mark.slow
def test_two_workers_killed_and_what_the_terminal_says(halving: Path) -> None:
    rng = random.Random(1)
    command = [sys.executable, "-m", "stsearch.cli", "run", str(halving), "--set=engine.workers=2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert awaited(process, lambda: list(Path("studies/halving.checkpoints").glob("*.pt")))
    time.sleep(rng.uniform(0, 0.3))
    assert process.poll() is None, "it is cut off, not done"
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert last.returncode == 0, last.stderr
    study = load_study(str(halving))
    check_finished(study, 5)
    stops = [line for line in last.stderr.splitlines() if "stopped at epoch" in line]
    ways = ("networks that cost no more are better by over 0.0 points", "until 2 networks have come so far")
    assert all(any(way in line for way in ways) for line in stops)
    assert "stopped early, which saved" in " ".join(last.stdout.split())
    assert Display(open_session(study, quiet), 1, quiet=True).done == 5
    with pytest.raises(UserError, match=r"evaluate.rungs: \[2, 3, 4\] -> \[2, 3, 5\]"):
        open_session(load_study(str(halving), ["evaluate.rungs=[2, 3, 5]"]), quiet)


@pytest.mark.slow
def test_a_disk_that_is_full_for_checkpoints_is_a_note(halving: Path) -> None:
    """A real limit on the size of files: above the database's, below a checkpoint's."""
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000));"
        "from stsearch.cli import entry; sys.argv[0] = 'stsearch'; entry()"
    )
    full = subprocess.run(
        [sys.executable, "-c", limited, "run", str(halving), "--set=search.trials=1", "--set=proxy.width=0.25"],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert full.returncode == 0, full.stderr
    assert "note: cannot write the checkpoint studies/halving.checkpoints/" in full.stderr
    assert "File too large" in full.stderr


@pytest.mark.slow
def test_networks_over_the_budget_and_references_are_trained_whole(halving: Path) -> None:
    sets = ["search.start_with=paper-all", "search.trials=3", "budget.gmacs=1.2"]
    study = load_study(str(halving), sets)
    reference: list[int] = []

    def watch(event: Event) -> None:
        if event["event"] == "epoch" and event["trial"] is None:
            reference.append(event["epoch"])
            if reference == [1, 2, 3]:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(study, watch)
    assert checkpoint_file(study, NETWORKS["R2D-18"].id).is_file()
    trials = run(study, watch).trials
    assert reference == [1, 2, 3, 3, 4], "interrupted before epoch 3 was put away: on from the rung at 2"
    over = [t for t in trials if t.user_attrs["gmacs"] > 1.2]
    assert over
    assert all(t.state == TrialState.COMPLETE for t in over)
    check_finished(study, 3)
