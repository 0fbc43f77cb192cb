"""Finished trainings of an evaluation that was cut off: kept with its trial, taken up by its network's next one."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState

from stsearch.evaluate.results import Epoch, Rung, Training
from stsearch.search.attributes import ARCHITECTURE, TRAINING
from stsearch.search.packed import split, whole
from stsearch.search.records import plain


def keep_training(
    study: OptunaStudy, trial_id: int, keep: Callable[[Callable[[], None]], None], repeat: int, training: Training
) -> None:
    """Write down one of several trainings of a trial as soon as it has ended."""
    for name, value in split(f"{TRAINING}{repeat}", plain(asdict(training))).items():
        keep(partial(study._storage.set_trial_system_attr, trial_id, name, value))


def finished_trainings(trials: Sequence[FrozenTrial], architecture: str) -> dict[int, Training]:
    """What trials of the network ``architecture`` finished before they were cut off, by number of the training."""
    found: dict[int, Training] = {}
    for trial in trials:
        if trial.state != TrialState.FAIL or trial.user_attrs.get(ARCHITECTURE) != architecture:
            continue
        for name in trial.system_attrs:
            number = name.removeprefix(TRAINING)
            if number != name and number.isdecimal() and (training := _read(trial.system_attrs, name)) is not None:
                found[int(number)] = training
    return found


def _read(attributes: Mapping[str, Any], name: str) -> Training | None:
    """A training as it was written; ``None`` where a part of it is missing: it is made again then."""
    try:
        kept = whole(attributes, name)
        return Training(
            **{
                **kept,
                "per_class": tuple(kept["per_class"]),
                "confusion": tuple((label, said, videos) for label, said, videos in kept["confusion"]),
                "curve": tuple(Epoch(**epoch) for epoch in kept["curve"]),
                "rungs": tuple(Rung(**rung) for rung in kept["rungs"]),
            }
        )
    except (KeyError, ValueError, TypeError, zlib.error):
        return None
