"""Connections cut at any statement, values that no column holds, files that are gone: a result is written once."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import psycopg
import pytest
import sqlalchemy
from optuna.trial import TrialState
from rich.console import Console
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, ProgrammingError

from stsearch.cli.run import worked
from stsearch.errors import WorldError
from stsearch.evaluate import evaluators
from stsearch.evaluate.evaluators import Evaluation, OnEpoch, Task
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.report import planned
from stsearch.report.pareto import pareto_of
from stsearch.report.tables import print_pareto
from stsearch.search import packed, training, worker, workers
from stsearch.search.attributes import ARCHITECTURE, INTERRUPTED, REASON, RECORD, WORKER
from stsearch.search.burial import bury_dead
from stsearch.search.outages import is_outage
from stsearch.search.reading import read_study
from stsearch.search.session import Session, open_session
from stsearch.search.spec import load_study
from stsearch.search.state import State
from stsearch.search.training import Event
from stsearch.search.worker import work
from stsearch.search.workers import this_worker
from tests.conftest import ROOT, cut_connections


def quiet(*_: object) -> None:
    """Hears nothing."""


class Cutter:
    """Has the server cut a connection just before the statements or commits of a main thread at some places."""

    def __init__(self, session: Session, every: int) -> None:
        self.session, self.every, self.count, self.cuts = session, every, 0, 0
        engine = session.storage.engine
        sqlalchemy.event.listen(engine, "before_cursor_execute", self._statement)
        sqlalchemy.event.listen(engine, "commit", self._pass)

    def _statement(self, connection: sqlalchemy.Connection, *_: object) -> None:
        self._pass(connection)

    def _pass(self, connection: sqlalchemy.Connection) -> None:
        self.count += 1
        if self.count % self.every:
            return
        self.cuts += 1
        raw: Any = connection.connection.dbapi_connection
        cut_connections(str(connection.engine.url), raw.info.backend_pid)


def complete(session: Session) -> list[str]:
    done = [t for t in session.optuna_study.get_trials() if t.state == TrialState.COMPLETE]
    return [t.user_attrs[ARCHITECTURE] for t in done]


def test_connections_that_are_cut_at_many_statements_lose_no_result(tiny: Path, postgres: str) -> None:
    """Each trial at another statement; no network is trained twice to its end."""
    session = open_session(load_study(str(tiny), [f"storage={postgres}", "search.trials=8"]), quiet)
    events: list[Event] = []
    cutter = Cutter(session, every=31)  # a prime: the place moves on from trial to trial
    work(session, events.append)
    assert cutter.cuts >= 4
    names = complete(session)
    assert len(names) == len(set(names)) == 8
    trained = Counter(event[ARCHITECTURE] for event in events if event["event"] == "epoch")
    assert set(trained.values()) == {1}, "a training that had ended was done again"
    assert len(read_study("tiny", postgres).details(read_study("tiny", postgres).complete)) == 8


@pytest.mark.parametrize("place", range(4))
def test_a_connection_that_is_cut_while_a_trial_is_told(
    tiny: Path, postgres: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every statement and commit of ``tell`` once; the write may have arrived before the cut."""
    session = open_session(load_study(str(tiny), [f"storage={postgres}", "search.trials=1"]), quiet)
    real = training.tell
    cutters: list[Cutter] = []

    def telling(*arguments: Any, **named: Any) -> Any:
        if not cutters:
            cutters.append(Cutter(session, every=10**6))
            cutters[0].count = 10**6 - 1 - place
        return real(*arguments, **named)

    monkeypatch.setattr(training, "tell", telling)
    events: list[Event] = []
    work(session, events.append)
    assert cutters[0].cuts == 1
    states = [t.state for t in session.optuna_study.get_trials()]
    assert states == [TrialState.COMPLETE]
    assert [event["event"] for event in events if event["event"] != "note"] == ["clips", "start", "epoch", "done"]


