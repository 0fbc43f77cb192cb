"""What a source lists before anything is decoded: files, labels and splits, and how folders are read for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stsearch.errors import SHOWN, UserError, WorldError, brief, did_you_mean, quoted
from stsearch.texts import path_of

SPLITS = ("train", "val", "test")
SUFFIXES = (
    ".mp4", ".avi", ".mkv", ".webm", ".mov", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".f4v", ".3gp", ".3g2", ".ts",
    ".mts", ".m2ts", ".vob", ".ogv", ".asf", ".mxf", ".divx", ".dv", ".gif",
)  # fmt: skip
"""of files that are taken for videos, in lower case"""
_ENDINGS = frozenset(suffix[1:] for suffix in SUFFIXES)
_OF_SYSTEMS = frozenset(
    {
        "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "__macosx", "__pycache__",
        "lost+found", "$recycle.bin", "recycler", "recycled", "system volume information", "found.000",
        "network trash folder", "temporary items",
    }
)  # fmt: skip
"""folders that file servers, systems and archives leave behind, in lower case: no classes"""
_SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validate": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_DEPTH = 4
_SHOWN = 3
_COMPARED = 20_000
"""names in a folder beyond which no similar one is looked for"""


@dataclass(frozen=True)
class Entry:
    """One video."""

    path: Path
    name: str
    """what messages and fingerprints call it: relative to the source's folder, or as its list has it"""
    label: int
    split: str
    """one of ``SPLITS``"""


@dataclass(frozen=True)
class Listing:
    """The videos of a source."""

    entries: tuple[Entry, ...]
    """by split, in the order of ``SPLITS``, then as the source lists them"""
    classes: tuple[str, ...]
    flip: bool
    """whether labels survive mirroring left and right"""
    notes: tuple[str, ...] = ()
    """what the user should know, such as that the split is random"""


class Row(NamedTuple):
    """A video as its source has it, before splits that are missing are made."""

    path: str
    name: str
    label: str
    """name of the class"""
    split: str
    """one of ``SPLITS``"""
    group: str = ""
    """what it shares with other videos, such as a recording or a person; empty where that is not known"""


@dataclass(frozen=True)
class Content:
    """What is directly in a folder, sorted. What systems and editors left there is passed over: hidden files and
    folders, and folders such as ``@eaDir``, ``__MACOSX`` and ``lost+found``."""

    folders: tuple[str, ...]
    videos: tuple[str, ...]
    """named like one, whatever they are: what cannot be read is left out when videos are decoded, by name"""
    others: int
    """files without the suffix of a video"""


def printable(name: str) -> str:
    """A name on one line, whatever is in it."""
    return "".join(
        f"\\x{ord(letter):02x}" if ord(letter) < 32 or 127 <= ord(letter) < 160 else letter for letter in name
    )


def some(lines: Sequence[str]) -> str:
    """The first three of ``lines`` for a message, and how many more there are."""
    more = f" and {len(lines) - _SHOWN:,} more" if len(lines) > _SHOWN else ""
    cut = [line if len(line) <= 2 * SHOWN else f"{line[: 2 * SHOWN]}..." for line in lines[:_SHOWN]]
    return "; ".join(cut) + more


def check_lines(key: str, faults: Sequence[str]) -> None:
    """``UserError`` with the first three of the wrong lines of ``data.<key>``, if there are any."""
    if faults:
        raise UserError(f"data.{key}: {len(faults):,} wrong line{'s' if len(faults) > 1 else ''}: {some(faults)}")


def split_word(text: str) -> str | None:
    """The split that a word means: ``validation`` is ``val``."""
    return _SPLIT_WORDS.get(text.strip().lower())


def is_video(name: str) -> bool:
    """Whether a file is named like a video."""
    stem, _, ending = name.rpartition(".")
    return ending.lower() in _ENDINGS and stem != ""


def unreadable(path: str | Path, error: OSError) -> WorldError:
    """The one line for a file or folder that is there and cannot be read."""
    return WorldError(f"cannot read {str(path)!r}: {error.strerror or error}. Mend that and start again")


def folder_at(given: str, key: str, wanted: str) -> Path:
    """The folder that ``data.<key>`` names; ``UserError`` that says what is ``wanted`` there if it is none."""
    path = path_of(given, f"data.{key}: ")
    if not os.path.isdir(path):
        what = "a file" if os.path.exists(path) else "no folder"
        raise UserError(f"data.{key}: {brief(str(path))} is {what}; expected {wanted}")
    return path


