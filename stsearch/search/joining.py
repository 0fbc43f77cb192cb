"""A study that another process began, taken up from its storage alone: on a machine that has no file of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stsearch.errors import UserError, brief, quoted
from stsearch.resources import find
from stsearch.search.attributes import SPEC
from stsearch.search.engines import ENGINES, Engine
from stsearch.search.overrides import apply_overrides
from stsearch.search.place import shown
from stsearch.search.spec import Study, study_from_data
from stsearch.search.stored import StoredStudy
from stsearch.space.search_space import SearchSpace, load_space, space_from_data

PLACES = ("path", "root", "val", "test", "annotations", "class_names")
"""Keys of ``data:`` that say where something lies; what lies there must be the same, and is compared."""


def joined(stored: StoredStudy, overrides: Sequence[str] = ()) -> Study:
    """The study that ``stored`` is, to work for it here.

    ``overrides`` are ``--set``: of ``engine``, and of where the videos lie. Raises ``UserError`` for others.
    """
    data = {**stored.resolved, "name": stored.name, "storage": stored.url}
    places = {key: data["data"][key] for key in PLACES if key in data["data"]}
    data["data"] = {key: value for key, value in data["data"].items() if value is not None}
    if "repeats" in data["evaluate"]:
        data["evaluate"]["repeats"] = stored.user_attributes[SPEC].get("repeats", data["evaluate"]["repeats"])
    if not ENGINES[data["engine"]["name"]].recipe.here:  # a worker is where it was started
        own = {key: value for key, value in data["engine"].items() if key in Engine.model_fields}
        data["engine"] = {**own, "name": "local", "workers": 1}
    _check(overrides, places)
    apply_overrides(data, overrides)
    source = f"the study {stored.name!r} in {shown(stored.url)}"
    study = study_from_data(data, source, stored.name, space=_space(stored, source))
    return replace(study, places=places, joins=True)


def _check(overrides: Sequence[str], places: Mapping[str, Any]) -> None:
    """``UserError`` for what a worker cannot choose."""
    for text in overrides:
        key = text.partition("=")[0].strip()
        section, _, name = key.partition(".")
        if section == "engine" or (section == "data" and name in places):
            continue
        allowed = quoted(
            [
                "engine.workers",
                "engine.device",
                "engine.threads",
                "engine.checkpoint_s",
                *(f"data.{name}" for name in places),
            ]
        )
        raise UserError(
            f"--set of {brief(key)}: the study says that for all its workers; a worker chooses where it works and "
            f"where its videos lie: {allowed}. `stsearch run` changes a study"
        )


def _space(stored: StoredStudy, source: str) -> SearchSpace:
    """Its search space, from the storage, or from a file for a study of an earlier version."""
    kept = stored.user_attributes[SPEC]["space"]
    if isinstance(kept.get("definition"), dict):
        return space_from_data(kept["definition"], kept["folder"], source)
    return load_space(find("search_spaces", kept["name"], Path(kept["folder"] or ".")))