def test_a_server_that_goes_away_while_a_run_begins_is_waited_for(
    tiny: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had answered once, so its URL is right."""
    real, asked = planned.what_it_settles, list[Session]()

    def away_once(session: Session) -> str:
        asked.append(session)
        if len(asked) == 1:
            raise OperationalError("SELECT", {}, psycopg.OperationalError("Connection refused"))
        return real(session)

    monkeypatch.setattr(planned, "what_it_settles", away_once)
    worked(load_study(str(tiny), [f"storage={postgres}", "search.trials=1"]), None, quiet=True)
    assert len(asked) == 2
    assert len(complete(asked[0])) == 1


def test_only_what_passes_is_an_outage() -> None:
    def of(kind: Any, cause: Exception, **more: Any) -> Exception:
        error: Exception = kind("INSERT", {}, cause, **more)
        outer = optuna.exceptions.StorageInternalError("a commit")
        outer.__cause__ = error
        return outer

    assert is_outage(of(OperationalError, psycopg.OperationalError("server closed the connection")))
    assert is_outage(of(ProgrammingError, Exception("cut"), connection_invalidated=True))
    assert is_outage(of(OperationalError, Exception(1213, "Deadlock found")))
    assert not is_outage(of(DataError, Exception(1406, "Data too long for column 'value_json'")))
    assert not is_outage(of(IntegrityError, Exception("null value")))
    assert not is_outage(of(ProgrammingError, Exception("permission denied")))
    assert not is_outage(of(OperationalError, Exception(1142, "INSERT command denied")))
    assert not is_outage(ValueError("no database"))


def test_a_record_of_any_size_is_stored_and_read(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts that any column holds; of trials, repeats and references, and beside records of before."""
    settings = ["search.trials=3", "search.repeats=2", "search.start_with=paper"]
    session = open_session(load_study(str(tiny), settings), quiet)
    work(session, lambda event: monkeypatch.setattr(packed, "MOST", 300) if event["event"] == "done" else None)
    with session.storage.engine.connect() as connection:
        tables = ("trial_system_attributes", "study_system_attributes")
        kept = [
            row
            for table in tables
            for row in connection.execute(sqlalchemy.text(f"SELECT key, value_json FROM {table}"))  # noqa: S608
            if row[0].startswith(RECORD)
        ]
    packed_rows = [row for row in kept if row[0] != RECORD]
    assert packed_rows
    assert max(len(row[1]) for row in packed_rows) <= 302
    stored = read_study("tiny")
    records = stored.details(stored.complete)
    assert len(records) == 3
    assert all(record["trainings"][0]["curve"] for record in records)
    assert sum(len(record["trainings"]) for record in records) == 3 + sum(map(len, stored.repeats.values()))
    assert all(v[RECORD]["trainings"] for k, v in stored.user_attributes.items() if k.startswith("reference:"))


def test_packing_is_exact() -> None:
    value = {"confusion": [[a, (a * 7919) % 400, (a * 31) % 17] for a in range(20_000)], "ä": None}
    parts = packed.split("key", value)
    assert len(parts) > 2
    assert list(parts)[-1] == "key"
    assert packed.whole(parts, "key") == value
    assert packed.further("key", parts["key"]) == list(parts)[:-1]
    assert packed.split("key", {"a": 1}) == {"key": {"a": 1}}


def test_what_the_world_does_to_a_network_leaves_it_open(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is gone stops the run with its name; the network is trained by the next one."""
    there = tiny.parent / "frames"
    real = evaluators.evaluate_by_training

    def reading(task: Task, on_epoch: OnEpoch) -> Evaluation:
        there.read_bytes()
        return real(task, on_epoch)

    monkeypatch.setitem(evaluators.EVALUATORS._items, "train", evaluators.Evaluator(TrainRecipe, reading))
    study = load_study(str(tiny), ["search.trials=2", "search.start_with=paper"])
    with pytest.raises(WorldError, match=f"No such file.*{there.name}"):
        work(open_session(study, quiet), quiet)
    there.write_bytes(b"")
    session = open_session(study, quiet)
    work(session, quiet)
    stored = read_study("tiny")
    assert not stored.ended(State.FAILED)
    assert len(complete(session)) == 2
    assert all(v["state"] == "complete" for k, v in stored.user_attributes.items() if k.startswith("reference:"))


def test_a_network_that_failed_is_tried_again_when_asked_for(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the number of networks of its study, once for each time that it is asked for."""
    real, broken = evaluators.evaluate_by_training, [True]

    def breaking(task: Task, on_epoch: OnEpoch) -> Evaluation:
        if broken and task.architecture.stages[3][0] == "3d":
            raise IndexError("kind is broken")
        return real(task, on_epoch)

    monkeypatch.setitem(evaluators.EVALUATORS._items, "train", evaluators.Evaluator(TrainRecipe, breaking))
    study = load_study(str(tiny), ["search.trials=2", "search.start_with=[MC2-18, R3D-18, rMC2-18, f-R2D-18]"])
    work(open_session(study, quiet), quiet)
    assert [one.network for one in pareto_of(read_study("tiny")).failures] == ["R3D-18", "rMC2-18"]
    text = io.StringIO()
    print_pareto(pareto_of(read_study("tiny")), Console(file=text, width=200))
    assert "IndexError: kind is broken" in text.getvalue()
    assert "--retry-failed" in text.getvalue()
    work(open_session(study, quiet), quiet)
    assert len(pareto_of(read_study("tiny")).failures) == 2, "not without being asked"
    work(open_session(study, quiet, retry_failed=True), quiet)
    assert len(pareto_of(read_study("tiny")).failures) == 2, "they failed again"
    broken.clear()
    work(open_session(study, quiet, retry_failed=True), quiet)
    result = pareto_of(read_study("tiny"))
    assert (result.failures, result.trained) == ((), 4)


@pytest.mark.parametrize("repeats", [1, 2])
def test_a_result_that_is_lost_twice_for_one_reason_is_given_up(tiny: Path, postgres: str, repeats: int) -> None:
    """A column that holds too little: one line and exit 1, then the network fails, is shown, and others go on.

    Of several trainings the first one is lost, while its network is still evaluated.
    """
    study = load_study(str(tiny), [f"storage={postgres}", "search.trials=1", f"evaluate.repeats={repeats}"])
    session = open_session(study, quiet)

    def column(kind: str) -> None:
        with session.storage.engine.begin() as connection:
            connection.execute(sqlalchemy.text(f"ALTER TABLE trial_system_attributes ALTER value_json TYPE {kind}"))

    column("varchar(200)")
    with pytest.raises(WorldError, match="cannot take a result: value too long"):
        work(session, quiet)
    assert not read_study("tiny", postgres).ended(State.FAILED), "once is no reason to give it up"
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        assert sum(one["event"] == "start" for one in events) < 4, "one network is trained again and again"
        if event["event"] == "failed":
            column("text")

    work(session, emit)
    (lost,) = read_study("tiny", postgres).ended(State.FAILED)
    assert lost.reason.startswith("its result cannot be written: value too long")
    assert [event["event"] for event in events if event["event"] in ("failed", "done")] == ["failed", "done"]
    trials = session.optuna_study.get_trials()
    first = trials[0].user_attrs[ARCHITECTURE]
    assert [t.user_attrs[ARCHITECTURE] == first for t in trials] == [True, True, False]
    assert [bool(t.user_attrs.get(INTERRUPTED)) for t in trials] == [True, False, False]
    assert REASON not in trials[2].user_attrs


def test_a_connection_that_is_cut_while_it_is_given_back_prints_no_traceback(postgres: str) -> None:
    """SQLAlchemy logs it, and Python prints what nobody listens to."""
    code = f"""
from stsearch.search.storage import open_storage
from tests.conftest import cut_connections
engine = open_storage({postgres!r}).engine
connection = engine.raw_connection()
cursor = connection.cursor()
cursor.execute("SELECT pg_backend_pid()")
cut_connections({postgres!r}, cursor.fetchone()[0])
connection.close()
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_reference_whose_claim_was_cut_off_is_trained_in_the_same_run(
    tiny: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim arrived, its answer did not: nobody else trains it."""
    settings = [f"storage={postgres}", "search.trials=1", "search.start_with=paper"]
    session = open_session(load_study(str(tiny), settings), quiet)
    real, claimed = worker._beat, list[str]()

    def beat(session: Session, name: str) -> None:
        real(session, name)
        if not claimed:
            claimed.append(name)
            raise OperationalError("UPDATE", {}, Exception("cut"), connection_invalidated=True)

    monkeypatch.setattr(worker, "_beat", beat)
    work(session, quiet)
    assert [claimed[0]] == [record.network for record in read_study("tiny", postgres).references()]


def test_a_worker_of_a_machine_that_slept_has_time_for_a_sign_of_life(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is alive and trains on: its trial is not given up at once, as one of a worker elsewhere is."""
    session = open_session(load_study(str(tiny)), quiet)
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    worker_of = {**this_worker(), "pid": other.pid, "born": workers._born(other.pid), "token": "another"}
    trial = session.storage.create_new_trial(session.optuna_study._study_id)
    session.storage.set_trial_user_attr(trial, WORKER, worker_of)
    session.storage.record_heartbeat(trial)

    def state_when_buried() -> TrialState:
        bury_dead(session)
        return session.storage.get_trial(trial).state

    def slept() -> None:
        with session.storage.engine.begin() as connection:
            connection.execute(sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'"))

    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    slept()
    assert state_when_buried() == TrialState.RUNNING
    now += 80
    session.storage.record_heartbeat(trial)
    assert state_when_buried() == TrialState.RUNNING
    slept()
    assert state_when_buried() == TrialState.RUNNING
    now += 80
    assert state_when_buried() == TrialState.RUNNING, "the sign of life counted"
    now += 20
    assert state_when_buried() == TrialState.FAIL, "it hangs"
    other.communicate(b"\n")


def test_a_sign_of_life_that_waits_for_a_server_holds_up_nobody(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does for minutes where a server has too many clients; Ctrl-C would wait with it."""
    session, server_is_back = open_session(load_study(str(tiny)), quiet), threading.Event()
    waits = threading.Event()

    def beat(_: int) -> None:
        waits.set()
        server_is_back.wait(60)

    monkeypatch.setattr(session.storage, "record_heartbeat", beat)
    monkeypatch.setattr(training, "_LAST_BEAT_S", 0.1)
    monkeypatch.setattr(training, "HEARTBEAT_S", 0.0)
    with training._heartbeat(session.storage, 1):
        assert waits.wait(60)
        begun = time.monotonic()
    took = time.monotonic() - begun
    server_is_back.set()
    assert took < 30
