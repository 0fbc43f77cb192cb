"""A study's page while it runs: the report, made anew when something has changed, and what it asks for between."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from threading import Lock

import numpy as np

from stsearch.search.attributes import ARCHITECTURE
from stsearch.search.reading import StoredStudy, read_study

_FRESH_S = 5.0
"""The storage is not read again before so long"""


@dataclass(frozen=True)
class _Made:
    stamp: str
    page: str


class LivePage:
    """The page of one study; threads may ask at once."""

    def __init__(self, stored: StoredStudy, table: str = "paper") -> None:
        self._table = table
        self._stored, self._read_at, self._lock = stored, time.monotonic(), Lock()
        self._made: _Made | None = None

    def stored(self) -> StoredStudy:
        """The study now, or a few seconds ago."""
        with self._lock:
            if time.monotonic() - self._read_at > _FRESH_S:
                self._stored, self._read_at = read_study(self._stored.name, self._stored.url), time.monotonic()
            return self._stored

    def stamp(self) -> str:
        """Another one whenever the page is another one."""
        return stamp_of(self.stored())

    def page(self) -> str:
        """The page as it stands."""
        from stsearch.report.collect import report_of
        from stsearch.report.html import html

        stored = self.stored()
        stamp = stamp_of(stored)
        made = self._made
        if made is None or made.stamp != stamp:
            made = self._made = _Made(stamp, html(report_of(stored, table=self._table), stamp))
        return made.page

    def network(self, architecture: str) -> str:
        """Drawing and learning curve of a network of the study, as SVG; empty where it has none of this id."""
        from stsearch.report.canvas import svg
        from stsearch.report.charts import curves_of, learning_curve
        from stsearch.report.draw import drawing

        stored = self.stored()
        rows = stored.find(ARCHITECTURE, [architecture])
        if not len(rows):
            return ""
        (record,) = stored.records(rows[-1:])
        (details,) = stored.details(rows[-1:])
        pictures = [svg(drawing([record.parsed()], stored.target_clip, stored.classes, [record.network]))]
        if trainings := details.get("trainings"):
            pictures.append(svg(learning_curve(curves_of(trainings), record.network)))
        return "\n".join(pictures)


def stamp_of(stored: StoredStudy) -> str:
    """Short, and another one whenever trials, attributes or further trainings are others."""
    repeats = sorted((str(of), [one.trial_id for one in found]) for of, found in stored.repeats.items())
    told = repr((stored.states.tolist(), np.nan_to_num(stored.values).tolist(), stored.user_attributes, repeats))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
