"""Optuna's storage, for which a trial whose rows others spoiled has failed; Optuna itself reads no other then."""

from __future__ import annotations

from typing import Any

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from stsearch.search.attributes import ARCHITECTURE, REPEAT_OF
from stsearch.search.rows import SPOILED, loaded


class _Sound:
    """A row of Optuna's table of trials without its spoiled attributes."""

    def __init__(self, row: Any) -> None:
        self._row = row
        self.user_attributes = [one for one in row.user_attributes if loaded(one.value_json) is not SPOILED]
        self.system_attributes = [one for one in row.system_attributes if loaded(one.value_json) is not SPOILED]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, name)


class SoundStorage(RDBStorage):
    """A storage that reads what is whole. A network whose trial is not is trained again: nothing says why it failed."""

    def _build_frozen_trial_from_trial_model(self, trial: Any) -> FrozenTrial:
        try:
            found = super()._build_frozen_trial_from_trial_model(trial)
        except (ValueError, TypeError, RecursionError):  # no JSON
            return self._failed(super()._build_frozen_trial_from_trial_model(_Sound(trial)))  # type: ignore[arg-type]
        known = ARCHITECTURE in found.user_attrs or REPEAT_OF in found.user_attrs
        if found.state == TrialState.COMPLETE and found.user_attrs and (found.values is None or not known):
            return self._failed(found)
        return found

    @staticmethod
    def _failed(trial: FrozenTrial) -> FrozenTrial:
        if trial.state == TrialState.COMPLETE:
            trial.state, trial.values = TrialState.FAIL, None
        return trial
