"""A study being run: begun or resumed, its next tasks, and what becomes of dead workers' trials."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import Any

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState

from stsearch.data.sources import Progress, class_names, load_data
from stsearch.data.videos import ClipData
from stsearch.errors import UserError
from stsearch.search.records import (
    REFERENCE,
    REFERENCE_POINT,
    SPEC,
    WORKER,
    plain,
)
from stsearch.search.samplers import INTERRUPTED, REASON, HardBudget, failed_by_itself
from stsearch.search.spec import ACCURACIES, Study, difference, direction_of
from stsearch.search.storage import Lock, check_place, exists, open_storage, surely_dead, this_worker
from stsearch.space.architecture import Architecture
from stsearch.space.cost import COSTS, network_cost
from stsearch.space.search_space import load_plugins
from stsearch.space.table import CostTable

REFERENCE_PATIENCE_S = 3600
"""A reference has no heartbeat but one per epoch; after so long its worker on another machine is given up."""
FAILURES_IN_A_ROW = 5
"""So many networks failing one after the other are no accident of theirs: the run stops."""


@dataclass
class Session:
    """A study open for work by one process."""

    study: Study
    storage: RDBStorage
    optuna_study: OptunaStudy
    sampler: HardBudget
    lock: Lock
    data: ClipData
    device: torch.device
    started: datetime = field(default_factory=datetime.now)
    """failures before this moment do not stop this run"""

    @property
    def classes(self) -> int:
        """Classes of the target: of its classifier, and so of its cost."""
        return self.study.spec.target.classes or len(self.data.classes)

    def costs(self, architecture: Architecture) -> dict[str, float]:
        """The target's costs of any architecture."""
        total = network_cost(architecture, self.study.target_clip(), self.classes).total
        return {name: measure(total) for name, measure in COSTS.items()}

    def excess(self, costs: Mapping[str, float]) -> dict[str, float]:
        """Cost above the budget, by name; feasible where none is above 0."""
        return {name: costs[name] - cap for name, cap in self.study.spec.budget.items()}

    def trials(self) -> list[FrozenTrial]:
        """All trials, shared with Optuna's cache: not to be changed."""
        return self.optuna_study.get_trials(deepcopy=False)


def choose_device(name: str) -> torch.device:
    """``auto`` is the first GPU if there is one; ``UserError`` for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"engine.device: given {name!r}; allowed are auto, cpu, cuda and cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"engine.device: given {name!r}; allowed are auto, cpu, cuda and cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"engine.device: {name!r} is not there; torch sees {torch.cuda.device_count()} GPUs")
    return device


def check_budget(study: Study) -> CostTable:
    """The space's cost table; ``UserError`` for a budget that nothing keeps, before any data is read."""
    classes = study.spec.target.classes or len(class_names(study.spec.data))
    table = CostTable(study.space, study.target_clip(), classes)
    table.check_budget(study.spec.budget)
    return table


def _sampler(study: Study, table: CostTable) -> HardBudget:
    search = study.spec.search
    sampler = HardBudget(search.sampler, table, study.spec.budget, seed=study.spec.seed, trials=search.trials)
    start = study.start_networks()
    over_too = search.start_with == "paper-all"
    sampler.start = [a for a in start if over_too or sampler.keeps(a)]
    if search.sampler == "auto":
        sampler.start += [a for a in _anchors(study, table) if sampler.keeps(a) and a not in sampler.start]
    if isinstance(search.start_with, list) and len(sampler.start) < len(start):
        over = ", ".join(a.id for a in start if not sampler.keeps(a))
        raise UserError(f"search.start_with: over the budget {study.spec.budget}: {over}")
    if not sampler.satisfiable():
        raise UserError(f"no network of the space {study.space.name!r} was found that keeps all of {study.spec.budget}")
    return sampler


def _anchors(study: Study, table: CostTable) -> list[Architecture]:
    """The cheapest network in each cost that is an objective: nothing can dominate it, so it ends the front."""
    return list(dict.fromkeys(table.extreme(cost) for cost in study.spec.objectives if cost in COSTS))


def reference_point(study: Study, table: CostTable) -> dict[str, float]:
    """The worst corner for the hypervolume: accuracy 0, cost the budget's cap or the space's dearest."""
    return {
        name: 0.0
        if name in ACCURACIES
        else study.spec.budget.get(name, table.cost_of(table.extreme(name, largest=True))[name])
        for name in study.spec.objectives
    }


def _stored_identity(storage: RDBStorage, study: Study) -> dict[str, Any] | None:
    """How the study was begun, if it was; ``UserError`` for one that is not stsearch's."""
    known = [s for s in storage.get_all_studies() if s.study_name == study.name]
    if not known:
        return None
    stored = known[0].user_attrs.get(SPEC)
    if isinstance(stored, dict):
        identity: dict[str, Any] = stored["identity"]
        return identity
    directions = [direction.name.lower() for direction in storage.get_study_directions(known[0]._study_id)]
    wanted = [direction_of(name) for name in study.spec.objectives]
    if storage.get_n_trials(known[0]._study_id) or directions != [direction.lower() for direction in wanted]:
        raise UserError(
            f"the storage holds a study {study.name!r} that stsearch did not begin; choose another name or storage"
        )
    return None  # its creator was killed between two writes


def _refuse_change(study: Study, stored: Mapping[str, Any] | None, current: Mapping[str, Any]) -> None:
    changes = difference(stored, current) if stored is not None else []
    if changes:
        lines = "".join(f"\n  {change}" for change in changes)
        raise UserError(
            f"the study {study.name!r} in its storage was begun otherwise; go on with the old settings, or begin "
            f"another with --set name=OTHER. Changed:{lines}"
        )


