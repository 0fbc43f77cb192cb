"""Optuna storages: opening them, and what their errors are called."""

from __future__ import annotations

import contextlib
import os
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from stsearch.errors import UserError, WorldError
from stsearch.search.creation import make_whole, settled
from stsearch.search.lock import Lock as Lock
from stsearch.search.place import (
    SQLITE_WAIT_S,
    check_writable,
    connect,
    exists,
    needs_driver,
    parse_url,
    reason_of,
    shown,
    sqlalchemy_text,
    sqlite_file,
)
from stsearch.search.pool import FewConnections
from stsearch.search.reading import read_study
from stsearch.search.recognise import check_whole
from stsearch.search.sound import SoundStorage
from stsearch.search.workers import surely_dead as surely_dead
from stsearch.search.workers import this_worker as this_worker

optuna.logging.set_verbosity(optuna.logging.ERROR)

HEARTBEAT_S = 30
"""Seconds between signs of life of a running trial; three missed ones end it."""


def open_storage(text: str, *, to_write: bool = True) -> RDBStorage:
    """Open, or begin, the storage at a URL; ``UserError`` in one line if that cannot be.

    With ``to_write`` false it must be there, and nothing is written.
    """
    url = parse_url(text)
    file = sqlite_file(url)
    try:
        if to_write:
            _prepare(text, file)
        elif not exists(text):
            raise UserError(f"there is no storage {shown(url)}")
        else:
            with connect(text) as connection:
                settled(check_whole(connection, text), text)
        storage = _opened(text, file)
        if file is not None and to_write:
            _tune_sqlite(storage.engine)
            _watch(storage.engine, file)
    except ModuleNotFoundError as error:
        raise needs_driver(url, error) from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise UserError(f"cannot open the storage {shown(url)}: {reason_of(error)}") from None
    except OSError as error:
        raise WorldError(f"cannot open the storage {shown(url)}: {error.strerror or error}") from None
    return storage


def _prepare(text: str, file: Path | None) -> None:
    if file is not None:
        check_writable(file)
        file.parent.mkdir(parents=True, exist_ok=True)
    make_whole(text)


def _opened(text: str, file: Path | None) -> RDBStorage:
    """Optuna's object of a database that is whole: it finds nothing to write."""
    if file is not None:
        arguments: dict[str, Any] = {"connect_args": {"timeout": SQLITE_WAIT_S}}
    else:
        # No ping: under the lock it would put another connection, without the lock, in the place of one that was cut.
        arguments = {"poolclass": FewConnections, "pool_pre_ping": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return SoundStorage(
            sqlalchemy_text(text),
            engine_kwargs=arguments,
            heartbeat_interval=HEARTBEAT_S,
            grace_period=3 * HEARTBEAT_S,
            skip_table_creation=True,
            skip_compatibility_check=True,  # ``settled`` has looked, and needed no second connection beside a first
        )


def _tune_sqlite(engine: sqlalchemy.Engine) -> None:
    """Write-ahead log: readers such as a dashboard do not block the study, and commits are cheaper."""

    def on_connect(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    sqlalchemy.event.listen(engine, "connect", on_connect)
    engine.dispose()


def _watch(engine: sqlalchemy.Engine, file: Path) -> None:
    """A file that is deleted or replaced would take everything that is written, and keep nothing."""
    path = file.absolute()  # should the working folder change
    begun = os.stat(path)
    if hasattr(os, "O_PATH"):  # while it is held, no other file gets its number; closing it drops no lock of SQLite
        weakref.finalize(engine, os.close, os.open(path, os.O_PATH | os.O_CLOEXEC))

    def check(*_: object) -> None:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            raise _lost(file, "deleted or moved away") from None
        except OSError as error:
            raise _lost(file, f"lost ({error.strerror})") from None
        if (found.st_dev, found.st_ino) != (begun.st_dev, begun.st_ino):
            raise _lost(file, "replaced by another")

    sqlalchemy.event.listen(engine, "do_connect", check)  # before SQLite makes an empty file in its place
    sqlalchemy.event.listen(engine, "checkout", check)


def _lost(file: Path, how: str) -> WorldError:
    return WorldError(
        f"the database {file} was {how} while its study ran. Nothing more is written; what it held is lost unless the "
        "file is put back: with it in its place, the same command goes on"
    )


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
    except UnboundLocalError as error:  # Optuna's, where reading a trial fails while it handles a failure
        if isinstance(error.__context__, WorldError):
            raise error.__context__ from None
        raise


def still_there(storage: RDBStorage) -> None:
    """``WorldError`` where an SQLite file was deleted or replaced; a server is not asked."""
    if storage.engine.dialect.name == "sqlite":
        storage.engine.connect().close()


@contextlib.contextmanager
def opening(text: str) -> Iterator[None]:
    """The same before the first network, for rows too that Optuna cannot read because they are damaged."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise WorldError(f"cannot begin the study in the storage {shown(text)}: {reason_of(error)}") from None
    except (LookupError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise WorldError(
            f"cannot read what the storage {shown(text)} holds of the study: {type(error).__name__}: "
            f"{reason_of(error)}. Was it damaged? Put a copy of it back, or choose another with --storage URL"
        ) from None


def open_study(name: str, storage: str | None = None) -> optuna.Study:
    """A study that was begun before, as Optuna's object; raises what ``read_study`` raises."""
    stored = read_study(name, storage)
    with storage_errors(stored.url):
        return optuna.load_study(study_name=stored.name, storage=open_storage(stored.url, to_write=False))
