"""The trainings of an audit: networks of a study trained anew, kept in a companion study beside it.

The companion ``NAME/audit-KEY`` is in the study's own storage, where writing is safe and other
machines see it; its name cannot be that of a study, so nothing of it enters the study's front. KEY is
of everything that changes a result, so records of different fidelities never mix. A trial of it is one
network trained at one fidelity.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from stsearch.data.sources import Opened, open_data
from stsearch.data.videos import ClipData
from stsearch.errors import UserError
from stsearch.evaluate.checkpoint import EVERY_S, Shelf
from stsearch.evaluate.earlier import as_then
from stsearch.evaluate.evaluators import EVALUATORS, Evaluation, Task, subject_of
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.scores import SCORES
from stsearch.evaluate.train import EvaluationFailed
from stsearch.interrupt import flagged, pause
from stsearch.profiling.allocator import keep_memory
from stsearch.profiling.device import choose_device
from stsearch.schema import Strict
from stsearch.search.attributes import ARCHITECTURE, NETWORK, PART, REASON, RECORD, SETTINGS, WORKER
from stsearch.search.burial import MOST_LOST, MOST_SILENT, bury, interrupt
from stsearch.search.fitting import difference
from stsearch.search.outages import STORAGE_ERRORS
from stsearch.search.packed import whole
from stsearch.search.patience import persist
from stsearch.search.place import study_folder
from stsearch.search.records import keep_result, provenance
from stsearch.search.state import State, state_of
from stsearch.search.storage import Lock, open_storage, storage_errors, surely_dead, this_worker
from stsearch.search.training import Emit, first_precision, own_failures, shortened, tell
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.blueprint import ClipShape
from stsearch.space.search_space import load_plugins

AUDIT, RETEST, CALIBRATE = "audit", "retest", "calibrate"
"""Parts: the higher fidelity, with the scores; the search's own one with another seed; with a number of its own after
``#``, one round of trainings of a calibration, see ``stsearch.search.calibration``."""
CLIPS = 32
"""of the scores that look at clips"""
PATIENCE_S = 6 * 3600
"""After so long a training on another machine is given up: nobody knows whether its worker lives."""
_WAIT_S = 0.5


@dataclass(frozen=True)
class Fidelity:
    """How a proxy is trained."""

    recipe: TrainRecipe
    clip: ClipShape
    width: float

    def as_dict(self) -> dict[str, Any]:
        """What changes a result."""
        recipe = as_then(self.recipe.model_dump(exclude={"trace", "resident_share"}))
        return {"evaluate": recipe, "clip": list(self.clip.sizes), "width": self.width}


class Input(NamedTuple):
    """The clips that a part is trained on."""

    clip: ClipShape
    data: str
    """which data: the fingerprint of the study's, and in what these differ"""


class Work(NamedTuple):
    """One network at one fidelity."""

    part: str
    """one of ``Plan.fidelities``"""
    architecture: str
    network: str


@dataclass(frozen=True)
class Plan:
    """An audit before it is run; can be sent to other processes."""

    study: str
    storage: str
    fidelities: Mapping[str, Fidelity]
    """by part"""
    work: tuple[Work, ...]
    """in order"""
    data: Strict
    data_fingerprint: str
    """of the study's clips"""
    searched_clip: ClipShape
    seed: int
    device: str
    plugins: tuple[tuple[str, ...], str]
    """modules, and the folder they stand in"""
    checkpoint_s: float = EVERY_S
    """as ``engine.checkpoint_s``"""
    other_data: Mapping[str, tuple[Strict, str]] = field(default_factory=dict)
    """by part, where it is trained on other data than the study's: these, and in what they differ"""
    until: float | None = None
    """nothing is begun after this time (``time.time``); ``None``: nothing stays undone"""

    def companion(self, part: str) -> str:
        """Name of the study that keeps a part; rounds of one fidelity are in one."""
        digest = hashlib.sha256(json.dumps(self.settings(part), sort_keys=True).encode()).hexdigest()
        return f"{self.study}/{part.partition('#')[0]}-{digest[:10]}"

    def input(self, part: str) -> Input:
        """The clips of a part."""
        more = f", {self.other_data[part][1]}" if part in self.other_data else ""
        return Input(self.fidelities[part].clip, self.data_fingerprint + more)

    def settings(self, part: str) -> dict[str, Any]:
        """Everything that changes a result of a part."""
        return {**self.fidelities[part].as_dict(), "data": self.input(part).data, "seed": self.seed}

    @property
    def over(self) -> bool:
        """Whether nothing more is begun."""
        return self.until is not None and time.time() > self.until


