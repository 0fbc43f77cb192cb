"""``--set key=value`` of the command line, put into the mapping of a YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stsearch.errors import SHOWN, UserError, brief
from stsearch.texts import YAML_BYTES
from stsearch.yamls import DEEPEST, load_word


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> None:
    """Put ``evaluate.epochs=8`` and the like into ``data``; values are YAML, of one line."""
    for text in overrides:
        path, equals, value = text.partition("=")
        shown = f"--set {text}" if text.isprintable() and len(text) <= SHOWN else f"--set {brief(text)}"
        if not equals or not path:
            raise UserError(f"--set takes key=value, as in evaluate.epochs=8; given {brief(text)}")
        *above, last = path.strip().split(".")
        if len(above) >= DEEPEST:
            raise UserError(f"{shown}: at most {DEEPEST} keys; given {len(above) + 1:,}")
        place = data
        for key in above:
            inner = place.setdefault(key, {})
            if not isinstance(inner, dict):
                raise UserError(f"{shown}: {brief(key)} is a value, not a section")
            place = inner
        if len(value) > YAML_BYTES:
            raise UserError(f"{shown}: a value has at most {YAML_BYTES:,} characters")
        try:
            place[last] = load_word(value)
        except ValueError as error:
            quoting = "a text in quotes is taken as it is, as in --set 'data.path=\"my clips #2\"'"
            raise UserError(f"{shown}: the value is no YAML: {error}; {quoting}") from None
