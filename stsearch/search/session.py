"""A study being run: begun or resumed, its next tasks, and what becomes of dead workers' trials."""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial

from stsearch.data.cache import Progress
from stsearch.data.loader import RESIDENT_SHARE, resident
from stsearch.data.sources import open_data
from stsearch.data.videos import ClipData
from stsearch.errors import UserError
from stsearch.evaluate.evaluators import EVALUATORS
from stsearch.profiling.device import Setting, choose_device, comparable
from stsearch.profiling.measure import quick
from stsearch.search.asked import grown
from stsearch.search.attributes import (
    FOLDER,
    FORMAT,
    REFERENCE,
    REFERENCE_POINT,
    SPEC,
    VIDEOS,
)
from stsearch.search.composed import Composed, composed_for, composed_of, keep_composed
from stsearch.search.failed import first_again, reopen
from stsearch.search.fitting import as_begun_with, fitted, refuse_change, stored_identity
from stsearch.search.metrics import METRICS, QUALITIES, direction_of, measured_names
from stsearch.search.networks import Screened, once_per_network
from stsearch.search.place import check_place, exists, needs_own_folder
from stsearch.search.pool import FewConnections
from stsearch.search.precision import settled
from stsearch.search.proposals import Proposal
from stsearch.search.records import keep_labels, plain
from stsearch.search.samplers import HardBudget
from stsearch.search.spec import Study
from stsearch.search.state import State
from stsearch.search.storage import HEARTBEAT_S, Lock, open_storage, opening
from stsearch.search.stored_records import records_of
from stsearch.search.stored_repeats import Repeat, audit_repeats
from stsearch.search.tally import Tally
from stsearch.search.workers import Silence
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import AnyNetwork
from stsearch.space.cost import COSTS, network_cost
from stsearch.space.table import CostTable

