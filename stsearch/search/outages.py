"""Which errors of a database pass by themselves, and which never do."""

from __future__ import annotations

from collections.abc import Iterator

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    PendingRollbackError,
    ResourceClosedError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

STORAGE_ERRORS = (SQLAlchemyError, StorageInternalError)

_PASSING = (OperationalError, InterfaceError, PendingRollbackError, ResourceClosedError, PoolTimeout)
"""What drivers raise for a server that is away, full or busy, and what SQLAlchemy raises after that."""
_FOR_GOOD = frozenset({1044, 1045, 1049, 1054, 1064, 1142, 1143, 1146, 1153, 1366, 1406})
"""Codes of MySQL and MariaDB that their driver calls operational, although trying again never helps: no right to
write, no such table or column, a packet or a value that is too large."""


def is_outage(error: BaseException) -> bool:
    """Whether the same statement may well succeed later: a connection was lost, or a server is away, full or busy.

    Anything else, such as a value that a column cannot hold, fails again however often it is tried.
    """
    found = next((one for one in chain(error) if isinstance(one, SQLAlchemyError)), None)
    if found is None:
        return False  # not a database's word
    if isinstance(found, DBAPIError) and found.connection_invalidated:
        return True
    if isinstance(found, InternalError):  # of PostgreSQL: a transaction that was cut off before
        return getattr(found.orig, "sqlstate", None) == "25P02"
    return isinstance(found, _PASSING) and _code(found) not in _FOR_GOOD


def is_cut(error: BaseException) -> bool:
    """Whether a server that had answered cut a connection, or restarts: one that is not there at all is none."""
    found = [one for one in chain(error) if isinstance(one, DBAPIError)]
    words = " ".join(str(one.orig).lower() for one in found)
    return any(one.connection_invalidated for one in found) or any(word in words for word in _RESTARTING)


_RESTARTING = (
    "the database system is",
    "terminating connection",
    "closed the connection",
    "server shutdown in progress",
)
"""Words of PostgreSQL and MariaDB for that, which drivers give no number where they come instead of a connection."""


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, outermost first."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _code(error: SQLAlchemyError) -> object:
    """A driver's number for an error, where it has one."""
    given = getattr(getattr(error, "orig", None), "args", ())
    return given[0] if given else None