def part_seed(seed: int, part: str) -> int:
    """Seed of a part: other trainings than the search's, whatever its seed."""
    return int.from_bytes(hashlib.sha256(f"{part} {seed}".encode()).digest()[:7], "big")


@dataclass(frozen=True)
class Found:
    """What an audit has: records by part and architecture, and why others are missing."""

    records: Mapping[tuple[str, str], Mapping[str, Any]]
    failed: Mapping[tuple[str, str], str]
    others: tuple[tuple[int, str], ...] = ()
    """audits of the same study at another fidelity: their networks, and in what they differ"""


class Audit:
    """A plan open for work by one process; with ``to_write`` false, only to see what was found."""

    def __init__(self, plan: Plan, *, to_write: bool = True) -> None:
        self.plan = plan
        self.storage = open_storage(plan.storage, to_write=to_write)
        self.lock = Lock(plan.storage, f"{plan.study}/audit", self.storage.engine)
        self.url, self.missed = plan.storage, float("-inf")
        self.note: Callable[[str], None] = lambda text: None
        self.precise: Callable[[str], None] = lambda text: None
        if to_write:
            with self.lock:
                self.studies = {part: self._companion(plan.companion(part)) for part in plan.fidelities}
                for part, study in self.studies.items():
                    if SETTINGS not in study.user_attrs:
                        study.set_user_attr(SETTINGS, plan.settings(part))
        else:
            known = {study.study_name for study in self.storage.get_all_studies()}
            names = {part: plan.companion(part) for part in plan.fidelities}
            self.studies = {part: self._companion(name) for part, name in names.items() if name in known}

    def _companion(self, name: str) -> optuna.Study:
        return optuna.create_study(
            storage=self.storage,
            study_name=name,
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(),
            load_if_exists=True,
        )

    def trials(self) -> list[tuple[tuple[str, str], FrozenTrial]]:
        """Trials of the companions by part and architecture; one that was cut off at once has none."""
        return [
            ((part, trial.user_attrs.get(ARCHITECTURE, "")), trial)
            for part, study in self.studies.items()
            for trial in study.get_trials(deepcopy=False)
            if trial.user_attrs.get(PART, part) == part
        ]

    def found(self) -> Found:
        """The records so far."""
        trials = self.trials()
        records = {key: whole(t.system_attrs, RECORD) for key, t in trials if state_of(t) is State.COMPLETE}
        failed = {key: t.user_attrs[REASON] for key, t in trials if state_of(t) is State.FAILED}
        failed = {key: reason for key, reason in failed.items() if key not in records}
        return Found(records, failed, tuple(self._others()))

    def _others(self) -> Iterator[tuple[int, str]]:
        """Audits of other settings that are in the storage."""
        if AUDIT not in self.plan.fidelities:
            return
        own = self.plan.settings(AUDIT)
        for study in self.storage.get_all_studies():
            theirs = study.user_attrs.get(SETTINGS)
            if study.study_name.startswith(f"{self.plan.study}/{AUDIT}-") and theirs and theirs != own:
                done = self.storage.get_n_trials(study._study_id, TrialState.COMPLETE)
                yield done, ", ".join(difference(own, theirs))

    def left(self) -> list[Work]:
        """Work that is neither done nor failed; that of other workers too."""
        over = {key for key, trial in self.trials() if state_of(trial) in (State.COMPLETE, State.FAILED)}
        return [work for work in self.plan.work if (work.part, work.architecture) not in over]

    def claim(self) -> tuple[Work, optuna.Trial] | None:
        """Take the next work that nobody does; the caller holds no lock."""
        with self.lock:
            under_way = [(key, trial) for key, trial in self.trials() if state_of(trial) is State.RUNNING]
            running = {key for key, trial in under_way if not self._ended(key[0], trial)}
            for work in self.left():
                if (work.part, work.architecture) not in running:
                    trial = _ask(self.studies[work.part])
                    about = {WORKER: this_worker(), PART: work.part, ARCHITECTURE: work.architecture}
                    for name, value in {**about, NETWORK: work.network}.items():
                        trial.set_user_attr(name, value)
                    return work, trial
        return None

    def _ended(self, part: str, trial: FrozenTrial) -> bool:
        """End a running trial that nobody works on any more, this process is between two; false if somebody does."""
        worker = trial.user_attrs.get(WORKER)
        if worker is None or worker == this_worker():
            interrupt(self.storage, trial._trial_id)
            return True
        dead = surely_dead(worker)
        began = trial.datetime_start
        if not dead and (began is None or time.time() - began.timestamp() <= PATIENCE_S):
            return False
        others = self.studies[part].get_trials(deepcopy=False)
        if why := bury(self.storage, trial, others, MOST_LOST if dead else MOST_SILENT):
            self.note(f"{trial.user_attrs[NETWORK]}: {why}")
        return True


