"""A study file that says otherwise than its study was run, as when it was edited since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stsearch.errors import UserError
from stsearch.schema import read_yaml
from stsearch.search.attributes import SPEC
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
        given = read_yaml(path)
    except UserError:
        return []
    now = stored.user_attributes[SPEC].get("repeats")
    return [edit for edit in _otherwise(given, stored.identity, "") if edit != _grown(stored.identity, now)]


def _grown(run: Mapping[str, Any], now: int | None) -> str:
    """The edit that is none: ``evaluate.repeats`` may grow, and the study knows it."""
    return f"evaluate.repeats: {run['evaluate'].get('repeats')}, not {now}"


def _otherwise(given: Mapping[str, Any], run: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in given.items():
        if key not in run:
            continue
        was = run[key]
        if isinstance(value, Mapping) and isinstance(was, Mapping):
            yield from _otherwise(value, was, f"{path}{key}.")
        elif not isinstance(was, Mapping) and value != was and (key, value) != ("precision", "auto"):
            yield f"{path}{key}: {was}, not {value}"
