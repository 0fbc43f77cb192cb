"""Networks of a study by their trials, how each stands, and what samplers are shown of that.

A told trial cannot be opened again, so a network that is taken up gets a further trial. The network is
what counts: its trials share the architecture, and the last of them says how it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState

from stsearch.search.attributes import ARCHITECTURE, EXPECTED_FROM, RUNGS, SCREEN, STOPPED
from stsearch.search.metrics import ACCURACIES
from stsearch.search.proposals import failed_by_itself
from stsearch.search.shown import Shown, shown_as

Networks = dict[str, list[FrozenTrial]]
"""Architecture to its trials, in order"""


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


def is_screened(trial: FrozenTrial) -> bool:
    """Whether a trial's network was screened out."""
    return trial.state == TrialState.PRUNED and bool(trial.user_attrs.get(SCREEN, {}).get("out"))


def is_interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial ended with its worker: its network is tried again."""
    return trial.state == TrialState.FAIL and not failed_by_itself(trial)


def stopped_networks(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    """Networks that wait at a rung: architecture to the rung's epoch, in order of their last trials."""
    last = sorted((group[-1] for group in by_network(trials).values()), key=lambda trial: trial.number)
    return {trial.user_attrs[ARCHITECTURE]: trial.user_attrs[STOPPED] for trial in last if is_stopped(trial)}


def results_at_rungs(group: Sequence[FrozenTrial]) -> dict[int, float]:
    """Epoch to accuracy at the rungs; that of the later trial where two have one."""
    return {int(epoch): accuracy for trial in group for epoch, accuracy in trial.user_attrs.get(RUNGS, {}).items()}


def known_of(group: Sequence[FrozenTrial]) -> dict[str, Any]:
    """All that a network's trials know of it; the last one may be about to be written by another worker."""
    return {name: value for trial in group for name, value in trial.user_attrs.items()}


# What samplers see --------------------------------------------------------------------------


def without_screened(study: OptunaStudy) -> OptunaStudy:
    """``study`` with screened networks shown as failed, from which no sampler learns: nobody knows their accuracy."""
    trials = study.get_trials(deepcopy=False)
    if not any(map(is_screened, trials)):
        return study
    return Shown(study, [shown_as(t, TrialState.FAIL, None) if is_screened(t) else t for t in trials])


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
        own = [trial for trial in group if not is_interrupted(trial)]
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
            for epoch, reached in results_at_rungs(group).items():
                found.setdefault(epoch, []).append(group[-1].user_attrs[accuracy] - reached)
    return {epoch: fmean(gained) for epoch, gained in found.items()}


def _expected(trial: FrozenTrial, objectives: Sequence[str], gains: Mapping[int, float]) -> list[float]:
    """The objectives of a stopped network, its accuracies as they would have become."""
    gain, known = gains.get(trial.user_attrs[STOPPED], 0.0), trial.user_attrs
    return [min(100.0, max(0.0, known[n] + gain)) if n in ACCURACIES else float(known[n]) for n in objectives]
