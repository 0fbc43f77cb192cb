"""What a study's file leaves open: as the study was begun with, or else as its data ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any

from optuna.storages import RDBStorage

from stsearch.data.videos import ClipData
from stsearch.errors import UserError, brief
from stsearch.evaluate.earlier import as_begun
from stsearch.evaluate.epochs import epochs_for
from stsearch.evaluate.halving import HalvingRecipe
from stsearch.evaluate.recipe import LoopRecipe, TrainRecipe
from stsearch.search.attributes import SPEC
from stsearch.search.metrics import direction_of
from stsearch.search.reading import check_format
from stsearch.search.spec import Study


def as_begun_with(study: Study, stored: Mapping[str, Any] | None) -> Study:
    """``study`` with what its file does not say of its recipe as ``stored``, the identity that it was begun with.

    So a study keeps its recipe where defaults have changed since.
    """
    recipe = study.spec.evaluate
    if (
        stored is None
        or not isinstance(recipe, LoopRecipe)
        or stored["evaluate"].get("name") != recipe.model_dump()["name"]
    ):
        return study
    said = study.said - ({"precision"} if recipe.precision == "auto" else set())  # what that came to is kept
    kept = {key: value for key, value in stored["evaluate"].items() if key not in said}
    return _with(study, kept)


def fitted(study: Study, data: ClipData) -> Study:
    """``study`` with the length of its trainings chosen for ``data``, where its file does not say it."""
    return _with(study, _length(study.spec.evaluate, study.said, data))


def fitted_recipe(recipe: TrainRecipe, said: frozenset[str], data: ClipData) -> TrainRecipe:
    """``recipe``, of which a file says ``said``, with its length chosen for ``data``."""
    return recipe.model_copy(update=_length(recipe, said, data))


def _length(recipe: Any, said: frozenset[str], data: ClipData) -> dict[str, Any]:
    length = epochs_for(len(data.splits["train"]), len(data.classes))
    if isinstance(recipe, TrainRecipe) and "epochs" not in said:
        return {"epochs": length}
    if isinstance(recipe, HalvingRecipe) and "rungs" not in said:
        return {"rungs": sorted({ceil(length / 9), ceil(length / 3), length})}
    return {}


def _with(study: Study, changes: Mapping[str, Any]) -> Study:
    recipe = study.spec.evaluate
    if not changes:
        return study
    changed = type(recipe).model_validate({**recipe.model_dump(), **changes})
    return replace(study, spec=study.spec.model_copy(update={"evaluate": changed}))


def stored_identity(storage: RDBStorage, study: Study) -> dict[str, Any] | None:
    """How the study was begun, if it was; ``UserError`` for one that is not stsearch's."""
    known = [s for s in storage.get_all_studies() if s.study_name == study.name]
    if not known:
        return None
    stored = known[0].user_attrs.get(SPEC)
    if isinstance(stored, dict):
        check_format(study.name, stored)
        identity: dict[str, Any] = stored["identity"]
        return {**identity, "evaluate": as_begun(identity["evaluate"])}
    directions = [direction.name.lower() for direction in storage.get_study_directions(known[0]._study_id)]
    wanted = [direction_of(name) for name in study.spec.objectives]
    if storage.get_n_trials(known[0]._study_id) or directions != [direction.lower() for direction in wanted]:
        raise UserError(
            f"the storage holds a study {study.name!r} that stsearch did not begin; choose another name or storage"
        )
    return None  # its creator was killed between two writes


def refuse_change(study: Study, stored: Mapping[str, Any] | None, current: Mapping[str, Any]) -> None:
    """``UserError`` with every setting of ``current`` that is not as the study was begun with."""
    changes = difference(stored, current) if stored is not None else []
    if changes:
        lines = "".join(f"\n  {change}" for change in changes)
        raise UserError(
            f"the study {study.name!r} in its storage was begun otherwise; go on with the old settings, or begin "
            f"another with --set name=OTHER. Changed:{lines}"
        )


def difference(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> list[str]:
    """``key: old -> new`` for every leaf that differs."""
    lines: list[str] = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += difference(before, after, f"{path}{key}.")
        elif before != after:
            lines.append(f"{path}{key}: {brief(before)} -> {brief(after)}")
    return lines
