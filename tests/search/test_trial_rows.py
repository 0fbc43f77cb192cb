"""Trials as plain rows are what Optuna reads of them, and what is written at once is what Optuna would have written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from stsearch.errors import StsearchError
from stsearch.search import pool as pools
from stsearch.search import training
from stsearch.search.attributes import ARCHITECTURE, REASON
from stsearch.search.fresh import Fresh
from stsearch.search.metrics import METRICS
from stsearch.search.place import sqlalchemy_text
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.state import State, state_of
from stsearch.search.storage import open_storage
from stsearch.search.training import tell
from stsearch.search.trial_rows import write_attributes
from stsearch.search.worker import work
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Heartbeat of storage")]


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are kept in UTC and told as those of the place."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def optunas(url: str) -> RDBStorage:
    return RDBStorage(sqlalchemy_text(url), skip_table_creation=True)


def by_optuna(url: str, name: str) -> list[FrozenTrial]:
    storage = optunas(url)
    found = storage.get_all_trials(storage.get_study_id_from_name(name))
    storage.engine.dispose()
    return found


@pytest.mark.usefixtures("far_east")
def test_trials_of_every_kind_are_read_as_optuna_reads_them(database: str) -> None:
    storage = open_storage(database)
    study = optuna.create_study(storage=storage, study_name="one", directions=["maximize", "minimize"])
    values: list[list[float]] = [[1.5, -2.0], [float("inf"), 0.0], [3.0, float("-inf")]]
    for value in values:
        trial = study.ask()
        trial.suggest_int("depth", 1, 9, step=2)
        trial.suggest_categorical("kind", ["2d", None, 3, True])
        trial.suggest_float("rate", 1e-4, 1, log=True)
        trial.set_user_attr(ARCHITECTURE, "a network")
        trial.set_user_attr("ä", {"list": [1, None], "text": "'%s:"})
        storage.set_trial_system_attr(trial._trial_id, "parts", ["x" * 50_000])
        study.tell(trial, value)
    study.tell(study.ask(), state=TrialState.FAIL)
    study.enqueue_trial({"depth": 3})
    study.ask().suggest_int("depth", 1, 9, step=2)
    single = optuna.create_study(storage=storage, study_name="two")
    trial = single.ask()
    for step, reported in enumerate((0.5, float("nan"), float("inf"))):
        trial.report(reported, step)
    assert storage.get_all_trials(study._study_id) == by_optuna(database, "one") == study.get_trials()
    assert repr(storage.get_all_trials(single._study_id)) == repr(by_optuna(database, "two"))
    running = study.get_trials()[-1]
    assert storage.get_trial(running._trial_id) == optunas(database).get_trial(running._trial_id)
    with pytest.raises(KeyError):
        storage.get_trial(10**6)
    with pytest.raises(KeyError):
        storage.get_all_trials(10**6)


@pytest.mark.usefixtures("far_east")
def test_what_is_written_at_once_is_what_optuna_would_have_written(database: str) -> None:
    storage = open_storage(database)
    study = optuna.create_study(storage=storage, study_name="one", directions=["maximize", "minimize"])
    at_once, singly = study.ask(), study.ask()
    user: dict[str, Any] = {ARCHITECTURE: "a network", "a": 1.25, "b": [None, "ü%s"], "c": 2}
    system: dict[str, Any] = {"record": {"k": [1, 2]}, "constraints": [0.5]}
    for trial in (at_once, singly):
        trial.set_user_attr("a", "of before")
    write_attributes(storage, at_once, user, system)
    assert at_once.user_attrs == user
    assert tell(storage, at_once, None, [float("inf"), 2])
    for key, value in user.items():
        singly.set_user_attr(key, value)
    for key, value in system.items():
        storage.set_trial_system_attr(singly._trial_id, key, value)
    study.tell(singly, [float("inf"), 2])
    first, second = by_optuna(database, "one")
    for ours, theirs in zip(*(vars(trial).items() for trial in (first, second)), strict=True):
        if ours[0] not in ("_number", "_trial_id", "_datetime_start", "datetime_start", "datetime_complete"):
            assert ours == theirs
    assert first.datetime_complete is not None
    assert second.datetime_complete is not None
    assert abs((second.datetime_complete - first.datetime_complete).total_seconds()) < 600
    with pytest.raises(UpdateFinishedTrialError):
        write_attributes(storage, at_once, {"a": "too late"}, {})
    assert by_optuna(database, "one")[0] == first


def test_values_that_are_no_numbers_are_a_failure(database: str) -> None:
    storage = open_storage(database)
    study = optuna.create_study(storage=storage, study_name="one")
    assert tell(storage, study.ask(), None, [float("nan")])
    assert [(t.state, t.values) for t in by_optuna(database, "one")] == [(TrialState.FAIL, None)]


NO_NUMBER = """
from stsearch.search.metrics import measured


