"""optuna-dashboard behind our page, telling the truth about a study.

One of its answers is given here instead, with its own serialisers: that for a whole study. There
the optimal trials are those of our front (Optuna's forgets constraints, and is quadratic for three
objectives), and every trial has a note without a search through all notes for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import optuna_dashboard
from optuna.trial import FrozenTrial
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard._inmemory_cache import get_cached_extra_study_property
from optuna_dashboard._serializer import serialize_study_detail
from optuna_dashboard._storage import get_trials

from stsearch.report.shown import Files, ShownStorage
from stsearch.search.reading import StoredStudy
from stsearch.search.storage import open_storage


class Behind:
    """optuna-dashboard on the storage of one study."""

    def __init__(self, stored: StoredStudy) -> None:
        self._storage = ShownStorage(open_storage(stored.url, to_write=False), stored.name, stored.url)
        self._dashboard: Any = optuna_dashboard.wsgi(self._storage, artifact_store=Files(self._storage))

    def answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Its own answer."""
        answer: Iterable[bytes] = self._dashboard(environ, start)
        return answer

    def is_beside(self, study_id: int) -> bool:
        """Whether it is that of the study's repeats, or of an audit."""
        _, *beside = self._storage.get_all_studies()
        return study_id in [study._study_id for study in beside]

    def detail(self, study_id: int, after: int) -> dict[str, Any] | None:
        """The study as its page wants it, trials from number ``after`` on; ``None`` for another study."""
        return _detail(self._storage, self._dashboard, study_id, after)


def _detail(storage: ShownStorage, dashboard: Any, study_id: int, after: int) -> dict[str, Any] | None:
    """The study as the dashboard's page wants it, trials from number ``after`` on; ``None`` for another study."""
    study = storage.get_all_studies()[0]
    if study._study_id != study_id:
        return None
    trials = get_trials(dashboard._inmemory_cache, storage, study_id)
    front = {record.trial for record in storage.standing().pareto.front}
    best = [trial for trial in trials if trial.number in front]
    extra = get_cached_extra_study_property(dashboard._inmemory_cache, study_id, trials)
    notes = {key: value for key, value in study.system_attrs.items() if ":note_" in key}
    figures = get_plotly_graph_objects(study.system_attrs)
    detail: dict[str, Any] = serialize_study_detail(study, best, trials[after:], *extra, figures, [])
    own = {trial._trial_id: trial for trial in trials if f"dashboard:{trial._trial_id}:note_ver" not in notes}
    for shown in (*detail["trials"], *detail["best_trials"]):
        trial: FrozenTrial | None = own.get(shown["trial_id"])
        if trial is not None:
            shown["note"] = {"version": 0, "body": storage.note(trial)}
    return detail
