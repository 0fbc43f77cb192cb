"""Decoded clips on disk: one folder per key with plain ``.npy`` files and an index.

Written to a temporary folder and renamed, so a cache is whole or absent. The folder is
``$STSEARCH_CACHE``, else ``$XDG_CACHE_HOME/stsearch``, else ``~/.cache/stsearch``.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stsearch.errors import WorldError

Arrays = dict[str, npt.NDArray[np.generic]]
Cached = tuple[Arrays, dict[str, Any]]
_INDEX = "index.json"


def cache_folder() -> Path:
    """Where caches are kept."""
    if own := os.environ.get("STSEARCH_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "stsearch"


def _checksum(array: npt.NDArray[np.generic]) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data.cast("B"))


def store(key: str, arrays: Arrays, facts: dict[str, Any]) -> Cached:
    """Write a cache and return its content; ``WorldError`` if the disk does not take it."""
    home = cache_folder()
    temporary: Path | None = None
    try:
        home.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=home))
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        index = {"facts": facts, "checksums": {name: _checksum(array) for name, array in arrays.items()}}
        (temporary / _INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
        _publish(temporary, home / key)
    except OSError as error:
        size = sum(array.nbytes for array in arrays.values()) / 1e6
        raise WorldError(
            f"cannot write the clip cache of {size:,.0f} MB in {home}: {error.strerror or error}. "
            "Free some space or set STSEARCH_CACHE to another folder"
        ) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return arrays, facts


def _publish(temporary: Path, place: Path) -> None:
    """Rename into place; if another worker was first, its cache is as good."""
    try:
        temporary.rename(place)
    except OSError:
        if not (place / _INDEX).is_file():
            raise


def load_cached(key: str) -> tuple[Cached | None, list[str]]:
    """A cache, or ``None`` if there is none; one that is damaged is removed and named in the warnings."""
    place = cache_folder() / key
    if not place.exists():
        return None, []
    try:
        index = json.loads((place / _INDEX).read_text(encoding="utf-8"))
        arrays: Arrays = {}
        for name, checksum in index["checksums"].items():
            arrays[name] = np.load(place / f"{name}.npy", allow_pickle=False)
            if _checksum(arrays[name]) != checksum:
                raise ValueError(f"{name}.npy does not match its checksum")
        return (arrays, index["facts"]), []
    except PermissionError as error:
        raise WorldError(
            f"cannot read the clip cache {place}: {error.strerror}. Set STSEARCH_CACHE to another "
            "folder or mend its permissions; the study can be resumed"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        shutil.rmtree(place, ignore_errors=True)
        return None, [f"the clip cache {place} was damaged ({error}) and is built again"]
