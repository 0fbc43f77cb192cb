"""Reading a study back: the same as Optuna's own objects say, and one line for what cannot be read."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages._rdb import models
from optuna.study import _constrained_optimization, study

from stsearch.errors import UserError
from stsearch.report.collect import report_of
from stsearch.report.markdown import markdown
from stsearch.report.pareto import pareto_of
from stsearch.report.shown import ShownStorage
from stsearch.search import attributes, recognise
from stsearch.search.reading import read_study
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.state import state_of
from stsearch.search.storage import open_storage, open_study
from stsearch.search.worker import work
from tests.conftest import Cli


def quiet(*_: object) -> None:
    """No progress."""


def test_what_is_taken_from_optuna_is_still_so() -> None:
    assert recognise.SCHEMA == models.SCHEMA_VERSION
    assert f"{_constrained_optimization._CONSTRAINTS_KEY}:" == attributes.CONSTRAINT
    assert study._SYSTEM_ATTR_METRIC_NAMES == attributes.METRIC_NAMES


@pytest.mark.slow
@pytest.mark.parametrize("many", [False, True])
def test_it_agrees_with_optuna(tiny: Path, many: bool) -> None:
    """Few rows are asked for by their numbers, many over the whole study; the answers are the same."""
    settings = ["budget.gmacs=1.6", "budget.params=30000000.0", "search.start_with=paper-all", "search.trials=14"]
    session = open_session(load_study(str(tiny), settings), quiet)
    work(session, quiet)
    session.storage.create_new_trial(session.optuna_study._study_id)
    stored, trials = read_study("tiny"), open_study("tiny").trials
    assert stored.numbers.tolist() == [t.number for t in trials]
    assert stored.states.tolist() == [state_of(t) for t in trials]
    assert stored.feasible.tolist() == [all(v <= 0 for v in t.constraints.values()) for t in trials]
    assert 0 < stored.feasible[stored.complete].sum() < len(stored.complete)
    for row, trial in enumerate(trials):
        assert (trial.values or [None, None]) == [None if np.isnan(v) else v for v in stored.values[row]]
    rows = np.arange(len(trials)) if many else np.array([3, 1])
    found = stored.attributes(["network", "gmacs"], rows)
    for row, got in zip(rows, found, strict=True):
        assert got == {k: v for k, v in trials[row].user_attrs.items() if k in ("network", "gmacs")}
    names = [trials[row].user_attrs["network"] for row in (0, 5)]
    assert {trials[row].user_attrs["network"] for row in stored.find("network", names)} == set(names)
    starts, ends = stored.times()
    assert sorted(starts) == starts
    assert [bool(end) for end in ends] == [t.datetime_complete is not None for t in trials]


def change(statement: str, *values: object) -> None:
    with sqlite3.connect("studies/tiny.db") as connection:
        connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("UPDATE version_info SET schema_version = 11", "is of another Optuna version (schema 11"),
        ("DROP TABLE version_info", "another Optuna (revision v3.2.0.a)"),
        ("DROP TABLE trial_values", "another Optuna (revision v3.2.0.a)"),
        ("DELETE FROM study_user_attributes", "was not begun by stsearch"),
        ("DELETE FROM studies", "no study 'tiny' has begun yet"),
    ],
)
def test_storages_that_are_not_ours(tiny: Path, spoil: str, said: str) -> None:
    open_session(load_study(str(tiny)), quiet)
    change(spoil)
    with pytest.raises(UserError) as error:
        read_study("tiny")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_every_command_says_it_in_a_line(tiny: Path, cli: Cli) -> None:
    session = open_session(load_study(str(tiny)), quiet)
    stored = {**session.optuna_study.user_attrs[attributes.SPEC], "format": attributes.FORMAT + 1}
    session.optuna_study.set_user_attr(attributes.SPEC, stored)
    for command in (
        ["pareto", "tiny"],
        ["dashboard", "tiny"],
        ["report", "tiny"],
        ["profile", "tiny#0"],
        ["run", str(tiny)],
    ):
        result = cli(*command)
        assert result.returncode == 2, command
        assert result.stderr.count("\n") == 1, result.stderr
        assert "was written by a newer stsearch (format 2; up to 1 is read here)" in result.stderr
    Path("studies/broken.db").write_text("no database at all, but long enough to be taken for one" * 100)
    for command in (["pareto", "broken"], ["dashboard", "broken"], ["report", "broken"]):
        result = cli(*command)
        assert result.returncode == 2, command
        assert result.stderr.count("\n") == 1, result.stderr
        assert "file is not a database" in result.stderr


@pytest.mark.slow
def test_an_empty_study_and_one_that_is_being_written(tiny: Path, cli: Cli) -> None:
    open_session(load_study(str(tiny)), quiet)
    empty = pareto_of(read_study("tiny"))
    assert (empty.trained, empty.front, empty.hypervolume) == (0, (), 0.0)
    command = [sys.executable, "-m", "stsearch.cli", "run", str(tiny), "--quiet", "--set=search.trials=12"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    seen = []
    while running.poll() is None:
        seen.append(pareto_of(read_study("tiny")).trained)
    assert running.returncode == 0
    assert seen == sorted(seen)
    assert pareto_of(read_study("tiny")).trained == 12
    shown = json.loads(cli("pareto", "tiny", "--format", "json").stdout)
    assert shown["trained"] == 12
    assert isinstance(open_study("tiny"), optuna.Study)


SPOILS = {
    "an attribute that is no JSON": "UPDATE trial_user_attributes SET value_json='{' "
    "WHERE trial_id=3 AND key='architecture'",
    "a number that is none": "UPDATE trial_user_attributes SET value_json='{' WHERE trial_id=3 AND key='gmacs'",
    "no cost": "DELETE FROM trial_user_attributes WHERE trial_id=3 AND key='gmacs'",
    "no architecture": "DELETE FROM trial_user_attributes WHERE trial_id=3 AND key='architecture'",
    "no name": "DELETE FROM trial_user_attributes WHERE trial_id=3 AND key='network'",
    "no value": "DELETE FROM trial_values WHERE trial_id=3",
    "no record": "UPDATE trial_system_attributes SET value_json='' WHERE trial_id=3",
}


@pytest.mark.slow
def test_rows_that_others_spoiled_cost_their_trial_alone(tiny: Path) -> None:
    session = open_session(load_study(str(tiny)), quiet)
    work(session, quiet)
    session.storage.remove_session()
    with sqlite3.connect("studies/tiny.db") as source, sqlite3.connect("whole.db") as copy:
        source.backup(copy)
    for why, statement in SPOILS.items():
        for file in Path("studies").glob("tiny.db*"):
            file.unlink()
        shutil.copy("whole.db", "studies/tiny.db")
        change(statement)
        stored = read_study("tiny")
        left_out = why in ("an attribute that is no JSON", "no architecture", "no value")
        said = "trials whose rows in the database are damaged are left out: 2"
        assert stored.spoiled == (said if left_out else ""), why
        assert pareto_of(stored).trained == 4 - left_out, why
        assert len(pareto_of(stored).front) + len(pareto_of(stored).dominated) == 4 - left_out, why
        assert "hypervolume" in markdown(report_of(stored)).lower(), why
        assert "Front" in ShownStorage(open_storage(stored.url), "tiny", stored.url).standing().note, why
        if why not in ("an attribute that is no JSON", "no value"):
            continue
        again = open_session(load_study(str(tiny)), quiet)
        work(again, quiet)
        assert len([t for t in again.trials() if t.state.name == "COMPLETE"]) == 4, why
        again.storage.engine.dispose()
