"""Networks of a study by their trials, how each stands, and what samplers are shown of that.

A told trial cannot be opened again, so a network that is taken up gets a further trial. The network is
what counts: its trials share the architecture, and the last of them says how it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState

from stsearch.search.attributes import ARCHITECTURE, EXPECTED_FROM, RUNGS, STOPPED
from stsearch.search.fresh import Fresh
from stsearch.search.metrics import ACCURACIES
from stsearch.search.shown import Shown, shown_as
from stsearch.search.state import State, state_of


@dataclass(frozen=True)
class Network:
    """A network of a study by its trials, in order; the last of them says how it stands."""

    trials: tuple[FrozenTrial, ...]

    @property
    def last(self) -> FrozenTrial:
        """Its last trial."""
        return self.trials[-1]

    @property
    def state(self) -> State:
        """How it stands."""
        return state_of(self.last)

    @property
    def known(self) -> dict[str, Any]:
        """All that its trials know of it; the last one may be about to be written by another worker."""
        return {name: value for trial in self.trials for name, value in trial.user_attrs.items()}

    @property
    def at_rungs(self) -> dict[int, float]:
        """Epoch to accuracy at the rungs; that of the later trial where two have one."""
        found = (trial.user_attrs.get(RUNGS, {}) for trial in self.trials)
        return {int(epoch): accuracy for rungs in found for epoch, accuracy in rungs.items()}


def by_network(trials: Sequence[FrozenTrial]) -> dict[str, Network]:
    """Networks by architecture; trials without one, whose worker was stopped too early, are left out."""
    found: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        if ARCHITECTURE in trial.user_attrs:
            found.setdefault(trial.user_attrs[ARCHITECTURE], []).append(trial)
    return {architecture: Network(tuple(own)) for architecture, own in found.items()}


def stopped_networks(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    """Networks that wait at a rung: architecture to the rung's epoch, in order of their last trials."""
    last = sorted((network.last for network in by_network(trials).values()), key=lambda trial: trial.number)
    waiting = [trial.user_attrs for trial in last if state_of(trial) is State.STOPPED]
    return {known[ARCHITECTURE]: known[STOPPED] for known in waiting}


# What samplers see --------------------------------------------------------------------------


class Screened:
    """Networks that were screened out, of a study that grows."""

    def __init__(self) -> None:
        self._fresh = Fresh()
        self._out: set[int] = set()

    def left_out_of(self, study: OptunaStudy) -> OptunaStudy:
        """``study`` with them shown as failed, from which no sampler learns: nobody knows their accuracy."""
        trials = study.get_trials(deepcopy=False)
        self._out |= {trial.number for trial in self._fresh.of(trials) if state_of(trial) is State.SCREENED}
        if not self._out:
            return study
        return Shown(study, [shown_as(t, TrialState.FAIL, None) if t.number in self._out else t for t in trials])


def once_per_network(study: OptunaStudy, objectives: Sequence[str]) -> OptunaStudy:
    """``study`` with one trial per network, in the place of its first; for samplers.

    A stopped network is shown as complete with the accuracy that it is expected to reach: its last one and
    what the complete networks gained from that rung on, on average. As PRUNED it would teach Gaussian
    processes and NSGA-II nothing, and TPE that it is bad however near it was.
    """
    trials = study.get_trials(deepcopy=False)
    networks = by_network(trials)
    accuracy = next(name for name in objectives if name in ACCURACIES)
    gains = _gains(networks.values(), accuracy)
    shown = {trial.number: trial for trial in trials}
    for network in networks.values():
        own = [trial for trial in network.trials if state_of(trial) is not State.INTERRUPTED]
        stopped = [trial for trial in own if state_of(trial) is State.STOPPED]
        if not stopped:
            continue
        for trial in own[1:]:
            shown[trial.number] = shown_as(trial, TrialState.FAIL, None)
        values, state = own[-1].values, own[-1].state
        first = own[0].number
        if state in (TrialState.PRUNED, TrialState.RUNNING):
            shown[first] = shown_as(own[0], TrialState.COMPLETE, _expected(stopped[-1], objectives, gains))
            shown[first].user_attrs = {**own[0].user_attrs, EXPECTED_FROM: stopped[-1].user_attrs[STOPPED]}
        else:
            shown[first] = shown_as(own[0], state, values)
    return Shown(study, list(shown.values()))


def _gains(networks: Iterable[Network], accuracy: str) -> dict[int, float]:
    """Points that complete networks gained from each rung to the last, on average."""
    found: dict[int, list[float]] = {}
    for network in networks:
        if network.state is State.COMPLETE:
            for epoch, reached in network.at_rungs.items():
                found.setdefault(epoch, []).append(network.last.user_attrs[accuracy] - reached)
    return {epoch: fmean(gained) for epoch, gained in found.items()}


def _expected(trial: FrozenTrial, objectives: Sequence[str], gains: Mapping[int, float]) -> list[float]:
    """The objectives of a stopped network, its accuracies as they would have become."""
    gain, known = gains.get(trial.user_attrs[STOPPED], 0.0), trial.user_attrs
    return [min(100.0, max(0.0, known[n] + gain)) if n in ACCURACIES else float(known[n]) for n in objectives]
