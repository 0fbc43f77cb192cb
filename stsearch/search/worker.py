"""The one search loop: ask, decode, evaluate, tell. Any number of workers run it on one study."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from sqlalchemy.exc import SQLAlchemyError

from stsearch.errors import StsearchError, WorldError
from stsearch.evaluate.evaluators import EVALUATORS, Evaluation, OnEpoch, Task
from stsearch.evaluate.train import EvaluationFailed
from stsearch.nets.count import counted_flops
from stsearch.search.records import NETWORK, REFERENCE, WORKER, describe, metrics_of, outcome, plain, set_constraints
from stsearch.search.samplers import ARCHITECTURE, INTERRUPTED, REASON, Exhausted, suggest
from stsearch.search.session import (
    FAILURES_IN_A_ROW,
    Session,
    bury_dead,
    open_reference,
    standing,
)
from stsearch.search.storage import this_worker
from stsearch.space.architecture import Architecture
from stsearch.space.cost import network_cost
from stsearch.space.published import name_of

Event = dict[str, Any]
Emit = Callable[[Event], None]
"""Receives ``{"event": "start" | "epoch" | "done" | "failed" | "note", ...}``."""
T = TypeVar("T")
_STORAGE_ERRORS = (SQLAlchemyError, StorageInternalError)
_PATIENCE_S = 300.0
"""How long a database server may be away before a result is given up."""
_WAIT_S = 0.5


def work(session: Session, emit: Emit) -> None:
    """Train networks until the study has as many as it wants; wait for those of other workers.

    A database server that is away is waited for. Raises ``WorldError`` when too many networks
    fail in a row.
    """
    patience = _Patience(session)
    while True:
        try:
            if not _step(session, emit):
                return
            patience = _Patience(session)
        except _STORAGE_ERRORS:
            patience.hold()  # the trial that was cut off is ended by ``bury_dead`` and tried again


def _step(session: Session, emit: Emit) -> bool:
    """One network, or one moment of waiting; false when nothing is left to do."""
    with session.lock:
        bury_dead(session)
        reference = _claim_reference(session)
        now = standing(session)
        if now.failing >= FAILURES_IN_A_ROW:
            raise WorldError(_stopped_by_failures(session, now.failing))
        if reference is None and now.open and session.sampler.left(session.trials()):
            try:
                _run_trial(session, emit)  # gives the lock back as soon as its network is known
            except Exhausted:
                bury_dead(session)  # the trial that was opened for a network that there is not
                return False
            return True
    if reference is not None:
        _train_reference(session, *reference, emit)
        return True
    if now.running:
        time.sleep(_WAIT_S)
    return now.running > 0


class _Patience:
    """Waits for a database server that is away; a full disk under SQLite is not waited for."""

    def __init__(self, session: Session) -> None:
        self.left = 0.0 if session.storage.engine.dialect.name == "sqlite" else _PATIENCE_S
        self.pause = 0.5

    def hold(self) -> None:
        """Called while an error is handled: pause, or raise it again when patience is over."""
        if self.left < self.pause:
            raise
        time.sleep(self.pause)
        self.left -= self.pause
        self.pause = min(2 * self.pause, 15)


def _stopped_by_failures(session: Session, count: int) -> str:
    failed = [t for t in session.trials() if REASON in t.user_attrs and not t.user_attrs.get(INTERRUPTED)]
    last = max(failed, key=lambda t: t.number)
    return (
        f"stopped: {count} networks failed one after the other, the last, {last.user_attrs[NETWORK]}: "
        f"{last.user_attrs[REASON]}. The same command goes on with other networks"
    )


def _run_trial(session: Session, emit: Emit) -> None:
    """One trial through ``optimize``, so that Optuna sends its heartbeat.

    From the end of its training until it is told, Ctrl-C waits: a result is not thrown away.
    """
    done: list[Event] = []
    calm = _Calm()
    try:
        session.optuna_study.optimize(
            lambda trial: _objective(session, trial, emit, done, calm), n_trials=1, catch=(EvaluationFailed,)
        )
    except (UpdateFinishedTrialError, ValueError):
        if not done:
            raise
        text = f"the result of {done[0]['network']} came after its trial had been given up; it is trained again"
        emit({"event": "note", "text": text})
    else:
        for event in done:
            emit(event)
    finally:
        calm.end()


class _Calm:
    """Holds Ctrl-C back between ``begin`` and ``end``."""

    def __init__(self) -> None:
        self._handler: Any = None
        self._pressed = False

    def begin(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._note)

    def _note(self, signum: int, frame: object) -> None:
        self._pressed = True

    def end(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None
        if self._pressed:
            self._pressed = False
            raise KeyboardInterrupt


def _objective(session: Session, trial: optuna.Trial, emit: Emit, done: list[Event], calm: _Calm) -> tuple[float, ...]:
    architecture = suggest(trial, session.study.space)
    costs = session.costs(architecture)
    attributes = {ARCHITECTURE: architecture.id, WORKER: this_worker(), **describe(architecture, costs)}
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    session.lock.release()
    set_constraints(trial, session.optuna_study, session.excess(costs))
    about = {"trial": trial.number, "network": name_of(architecture), **costs}
    emit({"event": "start", **about})
    try:
        evaluation, flops = _evaluate(session, architecture, _reporter(about, emit))
    except EvaluationFailed as error:
        trial.set_user_attr(REASON, str(error))
        emit({"event": "failed", "reason": str(error), **about})
        raise
    except KeyboardInterrupt:
        trial.set_user_attr(INTERRUPTED, True)
        trial.set_user_attr(REASON, "interrupted: stopped by the user")
        raise
    calm.begin()
    metrics = metrics_of(evaluation, costs)
    done.append(_done(about, metrics, evaluation))
    for name, value in plain(outcome(evaluation, flops, session.device)).items():
        _persist(session, partial(trial.set_user_attr, name, value))
    return tuple(float(metrics[name]) for name in session.study.spec.objectives)


def _done(about: Event, metrics: dict[str, float], evaluation: Evaluation) -> Event:
    speed = {"seconds": evaluation.seconds, "clips_per_second": evaluation.clips_per_second}
    return {"event": "done", **about, **metrics, **speed}


def _reporter(about: Event, emit: Emit) -> OnEpoch:
    def on_epoch(repeat: int, epoch: Any) -> None:
        emit(
            {
                "event": "epoch",
                **about,
                "repeat": repeat,
                "epoch": epoch.epoch,
                "train_loss": epoch.train_loss,
                "clip_top1": epoch.clip_top1,
            }
        )

    return on_epoch


def _evaluate(session: Session, architecture: Architecture, on_epoch: OnEpoch) -> tuple[Evaluation, int]:
    """Count the target, train the proxy; any failure of theirs is an ``EvaluationFailed`` with its reason."""
    study = session.study
    task = Task(
        architecture.scaled(study.spec.proxy.width),
        study.proxy_clip(),
        session.data,
        study.spec.evaluate,
        study.spec.seed,
        session.device,
    )
    try:
        flops = check_count(session, architecture)
        return EVALUATORS[study.spec.evaluate.name].run(task, on_epoch), flops
    except StsearchError as error:
        raise EvaluationFailed(str(error)) from error
    except _STORAGE_ERRORS:
        raise
    except Exception as error:  # a kind's or a driver's fault must not end the study; the trial keeps the reason
        raise EvaluationFailed(f"{type(error).__name__}: {str(error).strip() or 'no message'}") from error


def check_count(session: Session, architecture: Architecture) -> int:
    """FLOPs of the target as torch counts them; ``EvaluationFailed`` if they are not twice the closed form."""
    clip = session.study.target_clip()
    closed = 2 * network_cost(architecture, clip, session.classes).total.macs
    counted = counted_flops(architecture, clip, session.classes)
    if counted != closed:
        raise EvaluationFailed(f"the closed form says {closed:,} FLOPs, torch counts {counted:,}")
    return counted


def _persist(session: Session, write: Callable[[], T]) -> T:
    """``write``, tried again while a database server is away: a result that took an hour is worth it."""
    patience = _Patience(session)
    while True:
        try:
            return write()
        except _STORAGE_ERRORS:
            patience.hold()


def _claim_reference(session: Session) -> tuple[str, Architecture] | None:
    """Take a reference to train, if one is open; the caller holds the lock."""
    found = open_reference(session)
    if found is not None:
        _beat(session, found[0])
    return found


def _beat(session: Session, name: str) -> None:
    """A sign of life of this worker's reference."""
    running = {"state": "running", WORKER: this_worker(), "beat": time.time()}
    session.optuna_study.set_user_attr(REFERENCE + name, running)