def content(folder: str | Path) -> Content:
    """What is in ``folder``, read once without asking for each file; ``WorldError`` if it cannot be read."""
    folders: list[str] = []
    videos: list[str] = []
    others = 0
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.name.startswith("."):
                    continue
                if is_video(entry.name):
                    videos.append(entry.name)
                elif entry.is_dir():
                    if entry.name.lower() not in _OF_SYSTEMS:
                        folders.append(entry.name)
                else:
                    others += 1
    except OSError as error:
        raise unreadable(folder, error) from None
    return Content(tuple(sorted(folders)), tuple(sorted(videos)), others)


@dataclass(frozen=True)
class Places:
    """Paths of videos by their names without suffix."""

    first: dict[str, str]
    more: dict[str, list[str]]
    """further paths where a name is there several times"""


def find_videos(root: Path, key: Callable[[str], str] = str) -> Places:
    """The paths of all videos below ``root``, four folders deep, by ``key`` of their names without suffix."""
    found = Places({}, {})
    waiting = [(str(root), 1)]
    while waiting:
        folder, depth = waiting.pop(0)
        inside = content(folder)
        for name in inside.videos:
            stem, path = key(name.rpartition(".")[0]), f"{folder}{os.sep}{name}"
            if found.first.setdefault(stem, path) is not path:
                found.more.setdefault(stem, []).append(path)
        if depth < _DEPTH:
            waiting += [(os.path.join(folder, name), depth + 1) for name in inside.folders]
    return found


class Folders:
    """Which files there are, with one look into every folder that is asked about."""

    def __init__(self) -> None:
        self._files: dict[str, frozenset[str] | None] = {}

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        files = self._in(folder)
        return files is not None and name in files

    def _in(self, folder: str) -> frozenset[str] | None:
        if folder not in self._files:
            try:
                with os.scandir(folder or ".") as found:
                    self._files[folder] = frozenset(entry.name for entry in found if entry.is_file())
            except (FileNotFoundError, NotADirectoryError, ValueError):
                self._files[folder] = None
            except OSError as error:
                raise unreadable(folder, error) from None
        return self._files[folder]

    def hint(self, path: str) -> str:
        """What is there instead of a missing file, with a leading space; empty where nothing is like it."""
        folder, name = os.path.split(path)
        files = self._in(folder)
        if files is None:
            return f" There is no folder {folder!r}."
        stem = os.path.splitext(name)[0]
        twins = sorted(other for other in files if os.path.splitext(other)[0] == stem)
        if twins:
            return f" Did you mean {twins[0]!r}?"
        return did_you_mean(name, sorted(files)) if len(files) <= _COMPARED else ""


def distinct(rows: Iterable[Row]) -> tuple[list[Row], list[str]]:
    """``rows`` without repetitions, and a note that counts these.

    Raises ``UserError`` if a file has two labels or stands in two splits.
    """
    seen: dict[str, Row] = {}
    repeated = 0
    faults: list[str] = []
    for row in rows:
        first = seen.setdefault(row.path, row)
        if first is row:
            continue
        if first.label != row.label:
            faults.append(f"{row.name!r} is listed as {first.label!r} and as {row.label!r}")
        elif first.split != row.split:
            faults.append(f"{row.name!r} is in {first.split!r} and in {row.split!r}")
        else:
            repeated += 1
    if faults:
        raise UserError(f"data: a file can have one class and one split: {some(faults)}")
    return list(seen.values()), [f"lines that repeat a file, which counts once: {repeated:,}"] if repeated else []


def check_classes(rows: Iterable[Row], classes: Sequence[str]) -> None:
    """``UserError`` unless there are two classes and each has videos to train and to validate on."""
    if len(classes) < 2:
        raise UserError(f"data: at least 2 classes are needed; given {len(classes)} ({quoted(classes) or 'none'})")
    present = {(row.split, row.label) for row in rows}
    for split in ("train", "val"):
        absent = [repr(name) for name in classes if (split, name) not in present]
        if absent:
            raise UserError(
                f"data: {len(absent)} of {len(classes)} classes have no videos in {split!r}: {some(absent)}. "
                "Add some, or leave these classes out with data.exclude"
            )
