"""Repeats where they matter: after the search, near-ties on the front are trained again with further seeds.

A repeat is a trial of a study of its own beside the network's (``NAME:repeats`` in the same storage): samplers,
counts and tables of networks never see it, and Optuna's heartbeat watches over it all the same. Which network is
next follows from the finished trainings alone, so one worker repeats itself exactly, killed or not.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial

from stsearch.evaluate.evaluators import EVALUATORS, Evaluation, OnEpoch, Task
from stsearch.search.answers import ANSWERED, Bools, right
from stsearch.search.asked import Asked
from stsearch.search.attributes import (
    ARCHITECTURE,
    NETWORK,
    RECORD,
    REPEAT,
    REPEAT_OF,
    REPEATS,
    WORKER,
)
from stsearch.search.burial import bury_trials
from stsearch.search.claims import begin_trial
from stsearch.search.halving import shelf_of
from stsearch.search.metrics import ACCURACIES, ALWAYS, KEPT
from stsearch.search.packed import whole
from stsearch.search.patience import persist
from stsearch.search.records import full_record, keep_result
from stsearch.search.session import Session
from stsearch.search.shown import Begun
from stsearch.search.state import State, state_of
from stsearch.search.storage import this_worker
from stsearch.search.stored_repeats import Repeat as Audited
from stsearch.search.training import Emit, Event, ending, one_trial, own_failures, reporter
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.stats.draws import draw_fronts, gains, measured

SETTLED = 1e-3
"""A training that is expected to take less than this from the doubt about the front is not spent."""


@dataclass(frozen=True)
class Repeat:
    """A network to train again."""

    trial: int
    """number of the trial that it was first trained in"""
    architecture: Architecture
    network: str
    costs: Mapping[str, float]
    repeat: int
    """which of its trainings this is, from 0; its seed follows from it"""
    number: int
    """which of the study's repeats this is, from 1"""


def trainings_of(trial: FrozenTrial) -> dict[str, tuple[float, ...]]:
    """Accuracies (per cent) of every training that a trial's evaluation made, by name; a scored network has none."""
    kept = whole(trial.system_attrs, RECORD).get("trainings", []) if RECORD in trial.system_attrs else []
    return {
        name: tuple(t[name] for t in kept) or (trial.user_attrs[name],)
        for name in ACCURACIES
        if (all(t.get(name) is not None for t in kept) if kept else name in trial.user_attrs)
    }


def past(session: Session) -> list[FrozenTrial]:
    """All repeats, running and ended; shared with Optuna's cache: not to be changed."""
    study = _companion(session, begin=False)
    return study.get_trials(deepcopy=False) if study is not None else []


def _wanted(session: Session) -> bool:
    search = session.study.spec.search
    return bool(search.repeats or search.repeat or session.more)


def repeats_running(session: Session) -> int:
    """Repeats that somebody trains now."""
    return sum(state_of(trial) is State.RUNNING for trial in past(session)) if _wanted(session) else 0


def spent(trials: Sequence[FrozenTrial]) -> int:
    """Repeats that count: finished, running, or failed for a reason of their own."""
    return sum(state_of(trial).counts for trial in trials)


def asked(session: Session, trials: Sequence[FrozenTrial]) -> Asked:
    """The further trainings that are asked for of the trained networks; ``trials`` are all repeats."""
    trained = [trial for trial in session.trials() if state_of(trial) is State.COMPLETE]
    return Asked(session.study, session.more, trained, trials)


def planned(session: Session) -> int:
    """Repeats of all kinds that are to be had in the end, as far as is known by now; 0 where none is wanted."""
    if not _wanted(session):
        return 0
    return asked(session, past(session)).total + session.study.spec.search.repeats


