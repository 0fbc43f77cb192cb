"""Workers: one more from anywhere, those that are killed, and trainings that are taken up where they were cut off."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState

from stsearch.data.sources import open_data
from stsearch.errors import UserError, WorldError
from stsearch.evaluate.checkpoint import Shelf
from stsearch.evaluate.evaluators import Evaluation, Task, evaluate_by_training
from stsearch.evaluate.results import Epoch
from stsearch.evaluate.train import Trainer
from stsearch.search.attributes import ARCHITECTURE, SPEC
from stsearch.search.engine import Plugins, run_processes
from stsearch.search.joining import joined
from stsearch.search.measuring import _plain
from stsearch.search.reading import read_study
from stsearch.search.session import open_session
from stsearch.search.spec import Study, load_study
from stsearch.search.state import State
from stsearch.search.storage import open_storage, open_study
from stsearch.search.training import Emit, Event, first_precision
from stsearch.search.worker import work
from stsearch.space.published import NETWORKS
from tests.conftest import Cli, awaited

pytestmark = pytest.mark.slow


def quiet(*_: object) -> None:
    """No progress."""


def begin(tiny: Path, *settings: str) -> Study:
    """A study that is begun, and not worked for; the settings are also those of its storage."""
    study = load_study(str(tiny), settings)
    open_session(study, quiet)
    return study


def networks(study: Study) -> list[str]:
    trials = open_study(study.name, study.storage_url).get_trials(states=(TrialState.COMPLETE,))
    return [trial.user_attrs[ARCHITECTURE] for trial in trials]


def test_a_worker_needs_the_storage_alone(tiny: Path, database: str, cli: Cli, tmp_path: Path) -> None:
    """Another begins the study and is gone; the worker is in a folder that holds no file of it."""
    study = begin(tiny, f"storage={database}", "evaluate.repeats=2", "search.trials=3")
    place = str(Path("studies/fresh.db").resolve())
    url = f"sqlite:///{place}" if database.startswith("sqlite") else database
    before = read_study(study.name, database).user_attributes[SPEC]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-m", "stsearch.cli", "worker", study.name, "--storage", url]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert f"the study {study.name!r} is complete" in done.stdout
    assert len(set(networks(study))) == len(networks(study)) == 3
    assert read_study(study.name, database).user_attributes[SPEC] == before
    assert "Traceback" not in done.stderr


def test_two_workers_share_a_study(tiny: Path) -> None:
    study = begin(tiny, "search.trials=8")
    command = [sys.executable, "-m", "stsearch.cli", "worker", study.name]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for one in pair:
        _, errors = one.communicate(timeout=400)
        assert one.returncode == 0, errors
    assert len(set(networks(study))) == len(networks(study)) == 8


def test_videos_may_lie_elsewhere_and_must_be_the_same(tiny: Path, clips: Path, tmp_path: Path) -> None:
    study = begin(tiny, f"data={{name: folder, path: {clips}}}", "search.trials=1")
    stored = read_study(study.name)
    moved = shutil.move(str(clips), str(tmp_path / "moved"))
    session = open_session(joined(stored, [f"data.path={moved}"]), quiet)
    work(session, lambda event: None)
    assert len(networks(study)) == 1
    next(Path(moved).rglob("val/*/*")).unlink()
    with pytest.raises(UserError, match="data_fingerprint"):
        open_session(joined(stored, [f"data.path={moved}"]), quiet)


@pytest.mark.parametrize("setting", ["search.trials=9", "evaluate.epochs=3", "data.clips=9", "seed=1", "engine"])
def test_a_worker_does_not_change_the_study(tiny: Path, setting: str) -> None:
    stored = read_study(begin(tiny).name)
    with pytest.raises(UserError, match=r"a worker chooses where it works|--set takes key=value"):
        joined(stored, [setting])


def test_a_study_that_was_begun_by_an_earlier_version_is_joined_by_the_file_of_its_space(tiny: Path) -> None:
    study = begin(tiny)
    storage = open_storage(study.storage_url)
    kept = storage.get_all_studies()[0]
    about: dict[str, Any] = kept.user_attrs[SPEC]
    del about["space"]["definition"]
    del about["resolved"]["engine"]["checkpoint_s"]
    storage.set_study_user_attr(kept._study_id, SPEC, about)
    assert joined(read_study(study.name)).space == study.space


def test_a_worker_of_no_study(cli: Cli) -> None:
    done = cli("worker", "nothing")
    assert done.returncode == 2
    assert "has not been run here" in done.stderr
    assert "Traceback" not in done.stderr


# Killed workers -------------------------------------------------------------------------------


def test_all_workers_killed_at_once_are_started_again(tiny: Path) -> None:
    command = [sys.executable, "-m", "stsearch.cli", "run", str(tiny), "--set=search.trials=3"]
    command += ["--set=engine.workers=2", "--set=data.clips=120", "--set=evaluate.epochs=60"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def both() -> list[int]:
        stored = read_study("tiny")
        found = stored.attributes(["worker"], stored.rows(State.RUNNING))
        pids = {one["worker"]["pid"] for one in found if "worker" in one}
        return sorted(pids) if len(pids) == 2 else []

    for pid in awaited(process, both) or []:
        os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert errors.count("a worker was killed (exit code -9); another is started in its place") == 2
    found = networks(load_study(str(tiny)))
    assert len(set(found)) == len(found) == 3


def _die(emit: Emit) -> None:
    emit({"event": "born"})
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_are_killed_over_and_over_are_given_up() -> None:
    events: list[Event] = []
    with pytest.raises(WorldError, match="all workers were killed"):
        run_processes(_die, 1, 1, events.append, Plugins())
    assert [event["event"] for event in events].count("born") == 4
    assert events[-1]["text"] == "a worker was killed (exit code -9); the others take over"


def _end_slowly(emit: Emit) -> None:
    def last() -> None:  # as torch's own clearing up, in which a second Ctrl-C met it
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        Path("ended").touch()

    atexit.register(last)


def test_a_worker_that_has_ended_is_not_disturbed_while_it_clears_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_processes(_end_slowly, 1, 1, lambda event: None, Plugins())
    assert (tmp_path / "ended").exists()


POISON = """\
import os, signal
from stsearch.evaluate.evaluators import EVALUATORS, Evaluator, evaluate_by_training
from stsearch.evaluate.recipe import TrainRecipe
from typing import Literal


