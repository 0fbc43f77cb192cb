"""What stsearch raises, and how a wrong name is answered.

Two families: ``UserError`` (what was asked cannot be done: one line, exit code 2) and
``WorldError`` (what was asked could be done, the world prevented it: one line, exit code 1).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

SHOWN = 200
"""characters of a value that a message shows"""
MOST_FAULTS = 20
"""faults that a message lists"""
_DEEP = 20
_COMPARED = 100
"""characters of a name beyond which no similar one is looked for: that takes ever longer"""
_SURROGATE = re.compile("[\ud800-\udfff]")


class StsearchError(Exception):
    """Base of everything stsearch raises on purpose."""

    exit_code = 1


class UserError(StsearchError):
    """The input is wrong. The message says what was given and what is allowed."""

    exit_code = 2


class WorldError(StsearchError):
    """A disk, a database, a device failed. What was finished before is kept."""


class SpecError(UserError):
    """A YAML file has faults; ``faults`` lists all of them, each with its path in the file."""

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        self.faults = list(faults)
        if len(self.faults) == 1:
            super().__init__(f"{source}: {self.faults[0]}")
        else:
            lines = "".join(f"\n  {fault}" for fault in self.faults[:MOST_FAULTS])
            if len(self.faults) > MOST_FAULTS:
                lines += f"\n  and {len(self.faults) - MOST_FAULTS:,} more"
            super().__init__(f"{source}: {len(self.faults):,} faults{lines}")


def brief(value: object) -> str:
    """``value`` as Python writes it, at most 200 characters of it, however large, deep or strange it is."""
    text = ""
    for piece in _pieces(value, 0):
        text += piece
        if len(text) > SHOWN:
            return f"{text[: SHOWN - 3]}..."
    return text


def _pieces(value: Any, depth: int) -> Iterator[str]:
    """``repr(value)`` bit by bit, so that nobody waits for what is not shown."""
    if type(value) in (str, bytes):
        yield repr(value[: SHOWN + 1])
    elif type(value) is int and value.bit_length() > 4 * SHOWN:  # Python refuses to write those of 4,300 digits
        yield f"an integer of about {value.bit_length() * 0.30103:,.0f} digits"
    elif type(value) in (list, tuple, set, dict) and value:
        if depth == _DEEP:
            yield "..."
            return
        begin, end = "[]" if type(value) is list else "()" if type(value) is tuple else "{}"
        yield begin
        for number, item in enumerate(islice(value.items() if isinstance(value, Mapping) else value, SHOWN)):
            yield ", " if number else ""
            if isinstance(value, Mapping):
                yield from _pieces(item[0], depth + 1)
                yield ": "
                yield from _pieces(item[1], depth + 1)
            else:
                yield from _pieces(item, depth + 1)
        yield "," + end if type(value) is tuple and len(value) == 1 else end
    else:
        try:
            yield repr(value)
        except Exception:  # whoever wrote it: a message must not fail for what it shows
            yield f"a {type(value).__name__}"


def writable(text: str) -> str:
    """``text`` with a replacement sign for every half of a character, as in names that are no UTF-8."""
    return _SURROGATE.sub("\ufffd", text)


def quoted(names: Iterable[str]) -> str:
    """``a, b, c`` for a message."""
    return ", ".join(names)


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """A suggestion with a leading space, or an empty string where nothing is close."""
    if len(given) > _COMPARED:
        return ""
    by_lower = {name.lower(): name for name in allowed}
    close = difflib.get_close_matches(given.lower(), list(by_lower), n=1, cutoff=0.6)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


def unknown(what: str, given: object, allowed: Iterable[str], meant: Mapping[str, str] | None = None) -> str:
    """The one line for an unknown name: what was given, a suggestion, what is allowed.

    ``meant`` are names that others use for what is allowed here, in lower case.
    """
    names = list(allowed)
    word = (meant or {}).get(given.lower()) if isinstance(given, str) and len(given) <= _COMPARED else None
    hint = did_you_mean(given, names) if isinstance(given, str) else ""
    hint = f" Did you mean {word!r}?" if word in names else hint
    known = f"Allowed: {quoted(names)}" if names else "There is none"
    return f"unknown {what} {brief(given)}.{hint} {known}."