@measured("energy", title="energy", unit="J")
def energy(architecture, clip, classes, setting):
    return float("nan")
"""


@pytest.mark.parametrize("objectives", ["{video_top1: maximize, energy: minimize}", "{video_top1: maximize}"])
def test_a_network_that_is_measured_as_no_number_has_failed(
    objectives: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(METRICS, "_items", dict(METRICS._items))
    plugin = f"no_number_{len(objectives)}"  # a module is imported once in a process
    Path(f"{plugin}.py").write_text(NO_NUMBER)
    space = (ROOT / "search_spaces" / "paper-18.yaml").read_text()
    Path("space.yaml").write_text(space + f"plugins: [stsearch.testing, {plugin}]\n")
    Path("odd.yaml").write_text(
        f"space: space.yaml\nobjectives: {objectives}\nbudget: {{energy: 5}}\nproxy: {{frames: 4, size: 16}}\n"
        "data: {name: motions, clips: 16, val_clips: 10}\nevaluate: {name: simulated, seconds: 0}\n"
        "search: {trials: 3, sampler: random, start_with: none}\nengine: {device: cpu}\n"
    )
    session = open_session(load_study("odd.yaml"), lambda *_: None)
    with pytest.raises(StsearchError, match="networks failed one after the other"):
        work(session, lambda event: None)
    trials = session.trials()
    assert {state_of(trial) for trial in trials} == {State.FAILED}
    assert len({trial.user_attrs[ARCHITECTURE] for trial in trials}) == len(trials)
    assert {trial.user_attrs[REASON] for trial in trials} == {"energy was measured as nan, which is no number"}


def test_each_ended_trial_is_given_once_in_whatever_order_they_end() -> None:
    study, fresh, seen = optuna.create_study(), Fresh(), list[int]()
    trials = [study.ask() for _ in range(6)]
    for number in (4, 0, 1, 5, 2, 3):
        study.tell(trials[number], 1.0)
        there = [t for t in study.get_trials() if t.number != 2 or t.state.is_finished()]  # one may be left out
        found = fresh.of(there)
        seen += [trial.number for trial in found if trial.state.is_finished()]
        assert [t.number for t in found if not t.state.is_finished()] == [
            t.number for t in there if not t.state.is_finished()
        ]
    assert seen == [4, 0, 1, 5, 2, 3]
    assert fresh.of(study.get_trials()) == []


def test_a_trial_takes_one_connection(server: str, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs a server more than all of a trial's statements; the worker has none while it trains."""
    monkeypatch.setattr(training, "HEARTBEAT_S", 3600.0)  # a sign of life has one of its own
    session = open_session(
        load_study(str(tiny), ["search.trials=5", "search.start_with=none"], server), lambda *_: None
    )
    opened: list[int] = []
    sa.event.listen(session.storage.engine, "connect", lambda *_: opened.append(1))
    begun: list[int] = []
    work(session, lambda event: begun.append(len(opened)) if event["event"] == "start" else None)
    assert [later - earlier for earlier, later in pairwise(begun)] == [1, 1, 1, 1]


def test_a_connection_that_lingers_may_be_cut(server: str) -> None:
    engine = sa.create_engine(sqlalchemy_text(server), poolclass=pools.FewConnections)
    pool = engine.pool
    assert isinstance(pool, pools.FewConnections)
    pool.linger()
    with engine.connect() as connection:
        raw = connection.connection.dbapi_connection
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection is raw, "the same serves again"
        connection.connection.invalidate()
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1, "another takes the place of one that was cut"
        raw = connection.connection.dbapi_connection
    pool.let_go()
    with engine.connect() as connection:
        assert connection.connection.dbapi_connection is not raw
