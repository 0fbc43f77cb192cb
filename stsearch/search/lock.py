"""One lock per study, over all processes and machines."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from stsearch.errors import WorldError
from stsearch.interrupt import check
from stsearch.search.place import parse_url
from stsearch.search.pool import FewConnections
from stsearch.search.workers import this_process

SAY_AFTER_S = 10.0
"""Who waits so long is told for whom, and again after each minute more."""
_STEP_MS = 1500
"""A server is asked again after so long, so that a request to stop is seen; many who ask often would take the CPU
from the one that all wait for."""
_YIELD_S = 9.0
"""After so long a waiting connection is given back for a moment: others may need it more. The next one is not cheap."""
_TIMED_OUT = "55P03"
"""PostgreSQL's number of a lock that did not come in time."""


def on_stderr(text: str) -> None:
    """Where nobody else listens."""
    print(f"note: {text}", file=sys.stderr, flush=True)


class Waiting:
    """One wait: short steps, and after a while a word about who is waited for."""

    def __init__(self, what: str, tell: Callable[[str], None]) -> None:
        self._what, self._tell = what, tell
        self._begun = time.monotonic()
        self._next = SAY_AFTER_S

    def once_more(self, holder: Callable[[], str], pause: float = 0.0) -> None:
        """Called between two attempts; Ctrl-C ends the wait."""
        check()
        waited = time.monotonic() - self._begun
        if waited >= self._next:
            self._next = waited + 60
            self._tell(f"waiting for {self._what} for {waited:.0f} s; {holder() or 'somebody else'} has it")
        if pause:
            time.sleep(pause)


class Lock:
    """One holder per storage (on a server: and name), over all processes.

    A file lock beside an SQLite database, an advisory lock of a database server; the system
    releases both when the holder dies. ``engine``, that of the storage, then serves through the
    connection that has the lock (see ``FewConnections``).
    """

    def __init__(self, storage_url: str, name: str, engine: sa.Engine | None = None) -> None:
        self._url = parse_url(storage_url)
        self._name = name
        self._engine = engine if engine is not None and isinstance(engine.pool, FewConnections) else None
        self._file: int | None = None
        self._held = False
        self.tell: Callable[[str], None] = on_stderr
        """is told for whom one waits"""

    def acquire(self) -> None:
        """Wait for the lock."""
        waiting = Waiting(f"the lock of {self._name!r}", self.tell)
        if self._url.get_backend_name() == "sqlite":
            self._file = _lock_file(Path(f"{self._url.database}.lock"), waiting)
            return
        if self._engine is None:
            self._engine = sa.create_engine(self._url, poolclass=FewConnections)
        ask = self._ask_postgresql if self._url.get_backend_name() == "postgresql" else self._ask_mysql
        while True:
            connection = self._engine.connect()
            try:
                if _asked_until_given_back(connection, ask, self._holder, waiting):
                    self._pool.keep(connection)
                    self._held = True
                    connection.close()  # which keeps it open, for the next statement
                    return
            finally:
                connection.close()
            self._pool.let_go()  # one that lingers too
            time.sleep(random.uniform(0.02, 0.1))  # noqa: S311

    def release(self) -> None:
        """Give it back; does nothing when it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._held:
            self._held = False
            self._pool.let_go()

    @property
    def _pool(self) -> FewConnections:
        assert self._engine is not None
        assert isinstance(self._engine.pool, FewConnections)
        return self._engine.pool

    def _ask_postgresql(self, connection: sa.Connection) -> bool:
        try:
            connection.execute(sa.text(f"SET LOCAL lock_timeout = {_STEP_MS}"))
            connection.execute(sa.select(sa.func.pg_advisory_lock(self._key())))
            connection.execute(
                sa.text(
                    "SELECT set_config('application_name', :me, false) WHERE current_setting('application_name') = ''"
                ),
                {"me": f"stsearch on {this_process()}"[:63]},
            )
            connection.commit()
        except SQLAlchemyError as error:
            if getattr(getattr(error, "orig", None), "sqlstate", None) != _TIMED_OUT:
                raise
            connection.rollback()
            return False
        return True

    def _ask_mysql(self, connection: sa.Connection) -> bool:
        # A negative timeout waits for ever on MySQL; on MariaDB it is no timeout at all, and the answer NULL.
        answer = connection.execute(sa.select(sa.func.get_lock(self._word(), 1))).scalar()
        connection.rollback()
        return answer == 1

    def _holder(self, connection: sa.Connection) -> str:
        """Who has the lock, as far as the server tells; empty where it does not."""
        asked = self._holder_postgresql if self._url.get_backend_name() == "postgresql" else self._holder_mysql
        try:
            return asked(connection)
        except SQLAlchemyError:
            return ""
        finally:
            connection.rollback()

    def _holder_postgresql(self, connection: sa.Connection) -> str:
        high, low = divmod(self._key(), 2**32)
        row = connection.execute(
            sa.text(
                "SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'the server') FROM pg_locks l "
                "JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted "
                "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "  # all are listed
                "AND l.objsubid = 1 AND CAST(l.classid AS bigint) = :high AND CAST(l.objid AS bigint) = :low"
            ),
            {"high": high, "low": low},
        ).first()
        return f"{row[1] or 'a client'} (from {row[2]}, backend {row[0]})" if row else ""

    def _holder_mysql(self, connection: sa.Connection) -> str:
        number = connection.execute(sa.select(sa.func.is_used_lock(self._word()))).scalar()
        if number is None:
            return ""
        query = sa.text("SELECT user, host FROM information_schema.processlist WHERE id = :number")
        row = connection.execute(query, {"number": number}).first()
        process = _process_of(connection, int(number))
        return f"{row[0]} on {row[1]} ({process}connection {number})" if row else f"connection {number}"

    def _key(self) -> int:
        return int.from_bytes(hashlib.sha256(f"stsearch {self._name}".encode()).digest()[:7], "big")

    def _word(self) -> str:
        """The lock's name on MySQL, where names are the whole server's, not a database's."""
        digest = hashlib.sha256(f"{self._url.database}\0{self._name}".encode()).hexdigest()
        return f"stsearch {digest[:40]}"

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _asked_until_given_back(
    connection: sa.Connection,
    ask: Callable[[sa.Connection], bool],
    holder: Callable[[sa.Connection], str],
    waiting: Waiting,
) -> bool:
    """Whether the lock came before others may want this connection more."""
    until = time.monotonic() + _YIELD_S
    while time.monotonic() < until:
        if ask(connection):
            return True
        waiting.once_more(lambda: holder(connection))
    return False


