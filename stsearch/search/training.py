"""What the training of a network and its repeats share: events, and failures that are a network's own."""

from __future__ import annotations

import contextlib
import errno
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import Study as OptunaStudy
from optuna.trial import TrialState

from stsearch.errors import StsearchError, WorldError
from stsearch.evaluate.evaluators import OnEpoch
from stsearch.evaluate.train import EvaluationFailed
from stsearch.interrupt import asked_by, check
from stsearch.search.attributes import ARCHITECTURE, INTERRUPTED, NETWORK, REASON, REPEAT
from stsearch.search.outages import STORAGE_ERRORS
from stsearch.search.patience import Unwritable, persist
from stsearch.search.session import Session
from stsearch.search.storage import HEARTBEAT_S
from stsearch.search.trial_rows import end_trial

_LONGEST_REASON = 2000
"""Characters of a reason that are kept."""
_BEAT_AGAIN_S = 1.0
"""Time to the next sign of life where the last one could not be written."""
_LAST_BEAT_S = 5.0
"""A sign of life that waits for a server longer than this holds up nobody: neither Ctrl-C nor the next training."""

Event = dict[str, Any]
Emit = Callable[[Event], None]
"""Receives ``{"event": KIND, ...}``: clips, precision, start, epoch, done, stopped, screened, pruned, failed, note, or
joined of a worker elsewhere; those of a repeat have ``again``, which of the study's repeats it is."""


def first_precision(emit: Emit) -> Callable[[str], None]:
    """Tells what precision the first network has, and of no later one: each record says its own."""
    told: list[str] = []

    def tell(text: str) -> None:
        if not told:
            told.append(text)
            emit({"event": "precision", "text": f"{text} (the first network; each one's record says its own)"})

    return tell


def reporter(about: Event, emit: Emit) -> OnEpoch:
    """Passes on what every epoch found."""

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


def one_trial(
    session: Session,
    study: OptunaStudy,
    objective: Callable[[optuna.Trial, list[Event]], tuple[float, ...]],
    emit: Emit,
    late: Callable[[str], str],
) -> None:
    """Ask ``study`` for a trial, run it and tell its result, which is waited for while a server is away.

    Not through ``optimize``: that drops a result which it cannot tell at once, and its heartbeat ends at the first
    connection that is cut. ``objective`` puts what is to be told of it into the list that it gets, and trains within
    ``ending``, where Ctrl-C is looked for. ``late`` says of a network that its trial had been given up meanwhile.
    """
    done: list[Event] = []
    trial = _ask(study)
    with _heartbeat(session.storage, trial._trial_id):
        written = _run(session, study, trial, lambda: objective(trial, done), emit, done)
    if written:
        for event in done:
            emit(event)
    elif done:
        emit({"event": "note", "text": late(done[0]["network"])})


def _ask(study: OptunaStudy) -> optuna.Trial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Optuna misses ``optimize``; ``_heartbeat`` stands for it
        return study.ask()


def _run(
    session: Session,
    study: OptunaStudy,
    trial: optuna.Trial,
    objective: Callable[[], tuple[float, ...]],
    emit: Emit,
    done: list[Event],
) -> bool:
    """Run a trial to its end and tell it; false where somebody else had ended it."""
    end = partial(tell, session.storage, trial)
    try:
        values = objective()
        return persist(session, partial(end, None, values))
    except optuna.TrialPruned:
        return persist(session, partial(end, TrialState.PRUNED, None))
    except EvaluationFailed:
        return persist(session, partial(end, TrialState.FAIL, None))
    except UpdateFinishedTrialError:
        return False
    except Unwritable as error:
        if not _lost_again(session, study, trial, error, emit):
            raise
        done.clear()
        return True
    except STORAGE_ERRORS:
        raise  # cut off before its training: ``bury_dead`` ends it
    except BaseException:  # Ctrl-C, or the world failed: no trial stays running
        with contextlib.suppress(*STORAGE_ERRORS, UpdateFinishedTrialError):
            end(TrialState.FAIL, None)
        raise


def tell(storage: RDBStorage, trial: optuna.Trial, state: TrialState | None, values: Sequence[float] | None) -> bool:
    """Tell a trial's end, COMPLETE without a ``state``; false where it had ended otherwise.

    May be called again after it failed. Whoever trains gives no values that are no numbers: an end without a reason is
    taken for an interruption. Not through Optuna's ``tell``, which reads the trial before and after and calls the
    sampler's ``after_trial``.
    """
    wanted = state or (TrialState.COMPLETE if values and not any(map(math.isnan, values)) else TrialState.FAIL)
    told = list(map(float, values)) if values and wanted is TrialState.COMPLETE else None
    try:
        end_trial(storage, trial._trial_id, wanted, told)
    except UpdateFinishedTrialError:  # the connection may have been cut after the end was written
        stored = storage.get_trial(trial._trial_id)
        return stored.state == wanted and (told is None or stored.values == told)
    return True


