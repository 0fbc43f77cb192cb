"""Optuna storages: opening them, one lock per study, and knowing which workers are alive."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from stsearch.errors import UserError, WorldError
from stsearch.search.place import (
    SQLITE_WAIT_S,
    check_writable,
    needs_driver,
    parse_url,
    reason_of,
    shown,
    sqlalchemy_text,
    sqlite_file,
)
from stsearch.search.reading import read_study
from stsearch.search.sound import SoundStorage

optuna.logging.set_verbosity(optuna.logging.ERROR)

HEARTBEAT_S = 30
"""Seconds between signs of life of a running trial; three missed ones end it."""


def open_storage(text: str, *, to_write: bool = True) -> RDBStorage:
    """Open, or begin, the storage at a URL; ``UserError`` in one line if that cannot be."""
    url = parse_url(text)
    file = sqlite_file(url)
    if file is not None and to_write:
        check_writable(file)
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings(), _one_at_a_time(text):
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = SoundStorage(
                sqlalchemy_text(text),
                engine_kwargs={"connect_args": {"timeout": SQLITE_WAIT_S}} if file else {},
                heartbeat_interval=HEARTBEAT_S,
                grace_period=3 * HEARTBEAT_S,
            )
        if file is not None and to_write:
            _tune_sqlite(storage.engine)
    except ModuleNotFoundError as error:
        raise needs_driver(url, error) from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise UserError(f"cannot open the storage {shown(url)}: {reason_of(error)}") from None
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


@contextlib.contextmanager
def storage_errors(text: str) -> Iterator[None]:
    """Turn database errors into one ``WorldError`` line: what was finished before is kept."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise WorldError(
            f"the storage {shown(text)} failed: {reason_of(error)}. Finished networks are kept; "
            "the same command goes on from there"
        ) from None


def open_study(name: str, storage: str | None = None) -> optuna.Study:
    """A study that was begun before, as Optuna's object; raises what ``read_study`` raises."""
    stored = read_study(name, storage)
    with storage_errors(stored.url):
        return optuna.load_study(study_name=stored.name, storage=open_storage(stored.url, to_write=False))


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
    file = sqlite_file(parse_url(text))
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