class Recipe(TrainRecipe):
    name: Literal["poison"]


def run(task, on_epoch):
    if task.architecture.id.startswith("2d-3dx2-3dx2-"):
        os.kill(os.getpid(), signal.SIGKILL)
    return evaluate_by_training(task, on_epoch)


EVALUATORS.add("poison", Evaluator(Recipe, run, metrics=("video_top1", "clip_top1")))
"""
"""A plug-in: trainings of some networks kill their worker, as those that need more memory than there is."""


def test_a_network_that_kills_its_workers_is_given_up(tiny: Path, cli: Cli) -> None:
    Path("poison.py").write_text(POISON)
    space = "{name: mine, plugins: [poison], stem: {kind: 2d}, stages: {"
    space += ", ".join(f"conv{n}_x: {{kind: {'[2d, 3d]' if n < 4 else '2d'}, depth: 2}}" for n in range(2, 6)) + "}}"
    Path("mine.yaml").write_text(space)
    settings = ["space=mine.yaml", "evaluate.name=poison", "engine.workers=2", "search.trials=4"]
    settings.append("search.sampler=exhaustive")
    done = cli("run", str(tiny), *(word for text in settings for word in ("--set", text)), timeout=500)
    stored = read_study("tiny")
    (failed,) = stored.ended(State.FAILED)
    assert failed.network == "2d-3d-3d-2d-2d@18", done.stderr
    assert failed.reason == "given up: 5 workers were killed while they trained it (out of memory?)"
    assert len(stored.complete) == 3
    assert done.returncode == 0, done.stderr
    again = cli("run", str(tiny), *(word for text in settings for word in ("--set", text)), "--quiet", timeout=500)
    assert again.returncode == 0, again.stderr
    assert len(read_study("tiny").rows(State.FAILED)) == 1


# Checkpoints in the middle of a plain training --------------------------------------------------


class Cut(Exception):
    """What cuts a training off here."""


def task(study: Study, shelf: Shelf | None = None, seed: int = 0) -> Task:
    clip = study.proxy_clip()
    data = open_data(study.spec.data).load(clip.frames, clip.height, quiet)
    network = NETWORKS["MC3-18"].scaled(study.spec.proxy.width)
    return Task(network, clip, data, study.spec.evaluate, seed, torch.device("cpu"), shelf=shelf)


def cut_after(epoch: int, repeat: int, number: int, found: Any) -> None:
    if (number, found.epoch) == (repeat, epoch):
        raise Cut


def alike(one: Evaluation, other: Evaluation) -> bool:
    """All but the clock's figures."""
    curves = [
        [(e.train_loss, e.clip_top1, e.val_loss, e.lr) for e in t.curve] for t in (*one.trainings, *other.trainings)
    ]
    half = len(one.trainings)
    return curves[:half] == curves[half:] and [t.predictions for t in one.trainings] == [
        t.predictions for t in other.trainings
    ]