def _lost_again(session: Session, study: OptunaStudy, trial: optuna.Trial, error: Unwritable, emit: Emit) -> bool:
    """Keep why a result was lost. A network that was lost for that reason before has failed, and is told.

    Once is no reason to give a network up: the storage may be mended meanwhile.
    """
    reason = shortened(f"its result cannot be written: {error.reason}")
    known = trial.user_attrs
    try:
        before = [
            other
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
            and other.user_attrs.get(REASON) == reason
            and all(other.user_attrs.get(key) == known.get(key) for key in (ARCHITECTURE, REPEAT))
        ]
        if not before:
            trial.set_user_attr(INTERRUPTED, True)
        trial.set_user_attr(REASON, reason)
        tell(session.storage, trial, TrialState.FAIL, None)
    except (*STORAGE_ERRORS, UpdateFinishedTrialError, ValueError):
        return False  # nothing can be written at all: ``bury_dead`` ends it
    if before:
        about = {"trial": trial.number, "network": known.get(NETWORK), ARCHITECTURE: known.get(ARCHITECTURE)}
        emit({"event": "failed", "reason": reason, **about})
    return bool(before)


@contextlib.contextmanager
def _heartbeat(storage: RDBStorage, trial_id: int) -> Iterator[None]:
    """Signs of life of a running trial, also after a connection was cut; ``optimize`` would stop at that."""
    over = threading.Event()

    def beat() -> None:
        pause: float = HEARTBEAT_S  # the first one was written with the claim
        while not over.wait(pause):
            pause = HEARTBEAT_S
            try:
                storage.record_heartbeat(trial_id)
            except STORAGE_ERRORS:
                pause = _BEAT_AGAIN_S  # the storage's own error follows where it matters
            finally:
                with contextlib.suppress(*STORAGE_ERRORS):
                    storage.remove_session()  # between two beats it holds no connection

    thread = threading.Thread(target=beat, name=f"heartbeat of trial {trial_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_LAST_BEAT_S)


@contextlib.contextmanager
def ending(session: Session, trial: optuna.Trial, about: Event, emit: Emit) -> Iterator[None]:
    """A failure, Ctrl-C or a fault of the world within is written down with the trial, and a failure told.

    All go on from here. What the world did to a network leaves it open. What is written afterwards, until the next
    network is claimed, goes through one connection.
    """
    try:
        check()
        yield
    except EvaluationFailed as error:
        persist(session, partial(trial.set_user_attr, REASON, shortened(str(error))))
        emit({"event": "failed", "reason": str(error), **about})
        raise
    except KeyboardInterrupt as error:
        _interrupted(trial, asked_by(error))
        raise
    except Unwritable:
        raise  # the network's own, should it come again: ``_lost_again`` says which
    except WorldError as error:
        _interrupted(trial, str(error))
        raise
    session.linger()


def _interrupted(trial: optuna.Trial, why: str) -> None:
    """Why a trial was cut off. Nobody waits for a server to write that: ``bury_dead`` ends it otherwise."""
    with contextlib.suppress(*STORAGE_ERRORS):
        trial.set_user_attr(INTERRUPTED, True)
        trial.set_user_attr(REASON, shortened(f"interrupted: {why}"))


def shortened(reason: str) -> str:
    """A reason that any column holds."""
    return reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 4] + " ..."


@contextlib.contextmanager
def own_failures() -> Iterator[None]:
    """An error within is an ``EvaluationFailed`` with its reason, but for those of the world and the storage.

    A kind's or a driver's fault must not end the study; the trial keeps the reason. A file that is gone or a disk
    that fails is no fault of a network: that is a ``WorldError``.
    """
    try:
        yield
    except WorldError:
        raise
    except StsearchError as error:
        raise EvaluationFailed(str(error)) from error
    except STORAGE_ERRORS:
        raise
    except OSError as error:
        if error.errno in _OF_NETWORKS:
            raise EvaluationFailed(f"{type(error).__name__}: {error}") from error
        raise WorldError(
            f"a training was cut off by {type(error).__name__}: {error}. Mend that; the same command goes on from there"
        ) from error
    except Exception as error:  # the reason is in the docstring
        raise EvaluationFailed(f"{type(error).__name__}: {str(error).strip() or 'no message'}") from error


_OF_NETWORKS = (errno.ENOMEM, None)
"""Of an ``OSError``: memory for a network that needs more than there is, or no word of the system at all."""
