"""A study file that says otherwise than its study was run, as when it was edited since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from stsearch.search.reading import StoredStudy


def edits(name: str, stored: StoredStudy) -> list[str]:
    """``evaluate.epochs: 16, not 17`` for every setting of the file ``name`` that ``stored`` was run with otherwise.

    Of settings that are results' own (not trials, workers or storage), as far as the file has them; nothing where
    ``name`` is no file or cannot be read.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        return []
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []
    return list(_otherwise(given, stored.identity, "")) if isinstance(given, Mapping) else []


def _otherwise(given: Mapping[str, Any], run: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in given.items():
        if key not in run:
            continue
        was = run[key]
        if isinstance(value, Mapping) and isinstance(was, Mapping):
            yield from _otherwise(value, was, f"{path}{key}.")
        elif not isinstance(was, Mapping) and not _same(value, was):
            yield f"{path}{key}: {was}, not {value}"


def _same(value: Any, was: Any) -> bool:
    if isinstance(value, str) and isinstance(was, float):  # YAML takes 1e-4 for a word
        try:
            return float(value) == was
        except ValueError:
            return False
    return bool(value == was)
