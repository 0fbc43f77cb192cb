"""Successive halving over a study's trials: who stops, who is taken up again, and from which file."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from stsearch.evaluate.checkpoint import Shelf
from stsearch.evaluate.evaluators import Course, Reached
from stsearch.search.attributes import (
    ARCHITECTURE,
    CLIPS_TRAINED,
    CONTINUES,
    EPOCHS_TRAINED,
    PASSED,
    REFERENCE,
    RUNGS,
)
from stsearch.search.metrics import ACCURACIES, measured_names
from stsearch.search.networks import Network, by_network, stopped_networks
from stsearch.search.place import study_folder
from stsearch.search.session import Session
from stsearch.search.spec import Study
from stsearch.search.state import State
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.blueprint import AnyNetwork
from stsearch.stats.rungs import Ladder


@dataclass(frozen=True)
class GoingOn:
    """A network that is taken up again."""

    architecture: Architecture
    trial: int
    """number of the trial that it goes on from"""
    passed: int
    """epoch of the rung that it was promoted from; 0 for one that was interrupted before"""
    reached: int
    """epoch of the last rung that it reached; its checkpoint should be there"""
    measured: Mapping[str, float]
    """latency and memory of the target, known already"""

    @property
    def attributes(self) -> dict[str, Any]:
        """What its new trial remembers of that."""
        return {CONTINUES: self.trial, PASSED: self.passed}


def ladder_of(session: Session, trials: Sequence[FrozenTrial]) -> Ladder:
    """The results at the rungs by now, of all networks that may yet be on the front."""
    recipe, study = session.study.halving, session.study
    assert recipe is not None
    tolerance = None if recipe.tolerance == "auto" else recipe.tolerance
    more = session.further(trials)
    ladder = Ladder(tuple(recipe.rungs), recipe.reduction, tolerance, len(session.data.splits["val"]), more)
    for identifier, network in by_network(trials).items():
        known = network.known
        if network.state is State.FAILED or over_budget(session, known):
            continue
        for epoch, accuracy in network.at_rungs.items():
            ladder.record(identifier, costs_of(study, known), epoch, accuracy)
    return ladder


def costs_of(study: Study, known: Mapping[str, Any]) -> list[float]:
    """The cost objectives of a network, of all that its trials know."""
    return [known[name] for name in study.spec.objectives if name not in ACCURACIES and name in known]


def over_budget(session: Session, known: Mapping[str, Any]) -> bool:
    """Whether a network was asked for although it breaks the budget: it is trained whole, and no rival."""
    return any(known.get(name, 0) > cap for name, cap in session.study.spec.budget.items())


def next_going_on(session: Session, trials: Sequence[FrozenTrial]) -> GoingOn | None:
    """The network to take up, if there is one: an interrupted one first, else the best promotion."""
    if session.study.halving is None:
        return None
    networks = by_network(trials)
    interrupted = [network for network in networks.values() if network.state is State.INTERRUPTED]
    if interrupted:
        first = min(interrupted, key=lambda network: network.last.number)
        return _going_on(first, first.last.user_attrs.get(PASSED, 0))
    waiting = stopped_networks(trials)
    promoted = ladder_of(session, trials).promotable(waiting) if waiting else []
    return _going_on(networks[promoted[0]], waiting[promoted[0]]) if promoted else None


def _going_on(network: Network, passed: int) -> GoingOn:
    known = network.known
    return GoingOn(
        parse_placement(known[ARCHITECTURE]),
        network.last.number,
        passed,
        max(network.at_rungs, default=0),
        {name: known[name] for name in measured_names() if name in known},
    )


def course_of(
    session: Session,
    trial: optuna.Trial,
    going_on: GoingOn | None,
    keep: Callable[[Callable[[], Any]], Any],
    note: Callable[[str], None],
) -> Course | None:
    """How the training of ``trial`` asks who goes on; ``None`` where the study has no halving.

    ``keep`` runs an access to the storage, patiently.
    """
    recipe = session.study.halving
    if recipe is None:
        return None
    known = dict(trial.user_attrs)
    accuracy = accuracy_of(session.study)

    def reached(now: Reached) -> str | None:
        found = {str(rung.epoch): getattr(rung, accuracy) for rung in now.rungs}
        for name, value in ((RUNGS, found), (CLIPS_TRAINED, now.clips), (EPOCHS_TRAINED, now.epochs)):
            keep(partial(trial.set_user_attr, name, value))
        epoch = now.rungs[-1].epoch
        if epoch <= (going_on.passed if going_on else 0) or epoch == recipe.length or over_budget(session, known):
            return None
        ladder = ladder_of(session, keep(session.trials))
        return ladder.reason(known[ARCHITECTURE], epoch)

    file = checkpoint_file(session.study, known[ARCHITECTURE], session.own)
    return Course(reached, file, going_on is not None and going_on.reached > 0, note)


def accuracy_of(study: Study) -> str:
    """The accuracy that is compared at the rungs: the first among the objectives."""
    return next(name for name in study.spec.objectives if name in ACCURACIES)


def reference_course(session: Session, architecture: AnyNetwork, note: Callable[[str], None]) -> Course | None:
    """A network outside the space is trained whole; its checkpoints are for after an interruption."""
    if session.study.halving is None:
        return None
    return Course(lambda now: None, checkpoint_file(session.study, architecture.id, session.own), False, note)


# Checkpoints --------------------------------------------------------------------------------


def checkpoint_folder(study: Study, own: str = "") -> Path:
    """Where trainings are put away: beside the study's SQLite file, else in ``studies/``."""
    return study_folder(study.storage_url, study.name, "checkpoints", own)


def checkpoint_file(study: Study, identifier: str, own: str = "") -> Path:
    """Of one network; its id may be longer than a file's name can be."""
    return checkpoint_folder(study, own) / f"{hashlib.sha256(identifier.encode()).hexdigest()[:20]}.pt"


def shelf_of(session: Session, identifier: str) -> Shelf:
    """Where the plain trainings of one network are put away while they last."""
    stem = checkpoint_file(session.study, identifier, session.own).with_suffix("")
    return Shelf(stem, session.note, session.study.spec.engine.checkpoint_s)


def tidy(session: Session, trials: Sequence[FrozenTrial], *, finished: bool = False) -> None:
    """Remove checkpoints that nobody goes on from; all of them once the study has ``finished``.

    The caller holds the lock. What cannot be removed is left.
    """
    folder = checkpoint_folder(session.study, session.own)
    if not folder.is_dir():
        return
    if finished:
        shutil.rmtree(folder, ignore_errors=True)
        return
    if session.study.halving is None:  # a training clears up behind itself
        return
    goes_on = (State.RUNNING, State.STOPPED, State.INTERRUPTED)
    alive = [name for name, network in by_network(trials).items() if network.state in goes_on]
    stored = session.optuna_study.user_attrs
    for name, architecture in session.study.references().items():
        if stored.get(REFERENCE + name, {}).get("state") not in (State.COMPLETE, State.FAILED):
            alive.append(architecture.id)
    kept = {checkpoint_file(session.study, name, session.own) for name in alive}
    for file in folder.glob("*.pt"):
        if file not in kept and "-" not in file.stem:  # a repeat of its own number clears up behind itself
            with contextlib.suppress(OSError):
                file.unlink()