def open_session(study: Study, progress: Progress) -> Session:
    """Begin or resume ``study``: everything is checked before anything is written.

    Raises ``UserError`` for an impossible budget, a missing device or data set, and for a
    storage where the study was begun with another space, input, data set or recipe.
    """
    device = choose_device(study.spec.engine.device)
    table = check_budget(study)
    sampler = _sampler(study, table)
    storage = open_storage(study.storage_url) if exists(study.storage_url) else None
    if storage is None:
        check_place(study.storage_url)
    already = _stored_identity(storage, study) if storage is not None else None
    identity = plain(study.identity())
    if already is not None:
        _refuse_change(study, {k: v for k, v in already.items() if k != "data_fingerprint"}, identity)
    clip = study.proxy_clip()
    data = load_data(study.spec.data, clip.frames, clip.height, progress)
    identity["data_fingerprint"] = data.fingerprint
    _refuse_change(study, already, identity)
    storage = storage or open_storage(study.storage_url)
    lock = Lock(study.storage_url, study.name)
    with lock:
        optuna_study = _create_or_load(study, storage, identity, reference_point(study, table))
    optuna_study.sampler = sampler
    return Session(study, storage, optuna_study, sampler, lock, data, device)


def _create_or_load(
    study: Study, storage: RDBStorage, identity: dict[str, Any], point: dict[str, float]
) -> OptunaStudy:
    stored = _stored_identity(storage, study)
    _refuse_change(study, stored, identity)
    optuna_study = optuna.create_study(
        storage=storage,
        study_name=study.name,
        load_if_exists=True,
        directions=[direction_of(name) for name in study.spec.objectives],
    )
    if REFERENCE_POINT not in optuna_study.user_attrs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna_study.set_metric_names(list(study.spec.objectives))
        optuna_study.set_user_attr(REFERENCE_POINT, point)
    resolved = study.spec.model_dump(exclude={"storage"})
    space = {"name": study.space.name, "plugins": list(study.space.plugins), "folder": study.space.folder}
    optuna_study.set_user_attr(SPEC, plain({"identity": identity, "resolved": resolved, "space": space}))
    return optuna_study


def bury_dead(session: Session) -> None:
    """Fail the trials and references whose worker was killed, so that their networks are tried again.

    The caller holds the lock.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(session.optuna_study)  # workers of other machines, by their heartbeat
    me = this_worker()
    for trial in session.trials():
        worker = trial.user_attrs.get(WORKER)
        # A trial gets its worker under the lock, and this worker is between trials.
        if trial.state == TrialState.RUNNING and (worker is None or worker == me or surely_dead(worker)):
            interrupt(session.storage, trial._trial_id)
    for key, value in session.optuna_study.user_attrs.items():
        if not key.startswith(REFERENCE) or value["state"] != "running":
            continue
        if surely_dead(value.get(WORKER)) or time.time() - value["beat"] > REFERENCE_PATIENCE_S:
            session.optuna_study.set_user_attr(key, {"state": "open"})


def interrupt(storage: RDBStorage, trial_id: int) -> None:
    """End a running trial as interrupted: its network will be proposed again."""
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_user_attr(trial_id, INTERRUPTED, True)
        storage.set_trial_user_attr(trial_id, REASON, "interrupted: the worker was stopped or killed")
        storage.set_trial_state_values(trial_id, state=TrialState.FAIL)


@dataclass(frozen=True)
class Standing:
    """How far a study is."""

    complete: int
    running: int
    failed: int
    """networks that failed for a reason of their own"""
    failing: int
    """of these, how many in a row at the end"""
    wanted: int

    @property
    def open(self) -> int:
        """Networks that nobody trains yet."""
        return max(0, self.wanted - self.complete - self.running)


def standing(session: Session) -> Standing:
    """Count the trials."""
    trials = session.trials()
    ended = [t for t in trials if t.state == TrialState.COMPLETE or failed_by_itself(t)]
    recent = [t for t in ended if t.datetime_start and t.datetime_start >= session.started]
    recent.sort(key=lambda t: t.datetime_complete or session.started, reverse=True)
    failing = sum(1 for _ in takewhile(failed_by_itself, recent))
    return Standing(
        complete=sum(t.state == TrialState.COMPLETE for t in ended),
        running=sum(t.state == TrialState.RUNNING for t in trials),
        failed=sum(t.state == TrialState.FAIL for t in ended),
        failing=failing,
        wanted=wanted(session.study, session.sampler),
    )


def wanted(study: Study, sampler: HardBudget) -> int:
    """Networks to train: as many as asked for, or as there are."""
    asked = study.spec.search.trials
    if sampler.feasible is None:
        return asked
    over = sum(not sampler.keeps(a) for a in sampler.start)
    return min(asked, sampler.feasible + over)


def open_reference(session: Session) -> tuple[str, Architecture] | None:
    """A reference that nobody has trained or is training, if there is one."""
    for name, architecture in session.study.references().items():
        stored = session.optuna_study.user_attrs.get(REFERENCE + name, {"state": "open"})
        if stored["state"] == "open":
            return name, architecture
    return None


def load_stored_plugins(study: OptunaStudy) -> None:
    """Register the kinds that a stored study's space came with."""
    space = study.user_attrs[SPEC]["space"]
    load_plugins(space["plugins"], space["folder"], f"study {study.study_name}")