def _companion(session: Session, *, begin: bool) -> OptunaStudy | None:
    """Optuna's study of the repeats; ``None`` where there is none and none is begun."""
    if session.repeats is None:
        name = session.study.name + REPEATS
        if not begin and name not in optuna.get_all_study_names(session.storage):
            return None
        session.repeats = optuna.create_study(
            storage=session.storage,
            study_name=name,
            load_if_exists=True,
            directions=["maximize"] * len(ALWAYS),
            sampler=RandomSampler(seed=0),  # there is nothing to draw: the network is chosen here
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            session.repeats.set_metric_names(list(ALWAYS))
    return session.repeats


def next_repeat(session: Session) -> Repeat | None:
    """One that is asked for, else the training that settles most of the front.

    ``None`` when all are spent or nothing is left to settle. Ties go to the network with fewest trainings, then by
    name. A network whose repeat failed is not tried again.
    """
    trials = past(session)
    by_name = asked(session, trials)
    if (missing := by_name.next()) is not None:
        return _repeat(session, missing, trials)
    if spent(trials) - by_name.spent >= session.study.spec.search.repeats:
        return None
    networks = [t for t in session.trials() if state_of(t) is State.COMPLETE and _feasible(session, t)]
    if len(networks) < 2:
        return None
    found = accuracies(networks, trials, session.audited)
    failed = {t.user_attrs[REPEAT_OF] for t in trials if state_of(t) is State.FAILED}
    best: tuple[float, int, str, int] | None = None
    for place, gain, count in _gains(session, networks, found):
        trial = networks[place]
        rank = (-round(gain, 9), count, str(trial.user_attrs[ARCHITECTURE]), place)
        if gain >= SETTLED and trial.number not in failed and (best is None or rank < best):
            best = rank
    return _repeat(session, networks[best[-1]], trials) if best is not None else None


def _feasible(session: Session, trial: FrozenTrial) -> bool:
    return all(value <= 0 for value in session.excess(trial.user_attrs).values())


def accuracies(
    networks: Sequence[FrozenTrial], repeats: Sequence[FrozenTrial], audited: Mapping[str, Sequence[Audited]]
) -> list[dict[str, tuple[float, ...]]]:
    """Per network, accuracies of all its trainings by name, whoever asked for them.

    ``audited`` are those of audits by architecture. A repeat that is running is taken to find the mean of the others.
    """
    ended: dict[int, list[FrozenTrial]] = {}
    running: Counter[int] = Counter()
    for trial in repeats:
        if (state := state_of(trial)) is State.COMPLETE:
            ended.setdefault(trial.user_attrs[REPEAT_OF], []).append(trial)
        elif state is State.RUNNING and REPEAT_OF in trial.user_attrs:
            running[trial.user_attrs[REPEAT_OF]] += 1
    found = []
    for network in networks:
        mine = ended.get(network.number, [])
        also = [one for one in audited.get(network.user_attrs[ARCHITECTURE], ()) for _ in range(one.trainings)]
        known = {
            name: (*own, *(t.user_attrs[name] for t in mine), *(one.accuracies[name] for one in also))
            for name, own in trainings_of(network).items()
        }
        awaited = running[network.number]
        found.append({name: (*values, *[sum(values) / len(values)] * awaited) for name, values in known.items()})
    return found


def answers(
    networks: Sequence[FrozenTrial],
    repeats: Sequence[FrozenTrial],
    labels: Sequence[int],
    audited: Mapping[str, Sequence[Any]],
) -> dict[int, Bools]:
    """By place in ``networks`` the validation videos that each training had right, where that is kept.

    ``audited`` are records of trainings that audits made, by architecture.
    """
    trained: dict[int, list[Any]] = {network.number: [] for network in networks}
    for trial in [*networks, *(one for one in repeats if state_of(one) is State.COMPLETE)]:
        of = trial.user_attrs.get(REPEAT_OF, trial.number)
        if of in trained and RECORD in trial.system_attrs:
            trained[of] += whole(trial.system_attrs, RECORD).get("trainings", [])
    for network in networks:
        trained[network.number] += audited.get(network.user_attrs[ARCHITECTURE], ())
    found = {place: right(trained[network.number], labels) for place, network in enumerate(networks)}
    return {place: known for place, known in found.items() if known is not None}


def audited_trainings(session: Session) -> dict[str, list[Any]]:
    """Records of the trainings that audits made, by architecture."""
    records = session.audit_records
    known = {name: [records.get(one.trial_id, {}) for one in found] for name, found in session.audited.items()}
    return {
        name: [training for record in found for training in record.get("evaluation", {}).get("trainings", [])]
        for name, found in known.items()
    }


def _gains(
    session: Session, networks: Sequence[FrozenTrial], found: Sequence[Mapping[str, tuple[float, ...]]]
) -> list[tuple[int, float, int]]:
    """``(place in networks, gain, trainings)`` of those near the front."""
    objectives = session.study.spec.objectives
    exact = [name for name in objectives if name not in ACCURACIES]
    costs = np.array([[t.user_attrs[name] for name in exact] for t in networks]).reshape(len(networks), len(exact))
    videos = len(session.data.splits["val"])
    labels = session.data.splits["val"].labels.tolist()
    known = answers(networks, past(session), labels, audited_trainings(session))
    data = [
        measured(costs, [f[name] for f in found], videos, correct=known if name == ANSWERED else None)
        for name in objectives
        if name in ACCURACIES
    ]
    draws = draw_fronts(data, session.study.spec.seed)
    gain = gains(draws)
    counts = data[0].counts[draws.networks]
    return list(zip(draws.networks.tolist(), gain.tolist(), counts.tolist(), strict=True))


def _repeat(session: Session, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> Repeat:
    first = len(trainings_of(trial)[ALWAYS[0]])
    mine = [t for t in trials if t.user_attrs.get(REPEAT_OF) == trial.number]
    taken = [t.user_attrs[REPEAT] for t in mine if state_of(t).counts]
    repeat = next(number for number in range(first, first + len(taken) + 1) if number not in taken)
    architecture = parse_placement(trial.user_attrs[ARCHITECTURE])
    measured_too = {name: trial.user_attrs[name] for name in session.study.measured if name in trial.user_attrs}
    return Repeat(
        trial.number,
        architecture,
        trial.user_attrs[NETWORK],
        session.costs(architecture) | measured_too,
        repeat,
        spent(trials) + 1,
    )


def run_repeat(session: Session, emit: Emit) -> bool:
    """Choose a network and train it once more, with a heartbeat of its own; false if there is none.

    The caller holds the lock, which is given back as soon as the network is chosen and noted.
    """
    if not _wanted(session):
        return False
    if (known := _companion(session, begin=False)) is not None:
        bury_trials(session, known)
    chosen = next_repeat(session)
    if chosen is None:
        return False
    study = _companion(session, begin=True)
    assert study is not None
    one_trial(
        session,
        Begun(study, partial(_claim, session, study, chosen)),
        lambda trial, done: _objective(session, study, trial, chosen, emit, done),
        emit,
        lambda network: f"a repeat of {network} came after it had been given up; it is trained again",
    )
    return True


def _claim(session: Session, study: OptunaStudy, chosen: Repeat) -> FrozenTrial:
    """Begin the trial of a repeat, whole or not at all, and give the lock back."""
    attributes = {REPEAT_OF: chosen.trial, REPEAT: chosen.repeat, NETWORK: chosen.network}
    attributes |= {ARCHITECTURE: chosen.architecture.id, WORKER: this_worker()}
    begun = begin_trial(session.storage, study._study_id, {}, attributes, {})
    session.lock.release()
    return begun


def _objective(
    session: Session,
    study: OptunaStudy,
    trial: optuna.Trial,
    chosen: Repeat,
    emit: Emit,
    done: list[Event],
) -> tuple[float, ...]:
    named = {"trial": chosen.trial, "network": chosen.network, ARCHITECTURE: chosen.architecture.id}
    about = {**named, **chosen.costs, "again": chosen.number}
    emit({"event": "start", **about})
    with ending(session, trial, about, emit):
        evaluation = _train(session, chosen, reporter(about, emit))
    found = {name: float(value) for name, value in evaluation.metrics.items()}
    done.append(_done(about, found, persist(session, partial(_finished, session, chosen.trial)), evaluation))
    kept = {name: float(getattr(evaluation, name)) for name in KEPT}
    more = {**found, **kept, "seconds": round(evaluation.seconds, 3), "seed": evaluation.seeds[0]}
    persist(session, partial(keep_result, session.storage, trial, more, full_record(evaluation, session.device)))
    return tuple(found[name] for name in ALWAYS)


def _finished(session: Session, number: int) -> Mapping[str, tuple[float, ...]]:
    """Accuracies of the trainings that the network of trial ``number`` has had by now, by name."""
    network = next(trial for trial in session.trials() if trial.number == number)
    ended = [trial for trial in past(session) if state_of(trial) is State.COMPLETE]
    return accuracies([network], ended, session.audited)[0]


def _done(
    about: Event, found: Mapping[str, float], before: Mapping[str, tuple[float, ...]], evaluation: Evaluation
) -> Event:
    """What is told of a finished repeat: its own accuracies, and the means and number of all finished trainings."""
    all_of = {name: (*values, found[name]) for name, values in before.items()}
    means: dict[str, Any] = {name: sum(values) / len(values) for name, values in all_of.items()}
    speed = {"seconds": evaluation.seconds, "clips_per_second": evaluation.clips_per_second}
    return {"event": "done", **about, **found, **speed, "means": means, "trainings": len(all_of[ALWAYS[0]])}


def _train(session: Session, chosen: Repeat, on_epoch: OnEpoch) -> Evaluation:
    study = session.study
    again = EVALUATORS[study.spec.evaluate.name].again
    assert again is not None  # the specification was refused otherwise
    task = Task(
        chosen.architecture.scaled(study.spec.proxy.width),
        study.proxy_clip(),
        session.data,
        study.spec.evaluate,
        study.spec.seed,
        session.device,
        shelf=shelf_of(session, chosen.architecture.id),
        precise=session.precise,
    )
    with own_failures():
        return again(task, chosen.repeat, on_epoch)
