"""The one search loop: ask, decode, evaluate, tell. Any number of workers run it on one study."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from stsearch.errors import StsearchError
from stsearch.evaluate.evaluators import EVALUATORS, Course, Evaluation, OnEpoch, Scored, Task
from stsearch.evaluate.results import Training
from stsearch.evaluate.train import EvaluationFailed
from stsearch.interrupt import check, flagged, pause
from stsearch.nets.count import counted_flops
from stsearch.profiling.allocator import keep_memory
from stsearch.search.attributes import (
    ARCHITECTURE,
    LOST,
    NETWORK,
    REASON,
    RECORD,
    REFERENCE,
    STOPPED,
    TRACE,
    WORKER,
)
from stsearch.search.burial import bury_dead
from stsearch.search.claims import begin_trial
from stsearch.search.halving import GoingOn, course_of, next_going_on, reference_course, shelf_of, tidy
from stsearch.search.luck import check_luck
from stsearch.search.measuring import is_start, measured_target, prune_slow
from stsearch.search.metrics import measured_names
from stsearch.search.outages import STORAGE_ERRORS
from stsearch.search.patience import Patience, persist
from stsearch.search.proposals import Proposal
from stsearch.search.records import (
    describe,
    full_record,
    keep_measured,
    keep_reference,
    keep_result,
    metrics_of,
    outcome,
    set_constraints,
    told,
)
from stsearch.search.repeats import repeats_running, run_repeat
from stsearch.search.screening import ScreenedOut, screen
from stsearch.search.session import (
    Session,
    open_reference,
    standing,
)
from stsearch.search.shown import Begun
from stsearch.search.state import State
from stsearch.search.storage import this_worker
from stsearch.search.traces import keep_trace
from stsearch.search.training import Emit, Event, ending, first_precision, one_trial, own_failures, reporter, shortened
from stsearch.search.unfinished import finished_trainings, keep_training
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import AnyNetwork
from stsearch.space.cost import network_cost
from stsearch.space.published import name_of

_WAIT_S = 0.5


def work(session: Session, emit: Emit) -> None:
    """Train networks until the study has as many as it wants; wait for those of other workers.

    Tells where its clips are. A database server that is away is waited for. Raises ``WorldError``
    when too many networks fail in a row.
    """
    keep_memory(session.device)
    session.note, session.precise = partial(_note, emit), first_precision(emit)
    emit({"event": "clips", "text": session.place_clips()})
    patience = Patience(session)
    with flagged():
        persist(session, partial(_end_dead, session))
        while True:
            check()
            try:
                if not _step(session, emit):
                    return
                patience = Patience(session)
            except STORAGE_ERRORS as error:
                patience.hold(error)  # the trial that was cut off is ended by ``bury_dead`` and tried again


def _end_dead(session: Session) -> None:
    """Before the first proposal, so that a study that was killed proposes what it would have proposed."""
    with session.lock:
        bury_dead(session)


def _step(session: Session, emit: Emit) -> bool:
    """One network, or one moment of waiting; false when nothing is left to do."""
    proposal = _propose(session)
    with session.lock:
        trials = bury_dead(session)
        reference = _claim_reference(session)
        now = standing(session, trials)
        check_luck(session, now)
        tidy(session, trials)
        going_on = next_going_on(session, trials) if reference is None else None
        if reference is None and (going_on or session.further(trials)):
            _begin_next(session, emit, trials, going_on, proposal)
            return True
        if reference is None and run_repeat(session, emit):
            return True
        running = now.running + repeats_running(session) + _references_running(session)
        if reference is None and not running:
            tidy(session, trials, finished=True)
    if reference is not None:
        _train_reference(session, *reference, emit)
        return True
    if running:
        pause(_WAIT_S)
    return running > 0


def _references_running(session: Session) -> int:
    """References in training elsewhere: the study is not complete before they are."""
    names = session.study.references()
    known = session.optuna_study.user_attrs if names else {}
    return sum(known.get(REFERENCE + name, {}).get("state") == State.RUNNING for name in names)


def _propose(session: Session) -> Proposal | None:
    """A new network to train, thought out before the lock is taken; none where it seems that none is wanted."""
    if open_reference(session) is not None:
        return None
    trials = session.trials()
    if not session.further(trials) or next_going_on(session, trials) is not None:
        return None
    return session.think(trials)


def _begin_next(
    session: Session, emit: Emit, trials: Sequence[FrozenTrial], going_on: GoingOn | None, proposal: Proposal | None
) -> None:
    """Train the network that goes on, or one of ``proposal``: where that was overtaken, it is made again first.

    The caller holds the lock, which is given back as soon as the network is claimed.
    """
    if going_on is not None:
        _run_trial(session, emit, trials, going_on.architecture, going_on, {})
    elif proposal is None:
        return  # it seemed that none was wanted: the next step knows better
    elif not proposal.choices and proposal.known == session.sampler.begun(trials):
        session.exhausted = True
    elif (chosen := session.take(proposal, trials)) is not None:
        _run_trial(session, emit, trials, chosen, None, proposal.notes)


def _run_trial(
    session: Session,
    emit: Emit,
    trials: Sequence[FrozenTrial],
    architecture: Architecture,
    going_on: GoingOn | None,
    notes: Mapping[str, Any],
) -> None:
    """Claim and train a network that was proposed, or that is taken up again; ``trials`` are all before it."""
    session.sampler.given = architecture
    costs, finished = session.costs(architecture), finished_trainings(trials, architecture.id)
    one_trial(
        session,
        Begun(session.optuna_study, partial(_claim, session, architecture, costs, going_on, notes)),
        lambda trial, done: _objective(session, trial, (architecture, costs, finished), going_on, emit, done),
        emit,
        lambda network: f"the result of {network} came after its trial had been given up; it is trained again",
    )


def _claim(
    session: Session,
    architecture: Architecture,
    costs: Mapping[str, float],
    going_on: GoingOn | None,
    notes: Mapping[str, Any],
) -> FrozenTrial:
    """Begin the trial of a network, with all that is known of it, in one transaction, and give the lock back."""
    continued = going_on.attributes if going_on else {}
    attributes = {ARCHITECTURE: architecture.id, WORKER: this_worker(), **describe(architecture, costs), **continued}
    kinds = session.sampler.distributions
    params = {name: (value, kinds[name]) for name, value in session.study.space.encode(architecture).items()}
    begun = begin_trial(session.storage, session.optuna_study._study_id, params, attributes, notes)
    session.lock.release()
    return begun


def _objective(
    session: Session,
    trial: optuna.Trial,
    network: tuple[Architecture, dict[str, float], Mapping[int, Training]],
    going_on: GoingOn | None,
    emit: Emit,
    done: list[Event],
) -> tuple[float, ...]:
    architecture, costs, finished = network
    about = _about(trial, architecture, costs, going_on)
    emit({"event": "start", **about})
    keep, note = partial(persist, session), partial(_note, emit)
    with ending(session, trial, about, emit):
        try:
            costs |= going_on.measured if going_on and going_on.measured else measured_target(session, architecture)
            keep(partial(keep_measured, trial, {name: costs[name] for name in measured_names() if name in costs}))
            keep(partial(set_constraints, session.storage, trial, session.excess(costs)))
            about |= costs
            prune_slow(session, trial, costs)
            screen(session, trial, asked_for=is_start(session, trial), keep=keep, note=note)
            course = course_of(session, trial, going_on, keep, note)
            evaluation, flops = _evaluate(session, architecture, reporter(about, emit), course, (trial, keep, finished))
        except optuna.TrialPruned as pruned:
            keep(partial(trial.set_user_attr, REASON, str(pruned)))
            event = "screened" if isinstance(pruned, ScreenedOut) else "pruned"
            emit({"event": event, "reason": str(pruned), **about})
            raise
    metrics = metrics_of(evaluation, costs)
    done.append(_done(about, metrics, evaluation))
    why = evaluation.stopped if isinstance(evaluation, Evaluation) else None
    found = outcome(evaluation, flops)
    if isinstance(evaluation, Evaluation) and why:
        found |= {STOPPED: len(evaluation.trainings[0].curve), REASON: why}
    keep(partial(keep_result, session.storage, trial, found, full_record(evaluation, session.device)))
    if why:
        raise optuna.TrialPruned(why)
    _trace(session, architecture, trial, metrics, evaluation, emit)
    return tuple(float(metrics[name]) for name in session.study.spec.objectives)


def _about(
    trial: optuna.Trial, architecture: Architecture, costs: Mapping[str, float], going_on: GoingOn | None
) -> Event:
    """What events say of a trial."""
    about: Event = {"trial": trial.number, "network": name_of(architecture), ARCHITECTURE: architecture.id, **costs}
    if going_on:
        about |= {"continues": going_on.trial, "from_epoch": going_on.reached}
    return about


def _note(emit: Emit, text: str) -> None:
    emit({"event": "note", "text": text})


def _trace(
    session: Session,
    architecture: Architecture,
    trial: optuna.Trial,
    metrics: Mapping[str, float],
    evaluation: Evaluation | Scored,
    emit: Emit,
) -> None:
    """Keep the trace that the study asks for; one that cannot be written is a note, the result stays."""
    if isinstance(evaluation, Scored):
        return
    micro_batch = min(training.micro_batch for training in evaluation.trainings)
    try:
        path = keep_trace(session, architecture, trial.number, metrics, micro_batch)
    except StsearchError as error:
        emit({"event": "note", "text": f"no trace of trial {trial.number}: {error}"})
        return
    if path is not None:
        persist(session, partial(trial.set_user_attr, TRACE, path))


def _done(about: Event, metrics: dict[str, float], evaluation: Evaluation | Scored) -> Event:
    ended: Event = {"event": "done", **about, **metrics, "seconds": evaluation.seconds}
    if isinstance(evaluation, Scored):
        return ended
    ended["clips_per_second"] = evaluation.clips_per_second
    return ended | ({"event": "stopped", "reason": evaluation.stopped} if evaluation.stopped else {})


def _evaluate(
    session: Session,
    architecture: AnyNetwork,
    on_epoch: OnEpoch,
    course: Course | None,
    place: tuple[optuna.Trial, Callable[[Callable[[], None]], None], Mapping[int, Training]] | None = None,
) -> tuple[Evaluation | Scored, int]:
    """Count the target, train the proxy; any failure of theirs is an ``EvaluationFailed`` with its reason.

    ``place`` is where one of several trainings is kept, with what keeps it, and those that are taken up.
    """
    study = session.study
    task = Task(
        architecture.scaled(study.spec.proxy.width),
        study.proxy_clip(),
        session.data,
        study.spec.evaluate,
        study.spec.seed,
        session.device,
        course=course,
        space=study.space.scaled(study.spec.proxy.width),
        known=place[2] if place else {},
        keep=partial(keep_training, session.optuna_study, place[0]._trial_id, place[1]) if place else None,
        shelf=shelf_of(session, architecture.id),
        precise=session.precise,
    )
    with own_failures():
        flops = check_count(session, architecture)
        return told(EVALUATORS[study.spec.evaluate.name].run(task, on_epoch), study.spec.objectives), flops


def check_count(session: Session, architecture: AnyNetwork) -> int:
    """FLOPs of the target as torch counts them; ``EvaluationFailed`` if they are not twice the closed form."""
    clip = session.study.target_clip()
    closed = 2 * network_cost(architecture, clip, session.classes).total.macs
    counted = counted_flops(architecture, clip, session.classes)
    if counted != closed:
        raise EvaluationFailed(f"the closed form says {closed:,} FLOPs, torch counts {counted:,}")
    return counted


def _claim_reference(session: Session) -> tuple[str, AnyNetwork] | None:
    """Take a reference to train, if one is open; the caller holds the lock."""
    found = open_reference(session)
    if found is not None:
        _beat(session, found[0])
    return found


def _beat(session: Session, name: str) -> None:
    """A sign of life of this worker's reference."""
    lost = session.optuna_study.user_attrs.get(REFERENCE + name, {}).get(LOST, 0)
    running = {"state": State.RUNNING, WORKER: this_worker(), "beat": time.time(), LOST: lost}
    session.optuna_study.set_user_attr(REFERENCE + name, running)


