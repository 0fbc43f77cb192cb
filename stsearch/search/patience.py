"""What keeps a finished training from being lost: patience with a database, and Ctrl-C held back."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from stsearch.interrupt import pause

if TYPE_CHECKING:
    from stsearch.search.session import Session

T = TypeVar("T")
STORAGE_ERRORS = (SQLAlchemyError, StorageInternalError)
_PATIENCE_S = 300.0
"""How long a database server may be away before a result is given up."""


class Patience:
    """Waits for a database server that is away; a full disk under SQLite is not waited for."""

    def __init__(self, session: Session) -> None:
        self.left = 0.0 if session.storage.engine.dialect.name == "sqlite" else _PATIENCE_S
        self.pause = 0.5

    def hold(self) -> None:
        """Called while an error is handled: pause, or raise it again when patience is over."""
        if self.left < self.pause:
            raise
        pause(self.pause)
        self.left -= self.pause
        self.pause = min(2 * self.pause, 15)


class Calm:
    """Holds Ctrl-C back between ``begin`` and ``end``, but for what runs ``interruptible``.

    So a trial is never cut off between two writes: Ctrl-C comes where a training can be ended in order.
    """

    def __init__(self) -> None:
        self._handler: Any = None
        self._pressed = False

    def begin(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._note)

    def _note(self, signum: int, frame: object) -> None:
        self._pressed = True

    def end(self) -> None:
        """Give Ctrl-C back to whoever had it, who is told now of one that came meanwhile."""
        if self._handler is None:
            return
        handler, self._handler = self._handler, None
        signal.signal(signal.SIGINT, handler)
        pressed, self._pressed = self._pressed, False
        if pressed and callable(handler):
            handler(signal.SIGINT, None)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """``KeyboardInterrupt`` may come within, at once if Ctrl-C was held back."""
        try:
            self.end()
            yield
        finally:
            self.begin()


def persist(session: Session, write: Callable[[], T]) -> T:
    """``write``, tried again while a database server is away: a result that took an hour is worth it."""
    patience = Patience(session)
    while True:
        try:
            return write()
        except STORAGE_ERRORS:
            patience.hold()
