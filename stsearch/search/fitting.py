"""What a study's file leaves open: as the study was begun with, or else as its data ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any

from stsearch.data.videos import ClipData
from stsearch.evaluate.halving import HalvingRecipe
from stsearch.evaluate.recipe import LoopRecipe, TrainRecipe
from stsearch.search.spec import Study

CLIPS_PER_CLASS = 600
"""training clips that a proxy sees of each class, over all epochs, where nobody says how many epochs"""
FEWEST, MOST = 3, 200
"""epochs that are chosen"""


def epochs_for(clips: int, classes: int) -> int:
    """Epochs of ``clips`` training videos in which a network sees ``CLIPS_PER_CLASS`` clips of each class."""
    return min(MOST, max(FEWEST, ceil(CLIPS_PER_CLASS * classes / max(1, clips))))


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
    kept = {key: value for key, value in stored["evaluate"].items() if key not in study.said}
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
