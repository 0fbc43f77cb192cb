"""Studies as samplers are to see them: other trials than are stored, and nothing written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Sequence
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState

NOBODY = -1
"""Optuna's id of a trial that a sampler thinks about and that is not stored yet."""


class Shown(OptunaStudy):
    """A study that shows other trials than are stored."""

    def __init__(self, study: OptunaStudy, trials: list[FrozenTrial]) -> None:
        self.__dict__.update(study.__dict__)
        self._shown = trials

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        chosen = self._shown if states is None else [trial for trial in self._shown if trial.state in states]
        return copy.deepcopy(chosen) if deepcopy else chosen


def shown_as(trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> FrozenTrial:
    """A copy of ``trial`` that ended otherwise."""
    changed = copy.copy(trial)
    changed.state, changed.values = state, values
    return changed


class _Kept:
    """A storage that keeps what is written of the trial ``NOBODY`` to itself; all else goes on to the real one."""

    def __init__(self, storage: BaseStorage, kept: dict[str, Any]) -> None:
        self._real, self._kept = storage, kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id == NOBODY:
            self._kept[key] = value
        else:
            self._real.set_trial_system_attr(trial_id, key, value)


def to_think(study: OptunaStudy, trials: list[FrozenTrial]) -> tuple[OptunaStudy, FrozenTrial, dict[str, Any]]:
    """The study with these trials, a trial of it that is not stored, and what samplers remember of that one."""
    kept: dict[str, Any] = {}
    seen = Shown(study, trials)
    seen._storage = cast(BaseStorage, _Kept(study._storage, kept))
    trial = optuna.trial.create_trial(state=TrialState.RUNNING)
    trial.number, trial._trial_id = trials[-1].number + 1 if trials else 0, NOBODY
    return seen, trial, kept


class _Knowing:
    """A storage that need not be asked for one trial."""

    def __init__(self, storage: BaseStorage, trial: FrozenTrial) -> None:
        self._real, self._trial = storage, trial

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._trial if trial_id == self._trial._trial_id else self._real.get_trial(trial_id)


class Begun(OptunaStudy):
    """A study whose next trial is begun by ``begin``, rather than by its sampler; nothing of it is read back."""

    def __init__(self, study: OptunaStudy, begin: Callable[[], FrozenTrial]) -> None:
        self.__dict__.update(study.__dict__)
        self._begin = begin

    def ask(self, fixed_distributions: Any = None) -> optuna.Trial:
        begun = self._begin()
        knowing = Shown(self, [])
        knowing._storage = cast(BaseStorage, _Knowing(self._storage, begun))
        trial = optuna.Trial(knowing, begun._trial_id)
        trial.study, trial.storage = self, self._storage
        return trial
