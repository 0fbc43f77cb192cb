"""Optuna's storage, for which a trial whose rows others spoiled has failed; Optuna itself reads no other then."""

from __future__ import annotations

from collections.abc import Container

import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

from stsearch.search.trial_rows import TRIALS, read_trials


class SoundStorage(RDBStorage):
    """A storage that reads what is whole, and with a few statements; see ``read_trials``."""

    def get_trial(self, trial_id: int) -> FrozenTrial:
        with self.engine.connect() as connection:
            found = read_trials(connection, TRIALS.c.trial_id == trial_id)
        if not found:
            raise KeyError(models.NOT_FOUND_MSG)
        return found[0]

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        wanted = TRIALS.c.study_id == study_id
        if trial_id_greater_than > -1:
            again = [number for number in included_trial_ids if number <= trial_id_greater_than]
            wanted &= (TRIALS.c.trial_id > trial_id_greater_than) | TRIALS.c.trial_id.in_(again)
        with self.engine.connect() as connection:
            found = read_trials(connection, wanted)
            if not found and connection.execute(_study(study_id)).first() is None:
                raise KeyError(models.NOT_FOUND_MSG)
        return [trial for trial in found if states is None or trial.state in states]


def _study(number: int) -> sa.Select[tuple[int]]:
    return sa.select(models.StudyModel.study_id).where(models.StudyModel.study_id == number)