def _ask(study: optuna.Study) -> optuna.Trial:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no heartbeat: ``Audit._ended`` and ``PATIENCE_S`` stand for it
        return study.ask()


def load_clips(plan: Plan, progress: Any) -> dict[Input, ClipData]:
    """The data at every input of the plan; ``UserError`` if they are no longer those of the search."""
    loaded: dict[Input, ClipData] = {}
    opened: dict[str, Opened] = {}
    for part, fidelity in plan.fidelities.items():
        wanted, clip = plan.input(part), fidelity.clip
        if wanted in loaded:
            continue
        data = plan.other_data[part][0] if part in plan.other_data else plan.data
        if wanted.data not in opened:
            opened[wanted.data] = open_data(data)
        loaded[wanted] = opened[wanted.data].load(clip.frames, clip.height, progress)
        own = wanted == Input(plan.searched_clip, plan.data_fingerprint)
        if own and loaded[wanted].fingerprint != plan.data_fingerprint:
            raise UserError(
                f"the data of the study {plan.study!r} have changed since it was run (fingerprint "
                f"{plan.data_fingerprint}, now {loaded[wanted].fingerprint}): other clips would be audited"
            )
    return loaded


def work_audit(plan: Plan, emit: Emit, clips: Mapping[Input, ClipData] | None = None) -> None:
    """Do the plan's work until nothing is left, or its time is over; others may do the same beside it.

    ``clips`` are those of ``load_clips``, where the caller has them already.
    Raises ``UserError`` for data that changed, ``WorldError`` where the storage fails.
    """
    modules, folder = plan.plugins
    load_plugins(list(modules), folder, f"study {plan.study}")
    with storage_errors(plan.storage), flagged():
        audit, clips = Audit(plan), clips or load_clips(plan, lambda *_: None)
        device = choose_device(plan.device, "engine.device")
        keep_memory(device)
        audit.note = lambda text: emit({"event": "note", "text": text})
        audit.precise = first_precision(emit)
        while not plan.over and persist(audit, audit.left):
            claimed = persist(audit, audit.claim)
            if claimed is None:
                pause(_WAIT_S)  # the rest is in training elsewhere; should that worker die, it is ours
                continue
            _train(audit, *claimed, clips, device, emit)