def _process_of(connection: sa.Connection, number: int) -> str:
    """The client's process number, which MySQL knows, and MariaDB where its performance schema is on."""
    query = sa.text(
        "SELECT attr_value FROM performance_schema.session_connect_attrs "
        "WHERE processlist_id = :number AND attr_name = '_pid'"
    )
    with contextlib.suppress(SQLAlchemyError):
        found = connection.execute(query, {"number": number}).scalar()
        return f"process {found}, " if found else ""
    return ""


def _lock_file(path: Path, waiting: Waiting) -> int:
    """A descriptor that holds the lock of ``path``, which says who that is."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise WorldError(f"cannot lock the study: {path}: {error.strerror}") from None
        try:
            _flock(file, waiting, lambda: _words(path))
            if _is_still(file, path):
                with contextlib.suppress(OSError):  # a full disk: it is held all the same
                    os.ftruncate(file, 0)
                    os.pwrite(file, f"{this_process()}\n".encode(), 0)
                return file
        except BaseException:  # Ctrl-C above all: what is open here nobody else closes
            os.close(file)
            raise
        os.close(file)  # somebody removed the file meanwhile: others would lock another one


def _flock(file: int, waiting: Waiting, holder: Callable[[], str]) -> None:
    pause = 0.002
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting.once_more(holder, random.uniform(pause / 2, pause))  # noqa: S311
            pause = min(2 * pause, 0.05)
        except OSError as error:
            raise WorldError(f"cannot lock the study: {error.strerror}; does this file system know locks?") from None
        else:
            return


def _words(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()[:200]
    except OSError:
        return ""


def _is_still(file: int, path: Path) -> bool:
    try:
        found: Any = path.stat()
    except OSError:
        return False
    held = os.fstat(file)
    return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """The folder itself is locked, so that nothing is left behind."""
    waiting = Waiting(f"the folder {folder}", on_stderr)
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _flock(file, waiting, lambda: "")
        yield
    finally:
        os.close(file)
