"""``folder``: one folder of videos per class, below ``train``, ``val`` and ``test`` or without splits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stsearch.data.listing import SPLITS, SUFFIXES, Content, Listing, Row, content, folder_at, some, split_word
from stsearch.data.recipe import VideoRecipe
from stsearch.data.splits import chosen_classes, make_listing, with_groups
from stsearch.errors import UserError, brief, did_you_mean, quoted

_LAYOUT = "{train,val}/<class>/*.mp4 (and test/...) or <class>/*.mp4"


class FolderRecipe(VideoRecipe):
    """The ``data:`` section for a folder of videos."""

    name: Literal["folder"] = "folder"
    group: str | None = None
    """regular expression with one group: what clips of one recording or person have in common in their paths"""


@dataclass(frozen=True)
class _Split:
    """One folder of class folders."""

    name: str
    """one of ``SPLITS``"""
    folder: Path
    prefix: str
    """of names of videos: the folder relative to ``data.path``, with a slash, or nothing"""
    classes: tuple[str, ...]


def list_folder(recipe: FolderRecipe) -> Listing:
    """The videos in class folders; nothing is opened.

    Raises ``UserError`` for a wrong layout and a class without videos. Without splits, or without
    ``val``, a part of ``train`` becomes ``val``. Files with other suffixes are passed over and
    counted in the notes.
    """
    root = folder_at(recipe.path, "path", _LAYOUT)
    splits = _splits(root)
    names = splits[0].classes
    classes = chosen_classes(names, recipe, [name for split in splits for name in split.classes])
    _check_known(splits, {*names, *(recipe.exclude or ())})
    rows: list[Row] = []
    others = 0
    for split in splits:
        for label in classes:
            if label in split.classes:
                inside = content(split.folder / label)
                others += inside.others
                rows += [
                    Row(f"{split.folder}/{label}/{name}", f"{split.prefix}{label}/{name}", label, split.name)
                    for name in inside.videos
                ]
    if not rows:
        raise UserError(f"data.path: no videos in {str(root)!r}; expected {_LAYOUT}, with files {' '.join(SUFFIXES)}")
    if recipe.group is not None:
        rows = with_groups(rows, recipe.group)
    notes = [f"files passed over, with suffixes other than {' '.join(SUFFIXES)}: {others:,}"] if others else []
    notes += _beside(root) if splits[0].folder == root else []
    return make_listing(rows, classes, recipe, flip=False, notes=notes)


def _splits(root: Path) -> list[_Split]:
    """The folders of class folders, ``train`` first."""
    inside = content(root)
    found: dict[str, str] = {}
    for folder in inside.folders:
        split = split_word(folder)
        if split is not None and found.setdefault(split, folder) != folder:
            raise UserError(f"data.path: {str(root)!r} has two folders for {split!r}: {found[split]!r} and {folder!r}")
    inner = {split: content(root / folder) for split, folder in found.items()}
    if not any(part.folders for part in inner.values()):
        return [_without_splits(root, inside)]
    if "train" not in inner:
        raise UserError(f"data.path: {str(root)!r} has no folder 'train'; expected {_LAYOUT}")
    return [
        _Split(split, root / found[split], f"{found[split]}/", inner[split].folders)
        for split in SPLITS
        if split in found
    ]


def _without_splits(root: Path, inside: Content) -> _Split:
    if len(inside.folders) < 2:
        only = f"only the folder {inside.folders[0]!r}" if inside.folders else "no folder 'train' and no class folders"
        raise UserError(f"data.path: {str(root)!r} has {only}; expected {_LAYOUT}")
    return _Split("train", root, "", inside.folders)


def _beside(root: Path) -> list[str]:
    """A word where one split was given as the whole: a folder ``train`` with ``val`` beside it."""
    place = root.resolve()
    if split_word(place.name) is None:
        return []
    others = [name for name in content(place.parent).folders if split_word(name) and name != place.name]
    if not others:
        return []
    return [
        f"data.path is the folder {place.name!r} alone, and {quoted(others)} beside it is not used; to use both, give "
        f"{brief(str(root.parent) if root.name else str(place.parent))}"
    ]


def _check_known(splits: Sequence[_Split], names: Collection[str]) -> None:
    for split in splits:
        unseen = [f"{name}.{did_you_mean(name, names)}" for name in split.classes if name not in names]
        if unseen:
            raise UserError(f"data.path: classes in {split.name!r} that 'train' has not: {some(unseen)}")