def _train(
    audit: Audit,
    work: Work,
    trial: optuna.Trial,
    clips: Mapping[Input, ClipData],
    device: torch.device,
    emit: Emit,
) -> None:
    """One training; its fault is kept as a reason, an interruption or a fault of the world opens it again."""
    begun, keep = time.perf_counter(), partial(persist, audit)
    emit({"event": "start", **work._asdict()})
    try:
        with own_failures():
            record = _record(audit, work, clips, device)
    except EvaluationFailed as error:  # one network's fault must not end the audit; its trial keeps the reason
        reason = shortened(str(error))
        with contextlib.suppress(UpdateFinishedTrialError):  # it had been given up: the network is trained again
            keep(partial(trial.set_user_attr, REASON, reason))
            if keep(partial(tell, audit.storage, trial, TrialState.FAIL, None)):
                emit({"event": "failed", **work._asdict(), "reason": reason})
        return
    except BaseException:  # Ctrl-C, or the world failed: the training is open again
        with contextlib.suppress(*STORAGE_ERRORS):
            interrupt(audit.storage, trial._trial_id)
        raise
    top1 = record["evaluation"]["video_top1"]
    try:
        keep(partial(keep_result, audit.storage, trial, {"seconds": record["evaluation"]["seconds"]}, record))
        written = keep(partial(tell, audit.storage, trial, None, [top1]))
    except UpdateFinishedTrialError:
        written = False
    if not written:
        text = f"the result of {work.network} came after its training had been given up; it is trained again"
        emit({"event": "note", "text": text})
        return
    emit({"event": "done", **work._asdict(), "video_top1": top1, "seconds": time.perf_counter() - begun})


def _shelf(audit: Audit, work: Work) -> Shelf:
    """Where a training of an audit is put away while it lasts."""
    name = hashlib.sha256(f"{work.part} {work.architecture}".encode()).hexdigest()[:20]
    folder = study_folder(audit.plan.storage, audit.plan.study, "audit-checkpoints")
    return Shelf(folder / name, audit.note, audit.plan.checkpoint_s)


def _record(audit: Audit, work: Work, clips: Mapping[Input, ClipData], device: torch.device) -> dict[str, Any]:
    plan = audit.plan
    fidelity = plan.fidelities[work.part]
    data = clips[plan.input(work.part)]
    architecture: Architecture = parse_placement(work.architecture)
    seed = part_seed(plan.seed, work.part)
    proxy = architecture.scaled(fidelity.width)
    task = Task(
        proxy, fidelity.clip, data, fidelity.recipe, seed, device, shelf=_shelf(audit, work), precise=audit.precise
    )
    scores = _scores(task) if work.part == AUDIT else {}
    evaluation = EVALUATORS[fidelity.recipe.name].run(task, lambda *_: None)
    assert isinstance(evaluation, Evaluation)
    return {
        "evaluation": evaluation.as_dict(),
        "scores": scores,
        "train_clips": len(data.splits["train"]),
        "val_videos": len(data.splits["val"]),
        "data_fingerprint": data.fingerprint,
        "fidelity": fidelity.as_dict(),
        "provenance": provenance(device),
    }


def _scores(task: Task) -> dict[str, dict[str, float | None]]:
    """Every score of the untrained network, and what it took; ``None`` where it has none."""
    found: dict[str, dict[str, float | None]] = {}
    for name in SCORES:
        begun = time.perf_counter()
        value = SCORES[name](subject_of(task, 0, CLIPS))
        found[name] = {
            "value": value if math.isfinite(value) else None,
            "seconds": time.perf_counter() - begun,
        }
    return found


def works(part: str, networks: Sequence[tuple[str, str]]) -> tuple[Work, ...]:
    """One work per ``(architecture's id, name)``."""
    return tuple(Work(part, architecture, network) for architecture, network in networks)
