"""How a trial stands: the truth table, and that it is the same whether Optuna or the reader holds the trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from stsearch.search.attributes import ARCHITECTURE, INTERRUPTED, REASON, SCREEN, STOPPED
from stsearch.search.reading import read_study
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.state import State, state_of

OUT, PASSED = ({"score": "naswot", "clips": 8, "value": 1.0, "out": out} for out in (True, False))
CASES: list[tuple[TrialState, dict[str, Any], State]] = [
    (TrialState.WAITING, {}, State.OPEN),
    (TrialState.RUNNING, {}, State.RUNNING),
    (TrialState.RUNNING, {INTERRUPTED: True, REASON: "interrupted: Ctrl-C"}, State.RUNNING),
    (TrialState.COMPLETE, {}, State.COMPLETE),
    (TrialState.COMPLETE, {SCREEN: PASSED}, State.COMPLETE),
    (TrialState.PRUNED, {REASON: "stopped at epoch 1", STOPPED: 1}, State.STOPPED),
    (TrialState.PRUNED, {REASON: "stopped at epoch 1", STOPPED: 1, SCREEN: PASSED}, State.STOPPED),
    (TrialState.PRUNED, {REASON: "screened out by naswot", SCREEN: OUT}, State.SCREENED),
    (TrialState.PRUNED, {REASON: "not trained: latency_ms 9, budget 8"}, State.OVER),
    (TrialState.PRUNED, {REASON: "not trained: latency_ms 9, budget 8", SCREEN: PASSED}, State.OVER),
    (TrialState.FAIL, {REASON: "the loss is nan"}, State.FAILED),
    (TrialState.FAIL, {REASON: "the loss is nan", STOPPED: 1}, State.FAILED),
    (TrialState.FAIL, {REASON: "the loss is nan", INTERRUPTED: True}, State.INTERRUPTED),
    (TrialState.FAIL, {}, State.INTERRUPTED),
]
"""Optuna's state, the attributes that matter, and how the trial stands"""


def trial_of(number: int, state: TrialState, attributes: dict[str, Any]) -> FrozenTrial:
    values = [50.0, 1.0] if state == TrialState.COMPLETE else None
    return create_trial(state=state, values=values, user_attrs={ARCHITECTURE: f"network {number}", **attributes})


def test_the_truth_table() -> None:
    assert [state_of(trial_of(0, state, known)) for state, known, _ in CASES] == [expected for *_, expected in CASES]
    assert {expected for *_, expected in CASES} == set(State) - {State.DAMAGED}, "no state is forgotten"


def test_what_ended_and_what_counts() -> None:
    assert {state for state in State if not state.ended} == {State.OPEN, State.RUNNING}
    assert {state for state in State if not state.counts} == {State.OPEN, State.INTERRUPTED, State.DAMAGED}


@pytest.mark.slow
def test_the_reader_and_optuna_say_the_same(tiny: Path, database: str) -> None:
    study = load_study(str(tiny), [f"storage={database}", "objectives={video_top1: maximize, gmacs: minimize}"])
    session = open_session(study, lambda *_: None)
    for number, (state, known, _) in enumerate(CASES):
        session.optuna_study.add_trial(trial_of(number, state, known))
    stored = read_study("tiny", database)
    assert stored.states.tolist() == [state_of(trial) for trial in session.trials()]
    assert stored.states.tolist() == [expected for *_, expected in CASES]
    assert [ended.reason for ended in stored.ended(State.OVER)] == ["not trained: latency_ms 9, budget 8"] * 2
    assert stored.rows(State.STOPPED, State.FAILED).tolist() == [5, 6, 10, 11]