def _train_reference(session: Session, name: str, architecture: Architecture, emit: Emit) -> None:
    """Train a network outside the space and keep its record with the study."""
    costs = session.costs(architecture)
    about = {"trial": None, "network": name, **costs}
    emit({"event": "start", **about})
    key = REFERENCE + name
    report = _reporter(about, emit)

    def on_epoch(repeat: int, epoch: Any) -> None:
        report(repeat, epoch)
        _beat(session, name)

    try:
        evaluation, flops = _evaluate(session, architecture, on_epoch)
    except EvaluationFailed as error:
        session.optuna_study.set_user_attr(key, {"state": "failed", NETWORK: name, REASON: str(error)})
        emit({"event": "failed", "reason": str(error), **about})
        return
    except BaseException:  # Ctrl-C or a storage that failed: the reference is open again
        session.optuna_study.set_user_attr(key, {"state": "open"})
        raise
    metrics = metrics_of(evaluation, costs)
    record = {
        "state": "complete",
        ARCHITECTURE: architecture.id,
        "metrics": metrics,
        "feasible": all(value <= 0 for value in session.excess(costs).values()),
        **describe(architecture, costs),
        **outcome(evaluation, flops, session.device),
        NETWORK: name,
    }
    _persist(session, lambda: session.optuna_study.set_user_attr(key, plain(record)))
    emit(_done(about, metrics, evaluation))