def _train_reference(session: Session, name: str, architecture: AnyNetwork, emit: Emit) -> None:
    """Train a network outside the space and keep its record with the study."""
    costs = session.costs(architecture)
    about: Event = {"trial": None, "network": name, ARCHITECTURE: architecture.id, **costs}
    about["compared"] = name in session.study.compared
    emit({"event": "start", **about})
    key = REFERENCE + name
    report = reporter(about, emit)

    def on_epoch(repeat: int, epoch: Any) -> None:
        report(repeat, epoch)
        with contextlib.suppress(*STORAGE_ERRORS):  # the next one will do
            _beat(session, name)

    try:
        with own_failures():
            costs |= measured_target(session, architecture)
        about |= costs
        course = reference_course(session, architecture, partial(_note, emit))
        evaluation, flops = _evaluate(session, architecture, on_epoch, course)
    except EvaluationFailed as error:
        failed = {"state": State.FAILED, NETWORK: name, REASON: shortened(str(error))}
        persist(session, lambda: session.optuna_study.set_user_attr(key, failed))
        emit({"event": "failed", "reason": str(error), **about})
        return
    except BaseException:  # Ctrl-C, or the world failed: the reference is open again
        with contextlib.suppress(*STORAGE_ERRORS):
            session.optuna_study.set_user_attr(key, {"state": State.OPEN})
        raise
    metrics = metrics_of(evaluation, costs)
    record = {
        "state": State.COMPLETE,
        ARCHITECTURE: architecture.id,
        "metrics": metrics,
        "feasible": all(value <= 0 for value in session.excess(costs).values()),
        **describe(architecture, costs),
        **outcome(evaluation, flops),
        RECORD: full_record(evaluation, session.device),
        NETWORK: name,
    }
    persist(session, lambda: keep_reference(session.optuna_study, name, record))
    emit(_done(about, metrics, evaluation))
