"""What keeps a finished training from being lost: patience with a database."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from stsearch.errors import StsearchError, WorldError
from stsearch.interrupt import pause
from stsearch.search.outages import STORAGE_ERRORS, is_cut, is_outage
from stsearch.search.place import parse_url, reason_of, shown, sqlite_file

T = TypeVar("T")
_PATIENCE_S = 300.0
"""How long a database server may be away before a result is given up."""


class Waiting(Protocol):
    """Who waits for a storage: a session, or an audit."""

    missed: float

    @property
    def note(self) -> Callable[[str], None]:
        """Tells a line to whoever runs this."""

    @property
    def url(self) -> str:
        """Of the storage."""


class Unwritable(WorldError):
    """A storage refused for good what was to be written; ``reason`` is its word."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"the storage {shown(url)} cannot take a result: {reason}. Finished networks are kept")
        self.reason = reason


class Patience:
    """Waits for a database server that is away; a full disk under SQLite is not waited for."""

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self.left = 0.0 if sqlite_file(parse_url(waiting.url)) is not None else _PATIENCE_S
        self.pause = 0.5
        self._told = False

    def hold(self, error: Exception) -> None:
        """Pause after an outage; ``WorldError`` where ``error`` is none, or patience is over."""
        reason, url = reason_of(error), self.waiting.url
        if not is_outage(error):
            raise Unwritable(url, reason) from error
        if self.left < self.pause:
            raise WorldError(
                f"the storage {shown(url)} failed: {reason}. Finished networks are kept; "
                "the same command goes on from there"
            ) from error
        self.waiting.missed = time.monotonic()
        if not self._told:
            self.waiting.note(f"the storage {shown(url)} is away ({reason}); it is waited for")
            self._told = True
        pause(self.pause)
        self.left -= self.pause
        self.pause = min(2 * self.pause, 15)


def reopened(url: str, access: Callable[[], T]) -> T:
    """``access``, which opens the storage or reads it, tried again while its server cuts connections or restarts.

    A server that is not there at all is an error at once: the URL may be wrong.
    """
    until, between = time.monotonic() + _PATIENCE_S, 0.2
    while True:
        try:
            return access()
        except (StsearchError, *STORAGE_ERRORS) as error:
            server = sqlite_file(parse_url(url)) is None
            if not server or not is_cut(error) or time.monotonic() > until:
                raise
        pause(between)
        between = min(2 * between, 5)


def persist(waiting: Waiting, write: Callable[[], T]) -> T:
    """``write``, tried again while a database server is away: a result that took an hour is worth it.

    Raises ``WorldError`` when patience is over, ``Unwritable`` at once for what the storage will never take.
    """
    patience = Patience(waiting)
    while True:
        try:
            return write()
        except STORAGE_ERRORS as error:
            patience.hold(error)
