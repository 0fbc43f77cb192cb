"""``folder``: class folders of videos, ``{train,val,test}/<class>/*.mp4``, decoded once into a cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from stsearch.data.cache import load_cached, store
from stsearch.data.decode import NotAVideo, UnreadableVideo, decode
from stsearch.data.videos import ClipData, VideoSet, channel_statistics
from stsearch.errors import UserError, WorldError
from stsearch.schema import Strict

SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".mpg")
SPLITS = ("train", "val", "test")
_SHOWN = 3
DECODING = "folder 1"
"""Part of the cache's key; changes when decoded frames do."""


class FolderRecipe(Strict):
    """The ``data:`` section for a folder of videos."""

    name: Literal["folder"] = "folder"
    path: str
    """folder that holds ``train/<class>/*.mp4`` and ``val/<class>/*.mp4``; ``test`` is optional"""
    span: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """seconds of video that one clip covers; a shorter video is covered whole"""
    flip: bool = False
    """whether labels survive mirroring left and right"""
    unreadable: Literal["stop", "skip"] = "stop"
    """what a file does that is no video at all; a video that breaks while decoding is always skipped"""


@dataclass(frozen=True)
class _File:
    path: Path
    split: str
    label: int


def frame_size(size: int) -> tuple[int, int]:
    """Cached height and width for crops of ``size``: 128 x 171 for 112, as in the paper."""
    return max(size, round(size * 128 / 112)), max(size, round(size * 171 / 112))


def _scan(root: Path) -> tuple[list[_File], tuple[str, ...]]:
    """The videos below ``root`` and the names of the classes; ``UserError`` for a wrong layout."""
    try:
        return _scanned(root)
    except OSError as error:
        raise UserError(f"data.path: cannot read {error.filename}: {error.strerror}") from None


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, without hidden files that systems and editors leave there."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _videos(folder: Path) -> list[Path]:
    found = [path for path in _entries(folder) if path.suffix.lower() in SUFFIXES]
    for path in found:
        if not path.is_file():
            raise UserError(f"data.path: {str(path)!r} is named like a video and is no file")
    return found


def _scanned(root: Path) -> tuple[list[_File], tuple[str, ...]]:
    layout = f"expected {root}/train/<class>/*.mp4 and {root}/val/<class>/*.mp4 ({' '.join(SUFFIXES)})"
    if not root.is_dir():
        raise UserError(f"data.path: {str(root)!r} is no folder; {layout}")
    present = [split for split in SPLITS if (root / split).is_dir()]
    for split in ("train", "val"):
        if split not in present:
            raise UserError(f"data.path: {str(root)!r} has no folder {split!r}; {layout}")
    folders = {split: [path.name for path in _entries(root / split) if path.is_dir()] for split in present}
    classes = tuple(folders["train"])
    if len(classes) < 2:
        raise UserError(
            f"data.path: {root / 'train'} has {len(classes)} class folders; at least 2 are needed; {layout}"
        )
    files: list[_File] = []
    for split in present:
        unseen = sorted(set(folders[split]) - set(classes))
        if unseen:
            raise UserError(f"data.path: classes in {split!r} that 'train' has not: {', '.join(unseen)}")
        for label, name in enumerate(classes):
            folder = root / split / name
            found = _videos(folder) if folder.is_dir() else []
            if not found and split != "test":
                raise UserError(
                    f"data.path: the class {name!r} has no clips in {split!r} ({folder}); "
                    f"allowed are files {' '.join(SUFFIXES)}"
                )
            files += [_File(path, split, label) for path in found]
    return files, classes


def folder_classes(recipe: FolderRecipe) -> tuple[str, ...]:
    """Names of the class folders; ``UserError`` for a wrong layout."""
    return _scan(Path(recipe.path).expanduser())[1]


def _fingerprint(root: Path, files: list[_File]) -> str:
    """Of names, sizes and the first and last 64 KiB of every file; times of files do not matter."""
    digest = hashlib.sha256(DECODING.encode())
    for file in files:
        size = file.path.stat().st_size
        digest.update(f"{file.path.relative_to(root)}\0{size}\0".encode(errors="surrogateescape"))
        with file.path.open("rb") as stream:
            digest.update(stream.read(65_536))
            if size > 65_536:
                stream.seek(max(65_536, size - 65_536))
                digest.update(stream.read(65_536))
    return digest.hexdigest()


@dataclass(frozen=True)
class _Decoded:
    frames: npt.NDArray[np.uint8]
    window: float
    """frames that one clip covers"""


