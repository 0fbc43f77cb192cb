"""Whole studies on real storages: resumed, killed, interrupted, side by side, refused, full disks."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from stsearch.errors import UserError, WorldError
from stsearch.evaluate import evaluators
from stsearch.evaluate.evaluators import Evaluation, OnEpoch, Task
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.train import EvaluationFailed
from stsearch.report.pareto import pareto_of, trial_architecture
from stsearch.resources import find
from stsearch.search import worker
from stsearch.search.attributes import ARCHITECTURE, INTERRUPTED, REASON
from stsearch.search.burial import bury_dead
from stsearch.search.reading import StoredStudy, read_study
from stsearch.search.session import FAILURES_IN_A_ROW, open_session, standing
from stsearch.search.spec import Study, load_study
from stsearch.search.state import State
from stsearch.search.storage import Lock, open_storage, open_study, surely_dead, this_worker
from stsearch.search.training import Event
from stsearch.search.worker import work
from tests.conftest import Cli, awaited, cut_connections

pytestmark = pytest.mark.slow


def quiet(*_: object) -> None:
    """No progress."""


def run(study: Study) -> tuple[optuna.Study, list[Event]]:
    """Run in this process, on the real storage."""
    events: list[Event] = []
    session = open_session(study, quiet)
    work(session, events.append)
    return session.optuna_study, events


def complete(study: optuna.Study) -> list[str]:
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    return [trial.user_attrs[ARCHITECTURE] for trial in trials]


def test_a_study_and_its_records(tiny: Path) -> None:
    study = load_study(str(tiny), ["search.start_with=paper", "search.trials=12", "budget.gmacs=1.7"])
    optuna_study, events = run(study)
    assert len(set(complete(optuna_study))) == 12
    expected = {"clips": 1, "start": 13, "epoch": 13, "done": 13}  # 12 and R2D
    assert Counter(event["event"] for event in events) == expected
    trial = optuna_study.trials[0]
    record = read_study("tiny").details(np.array([0]))[0]
    assert trial.user_attrs["network"] == "f-R2D-18"
    assert trial.user_attrs["flops_counted"] == round(2e9 * trial.user_attrs["gmacs"])
    assert trial.values == [trial.user_attrs["video_top1"], trial.user_attrs["gmacs"]]
    assert record["trainings"][0]["curve"][0]["epoch"] == 1
    assert set(record["provenance"]) >= {"torch", "optuna", "python", "machine"}
    assert optuna_study.metric_names == ["video_top1", "gmacs"]

    front = pareto_of(read_study("tiny"))
    assert front.trained == 12
    assert front.reference_point == {"video_top1": 0.0, "gmacs": 1.7}
    assert "R2D-18" in {r.network for r in front.references}
    assert "MC3-18" not in {r.network for r in front.references}, "MC3 is over the budget"
    assert all(r.metrics["gmacs"] <= 1.7 for r in (*front.front, *front.dominated))
    assert trial_architecture("tiny#0").id == trial.user_attrs[ARCHITECTURE]
    with pytest.raises(UserError, match="has no trial '99'; its trials: 0 to 11"):
        trial_architecture("tiny#99")


def test_paper_all_trains_what_is_over_budget_and_marks_it(tiny: Path) -> None:
    study = load_study(str(tiny), ["search.start_with=paper-all", "search.trials=12", "budget.gmacs=1.2"])
    optuna_study, _ = run(study)
    over = [t for t in optuna_study.trials if t.user_attrs["gmacs"] > 1.2]
    assert {t.user_attrs["network"] for t in over} >= {"R3D-18", "MC3-18", "R(2+1)D-18"}
    for trial in optuna_study.trials:
        infeasible = trial.user_attrs["gmacs"] > 1.2
        assert (trial.constraints["gmacs"] > 0) == infeasible
        assert (trial.system_attrs["constraints"][0] > 0) == infeasible, "what optuna-dashboard reads"
    front = pareto_of(read_study("tiny"))
    assert all(r.feasible for r in front.front)
    assert {r.network for r in front.references if not r.feasible} >= {"R3D-18", "MC3-18"}


def test_results_do_not_depend_on_order_or_company(tiny: Path) -> None:
    def accuracies(name: str, networks: str) -> dict[str, tuple[float, float]]:
        study = load_study(str(tiny), [f"name={name}", f"search.start_with={networks}", "search.trials=3"])
        trials = run(study)[0].trials
        stored = read_study(name)
        sums = [record["trainings"][0]["loss_sum"] for record in stored.details(stored.complete)]
        return {
            t.user_attrs[ARCHITECTURE]: (t.user_attrs["video_top1"], total)
            for t, total in zip(trials, sums, strict=True)
        }

    first = accuracies("first", "[R3D-18, MC2-18, f-R2D-18]")
    assert accuracies("second", "[f-R2D-18, R3D-18, MC2-18]") == first


@pytest.mark.parametrize(("workers", "moments"), [(1, 3), (2, 4)])
def test_kill_nine_at_random_moments(tiny: Path, workers: int, moments: int) -> None:
    rng = random.Random(workers)
    command = [
        sys.executable, "-m", "stsearch.cli", "run", str(tiny), f"--set=engine.workers={workers}", "--quiet",
        "--set=search.sampler=exhaustive", "--set=search.trials=16", "--set=data.clips=200",
        "--set=search.start_with=paper",
    ]  # fmt: skip
    kept: dict[int, tuple[str, float]] = {}
    kills = 0

    def more(than: int) -> bool:
        return read_study("tiny").rows(State.COMPLETE).size > than

    for moment in range(moments):  # the first while it starts, the others when it has done some more
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if moment and not awaited(process, partial(more, len(kept))):
            assert process.wait() == 0, process.stderr.read() if process.stderr else ""
            break
        time.sleep(rng.uniform(0, 0.3) if moment else rng.uniform(1, 6))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        kept |= finished(kept)
    last = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert last.returncode == 0, last.stderr
    assert kills >= 3
    everything = finished(kept)
    study = open_study("tiny")
    assert len(complete(study)) == len(set(complete(study))) == 16
    assert len(everything) == 16
    assert study.user_attrs["reference:R2D-18"]["state"] == "complete"
    assert not [t for t in study.trials if t.state == TrialState.RUNNING]


def finished(kept: dict[int, tuple[str, float]]) -> dict[int, tuple[str, float]]:
    """Finished trials by number; none that was there before may be gone or changed."""
    try:
        study = open_study("tiny")
    except UserError:
        return {}
    now = {
        t.number: (t.user_attrs[ARCHITECTURE], t.user_attrs["video_top1"])
        for t in study.get_trials(states=(TrialState.COMPLETE,))
    }
    assert all(now[number] == value for number, value in kept.items())
    return now


def test_an_exhaustive_study_ends_with_the_same_front_however_it_was_stopped(tiny: Path) -> None:
    space = Path("small.yaml")
    stages = "".join(f"  conv{n}_x: {{kind: [2d, 3d], depth: 1}}\n" for n in (2, 3))
    space.write_text(
        "name: small\nstem: {kind: [2d, 3d]}\nstages:\n" + stages
        + "  conv4_x: {kind: 3d, depth: 1}\n  conv5_x: {kind: 2d, depth: 1}\n"
    )  # fmt: skip
    common = ["space=small.yaml", "search.sampler=exhaustive", "search.trials=99", "data.clips=60"]

    def front(name: str) -> list[Any]:
        return [(r.architecture, r.metrics) for r in pareto_of(read_study(name)).front]

    run(load_study(str(tiny), [*common, "name=whole"]))
    stopped = load_study(str(tiny), [*common, "name=stopped"])
    for after in (1, 3, 2):
        session = open_session(stopped, quiet)
        with pytest.raises(KeyboardInterrupt):
            work(session, stop_after(after))
    run(stopped)
    assert len(complete(open_study("stopped"))) == 8
    assert front("stopped") == front("whole")


def stop_after(networks: int) -> Any:
    """Ctrl-C in the middle of the network after so many."""
    seen: list[int] = []

    def emit(event: Event) -> None:
        seen.extend([1] * (event["event"] == "done"))
        if len(seen) >= networks and event["event"] == "epoch":
            raise KeyboardInterrupt

    return emit


@pytest.mark.parametrize(
    ("workers", "number", "reason"),
    [
        (2, signal.SIGINT, "stopped by the user"),
        (2, signal.SIGTERM, "asked to end (SIGTERM)"),
        (1, signal.SIGTERM, "asked to end (SIGTERM)"),
    ],
)
def test_ctrl_c_and_sigterm_of_the_command(tiny: Path, workers: int, number: signal.Signals, reason: str) -> None:
    command = [
        sys.executable,
        "-m",
        "stsearch.cli",
        "run",
        str(tiny),
        "--set=search.trials=200",
        f"--set=engine.workers={workers}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert awaited(process, lambda: read_study("tiny").rows(State.COMPLETE).size >= 2)
    before = len(finished({}))
    process.send_signal(number)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 128 + number, errors
    assert "stopped. Nothing trained is lost; the same command goes on: stsearch run" in errors
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    assert before >= 2
    assert len(finished({})) >= before
    trials = open_study("tiny").trials
    assert {t.state for t in trials if not t.user_attrs.get(INTERRUPTED)} == {TrialState.COMPLETE}
    assert {t.user_attrs[REASON] for t in trials if t.state == TrialState.FAIL} <= {f"interrupted: {reason}"}


@pytest.mark.parametrize("moment", ["start", "epoch"])
def test_ctrl_c_leaves_no_trial_without_its_reason(tiny: Path, moment: str) -> None:
    """Also one that comes between the writes of a trial, before its training has begun."""
    session = open_session(load_study(str(tiny), ["evaluate.epochs=2"]), quiet)

    def emit(event: Event) -> None:
        if event["event"] == moment:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        work(session, emit)
    assert signal.getsignal(signal.SIGINT) is before
    (trial,) = open_study("tiny").trials
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs[INTERRUPTED]
    assert trial.user_attrs[REASON] == "interrupted: stopped by the user"


def running(stored: StoredStudy) -> list[dict[str, Any]]:
    """The ``worker`` of the trials that run."""
    return stored.attributes(["worker"], stored.rows(State.RUNNING))


def test_a_worker_that_is_killed_is_replaced(tiny: Path) -> None:
    """The kernel kills one of two workers, as when memory runs out."""
    command = [
        sys.executable, "-m", "stsearch.cli", "run", str(tiny), "--set=search.trials=16", "--set=engine.workers=2",
        "--set=data.clips=120",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    workers = awaited(process, lambda: list(filter(None, running(read_study("tiny")))))
    os.kill(workers[0]["worker"]["pid"], signal.SIGKILL)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert "a worker was killed (exit code -9); another is started in its place" in errors
    assert len(set(complete(open_study("tiny")))) == 16


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("proxy.frames=5", "proxy.frames: 4 -> 5"),
        ("space=r18", "space.name: 'paper-18' -> 'r18'"),
        ("evaluate.epochs=2", "evaluate.epochs: 1 -> 2"),
        ("data.seed=7", "data.seed: 0 -> 7"),
        ("seed=7", "seed: 0 -> 7"),
    ],
)
def test_another_study_in_its_place_is_refused_with_a_diff(tiny: Path, change: str, line: str) -> None:
    run(load_study(str(tiny), ["search.trials=1"]))
    gc.collect()  # the connection is closed, which writes the log into the file
    before = Path("studies/tiny.db").read_bytes()
    with pytest.raises(UserError) as caught:
        open_session(load_study(str(tiny), [change]), quiet)
    assert line in str(caught.value)
    assert Path("studies/tiny.db").read_bytes() == before


def test_changed_videos_are_refused(tiny: Path, clips: Path) -> None:
    settings = [f"data={{name: folder, path: {clips}}}", "search.trials=1"]
    run(load_study(str(tiny), settings))
    (clips / "val" / "darker" / "0.mp4").unlink()
    with pytest.raises(UserError, match="data_fingerprint"):
        open_session(load_study(str(tiny), settings), quiet)


def test_an_impossible_budget_writes_nothing(tiny: Path) -> None:
    with pytest.raises(UserError, match=r"gmacs <= 0\.1: the cheapest, 2d-2dx2-3dx2-3dx2-2dx2, has 0\.98"):
        open_session(load_study(str(tiny), ["budget.gmacs=0.1"]), quiet)
    assert not Path("studies").exists()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Be in another time zone from now on."""

    def go(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield go
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_what_a_training_took_does_not_depend_on_the_time_zone(
    tiny: Path, elsewhere: Callable[[str], None], zone: str
) -> None:
    elsewhere(zone)
    study, _ = run(load_study(str(tiny), ["search.trials=1"]))
    (trial,) = study.trials
    assert trial.duration is not None
    assert 0 < trial.duration.total_seconds() < 600
    ((began,), (ended,)) = read_study("tiny").times()
    assert began < ended


def test_a_nan_loss_fails_its_trial_and_the_study_goes_on(tiny: Path, elsewhere: Callable[[str], None]) -> None:
    elsewhere("Asia/Tokyo")
    study = load_study(
        str(tiny), ["evaluate.optimizer=sgd", "evaluate.lr=100", "evaluate.epochs=40", "evaluate.weight_decay=1.0"]
    )
    events: list[Event] = []
    session = open_session(study, quiet)
    with pytest.raises(WorldError, match=f"stopped: {FAILURES_IN_A_ROW} networks failed one after the other"):
        work(session, events.append)
    failed = [t for t in session.optuna_study.trials if t.state == TrialState.FAIL]
    assert len(failed) == FAILURES_IN_A_ROW
    assert all("the loss is " in t.user_attrs[REASON] for t in failed)
    assert len({t.user_attrs[ARCHITECTURE] for t in failed}) == FAILURES_IN_A_ROW
    elsewhere("Europe/London")  # where it is earlier in the day
    again = open_session(study, quiet)
    assert standing(again).failing == 0, "a new run tries other networks"


def test_a_count_that_differs_fails_loudly(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "counted_flops", lambda *_: 42)
    events: list[Event] = []
    session = open_session(load_study(str(tiny)), quiet)
    with pytest.raises(WorldError):
        work(session, events.append)
    assert all("FLOPs, torch counts 42" in event["reason"] for event in events if event["event"] == "failed")
    assert not complete(session.optuna_study)


def test_any_fault_of_a_network_is_its_own(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in kind that breaks fails its trials, with the reason, and no others."""
    real = evaluators.evaluate_by_training

    def breaking(task: Task, on_epoch: OnEpoch) -> Evaluation:
        if task.architecture.stages[3][0] == "3d":
            raise IndexError("kind is broken")
        return real(task, on_epoch)

    monkeypatch.setitem(evaluators.EVALUATORS._items, "train", evaluators.Evaluator(TrainRecipe, breaking))
    start = "search.start_with=[MC2-18, R3D-18, rMC2-18, f-R2D-18]"
    study, _ = run(load_study(str(tiny), ["search.trials=2", start]))
    assert [(t.user_attrs["network"], t.user_attrs.get(REASON)) for t in study.trials] == [
        ("MC2-18", None),
        ("R3D-18", "IndexError: kind is broken"),
        ("rMC2-18", "IndexError: kind is broken"),
        ("f-R2D-18", None),
    ]


def test_failed_reference_is_kept_with_its_reason(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(task: Task, on_epoch: OnEpoch) -> Evaluation:
        raise EvaluationFailed("no luck")

    monkeypatch.setitem(evaluators.EVALUATORS._items, "train", evaluators.Evaluator(TrainRecipe, failing))
    session = open_session(load_study(str(tiny), ["search.start_with=paper"]), quiet)
    with pytest.raises(WorldError):
        work(session, quiet)
    assert session.optuna_study.user_attrs["reference:R2D-18"]["reason"] == "no luck"


def test_a_full_disk_is_one_line_and_the_study_resumes(tiny: Path, cli: Cli) -> None:
    """A real limit on the size of files; SQLite meets it as a full disk."""
    assert cli("run", str(tiny), "--set=search.trials=2").returncode == 0
    size = Path("studies/tiny.db").stat().st_size
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 20000}, {size + 20000}));"
        "from stsearch.cli import entry; sys.argv[0] = 'stsearch'; entry()"
    )
    full = subprocess.run(
        [sys.executable, "-c", limited, "run", str(tiny), "--set=search.trials=40"],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert full.returncode == 1, full.stderr
    assert "Traceback" not in full.stderr
    assert "the storage sqlite:///studies/tiny.db failed" in full.stderr
    before = finished({})
    assert cli("run", str(tiny), f"--set=search.trials={len(before) + 2}").returncode == 0
    assert len(finished(before)) == len(before) + 2


HOLD = (
    "from stsearch.search.storage import Lock\nlock = Lock({url!r}, 's')\nlock.acquire()\nprint('held', flush=True)\n"
)


def exclusive(url: str) -> None:
    """A second process waits while the first holds the lock, and gets it when the first is killed."""
    code = HOLD.format(url=url)
    with subprocess.Popen(
        [sys.executable, "-c", code + "import time; time.sleep(60)"], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run([sys.executable, "-c", code], timeout=4, capture_output=True)
        holder.kill()
    with Lock(url, "s"):
        pass


def test_the_lock_is_exclusive_and_dies_with_its_holder(postgres: str) -> None:
    exclusive("sqlite:///x.db")
    exclusive(postgres)


def test_readers_and_writers_may_open_an_empty_database_at_once(tiny: Path) -> None:
    command = [sys.executable, "-m", "stsearch.cli", "run", str(tiny), "--quiet", "--set=search.trials=1"]
    code = "from stsearch.search.storage import open_storage\nopen_storage('sqlite:///studies/tiny.db')"
    Path("studies").mkdir()
    processes = [
        subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for arguments in (command, *[[sys.executable, "-c", code]] * 5)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, errors


def test_a_study_whose_creator_was_killed_between_two_writes_is_begun_again(tiny: Path) -> None:
    study = load_study(str(tiny), ["search.trials=1"])
    optuna.create_study(storage=open_storage(study.storage_url), study_name="tiny", directions=["maximize", "minimize"])
    assert len(complete(run(study)[0])) == 1


def test_a_dead_worker_is_known_as_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    me = this_worker()
    assert not surely_dead(me)
    assert surely_dead({**me, "born": "1"}), "another process has its number now"
    other = {**me, "pid": process.pid, "born": ""}
    assert not surely_dead(other)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert surely_dead({**me, "pid": process.pid}), "killed, though its parent has not waited for it"
    process.wait()
    assert surely_dead(other)
    assert not surely_dead({**other, "host": "elsewhere"}), "of other machines nothing is known"
    assert not surely_dead(None)


def test_trials_of_dead_workers_are_buried(tiny: Path) -> None:
    session = open_session(load_study(str(tiny)), quiet)
    for worker_of in (None, {**this_worker(), "pid": 2**22 - 3, "born": ""}, {**this_worker(), "host": "elsewhere"}):
        trial = session.storage.create_new_trial(session.optuna_study._study_id)
        if worker_of is not None:
            session.storage.set_trial_user_attr(trial, "worker", worker_of)
    bury_dead(session)
    states = [t.state for t in session.optuna_study.trials]
    assert states == [TrialState.FAIL, TrialState.FAIL, TrialState.RUNNING]


def test_two_workers_killed_once(tiny: Path, database: str) -> None:
    command = [
        sys.executable, "-m", "stsearch.cli", "run", str(tiny), "--storage", database, "--quiet",
        "--set=search.trials=10", "--set=engine.workers=2", "--set=search.start_with=paper",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert awaited(process, lambda: read_study("tiny", database).rows(State.COMPLETE).size >= 2)
    process.kill()
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    study = open_study("tiny", database)
    assert len(complete(study)) == len(set(complete(study))) == 10
    assert pareto_of(read_study("tiny", database)).trained == 10


def test_a_database_that_restarts_is_waited_for(tiny: Path, postgres: str) -> None:
    """All connections are cut by the server while a network trains; its result still arrives."""
    session = open_session(load_study(str(tiny), [f"storage={postgres}", "search.trials=2"]), quiet)
    cut: list[bool] = []

    def emit(event: Event) -> None:
        if event["event"] == "epoch":
            cut_connections(postgres)
            cut.append(True)

    work(session, emit)
    assert len(cut) == 2
    assert len(complete(session.optuna_study)) == 2


def test_no_password_is_printed(tiny: Path, cli: Cli) -> None:
    answer = cli("run", str(tiny), "--storage", "postgresql+psycopg://root:hunter2@127.0.0.1:1/none")
    assert answer.returncode == 2
    assert "hunter2" not in answer.stdout + answer.stderr
    assert "cannot open the storage" in answer.stderr


def test_json_of_run_and_pareto_are_the_same(tiny: Path, cli: Cli) -> None:
    ran = cli("run", str(tiny), "--format", "json", "--set=search.start_with=paper", "--set=search.trials=3")
    shown = cli("pareto", str(tiny), "--format", "json")
    assert ran.returncode == shown.returncode == 0, ran.stderr + shown.stderr
    data = json.loads(ran.stdout)
    assert data == json.loads(shown.stdout)
    assert set(data) >= {"study", "objectives", "reference_point", "hypervolume", "trained", "front", "references"}
    assert data["trained"] == 3
    for row in data["front"]:
        assert set(row) >= {"trial", "network", "architecture", "video_top1", "gmacs", "params", "activations"}
    for row in data["references"]:
        assert isinstance(row["dominated_by"], list)
        mine = (row["video_top1"], row["gmacs"])
        beaten = [
            other["network"]
            for other in data["front"]
            if (other["video_top1"], other["gmacs"]) != mine
            and other["video_top1"] <= mine[0]
            and other["gmacs"] >= mine[1]
        ]
        assert row["dominates"] == beaten
    assert [row["network"] for row in data["references"] if row["trial"] is None] == ["R2D-18"]
    assert [line for line in ran.stderr.splitlines() if line.startswith("[3/3]")]


def test_a_reader_says_that_the_file_was_edited_since(tiny: Path, cli: Cli) -> None:
    assert cli("run", str(tiny), "--quiet", "--set=search.trials=1").returncode == 0
    assert cli("pareto", str(tiny)).stderr == ""
    tiny.write_text(tiny.read_text().replace("epochs: 1,", "epochs: 7,").replace("trials: 4", "trials: 9"))
    note = f"note: the study was run with other settings than {tiny} has now: evaluate.epochs: 1, not 7\n"
    for command in (("pareto", str(tiny)), ("report", str(tiny), "--format", "md")):
        answer = cli(*command)
        assert (answer.returncode, answer.stderr) == (0, note)
    assert cli("pareto", "tiny").stderr == ""


def test_the_dashboard_sees_infeasible_trials_as_such(tiny: Path) -> None:
    """Through optuna-dashboard's own HTTP interface."""
    from optuna_dashboard import wsgi

    study, _ = run(load_study(str(tiny), ["search.start_with=paper-all", "search.trials=11", "budget.gmacs=1.2"]))
    storage = optuna.storages.RDBStorage("sqlite:///studies/tiny.db")
    got: dict[str, Any] = {}
    environ: dict[str, Any] = {"PATH_INFO": f"/api/studies/{study._study_id}"}
    setup_testing_defaults(environ)
    body = b"".join(wsgi(storage)(environ, lambda status, headers, failure=None: got.update(status=status)))
    assert got["status"].startswith("200"), body
    shown = {t["number"]: t["constraints"] for t in json.loads(body)["trials"]}
    for trial in study.trials:
        assert (max(shown[trial.number]) > 0) == (trial.user_attrs["gmacs"] > 1.2)


def test_a_storage_that_is_no_database(tiny: Path) -> None:
    Path("studies").mkdir()
    Path("studies/tiny.db").write_text("junk")
    with pytest.raises(UserError, match=r"cannot open the storage sqlite:///studies/tiny\.db: file is not a database"):
        open_session(load_study(str(tiny)), quiet)


def test_a_worker_elsewhere_that_fell_silent_is_given_up(tiny: Path) -> None:
    """A trial of another host with an old heartbeat, on the last slot: it is ended and its place filled."""
    session = open_session(load_study(str(tiny), ["search.trials=1"]), quiet)
    trial = session.storage.create_new_trial(session.optuna_study._study_id)
    session.storage.set_trial_user_attr(trial, "worker", {**this_worker(), "host": "elsewhere"})
    session.storage.record_heartbeat(trial)
    with session.storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'"))
    work(session, quiet)
    assert [t.state for t in session.optuna_study.trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_result_that_comes_too_late_is_noted_and_trained_again(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop that slept: meanwhile another worker ended its trial."""
    session = open_session(load_study(str(tiny), ["search.trials=1"]), quiet)
    real = worker.check_count
    slept: list[bool] = []

    def sleeping(*arguments: Any) -> int:
        if not slept:
            slept.append(True)
            running = next(t for t in session.trials() if t.state == TrialState.RUNNING)
            session.storage.set_trial_state_values(running._trial_id, state=TrialState.FAIL)
        return real(*arguments)

    monkeypatch.setattr(worker, "check_count", sleeping)
    events: list[Event] = []
    work(session, events.append)
    (note,) = [event["text"] for event in events if event["event"] == "note"]
    assert note.endswith("it is trained again")
    states = [t.state for t in session.optuna_study.trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE]
    assert len({t.params["stem"] for t in session.optuna_study.trials}) <= 2


def test_what_is_announced_as_done_is_stored(tiny: Path) -> None:
    """At the moment of the event another process finds the finished trial."""
    session = open_session(load_study(str(tiny), ["search.trials=2"]), quiet)
    seen: list[int] = []

    def emit(event: Event) -> None:
        if event["event"] == "done":
            seen.append(len(complete(open_study("tiny"))))

    work(session, emit)
    assert seen == [1, 2]


def test_a_study_that_others_began(tiny: Path) -> None:
    Path("studies").mkdir()
    optuna.create_study(storage="sqlite:///studies/tiny.db", study_name="tiny")
    with pytest.raises(UserError, match="holds a study 'tiny' that stsearch did not begin"):
        open_session(load_study(str(tiny)), quiet)
    with pytest.raises(UserError, match="was not begun by stsearch"):
        open_study("tiny")


def test_write_ahead_log_is_on() -> None:
    storage = open_storage("sqlite:///a.db")
    with storage.engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("PRAGMA journal_mode")).scalar() == "wal"


OWN = """\
from typing import Literal

from stsearch.data.motions import Motions, MotionsRecipe
from stsearch.data.sources import DATASETS, Source
from stsearch.evaluate.evaluators import EVALUATORS, Evaluator, Scored
from stsearch.schema import Strict


class Recipe(Strict):
    name: Literal["depth"]


class Data(MotionsRecipe):
    name: Literal["own"]


def depth(task, on_epoch):
    return Scored("depth", float(len(task.architecture.id)), (1.0,), 0.0, (0,), "cpu")


EVALUATORS.add("depth", Evaluator(Recipe, depth, metrics=("score",)))
DATASETS.add("own", Source(Data, Motions))
"""
"""A plug-in with an evaluator and a data source of its own."""


def test_a_plug_ins_evaluator_and_data_work_in_several_processes(tiny: Path, cli: Cli) -> None:
    Path("own.py").write_text(OWN)
    Path("space.yaml").write_text(find("search_spaces", "paper-18").read_text() + "plugins: [own]\n")
    sets = [
        "space=space.yaml", "evaluate={name: depth}", "data={name: own, classes: 2, clips: 24, val_clips: 10}",
        "objectives={score: maximize, gmacs: minimize}", "engine.workers=2",
    ]  # fmt: skip
    ran = cli("run", str(tiny), *(f"--set={text}" for text in sets))
    assert ran.returncode == 0, ran.stderr
    assert len(complete(open_study("tiny"))) == 4


def test_a_plug_in_that_fails_in_the_workers_is_named(tiny: Path, cli: Cli) -> None:
    """Not "out of memory?": each of them says what went wrong."""
    only_here = "import multiprocessing\nif multiprocessing.parent_process():\n    raise OSError('no licence here')\n"
    Path("own.py").write_text(only_here)
    Path("space.yaml").write_text(find("search_spaces", "paper-18").read_text() + "plugins: [own]\n")
    ran = cli("run", str(tiny), "--set=space=space.yaml", "--set=engine.workers=2")
    assert ran.returncode == 1
    assert "cannot import 'own': OSError: no licence here" in ran.stderr
    assert "Traceback" not in ran.stderr
