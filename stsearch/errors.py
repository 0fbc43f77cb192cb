"""What stsearch raises, and how a wrong name is answered.

Two families: ``UserError`` (what was asked cannot be done: one line, exit code 2) and
``WorldError`` (what was asked could be done, the world prevented it: one line, exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


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
            lines = "".join(f"\n  {fault}" for fault in self.faults)
            super().__init__(f"{source}: {len(self.faults)} faults{lines}")


def quoted(names: Iterable[str]) -> str:
    """``a, b, c`` for a message."""
    return ", ".join(names)


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """A suggestion with a leading space, or an empty string where nothing is close."""
    by_lower = {name.lower(): name for name in allowed}
    close = difflib.get_close_matches(given.lower(), list(by_lower), n=1, cutoff=0.6)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


def unknown(what: str, given: object, allowed: Iterable[str]) -> str:
    """The one line for an unknown name: what was given, a suggestion, what is allowed."""
    names = list(allowed)
    hint = did_you_mean(given, names) if isinstance(given, str) else ""
    known = f"Allowed: {quoted(names)}" if names else "There is none"
    return f"unknown {what} {given!r}.{hint} {known}."