def _decode_all(
    files: list[_File], recipe: FolderRecipe, frames: int, size: int, progress: Callable[[str, int, int], None]
) -> tuple[list[_Decoded | None], list[str]]:
    """Decode in parallel; ``None`` and a line of text for every file that could not be read."""
    height, width = frame_size(size)

    def work(file: _File) -> _Decoded | Exception:
        try:
            video = decode(file.path, height, width, frames=2 * frames, span=recipe.span)
        except (NotAVideo, UnreadableVideo) as error:
            return error
        return _Decoded(video.frames, min(len(video.frames), max(1.0, recipe.span * video.fps)))

    decoded: list[_Decoded | None] = []
    broken: list[str] = []
    foreign: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, (file, result) in enumerate(zip(files, pool.map(work, files), strict=True), 1):
            if isinstance(result, Exception):
                (foreign if isinstance(result, NotAVideo) else broken).append(f"{file.path}: {result}")
            decoded.append(result if isinstance(result, _Decoded) else None)
            progress("decoding videos", number, len(files))
    if foreign and recipe.unreadable == "stop":
        raise UserError(
            f"{len(foreign)} file{'s are' if len(foreign) > 1 else ' is'} no video: "
            f"{_some(foreign)}. Remove what is no video, or set data.unreadable: skip"
        )
    return decoded, foreign + broken


def _some(lines: list[str]) -> str:
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return "; ".join(lines[:_SHOWN]) + more


def load_folder(recipe: FolderRecipe, frames: int, size: int, progress: Callable[[str, int, int], None]) -> ClipData:
    """The videos of a folder for clips of ``frames`` x ``size`` x ``size``, from the cache if it has them.

    Frames are resized to 128/112 x 171/112 of the crop (as in the paper, which distorts other
    aspect ratios). A clip is ``frames`` frames evenly spread over ``span`` seconds. Raises
    ``UserError`` for a wrong layout or a file that is no video; a video that breaks while
    decoding is left out and named in ``notes``.
    """
    root = Path(recipe.path).expanduser()
    files, classes = _scan(root)
    try:
        content = _fingerprint(root, files)
    except OSError as error:
        raise UserError(f"data.path: cannot read {error.filename}: {error.strerror}") from None
    settings = f"{content} {classes} {frames} {size} {recipe.span} {recipe.unreadable}"
    key = hashlib.sha256(settings.encode()).hexdigest()[:24]
    cached, warning = load_cached(key)
    if cached is None:
        decoded, unread = _decode_all(files, recipe, frames, size, progress)
        arrays = _layout(files, decoded, classes)
        cached = store(key, arrays, {"source": str(root), "unread": unread})
    arrays, facts = cached
    notes = list(warning)
    if unread := facts["unread"]:
        notes.append(f"{len(unread)} of {len(files)} videos could not be read and are left out: {_some(unread)}")
    splits = {split: _video_set(arrays, split) for split in SPLITS if f"{split}.frames" in arrays}
    mean, std = channel_statistics(splits["train"].frames)
    return ClipData("folder", classes, splits, mean, std, recipe.flip, key, tuple(notes))


def _layout(
    files: list[_File], decoded: list[_Decoded | None], classes: tuple[str, ...]
) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of the cache: for every split frames, starts, lengths, windows and labels."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for split in SPLITS:
        kept = [(f.label, d) for f, d in zip(files, decoded, strict=True) if f.split == split and d is not None]
        missing = sorted(set(range(len(classes))) - {label for label, _ in kept})
        if missing and split != "test":
            names = ", ".join(classes[label] for label in missing)
            raise UserError(f"no video of the classes {names} in {split!r} can be read")
        if not kept:
            continue
        lengths = np.array([len(video.frames) for _, video in kept], dtype=np.int64)
        arrays[f"{split}.frames"] = np.concatenate([video.frames for _, video in kept])
        arrays[f"{split}.lengths"] = lengths
        arrays[f"{split}.starts"] = np.cumsum(lengths) - lengths
        arrays[f"{split}.windows"] = np.array([video.window for _, video in kept], dtype=np.float32)
        arrays[f"{split}.labels"] = np.array([label for label, _ in kept], dtype=np.int64)
    return arrays


def _video_set(arrays: dict[str, npt.NDArray[np.generic]], split: str) -> VideoSet:
    names = ("frames", "starts", "lengths", "windows", "labels")
    try:
        return VideoSet(**{name: torch.from_numpy(np.asarray(arrays[f"{split}.{name}"])) for name in names})
    except KeyError as error:
        raise WorldError(f"the clip cache lacks {error}") from None
