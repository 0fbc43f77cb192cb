"""A network's claim: its trial, with all that is known before training, in one transaction of few statements.

Optuna writes a parameter or an attribute at a time, each in several statements: some fifty of them, while everybody
waits. Here the trial is there whole or not at all, so none is ever without its network and its worker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

from stsearch.search.trial_rows import local, utc_now


def begin_trial(
    storage: RDBStorage,
    study_id: int,
    params: Mapping[str, tuple[Any, BaseDistribution]],
    attributes: Mapping[str, Any],
    notes: Mapping[str, Any],
) -> FrozenTrial:
    """A running trial with user ``attributes``, system attributes ``notes``, and a first sign of life."""
    trials = models.TrialModel.__table__
    with storage.engine.begin() as connection:
        # As Optuna does it: numbers of one study are counted by one at a time.
        connection.execute(
            sa.select(models.StudyModel.study_id).where(models.StudyModel.study_id == study_id).with_for_update()
        )
        now = utc_now()
        begun = {"study_id": study_id, "state": TrialState.RUNNING, "datetime_start": now}
        (trial_id,) = connection.execute(sa.insert(trials).values(begun)).inserted_primary_key or (None,)
        assert trial_id is not None
        # Counting those before, as Optuna does, would take longer with each.
        before = sa.select(trials.c.number).where(trials.c.study_id == study_id, trials.c.trial_id < trial_id)
        last = connection.execute(before.order_by(trials.c.trial_id.desc()).limit(1)).scalar()
        number = 0 if last is None else last + 1
        connection.execute(sa.update(trials).where(trials.c.trial_id == trial_id).values(number=number))
        values = [
            {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": kind.to_internal_repr(value),
                "distribution_json": distribution_to_json(kind),
            }
            for name, (value, kind) in params.items()
        ]
        for table, rows in (
            (models.TrialParamModel, values),
            (models.TrialUserAttributeModel, _attributes(int(trial_id), attributes)),
            (models.TrialSystemAttributeModel, _attributes(int(trial_id), notes)),
            (models.TrialHeartbeatModel, [{"trial_id": trial_id}]),
        ):
            if rows:
                connection.execute(sa.insert(table.__table__), rows)
    return FrozenTrial(
        number=number, state=TrialState.RUNNING, value=None, datetime_start=local(now), datetime_complete=None,
        params={name: value for name, (value, _) in params.items()},
        distributions={name: kind for name, (_, kind) in params.items()},
        user_attrs=dict(attributes), system_attrs=dict(notes), intermediate_values={}, trial_id=int(trial_id),
    )  # fmt: skip


def _attributes(trial_id: int, attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]
