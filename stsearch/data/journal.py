"""The small files of a clip cache: lines that carry their own checksums."""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

JOURNAL, INDEX = "journal.jsonl", "index.json"
FORMAT = 2
"""of all files of a cache; those of another one are not read"""


class Damaged(Exception):
    """A cache that is not as it was written; says what is wrong."""


def sealed(content: dict[str, Any]) -> str:
    """One line of JSON that ends with the checksum of what is before it."""
    text = json.dumps(content)[:-1]
    return f'{text}, "check": {zlib.crc32(text.encode())}}}\n'


def unsealed(line: str) -> dict[str, Any]:
    """What ``sealed`` wrote; ``ValueError`` if it is not as it was."""
    text, _, check = line.rpartition(', "check": ')
    if check != f"{zlib.crc32(text.encode())}}}\n":
        raise ValueError("a line does not match its checksum")
    content: dict[str, Any] = json.loads(text + "}")
    return content


@dataclass(frozen=True)
class Row:
    """A line of the journal: one listed video."""

    number: int
    """in the listing"""
    name: str
    frames: int = 0
    """kept; 0 for an unreadable video"""
    segments: int = 1
    window: float = 1.0
    """kept frames that one clip covers"""
    fps: float = 0.0
    """of the file; 0 where one frame is all it has"""
    seconds: float = 0.0
    """from its first frame to its last"""
    crc32: int = 0
    """of the kept frames"""
    damage: str = ""
    """what of a readable video could not be used"""
    unreadable: str = ""
    """why it could not be read; empty for a readable video"""

    def line(self) -> bytes:
        return sealed(asdict(self)).encode()


def read_rows(folder: Path) -> list[Row]:
    """The journal up to its first line that is broken, as a killed process may leave it."""
    rows: list[Row] = []
    with suppress(FileNotFoundError), (folder / JOURNAL).open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                row = Row(**unsealed(line))
            except (ValueError, TypeError):
                break
            if row.number != len(rows):
                break
            rows.append(row)
    return rows


@dataclass(frozen=True)
class Totals:
    """What is known once all videos are decoded."""

    frames: int
    unreadable: int
    mean: tuple[float, ...]
    """per channel, of 0..255, over training frames"""
    std: tuple[float, ...]
    journal: int
    """crc32 of the journal"""


@dataclass(frozen=True)
class Index:
    """``index.json``."""

    key: str
    source: dict[str, str]
    """``name`` of the data set and ``path``"""
    clip: dict[str, Any]
    """the settings that the frames depend on"""
    shape: tuple[int, int, int]
    """``(H, W, C)`` of a frame"""
    videos: int
    """listed"""
    totals: Totals | None = None
    """``None`` while the cache is built"""

    def write(self, folder: Path) -> None:
        """Replace the file at once."""
        temporary = folder / f"{INDEX}.new"
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(sealed({"format": FORMAT, **asdict(self)}))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(folder / INDEX)


def read_index(folder: Path) -> Index:
    """Raises ``Damaged``."""
    try:
        content = unsealed((folder / INDEX).read_text(encoding="utf-8"))
        if (given := content.pop("format")) != FORMAT:
            raise Damaged(f"{INDEX} has format {given}, this version of stsearch reads {FORMAT}")
        if (totals := content["totals"]) is not None:
            totals = Totals(**{**totals, "mean": tuple(totals["mean"]), "std": tuple(totals["std"])})
        return Index(**{**content, "shape": tuple(content["shape"]), "totals": totals})
    except FileNotFoundError:
        raise Damaged(f"{INDEX} is missing") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Damaged(f"{INDEX} is broken") from None
