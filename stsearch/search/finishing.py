"""What ``stsearch train`` trains: the network, the recipe, the data and their clip, put together and checked."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from stsearch.data.cache import Progress
from stsearch.data.jobs import frame_size
from stsearch.data.recipe import VideoRecipe
from stsearch.data.sources import open_data
from stsearch.errors import UserError, brief, quoted
from stsearch.evaluate.epochs import epochs_for
from stsearch.evaluate.evaluators import Task
from stsearch.evaluate.warm import Start
from stsearch.evaluate.weights import About
from stsearch.evaluate.whole import RECIPES, WholeRecipe
from stsearch.evaluate.world import ALONE, World
from stsearch.schema import Strict, read_yaml, validate
from stsearch.search.asked_data import AskedData
from stsearch.search.overrides import apply_overrides
from stsearch.search.spec import without_auto
from stsearch.space.blueprint import AnyNetwork, ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.published import name_of
from stsearch.texts import path_of

OF_RECIPE = ("evaluate.", "evaluate=")
"""``--set`` of the recipe's keys begins with one of these, as in a study."""
_OF_CLIPS = ("span", "windows", "fps", "short_side", "fit", "decoder")


@dataclass(frozen=True)
class Chosen:
    """A recipe, and which of its keys somebody chose."""

    recipe: WholeRecipe
    said: frozenset[str]


def recipe_of(text: str, overrides: Sequence[str] = ()) -> Chosen:
    """``paper``, ``quick`` or a YAML file of a recipe's keys, with ``--set evaluate.KEY=VALUE``.

    Raises ``UserError`` for anything else, ``SpecError`` with all faults of a file.
    """
    if text in RECIPES:
        given: dict[str, Any] = dict(RECIPES[text])
        source = f"--recipe {text}"
    elif text.endswith((".yaml", ".yml")):
        path = path_of(text, "--recipe: ")
        given, source = read_yaml(path), str(path)
    else:
        raise UserError(f"--recipe is {quoted(RECIPES)} or a YAML file; given {brief(text)}")
    asked: dict[str, Any] = {"evaluate": given}
    apply_overrides(asked, overrides)
    section = without_auto(asked["evaluate"])
    return Chosen(validate(WholeRecipe, section, source), frozenset(section))


def sampling_of(recipe: Strict, size: int) -> dict[str, Any]:
    """How clips of ``size`` pixels come from videos; nothing of clips that are rendered."""
    if not isinstance(recipe, VideoRecipe):
        return {}
    height, width = frame_size(recipe, size)
    flow = {"flow": recipe.flow} if recipe.modality == "flow" else {}
    return {**{name: getattr(recipe, name) for name in _OF_CLIPS}, **flow, "height": height, "width": width}


@dataclass(frozen=True)
class Finishing:
    """One training that was asked for."""

    architecture: AnyNetwork
    data: AskedData
    chosen: Chosen
    seed: int
    device: torch.device
    frames: int | None = None
    """of a clip; ``None``: as ``AskedData.clip_for`` has them, as the next"""
    size: int | None = None
    licence: str = ""
    version: str = ""
    """of stsearch"""
    world: World = ALONE
    """processes that train it together"""

    @property
    def clip(self) -> ClipShape:
        """The clip that is trained on."""
        return self.data.clip_for(self.architecture, self.frames, self.size)

    def prepared(self, start: Callable[[tuple[str, ...]], Start | None], progress: Progress) -> Prepared:
        """With its data loaded; ``start`` is given the classes."""
        clip, opened = self.clip, open_data(self.data.recipe)
        network_cost(self.architecture, clip, len(opened.classes))  # refuses clips that it cannot see
        begun_from = start(opened.classes)
        data = opened.load(clip.frames, clip.height, progress)
        recipe = self.chosen.recipe
        if "epochs" not in self.chosen.said:
            recipe = recipe.model_copy(update={"epochs": epochs_for(len(data.splits["train"]), len(data.classes))})
        about = About(
            network=name_of(self.architecture),
            architecture=self.architecture.id,
            classes=data.classes,
            mean=data.mean,
            std=data.std,
            frames=clip.frames,
            size=clip.height,
            modality=data.modality,
            sampling=sampling_of(self.data.recipe, clip.height),
            recipe=recipe.model_dump(),
            seed=self.seed,
            data=_named(self.data.recipe, data.fingerprint),
            begun_from=begun_from.said if begun_from else "",
            versions={"stsearch": self.version, "torch": str(torch.__version__), "python": platform.python_version()},
            licence=self.licence,
        )
        task = Task(self.architecture, clip, data, recipe, self.seed, self.device, world=self.world)
        return Prepared(task, about, begun_from)


@dataclass(frozen=True)
class Prepared:
    """A training that can begin."""

    task: Task[AnyNetwork]
    about: About
    start: Start | None


def _named(recipe: Strict, fingerprint: str) -> dict[str, Any]:
    path = getattr(recipe, "path", None)
    return {"name": getattr(recipe, "name"), **({"path": path} if path else {}), "fingerprint": fingerprint}
