"""How well a proxy was found to rank: kept beside its trainings, found for any study of the storage that is alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from stsearch.search.attributes import CALIBRATED
from stsearch.search.place import exists
from stsearch.search.rows import loaded
from stsearch.search.stored_repeats import alike
from stsearch.search.tables import attributes_of, reading


@dataclass(frozen=True)
class Calibrated:
    """What a calibration found of one proxy, data and recipe."""

    date: str
    """when, as in 2026-11-30"""
    tau: float
    """Kendall's, from one seed to the next"""
    low: float | None
    high: float | None
    """its 95 % interval; ``None`` where there is none"""
    longest: float | None
    """tau with the longest way that was tried; ``None`` where that is not known"""
    settles: float
    """points of difference that tell two networks apart, each trained once"""
    learnt: str
    """the verdict of ``stsearch.report.learning``"""
    networks: int
    rounds: int
    """trainings of each"""
    seconds: float
    """per training"""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def kept(found: Calibrated, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The attribute ``CALIBRATED``: ``settings`` are evaluate, clip, width and the fingerprint of the data."""
    return {"found": found.as_dict(), "settings": dict(settings)}


def calibration_in(url: str, identity: Mapping[str, Any]) -> Calibrated | None:
    """The latest calibration in the storage ``url`` of the proxy, the data and the recipe of a study's ``identity``.

    ``None`` where nobody made one, or what is stored of it is damaged.
    """
    if not exists(url):
        return None
    attributes = attributes_of("study", "user")
    query = sa.select(attributes.c.value_json).where(attributes.c.key == CALIBRATED).order_by(attributes.c.study_id)
    with reading(url) as connection:
        rows = [loaded(text) for (text,) in connection.execute(query)]
    found = [one for row in rows if (one := _read(row, identity)) is not None]
    return max(found, key=lambda one: (one.date, one.rounds), default=None)


def _read(row: Any, identity: Mapping[str, Any]) -> Calibrated | None:
    if not isinstance(row, dict) or not alike(row.get("settings"), identity):
        return None
    try:
        return Calibrated(**json.loads(json.dumps(row["found"])))
    except (KeyError, TypeError):
        return None
