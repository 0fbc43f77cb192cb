"""What stands beside a trial: its drawing, learning curve, confusion matrix, cost table and record.

Everything is made from the record when somebody looks at it. Nothing is written, so a study
needs no folder beside its storage, and the pictures of an old study are those of today.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stsearch.report.canvas import svg
from stsearch.report.charts import confusion_counts, confusion_matrix, curves_of, learning_curve
from stsearch.report.draw import drawing
from stsearch.report.notes import cost_table
from stsearch.search.attributes import ARCHITECTURE, NETWORK, RECORD
from stsearch.search.metrics import SCORE
from stsearch.search.reading import StoredStudy
from stsearch.space.architecture import parse_placement
from stsearch.space.cost import network_cost


@dataclass(frozen=True)
class Trial:
    """What artifacts are made of."""

    study: StoredStudy
    number: int
    attributes: Mapping[str, Any]
    record: Mapping[str, Any]
    """empty before training has ended"""

    @property
    def network(self) -> str:
        """Its name."""
        return str(self.attributes.get(NETWORK, self.attributes[ARCHITECTURE]))


@dataclass(frozen=True)
class Artifact:
    """A file that can be made of a trial."""

    filename: str
    mimetype: str
    trained: bool
    """whether it needs a finished training"""
    make: Callable[[Trial], str]


def _drawing(trial: Trial) -> str:
    architecture = parse_placement(trial.attributes[ARCHITECTURE])
    return svg(drawing([architecture], trial.study.target_clip, trial.study.classes))


def _curve(trial: Trial) -> str:
    curves = curves_of(trial.record["trainings"])
    return svg(learning_curve(curves, f"{trial.network}, trial {trial.number}"))


def _confusion(trial: Trial) -> str:
    names = trial.study.class_names
    counts = confusion_counts(trial.record["trainings"], len(names))
    return svg(
        confusion_matrix(names, counts, f"{trial.network}, trial {trial.number}: videos of the validation split")
    )


def _costs(trial: Trial) -> str:
    study = trial.study
    cost = network_cost(parse_placement(trial.attributes[ARCHITECTURE]), study.target_clip, study.classes)
    heads, rows = cost_table(cost)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([heads, *rows])
    return out.getvalue()


def _record(trial: Trial) -> str:
    return json.dumps({"trial": trial.number, **trial.attributes, "record": trial.record}, indent=2)


ARTIFACTS: tuple[Artifact, ...] = (
    Artifact("architecture.svg", "image/svg+xml", False, _drawing),
    Artifact("learning-curve.svg", "image/svg+xml", True, _curve),
    Artifact("confusion-matrix.svg", "image/svg+xml", True, _confusion),
    Artifact("cost.csv", "text/csv", False, _costs),
    Artifact("record.json", "application/json", False, _record),
)


def artifacts_of(attributes: Mapping[str, Any], system: Mapping[str, Any]) -> list[int]:
    """Which of ``ARTIFACTS`` a trial with these attributes has, by their places."""
    if ARCHITECTURE not in attributes:
        return []
    trained = RECORD in system and SCORE not in attributes
    return [place for place, artifact in enumerate(ARTIFACTS) if trained or not artifact.trained]
