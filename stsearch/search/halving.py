"""Successive halving over a study's trials: who stops, who is taken up again, and from which file.

A told trial cannot be opened again, so a network that is taken up gets a further trial. The network is
what counts: its trials share the architecture, and the last of them says how it stands.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState

from stsearch.evaluate.evaluators import Course, Reached
from stsearch.evaluate.halving import HalvingRecipe
from stsearch.evaluate.rungs import Ladder
from stsearch.search.attributes import (
    ARCHITECTURE,
    CLIPS_TRAINED,
    CONTINUES,
    EPOCHS_TRAINED,
    EXPECTED_FROM,
    PASSED,
    REFERENCE,
    RUNGS,
    STOPPED,
)
from stsearch.search.metrics import ACCURACIES, MEASURED
from stsearch.search.place import study_folder
from stsearch.search.proposals import failed_by_itself
from stsearch.search.shown import Shown, shown_as
from stsearch.space.architecture import Architecture, parse_placement

if TYPE_CHECKING:
    from stsearch.search.session import Session
    from stsearch.search.spec import Study

Networks = dict[str, list[FrozenTrial]]
"""Architecture to its trials, in order"""


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


def recipe_of(study: Study) -> HalvingRecipe | None:
    """The halving that a study asks for, if it does."""
    recipe = study.spec.evaluate
    return recipe if isinstance(recipe, HalvingRecipe) else None


def by_network(trials: Sequence[FrozenTrial]) -> Networks:
    """Trials by architecture; those without one, whose worker was stopped too early, are left out."""
    found: Networks = {}
    for trial in trials:
        if ARCHITECTURE in trial.user_attrs:
            found.setdefault(trial.user_attrs[ARCHITECTURE], []).append(trial)
    return found


def is_stopped(trial: FrozenTrial) -> bool:
    """Whether a trial ended at a rung."""
    return trial.state == TrialState.PRUNED and STOPPED in trial.user_attrs


def _interrupted(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and not failed_by_itself(trial)


def stopped_networks(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    """Networks that wait at a rung: architecture to the rung's epoch, in order of their last trials."""
    last = sorted((group[-1] for group in by_network(trials).values()), key=lambda trial: trial.number)
    return {trial.user_attrs[ARCHITECTURE]: trial.user_attrs[STOPPED] for trial in last if is_stopped(trial)}


def _results(group: Sequence[FrozenTrial]) -> dict[int, float]:
    """Epoch to accuracy at the rungs; that of the later trial where two have one."""
    return {int(epoch): accuracy for trial in group for epoch, accuracy in trial.user_attrs.get(RUNGS, {}).items()}


def ladder_of(session: Session, trials: Sequence[FrozenTrial]) -> Ladder:
    """The results at the rungs by now, of all networks that may yet be on the front."""
    recipe, study = recipe_of(session.study), session.study
    assert recipe is not None
    tolerance = None if recipe.tolerance == "auto" else recipe.tolerance
    more = session.further(trials)
    ladder = Ladder(tuple(recipe.rungs), recipe.reduction, tolerance, len(session.data.splits["val"]), more)
    for identifier, group in by_network(trials).items():
        known = known_of(group)
        if failed_by_itself(group[-1]) or over_budget(session, known):
            continue
        for epoch, accuracy in _results(group).items():
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
    if recipe_of(session.study) is None:
        return None
    networks = by_network(trials)
    interrupted = [group for group in networks.values() if _interrupted(group[-1])]
    if interrupted:
        group = min(interrupted, key=lambda group: group[-1].number)
        return _going_on(group, group[-1].user_attrs.get(PASSED, 0))
    waiting = stopped_networks(trials)
    promoted = ladder_of(session, trials).promotable(waiting) if waiting else []
    return _going_on(networks[promoted[0]], waiting[promoted[0]]) if promoted else None


def known_of(group: Sequence[FrozenTrial]) -> dict[str, Any]:
    """All that a network's trials know of it; the last one may be about to be written by another worker."""
    return {name: value for trial in group for name, value in trial.user_attrs.items()}


