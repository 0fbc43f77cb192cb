"""``DATASETS``: where clips come from. A source is a recipe (a section of YAML) and a loader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stsearch.data.folder import FolderRecipe, folder_classes, load_folder
from stsearch.data.motions import MotionsRecipe, load_motions, motion_names
from stsearch.data.videos import ClipData
from stsearch.registry import Registry
from stsearch.schema import Strict

Progress = Callable[[str, int, int], None]
"""``(what, done, of)``"""


@dataclass(frozen=True)
class Source:
    """A data set's recipe, its class names without decoding anything, and its loader."""

    recipe: type[Strict]
    classes: Callable[[Any], tuple[str, ...]]
    load: Callable[[Any, int, int, Progress], ClipData]
    """``load(recipe, frames, size, progress)``"""


DATASETS: Registry[Source] = Registry("data set")
DATASETS.add(
    "motions", Source(MotionsRecipe, motion_names, lambda recipe, frames, size, _: load_motions(recipe, frames, size))
)
DATASETS.add("folder", Source(FolderRecipe, folder_classes, load_folder))


def class_names(recipe: Strict) -> tuple[str, ...]:
    """The classes of what ``recipe`` names; ``UserError`` if it is not there or not laid out as it should be."""
    return DATASETS[getattr(recipe, "name")].classes(recipe)


def load_data(recipe: Strict, frames: int, size: int, progress: Progress) -> ClipData:
    """Load what ``recipe`` names, for clips of ``frames`` x ``size`` x ``size``."""
    return DATASETS[getattr(recipe, "name")].load(recipe, frames, size, progress)
