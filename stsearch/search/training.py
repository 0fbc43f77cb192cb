"""What the training of a network and its repeats share: events, and failures that are a network's own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study as OptunaStudy

from stsearch.errors import StsearchError
from stsearch.evaluate.evaluators import OnEpoch
from stsearch.evaluate.train import EvaluationFailed
from stsearch.interrupt import asked_by
from stsearch.search.attributes import INTERRUPTED, REASON
from stsearch.search.patience import STORAGE_ERRORS, Calm

Event = dict[str, Any]
Emit = Callable[[Event], None]
"""Receives ``{"event": KIND, ...}``: clips, start, epoch, done, stopped, screened, pruned, failed or note; those of a
repeat have ``again``, which of the study's repeats it is."""


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
    study: OptunaStudy,
    objective: Callable[[optuna.Trial, list[Event], Calm], tuple[float, ...]],
    emit: Emit,
    late: Callable[[str], str],
) -> None:
    """One trial of ``study`` through ``optimize``, so that Optuna sends its heartbeat.

    ``objective`` puts what is to be told of it into the list that it gets, and trains within ``ending``: before and
    after that Ctrl-C waits. ``late`` says of a network that its trial had been given up meanwhile.
    """
    done: list[Event] = []
    calm = Calm()
    calm.begin()
    try:
        study.optimize(lambda trial: objective(trial, done, calm), n_trials=1, catch=(EvaluationFailed,))
    except (UpdateFinishedTrialError, ValueError):
        if not done:
            raise
        emit({"event": "note", "text": late(done[0]["network"])})
    else:
        for event in done:
            emit(event)
    finally:
        calm.end()


@contextlib.contextmanager
def ending(trial: optuna.Trial, about: Event, emit: Emit, calm: Calm) -> Iterator[None]:
    """A failure or Ctrl-C within is written down with the trial, and a failure told; both go on from here."""
    try:
        with calm.interruptible():
            yield
    except EvaluationFailed as error:
        trial.set_user_attr(REASON, str(error))
        emit({"event": "failed", "reason": str(error), **about})
        raise
    except KeyboardInterrupt as error:
        trial.set_user_attr(INTERRUPTED, True)
        trial.set_user_attr(REASON, f"interrupted: {asked_by(error)}")
        raise


@contextlib.contextmanager
def own_failures() -> Iterator[None]:
    """Any error within, but for those of the storage, is an ``EvaluationFailed`` with its reason.

    A kind's or a driver's fault must not end the study; the trial keeps the reason.
    """
    try:
        yield
    except StsearchError as error:
        raise EvaluationFailed(str(error)) from error
    except STORAGE_ERRORS:
        raise
    except Exception as error:  # the reason is in the docstring
        raise EvaluationFailed(f"{type(error).__name__}: {str(error).strip() or 'no message'}") from error