def _going_on(group: Sequence[FrozenTrial], passed: int) -> GoingOn:
    known = known_of(group)
    return GoingOn(
        parse_placement(known[ARCHITECTURE]),
        group[-1].number,
        passed,
        max(_results(group), default=0),
        {name: known[name] for name in MEASURED if name in known},
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
    recipe = recipe_of(session.study)
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


def reference_course(session: Session, architecture: Architecture, note: Callable[[str], None]) -> Course | None:
    """A network outside the space is trained whole; its checkpoints are for after an interruption."""
    if recipe_of(session.study) is None:
        return None
    return Course(lambda now: None, checkpoint_file(session.study, architecture.id, session.own), False, note)


# Checkpoints --------------------------------------------------------------------------------


def checkpoint_folder(study: Study, own: str = "") -> Path:
    """Where trainings are put away: beside the study's SQLite file, else in ``studies/``."""
    return study_folder(study.storage_url, study.name, "checkpoints", own)


def checkpoint_file(study: Study, identifier: str, own: str = "") -> Path:
    """Of one network; its id may be longer than a file's name can be."""
    return checkpoint_folder(study, own) / f"{hashlib.sha256(identifier.encode()).hexdigest()[:20]}.pt"


def tidy(session: Session, trials: Sequence[FrozenTrial], *, finished: bool = False) -> None:
    """Remove checkpoints that nobody goes on from; all of them once the study has ``finished``.

    The caller holds the lock. What cannot be removed is left.
    """
    folder = checkpoint_folder(session.study, session.own)
    if recipe_of(session.study) is None or not folder.is_dir():
        return
    if finished:
        shutil.rmtree(folder, ignore_errors=True)
        return
    last = {name: group[-1] for name, group in by_network(trials).items()}
    alive = [n for n, t in last.items() if t.state == TrialState.RUNNING or is_stopped(t) or _interrupted(t)]
    stored = session.optuna_study.user_attrs
    for name, architecture in session.study.references().items():
        if stored.get(REFERENCE + name, {}).get("state") not in ("complete", "failed"):
            alive.append(architecture.id)
    kept = {checkpoint_file(session.study, name, session.own) for name in alive}
    for file in folder.glob("*.pt"):
        if file not in kept:
            with contextlib.suppress(OSError):
                file.unlink()


# What samplers see --------------------------------------------------------------------------


def once_per_network(study: OptunaStudy, objectives: Sequence[str]) -> OptunaStudy:
    """``study`` with one trial per network, in the place of its first; for samplers.

    A stopped network is shown as complete with the accuracy that it is expected to reach: its last one and
    what the complete networks gained from that rung on, on average. As PRUNED it would teach Gaussian
    processes and NSGA-II nothing, and TPE that it is bad however near it was.
    """
    trials = study.get_trials(deepcopy=False)
    networks = by_network(trials)
    accuracy = next(name for name in objectives if name in ACCURACIES)
    gains = _gains(networks, accuracy)
    shown = {trial.number: trial for trial in trials}
    for group in networks.values():
        own = [trial for trial in group if not _interrupted(trial)]
        if not any(map(is_stopped, own)):
            continue
        for trial in own[1:]:
            shown[trial.number] = shown_as(trial, TrialState.FAIL, None)
        values, state = own[-1].values, own[-1].state
        first = own[0].number
        if state in (TrialState.PRUNED, TrialState.RUNNING):
            waiting = [trial for trial in own if is_stopped(trial)][-1]
            shown[first] = shown_as(own[0], TrialState.COMPLETE, _expected(waiting, objectives, gains))
            shown[first].user_attrs = {**own[0].user_attrs, EXPECTED_FROM: waiting.user_attrs[STOPPED]}
        else:
            shown[first] = shown_as(own[0], state, values)
    return Shown(study, list(shown.values()))


def _gains(networks: Networks, accuracy: str) -> dict[int, float]:
    """Points that complete networks gained from each rung to the last, on average."""
    found: dict[int, list[float]] = {}
    for group in networks.values():
        if group[-1].state == TrialState.COMPLETE:
            for epoch, reached in _results(group).items():
                found.setdefault(epoch, []).append(group[-1].user_attrs[accuracy] - reached)
    return {epoch: fmean(gained) for epoch, gained in found.items()}


def _expected(trial: FrozenTrial, objectives: Sequence[str], gains: Mapping[int, float]) -> list[float]:
    """The objectives of a stopped network, its accuracies as they would have become."""
    gain, known = gains.get(trial.user_attrs[STOPPED], 0.0), trial.user_attrs
    return [min(100.0, max(0.0, known[n] + gain)) if n in ACCURACIES else float(known[n]) for n in objectives]
