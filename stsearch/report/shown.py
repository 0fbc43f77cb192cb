"""A study's storage as optuna-dashboard sees it: with notes, files and our own figure.

They are made when the dashboard asks and exist nowhere else: nothing is written, so a running
study is not slowed, and what was trained before this version of stsearch is shown alike.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import Any, BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from stsearch.report.artifacts import ARTIFACTS, Trial, artifacts_of
from stsearch.report.notes import study_note, trial_note
from stsearch.report.pareto import Pareto, pareto_of
from stsearch.report.plot import figure
from stsearch.search.attributes import RECORD, REFERENCE, REPEATS, SPEC
from stsearch.search.packed import whole
from stsearch.search.reading import StoredStudy, read_study
from stsearch.search.state import state_of

_ARTIFACT = "artifacts:"
"""Optuna's prefix of an artifact in a trial's system attributes."""
_PLOT = "dashboard:plot_data:front:0"
_NOTE, _NOTE_VERSION = "dashboard:note_str:0", "dashboard:note_ver"
_PLOT_SIZE = 690, 450
"""Pixels that the page has for a figure on a screen of usual size; its height is fixed"""
_TITLE = 90
"""Characters of a line of a figure's title"""
_FRESH_S = 5.0
"""The front is not read again before so long."""


@dataclass(frozen=True)
class _Standing:
    """A study and its front at one moment, and what is made of them."""

    stored: StoredStudy
    pareto: Pareto
    note: str
    plot: str | None


class ShownStorage(_CachedStorage):
    """One study of a storage, with what the dashboard shows beside Optuna's own."""

    def __init__(self, backend: RDBStorage, name: str, url: str) -> None:
        super().__init__(backend)
        self._name, self._url = name, url
        self._standing: _Standing | None = None
        self._read_at = 0.0
        self._notes: dict[int, str] = {}

    def standing(self) -> _Standing:
        """The study now, or a few seconds ago."""
        if self._standing is None or time.monotonic() - self._read_at > _FRESH_S:
            stored = read_study(self._name, self._url)
            if self._standing is None or _moved(self._standing.stored, stored):
                self._notes.clear()
                pareto = pareto_of(stored)
                self._standing = _Standing(stored, pareto, study_note(stored, pareto), _plot(pareto))
            self._read_at = time.monotonic()
        return self._standing

    def get_all_studies(self) -> list[FrozenStudy]:
        """The one study, and those of its repeats and audits."""
        found = super().get_all_studies()
        (study,) = (s for s in found if s.study_name == self._name)
        beside = [s for s in found if s.study_name == self._name + REPEATS or s.study_name.startswith(f"{self._name}/")]
        now = self.standing()
        if _NOTE_VERSION not in study.system_attrs:
            study.system_attrs |= {_NOTE_VERSION: 0, _NOTE: now.note}
        if now.plot is not None:
            study.system_attrs[_PLOT] = now.plot
        study.user_attrs = _readable(study.user_attrs)
        return [study, *beside]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials, with the files that can be made of them."""
        trials = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        for trial in trials:
            self._with_files(trial)
        return trials

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """Of one trial, its files among them."""
        return self._with_files(self.get_trial(trial_id))._system_attrs

    @staticmethod
    def _with_files(trial: FrozenTrial) -> FrozenTrial:
        for place in artifacts_of(trial.user_attrs, trial._system_attrs):
            artifact, name = ARTIFACTS[place], f"{place:x}-{trial._trial_id:x}"
            about = {"artifact_id": name, "filename": artifact.filename, "mimetype": artifact.mimetype}
            trial._system_attrs[_ARTIFACT + name] = json.dumps({**about, "encoding": None})
        return trial

    def note(self, trial: FrozenTrial) -> str:
        """What the dashboard says of a trial where nobody has written anything."""
        if (known := self._notes.get(trial._trial_id)) is not None:
            return known
        stored = self.standing().stored
        note = trial_note(stored, trial.number, state_of(trial), trial.user_attrs, trial.constraints)
        if trial.state.is_finished():
            self._notes[trial._trial_id] = note
        return note


def _plot(pareto: Pareto) -> str | None:
    """Our front for the page of the study, where there is one to draw."""
    if not pareto.front or len(pareto.objectives) < 2:
        return None
    drawn = figure(pareto, _PLOT_SIZE)
    lines = [escape(line) for line in wrap(f"Front beside the paper's networks, {pareto.accuracy_of}", _TITLE)]
    drawn.update_layout(
        height=_PLOT_SIZE[1],
        margin={"l": 50, "r": 40, "t": 20 + 18 * len(lines), "b": 0},
        modebar={"orientation": "v"},  # beside the plot: above it it would cover the title
        title={"text": "<br>".join(lines), "font": {"size": 13}, "x": 0, "xref": "paper"},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "font": {"size": 11}},
    )
    drawn.update_xaxes(automargin=True)
    return str(drawn.to_json())


def _moved(before: StoredStudy, now: StoredStudy) -> bool:
    return (
        list(before.states) != list(now.states)
        or before.user_attributes != now.user_attributes
        or before.repeats != now.repeats
    )


def _readable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A study's attributes for people: its specification line by line, its references by their results."""
    shown: dict[str, Any] = {}
    for section, value in attributes[SPEC]["resolved"].items():
        if isinstance(value, dict):
            shown[section] = ", ".join(f"{key}: {inner}" for key, inner in value.items() if inner is not None)
        elif value is not None:
            shown[section] = value
    for key, value in attributes.items():
        if key.startswith(REFERENCE):
            metrics = ", ".join(f"{name} {number:.5g}" for name, number in value.get("metrics", {}).items())
            shown[key.replace(":", " ")] = f"{value['state']}" + (f": {metrics}" if metrics else "")
    return shown


class Files:
    """The dashboard's artifact store: files made of a trial when they are opened."""

    def __init__(self, storage: ShownStorage) -> None:
        self._storage = storage

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The file ``place-trial`` (both hexadecimal); ``ArtifactNotFound`` if there is none."""
        place, _, trial_id = artifact_id.partition("-")
        try:
            artifact, trial = ARTIFACTS[int(place, 16)], self._storage.get_trial(int(trial_id, 16))
        except (ValueError, IndexError, KeyError):
            raise ArtifactNotFound(f"there is no file {artifact_id!r}") from None
        record = whole(trial._system_attrs, RECORD) if RECORD in trial._system_attrs else {}
        about = Trial(self._storage.standing().stored, trial.number, trial.user_attrs, record)
        return io.BytesIO(artifact.make(about).encode())

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Refused: the dashboard shows, it does not change."""
        raise PermissionError("files cannot be added here")

    def remove(self, artifact_id: str) -> None:
        """Refused: the dashboard shows, it does not change."""
        raise PermissionError("files cannot be removed here")