def test_a_training_that_was_cut_off_goes_on_and_gives_the_same(tiny: Path, tmp_path: Path) -> None:
    study = load_study(str(tiny), ["evaluate.epochs=4", "evaluate.repeats=2"])
    whole = evaluate_by_training(task(study), quiet)
    said: list[str] = []
    shelf = Shelf(tmp_path / "shelf" / "one", said.append, every_s=0)
    with pytest.raises(Cut):  # in the second training, in its fourth epoch: the third is put away
        evaluate_by_training(task(study, shelf), partial(cut_after, 4, 1))
    assert [file.name for file in shelf.stem.parent.iterdir()] == ["one-1.pt"]
    seen: list[tuple[int, int]] = []
    again = evaluate_by_training(task(study, shelf), lambda number, found: seen.append((number, found.epoch)))
    assert seen == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 4)]
    assert said == [f"{task(study).architecture.id} goes on after epoch 3 of 4"]
    assert alike(again, whole)
    assert not shelf.stem.parent.exists()


def test_a_file_of_another_training_or_a_broken_one_is_left(tiny: Path, tmp_path: Path) -> None:
    study = load_study(str(tiny), ["evaluate.epochs=3"])
    said: list[str] = []
    shelf = Shelf(tmp_path / "shelf" / "one", said.append, every_s=0)
    with pytest.raises(Cut):
        evaluate_by_training(task(study, shelf, seed=1), partial(cut_after, 3, 0))
    found = evaluate_by_training(task(study, shelf), quiet)
    assert "it is of another training" in said[0]
    shelf.stem.parent.mkdir()
    shelf.file(0).write_bytes(b"no checkpoint")
    assert alike(evaluate_by_training(task(study, shelf), quiet), found)
    assert "is of no use" in said[1]


@pytest.mark.parametrize("world", [True, False])
def test_what_would_fail_again_is_not_put_away(
    world: bool, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stays after what the world did to a training, as a disk that fails, not after the training's own fault."""
    study = load_study(str(tiny), ["evaluate.epochs=3"])
    shelf = Shelf(tmp_path / "shelf" / "one", quiet, every_s=0)
    epoch, fault = Trainer.epoch, OSError(5, "Input/output error") if world else RuntimeError("a kind's own")

    def failing(trainer: Trainer) -> Epoch:
        if trainer.done == 2:
            raise fault
        return epoch(trainer)

    monkeypatch.setattr(Trainer, "epoch", failing)
    with pytest.raises(type(fault)):
        evaluate_by_training(task(study, shelf), quiet)
    assert shelf.file(0).exists() == world


def test_a_killed_search_goes_on_in_the_middle_of_a_training(tiny: Path, tmp_path: Path) -> None:
    """The whole command is killed when its training has been put away; the record is that of an unbroken run."""
    settings = ["--set=evaluate.epochs=200", "--set=search.trials=1", "--set=engine.checkpoint_s=0"]
    settings.append("--set=data.clips=48")
    command = [sys.executable, "-m", "stsearch.cli", "run", str(tiny), *settings]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    awaited(process, lambda: list(Path("studies").glob("tiny*.checkpoints/*-0.pt")))
    process.kill()
    process.communicate()
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert " goes on after epoch " in done.stderr
    assert not list(Path("studies").glob("tiny*.checkpoints"))
    alone = subprocess.run([*command, "--set=name=alone"], capture_output=True, text=True, timeout=400)
    assert alone.returncode == 0, alone.stderr
    found = [read_study(name) for name in ("tiny", "alone")]
    assert found[0].values[found[0].complete].tolist() == found[1].values[found[1].complete].tolist()
    details = [one.details(one.complete)[0]["trainings"][0] for one in found]
    assert details[0]["predictions"] == details[1]["predictions"]
    assert [e["train_loss"] for e in details[0]["curve"]] == [e["train_loss"] for e in details[1]["curve"]]


@pytest.mark.parametrize(
    ("value", "said"), [(160.0, "160"), (12345.6, "12346"), (0.51234, "0.5123"), (1234567.0, "1234567"), (60, "60")]
)
def test_figures_of_a_measured_cap_are_plain_numbers(value: float, said: str) -> None:
    assert _plain(value) == said


def test_only_the_first_training_of_a_process_says_its_precision() -> None:
    events: list[Event] = []
    tell = first_precision(events.append)
    tell("bf16: one")
    tell("bf16: another")
    assert events == [{"event": "precision", "text": "bf16: one (the first network; each one's record says its own)"}]
