"""``DATASETS``: where clips come from. A source is a recipe (a section of YAML) and a way to open it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from stsearch.data.benchmarks import (
    Hmdb51Recipe,
    KineticsRecipe,
    SomethingRecipe,
    Ucf101Recipe,
    list_hmdb51,
    list_kinetics,
    list_something,
    list_ucf101,
)
from stsearch.data.build import load_videos
from stsearch.data.cache import Progress
from stsearch.data.folder import FolderRecipe, list_folder
from stsearch.data.graded import Graded, GradedRecipe
from stsearch.data.listing import Listing
from stsearch.data.lists import ListRecipe, list_videos
from stsearch.data.motions import Motions, MotionsRecipe
from stsearch.data.recipe import VideoRecipe
from stsearch.data.videos import ClipData
from stsearch.registry import Registry
from stsearch.schema import Strict


class Opened(Protocol):
    """A data set that is known to be there; nothing of it is decoded yet."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    def load(self, frames: int, size: int, progress: Progress) -> ClipData:
        """Its clips of ``frames`` x ``size`` x ``size``."""


@dataclass(frozen=True)
class Source:
    """A data set's recipe, and what opens it: ``UserError`` if it is not there or not laid out as it should be."""

    recipe: type[Strict]
    open: Callable[[Any], Opened]
    pairs: bool = False
    """whether its clips always have ``ClipData.opposite``: some classes are a motion and its reversal"""


@dataclass(frozen=True)
class Videos:
    """Files of videos and what of them is kept."""

    recipe: VideoRecipe
    listing: Listing

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.listing.classes

    def load(self, frames: int, size: int, progress: Progress) -> ClipData:
        """Its clips of ``frames`` x ``size`` x ``size``, decoded at the first time."""
        return load_videos(self.listing, self.recipe, frames, size, progress)


def of_files(recipe: type[VideoRecipe], listing: Callable[[Any], Listing]) -> Source:
    """The source of videos that ``listing`` lists."""
    return Source(recipe, lambda asked: Videos(asked, listing(asked)))


DATASETS: Registry[Source] = Registry("data set")
DATASETS.add("motions", Source(MotionsRecipe, Motions, pairs=True))
DATASETS.add("graded", Source(GradedRecipe, Graded, pairs=True))
DATASETS.add("folder", of_files(FolderRecipe, list_folder))
DATASETS.add("list", of_files(ListRecipe, list_videos))
DATASETS.add("kinetics", of_files(KineticsRecipe, list_kinetics))
DATASETS.add("ucf101", of_files(Ucf101Recipe, list_ucf101))
DATASETS.add("hmdb51", of_files(Hmdb51Recipe, list_hmdb51))
DATASETS.add("something", of_files(SomethingRecipe, list_something))


def open_data(recipe: Strict) -> Opened:
    """What ``recipe`` names."""
    return DATASETS[getattr(recipe, "name")].open(recipe)


def channels_of(recipe: Strict) -> int:
    """Channels of a frame: 2 of optical flow, else 3."""
    return 2 if getattr(recipe, "modality", "rgb") == "flow" else 3
