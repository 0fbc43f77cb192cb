"""Optuna storages: opening them, one lock per study, and knowing which workers are alive."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from stsearch.errors import UserError, WorldError, unknown

optuna.logging.set_verbosity(optuna.logging.ERROR)

HEARTBEAT_S = 30
"""Seconds between signs of life of a running trial; three missed ones end it."""
_SQLITE_WAIT_S = 60


def parse_url(text: str) -> URL:
    """A database URL; ``UserError`` says what is allowed."""
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (SQLAlchemyError, ValueError):
        raise UserError(
            f"storage: {hidden(text)!r} is no database URL such as sqlite:///studies/mine.db or postgresql://user@host/database"
        ) from None
    if backend not in ("sqlite", "postgresql", "mysql", "mariadb"):
        raise UserError(f"storage: {unknown('database', backend, ('sqlite', 'postgresql', 'mysql', 'mariadb'))}")
    return url


def hidden(text: str) -> str:
    """A text that may be a URL, without what may be its password."""
    return re.sub(r"://[^@/]*@", "://...@", text)


def shown(url: URL | str) -> str:
    """The URL without its password."""
    url = parse_url(url) if isinstance(url, str) else url
    return url.render_as_string(hide_password=True)


def _sqlite_file(url: URL) -> Path | None:
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise UserError("storage: a study lives in a file or on a server; sqlite in memory would be lost at the end")
    return Path(url.database)


def _check_writable(file: Path) -> None:
    """``UserError`` if ``file`` could not be written; leaves nothing behind.

    The file itself is not opened: closing it would drop the locks that SQLite holds on it for
    this whole process (POSIX), and two writers would then destroy the database.
    """
    probe = file.parent / f".{file.name}.{os.getpid()}"
    try:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if file.parent.exists():
            probe.touch()
            probe.unlink()
        else:
            above = next(folder for folder in file.absolute().parents if folder.exists())
            if not above.is_dir() or not os.access(above, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(
            f"cannot write the study to {file}: {error.strerror}. Choose another place with "
            "--set storage=sqlite:///FOLDER/NAME.db"
        ) from None


def check_place(text: str) -> None:
    """``UserError`` if a study could not be begun at a URL; a server is only known when it is opened."""
    file = _sqlite_file(parse_url(text))
    if file is not None:
        _check_writable(file)


def exists(text: str) -> bool:
    """Whether there is a storage to read at all; a server is taken to be there."""
    file = _sqlite_file(parse_url(text))
    return file is None or file.is_file()


def open_storage(text: str, *, to_write: bool = True) -> RDBStorage:
    """Open, or begin, the storage at a URL; ``UserError`` in one line if that cannot be."""
    url = parse_url(text)
    file = _sqlite_file(url)
    if file is not None and to_write:
        _check_writable(file)
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings(), _one_at_a_time(text):
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = RDBStorage(
                text,
                engine_kwargs={"connect_args": {"timeout": _SQLITE_WAIT_S}} if file else {},
                heartbeat_interval=HEARTBEAT_S,
                grace_period=3 * HEARTBEAT_S,
            )
        if file is not None and to_write:
            _tune_sqlite(storage.engine)
    except ModuleNotFoundError as error:
        extra = {"postgresql": "postgres"}.get(url.get_backend_name(), "mysql")
        raise UserError(
            f"storage: {shown(url)} needs the package {error.name!r}: pip install 'stsearch[{extra}]'"
        ) from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise UserError(f"cannot open the storage {shown(url)}: {_reason(error)}") from None
    except RuntimeError as error:  # Optuna's word for a schema of another version
        raise UserError(
            f"the storage {shown(url)} is of another Optuna version: {str(error).splitlines()[0]}"
        ) from None
    return storage


def _tune_sqlite(engine: sqlalchemy.Engine) -> None:
    """Write-ahead log: readers such as a dashboard do not block the study, and commits are cheaper."""

    def on_connect(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    sqlalchemy.event.listen(engine, "connect", on_connect)
    engine.dispose()


def _reason(error: BaseException) -> str:
    inner = getattr(error, "orig", None) or error.__cause__ or error
    inner = getattr(inner, "orig", None) or inner
    return str(inner).strip().splitlines()[0] if str(inner).strip() else type(inner).__name__


@contextlib.contextmanager
def storage_errors(text: str) -> Iterator[None]:
    """Turn database errors into one ``WorldError`` line: what was finished before is kept."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise WorldError(
            f"the storage {shown(text)} failed: {_reason(error)}. Finished networks are kept; "
            "the same command goes on from there"
        ) from None


class Lock:
    """One holder per storage (on a server: and name), over all processes.

    A file lock beside an SQLite database, an advisory lock of a database server; the system
    releases both when the holder dies.
    """

    def __init__(self, storage_url: str, name: str) -> None:
        self._url = parse_url(storage_url)
        self._name = name
        self._file: IO[bytes] | None = None
        self._connection: sqlalchemy.Connection | None = None

    def acquire(self) -> None:
        """Wait for the lock."""
        backend = self._url.get_backend_name()
        if backend == "sqlite":
            self._file = Path(f"{self._url.database}.lock").open("wb")  # noqa: SIM115 - held until released
            fcntl.flock(self._file, fcntl.LOCK_EX)
            return
        self._connection = sqlalchemy.create_engine(self._url, poolclass=NullPool).connect()
        if backend == "postgresql":
            self._connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_lock(self._key())))
        else:
            self._connection.execute(sqlalchemy.select(sqlalchemy.func.get_lock(f"stsearch {self._key():x}", -1)))

    def release(self) -> None:
        """Give it back; does nothing when it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._connection is not None:
            self._connection.close()  # the session ends, and its advisory lock with it
            self._connection = None

    def _key(self) -> int:
        return int.from_bytes(hashlib.sha256(f"stsearch {self._name}".encode()).digest()[:7], "big")

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@contextlib.contextmanager
def _one_at_a_time(text: str) -> Iterator[None]:
    """Two processes that lay out the same empty database at once would break it."""
    file = _sqlite_file(parse_url(text))
    if file is None:
        with Lock(text, "open"):
            yield
        return
    folder = os.open(file.parent, os.O_RDONLY)  # the folder itself is locked: a reader leaves no file behind
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _born(pid: int) -> str:
    """When a process of this machine started, so that a reused number is not taken for it.

    Empty where the system does not tell; ``dead`` for one that ended and is not yet waited for.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "dead" if state in "ZX" else fields[18]


def _host() -> str:
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


def this_worker() -> dict[str, Any]:
    """Who is running a trial: host, process number, and when the process was born."""
    return {"host": _host(), "pid": os.getpid(), "born": _born(os.getpid())}


def surely_dead(worker: object) -> bool:
    """Whether the process ``this_worker`` described was on this machine and is gone.

    Of other machines nothing is known here; their heartbeat tells.
    """
    if not isinstance(worker, dict) or worker.get("host") != _host():
        return False
    try:
        os.kill(int(worker["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return bool(worker.get("born")) and _born(int(worker["pid"])) != worker["born"]