PRUNED_IN_A_ROW = 50
"""So many networks over a measured budget, one after the other: nearly nothing keeps it, so the run stops."""
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
    first: int = 0
    """trials that there were when it was opened: their failures do not stop this run"""
    repeats: OptunaStudy | None = None
    """further trainings of its networks, once there are any"""
    audited: Mapping[str, tuple[Repeat, ...]] = field(default_factory=dict)
    """trainings that audits made at its fidelity before it was opened, by architecture"""
    audit_records: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """the same with all that was found, by Optuna's number of each"""
    own: str = ""
    """what is in the names of its folders of files, see ``FOLDER``"""
    exhausted: bool = False
    """whether the sampler found nothing more to propose"""
    tally: Tally = field(default_factory=Tally)
    more: int = 0
    """further trainings of every network: ``evaluate.repeats`` has grown by so many since the study was begun"""
    overtaken: int = 0
    """proposals in a row of which another worker was quicker to begin the network"""
    missed: float = float("-inf")
    """when the storage was last found away, by ``time.monotonic``"""
    silence: Silence = field(default_factory=lambda: Silence(3 * HEARTBEAT_S))
    """whose signs of life are missing"""
    note: Callable[[str], None] = field(default=lambda text: None)
    """tells a line to whoever runs this"""
    precise: Callable[[str], None] = field(default=lambda text: None)
    """the same, of the precision that the first training has"""

    @property
    def url(self) -> str:
        """Of its storage."""
        return self.study.storage_url

    @property
    def classes(self) -> int:
        """Classes of the target: of its classifier, and so of its cost."""
        return self.study.spec.target.classes or len(self.data.classes)

    def costs(self, architecture: AnyNetwork) -> dict[str, float]:
        """The target's costs of any network."""
        total = network_cost(architecture, self.study.target_clip(), self.classes).total
        return {name: measure(total) for name, measure in COSTS.items()}

    @property
    def setting(self) -> Setting:
        """How the target is measured."""
        return setting_of(self.study, self.device)

    def linger(self) -> None:
        """Use one connection from now on, until the study's lock is given back."""
        if isinstance(self.storage.engine.pool, FewConnections):
            self.storage.engine.pool.linger()

    def place_clips(self) -> str:
        """Put the clips where this process's trainings read them best; says where, and why."""
        share = getattr(self.study.spec.evaluate, "resident_share", RESIDENT_SHARE)
        self.data = resident(self.data, self.device, share)
        return self.data.residence.text if self.data.residence else ""

    def measured(self, architecture: AnyNetwork) -> dict[str, float]:
        """The target's latency and memory on this device, where the study asks for them."""
        if not self.study.measured:
            return {}
        target = architecture, self.study.target_clip(), self.classes, self.setting
        own = {name: METRICS[name].measure for name in measured_names()}
        table, found = self.sampler.table, {}
        if isinstance(architecture, Architecture) and architecture in table.space:
            found = {name: cost for name, cost in table.cost_of(architecture).items() if name in self.study.measured}
        wanted = [name for name in self.study.measured if name not in found]
        if any(own[name] is None for name in wanted):
            found = quick(*target) | found
        found |= {name: float(measure(*target)) for name in wanted if (measure := own[name]) is not None}
        return {name: found[name] for name in own if name in found}

    def excess(self, costs: Mapping[str, float]) -> dict[str, float]:
        """Cost above the budget, by name; feasible where none is above 0."""
        return {name: costs[name] - cap for name, cap in self.study.spec.budget.items()}

    def trials(self) -> list[FrozenTrial]:
        """All trials, shared with Optuna's cache: not to be changed."""
        return self.optuna_study.get_trials(deepcopy=False)

    def further(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether networks that nobody has begun are wanted, and there."""
        if self.sampler.again(trials):
            return True
        return not self.exhausted and standing(self, trials).open > 0 and self.sampler.left(trials)

    def think(self, trials: list[FrozenTrial]) -> Proposal:
        """What to train next; made without the lock, so that others may be quicker."""
        salt = (self.overtaken, os.getpid()) if self.overtaken else ()
        return self.sampler.think(self.optuna_study, trials, salt)

    def take(self, proposal: Proposal, trials: Sequence[FrozenTrial]) -> Architecture | None:
        """The network of ``proposal`` to begin; ``None`` where others were quicker. The caller holds the lock."""
        chosen = self.sampler.free(proposal, trials, any_of_them=self.overtaken > 0)
        self.overtaken = self.overtaken + 1 if chosen is None else 0
        return chosen


def check_budget(study: Study, classes: int) -> CostTable:
    """The space's cost table for so many classes of the data; ``UserError`` for a budget that nothing keeps."""
    classes = study.spec.target.classes or classes
    table = CostTable(study.space, study.target_clip(), classes)
    table.check_budget(study.hard_budget())
    return table


def setting_of(study: Study, device: torch.device) -> Setting:
    """How ``study`` measures its target."""
    asked = study.spec.measure
    return Setting(device, asked.precision, (asked.batch,), asked.threads)


def _sampler(study: Study, table: CostTable) -> HardBudget:
    search = study.spec.search
    budget = study.hard_budget(table.names)
    soft = {name: cap for name, cap in study.spec.budget.items() if name not in budget}
    sampler = HardBudget(
        search.sampler, table, budget, seed=study.spec.seed, trials=search.trials,
        objectives=list(study.spec.objectives), soft=soft,
    )  # fmt: skip
    start = study.start_networks()
    over_too = search.start_with == "paper-all"
    named = study.compared_inside()
    sampler.insist(named)
    sampler.start = [*named, *(a for a in start if a not in named and (over_too or sampler.keeps(a)))]
    if search.sampler == "auto":
        sampler.start += [a for a in _anchors(study, table) if sampler.keeps(a) and a not in sampler.start]
    if search.start_with == "balanced":
        sampler.balance()
    if isinstance(search.start_with, list) and (over := [a.id for a in start if not sampler.keeps(a)]):
        raise UserError(f"search.start_with: over the budget {budget}: {', '.join(over)}")
    if not sampler.satisfiable():
        raise UserError(f"no network of the space {study.space.name!r} was found that keeps all of {budget}")
    return sampler


def _anchors(study: Study, table: CostTable) -> list[Architecture]:
    """The cheapest network in each cost that is an objective: nothing can dominate it, so it ends the front."""
    return list(dict.fromkeys(table.extreme(cost) for cost in study.spec.objectives if cost in table.names))


def reference_point(study: Study, table: CostTable) -> dict[str, float]:
    """The worst corner for the hypervolume: accuracy or score 0, cost the budget's cap or the space's dearest."""
    point: dict[str, float] = {}
    for name in study.spec.objectives:
        if name in QUALITIES:
            point[name] = 0.0
        elif name in study.spec.budget:
            point[name] = study.spec.budget[name]
        else:
            point[name] = table.cost_of(table.extreme(name, largest=True))[name]
    return point


def open_session(study: Study, progress: Progress, *, retry_failed: bool = False) -> Session:
    """Begin or resume ``study``: everything is checked before anything is written.

    With ``retry_failed``, networks that failed by themselves are tried again, once.

    Raises ``UserError`` for an impossible budget, a missing device, data set or package, and for a
    storage where the study was begun with another space, input, data set or recipe.
    """
    EVALUATORS[study.spec.evaluate.name].check()
    engine = study.spec.engine
    device = choose_device(engine.device if engine.here else "cpu", "engine.device")
    opened = open_data(study.spec.data)
    table = check_budget(study, len(opened.classes))
    sampler = _sampler(study, table)
    storage = open_storage(study.storage_url) if exists(study.storage_url) else None
    if storage is None:
        check_place(study.storage_url)
    with opening(study.storage_url):
        already = stored_identity(storage, study) if storage is not None else None
    study, more = grown(as_begun_with(study, already), already)
    identity = plain(study.identity())
    if study.measured:
        identity["measured_on"] = plain(comparable(setting_of(study, device)))
    if already is not None:
        refuse_change(study, {k: v for k, v in already.items() if k != "data_fingerprint"}, identity)
    composed = composed_for(study, storage, table, setting_of(study, device), progress)
    if composed is not None:
        sampler = _sampler(study, table)  # which knows latency now
    clip = study.proxy_clip()
    data = opened.load(clip.frames, clip.height, progress)
    if already is None:
        study = settled(fitted(study, data), data, progress)
        identity["evaluate"] = plain(study.identity())["evaluate"]
    identity["data_fingerprint"] = data.fingerprint
    refuse_change(study, already, identity)
    storage = storage or open_storage(study.storage_url)
    lock = Lock(study.storage_url, study.name, storage.engine)
    with opening(study.storage_url), lock:
        optuna_study = _create_or_load(study, storage, identity, (table, composed), data, more)
        if composed is not None and composed_of(optuna_study.user_attrs) != composed:  # another process was quicker
            sampler = _sampler(study, table)
        if retry_failed:
            reopen(storage, optuna_study)
    sampler.start = first_again(optuna_study, sampler.start)
    optuna_study.sampler = sampler
    sampler.view = partial(_view, study, Screened())
    own = storage.get_study_system_attrs(optuna_study._study_id).get(FOLDER, "")
    first = len(optuna_study.get_trials(deepcopy=False))
    audited = audit_repeats(study.storage_url, study.name, identity)  # also of a calibration before it was begun
    session = Session(
        study, storage, optuna_study, sampler, lock, data, device, first=first, audited=audited, own=own, more=more
    )
    session.audit_records = records_of(study.storage_url, [o.trial_id for each in audited.values() for o in each])
    return session


def _view(study: Study, screened: Screened, optuna_study: OptunaStudy) -> OptunaStudy:
    """The study as samplers see it: a network once, and none that was screened out."""
    shown = screened.left_out_of(optuna_study)
    return shown if study.halving is None else once_per_network(shown, list(study.spec.objectives))


def _create_or_load(
    study: Study,
    storage: RDBStorage,
    identity: dict[str, Any],
    costs: tuple[CostTable, Composed | None],
    data: ClipData,
    more: int,
) -> OptunaStudy:
    stored = stored_identity(storage, study)
    refuse_change(study, stored, identity)
    if study.joins:
        return optuna.load_study(storage=storage, study_name=study.name)
    optuna_study = optuna.create_study(
        storage=storage,
        study_name=study.name,
        load_if_exists=True,
        directions=[direction_of(name) for name in study.spec.objectives],
    )
    table, composed = costs
    if composed is not None:
        keep_composed(optuna_study, composed).enter(table)
    if REFERENCE_POINT not in optuna_study.user_attrs:
        if needs_own_folder(study.storage_url, study.name):
            storage.set_study_system_attr(optuna_study._study_id, FOLDER, secrets.token_hex(4))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna_study.set_metric_names(list(study.spec.objectives))
        optuna_study.set_user_attr(REFERENCE_POINT, reference_point(study, table))
    resolved = study.spec.model_dump(exclude={"storage"})
    space: dict[str, Any] = {
        "name": study.space.name,
        "plugins": list(study.space.plugins),
        "folder": study.space.folder,
    }
    space["definition"] = study.space.definition
    stored_spec = {"format": FORMAT, "identity": identity, "resolved": resolved, "space": space}
    stored_spec |= {"classes": data.classes, "notes": data.notes, VIDEOS: len(data.splits["val"])}
    stored_spec |= {"repeats": getattr(study.spec.evaluate, "repeats", 1) + more}
    optuna_study.set_user_attr(SPEC, plain(stored_spec))
    keep_labels(optuna_study, data.splits["val"].labels.tolist())
    return optuna_study


@dataclass(frozen=True)
class Standing:
    """How far a study is."""

    complete: int
    running: int
    stopped: int
    """networks that wait at a rung of successive halving"""
    screened: int
    """networks that were screened out"""
    failed: int
    """networks that failed for a reason of their own"""
    failing: int
    """of these, how many in a row at the end"""
    pruning: int
    """networks over a measured budget in a row at the end"""
    wanted: int

    @property
    def open(self) -> int:
        """Networks that nobody has begun yet."""
        return max(0, self.wanted - self.complete - self.running - self.stopped)


def standing(session: Session, trials: Sequence[FrozenTrial] | None = None) -> Standing:
    """Count the trials, those of ``session`` by default."""
    trials = session.trials() if trials is None else trials
    tally = session.tally
    running = tally.add(trials, session.first)
    screened, stopped = tally.count(State.SCREENED), tally.stopped(trials)
    begun = tally.count(State.COMPLETE) + running + stopped
    named = session.study.compared_inside()
    left = [a for a in named if a.id not in session.sampler.seen(trials)]
    return Standing(
        complete=tally.count(State.COMPLETE),
        running=running,
        stopped=stopped,
        screened=screened,
        failed=tally.count(State.FAILED),
        failing=tally.failing,
        pruning=tally.pruning,
        wanted=max(wanted(session.study, session.sampler, screened), begun + len(left) if named else 0),
    )


def wanted(study: Study, sampler: HardBudget, screened: int) -> int:
    """Networks to train: as many as asked for, or as there are besides those ``screened`` out."""
    asked = study.spec.search.trials
    if sampler.feasible is None:
        return asked
    over = sum(not sampler.keeps(a) for a in sampler.start)
    return min(asked, sampler.feasible + over - screened)


def references_left(session: Session) -> set[str]:
    """Names of the references that are neither trained nor have failed."""
    names = session.study.references()
    known = session.optuna_study.user_attrs if names else {}
    return {n for n in names if known.get(REFERENCE + n, {}).get("state") not in (State.COMPLETE, State.FAILED)}


def open_reference(session: Session) -> tuple[str, AnyNetwork] | None:
    """A reference that nobody has trained or is training, if there is one."""
    references = session.study.references()
    known = session.optuna_study.user_attrs if references else {}
    for name, architecture in references.items():
        if known.get(REFERENCE + name, {"state": State.OPEN})["state"] == State.OPEN:
            return name, architecture
    return None
