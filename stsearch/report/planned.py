"""What a study will be able to settle, said before its trainings are spent."""

from __future__ import annotations

from stsearch.report.confidence_text import settles
from stsearch.report.pareto import pareto_of
from stsearch.search.metrics import ACCURACIES
from stsearch.search.reading import read_study
from stsearch.search.session import Session
from stsearch.stats.power import expected_error, settled


def what_it_settles(session: Session) -> str:
    """One line: from the study's own noise where there is some, else from its validation videos and what is assumed.

    Empty where no accuracy is an objective.
    """
    spec = session.study.spec
    if not any(name in ACCURACIES for name in spec.objectives):
        return ""
    each = getattr(spec.evaluate, "repeats", 1) + session.more
    networks = spec.search.trials
    if session.optuna_study.user_attrs and any(trial.state.name == "COMPLETE" for trial in session.trials()):
        confidence = pareto_of(read_study(session.study.name, session.study.storage_url)).confidence
        noise = confidence.noise if confidence else None
        if noise is not None and noise.settled is not None:
            known = "by the study's own noise" if noise.measured is not None else "what seeds add is a guess so far"
            return settles(networks, each, each, noise.settled, known)
    videos = len(session.data.splits["val"])
    why = f"an estimate from {videos} validation videos; it is measured as the study runs"
    return settles(networks, each, each, settled(expected_error(videos, each)), why)
