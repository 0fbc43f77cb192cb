"""What a study measures of the target before a network is trained, and which networks it leaves untrained for that."""

from __future__ import annotations

import math
from collections.abc import Mapping

import optuna

from stsearch.errors import StsearchError
from stsearch.evaluate.train import EvaluationFailed
from stsearch.search.attributes import ARCHITECTURE
from stsearch.search.metrics import measured_names
from stsearch.search.session import Session
from stsearch.space.blueprint import AnyNetwork


def measured_target(session: Session, architecture: AnyNetwork) -> dict[str, float]:
    """What a study wants measured of the target, before training; ``EvaluationFailed`` if that cannot be."""
    try:
        found = session.measured(architecture)
    except StsearchError as error:
        raise EvaluationFailed(str(error)) from error
    if wrong := [name for name, value in found.items() if math.isnan(value)]:
        raise EvaluationFailed(f"{wrong[0]} was measured as {found[wrong[0]]}, which is no number")
    return found


def prune_slow(session: Session, trial: optuna.Trial, costs: Mapping[str, float]) -> None:
    """A network over a measured cap is not trained, but one that is asked for all the same."""
    over = {name: value for name, value in session.excess(costs).items() if name in measured_names() and value > 0}
    if over and not _is_asked(session, trial):
        budget = session.study.spec.budget
        said = ", ".join(f"{name} {_plain(costs[name])}, budget {_plain(budget[name])}" for name in over)
        raise optuna.TrialPruned(f"not trained: {said}")


def _is_asked(session: Session, trial: optuna.Trial) -> bool:
    """Whether a trial's network is trained whatever it costs: for ``start_with: paper-all`` and ``compare_with``."""
    if trial.user_attrs[ARCHITECTURE] in {network.id for network in session.study.compared_inside()}:
        return True
    return session.study.spec.search.start_with == "paper-all" and is_start(session, trial)


def _plain(value: float) -> str:
    """Four digits, and never a power of ten."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def is_start(session: Session, trial: optuna.Trial) -> bool:
    """Whether a trial's network is one that the study begins with."""
    return trial.user_attrs[ARCHITECTURE] in {architecture.id for architecture in session.sampler.start}
