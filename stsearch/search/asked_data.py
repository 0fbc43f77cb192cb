"""What a user means by data: a study, a folder of class folders, a list, or a built-in set by its name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stsearch.data.sources import DATASETS, channels_of
from stsearch.errors import UserError, brief
from stsearch.resources import names
from stsearch.schema import Strict, validate
from stsearch.search.overrides import apply_overrides
from stsearch.search.reading import StoredStudy
from stsearch.search.spec import load_study
from stsearch.space.blueprint import AnyNetwork, ClipShape, Definition

RENDERED = ("graded", "motions")
"""Data that need no files."""
USUAL = (16, 112)
"""frames and size of a clip where nothing says otherwise"""


@dataclass(frozen=True)
class AskedData:
    """A ``data:`` section, and the clips of the study that it is of."""

    recipe: Strict
    target: tuple[int, int] | None = None
    """frames and size of the study's; ``None``: they are of no study"""
    proxy: tuple[int, int] = USUAL
    said: frozenset[str] = frozenset()
    """keys that somebody chose"""

    def clip_for(self, network: AnyNetwork, frames: int | None = None, size: int | None = None) -> ClipShape:
        """The clip that ``network`` is trained on: as asked for, else the study's target, else what it usually sees."""
        usual = (network.clip.frames, network.clip.height) if isinstance(network, Definition) else USUAL
        given = self.target or usual
        side = size or given[1]
        return ClipShape(channels_of(self.recipe), frames or given[0], side, side)


def data_of_study(stored: StoredStudy, overrides: Sequence[str] = ()) -> AskedData:
    """The data of a study that was run."""
    given = {"data": dict(stored.resolved["data"])}
    apply_overrides(given, overrides)
    recipe = validate(DATASETS[stored.resolved["data"]["name"]].recipe, given["data"], f"study {stored.name}")
    target, proxy = stored.target_clip, stored.proxy_clip
    sizes = ((target.frames, target.height), (proxy.frames, proxy.height))
    return AskedData(recipe, *sizes, frozenset(recipe.model_fields_set))


def data_of(source: str, overrides: Sequence[str] = ()) -> AskedData:
    """The data that ``source`` names, with ``--set`` of ``data.KEY``; ``UserError`` for anything else."""
    if source.endswith((".yaml", ".yml")) or (source in names("studies") and not os.path.exists(source)):
        study = load_study(source, overrides)
        clip, target = study.proxy_clip(), study.target_clip()
        said = frozenset(study.spec.data.model_fields_set)
        return AskedData(study.spec.data, (target.frames, target.height), (clip.frames, clip.height), said)
    if source in RENDERED and not os.path.exists(source):
        given: dict[str, Any] = {"name": source}
    elif os.path.exists(source):
        given = {"name": "folder" if os.path.isdir(source) else "list", "path": source}
    else:
        known = f"Studies: {', '.join(names('studies'))}; built-in data: {', '.join(RENDERED)}"
        raise UserError(f"{brief(source)} is no study, folder or list. {known}")
    asked: dict[str, Any] = {"data": given}
    apply_overrides(asked, overrides)
    if set(asked) != {"data"}:
        others = ", ".join(sorted(set(asked) - {"data"}))
        raise UserError(f"--set of {others}: without a study only data.KEY can be set")
    recipe = validate(DATASETS[given["name"]].recipe, asked["data"], source)
    return AskedData(recipe, said=frozenset(recipe.model_fields_set))
