"""Connections to a database server: few, held only while they are used, and waited for where there are too many."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from stsearch.interrupt import pause

# A connection that was cut while it is given back is no news: the statement that follows says so. Without a handler
# Python would print SQLAlchemy's traceback; who configures logging still gets it.
for _name in (__name__, "psycopg"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

PATIENCE_S = 300.0
"""How long a server may have too many clients before that is an error."""
_FULL = ("too many clients", "too many connections", "remaining connection slots", "max_user_connections")
_FULL_CODES = ("53300", 1040, 1203)
"""PostgreSQL's and MariaDB's numbers of the same."""


class LockLostError(Exception):
    """The connection that held a lock was cut."""


class FewConnections(Pool):
    """Every use opens a connection and closes it, but for the one that holds a lock, and the one that lingers.

    While a worker holds the lock of its study, its statements go through the connection that has it: where that is
    cut, the lock is lost, and nothing more is written under it. Other threads (heartbeats) take connections of their
    own. So a worker that trains has none, one that waits or writes has one, and no worker can wait for a second.

    A connection costs a server more than all statements of a trial. So what a worker does between two trainings goes
    through one: it lingers from ``linger`` to ``let_go``.
    """

    def __init__(self, creator: Any, **arguments: Any) -> None:
        super().__init__(creator, **arguments)
        self._turn = threading.Lock()
        self._kept: ConnectionPoolEntry | None = None
        self._idle = False
        self._owner = 0
        self._locked = False
        self._lingers = 0

    def keep(self, connection: sa.Connection) -> None:
        """From now on ``connection``, which the caller closes next, serves this thread."""
        with self._turn:
            record = connection.connection._connection_record
            self._kept, self._idle, self._owner, self._locked = record, False, threading.get_ident(), True

    def linger(self) -> None:
        """From now on the connection of this thread stays open between two uses; nothing is lost where it is cut."""
        self._lingers = threading.get_ident()

    def let_go(self) -> None:
        """Close the kept connection; its lock ends with it."""
        with self._turn:
            kept, idle = self._kept, self._idle
            self._kept, self._idle, self._locked, self._lingers = None, False, False, 0
        if kept is not None and idle:
            kept.close()

    def _do_get(self) -> ConnectionPoolEntry:
        with self._turn:
            if self._kept is not None and self._idle and self._owner == threading.get_ident():
                if self._kept.dbapi_connection is not None:
                    self._idle = False
                    return self._kept
                if self._locked:
                    raise _lost()
                self._kept, self._idle = None, False
        return self._create_connection()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        with self._turn:
            if record is self._kept:
                self._idle = True
                return
            if self._kept is None and self._lingers == threading.get_ident():
                self._kept, self._idle, self._owner, self._locked = record, True, self._lingers, False
                return
        record.close()

    def _create_connection(self) -> ConnectionPoolEntry:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return super()._create_connection()
            except Exception as error:  # the driver's own classes are not known here
                if not is_full(error) or time.monotonic() > until:
                    raise
            pause(random.uniform(0.05, 0.3))  # noqa: S311 - so that many do not come at one moment

    def _invalidate(self, connection: Any, exception: BaseException | None = None, _checkin: bool = True) -> None:
        """Give up a connection that was cut, and no other one.

        SQLAlchemy would open all older ones anew, so that the kept one went on without its lock.
        """
        if _checkin and getattr(connection, "is_valid", False):
            connection.invalidate(exception)

    def dispose(self) -> None:
        """Close what is idle."""
        self.let_go()

    def recreate(self) -> FewConnections:
        """A pool like this one (SQLAlchemy asks for it after ``dispose``)."""
        return FewConnections(
            self._creator,
            recycle=self._recycle,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            pre_ping=self._pre_ping,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def status(self) -> str:
        """For SQLAlchemy's log."""
        return f"FewConnections, one kept: {self._kept is not None}"


def _lost() -> sa.exc.OperationalError:
    reason = LockLostError("the connection that held the lock of the study was cut")
    return sa.exc.OperationalError(None, None, reason, connection_invalidated=True)


def is_full(error: BaseException) -> bool:
    """Whether a server refused a connection because it has too many."""
    code = getattr(error, "sqlstate", None) or next(iter(error.args), None)
    return code in _FULL_CODES or any(text in str(error).lower() for text in _FULL)
