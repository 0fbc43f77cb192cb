"""A database for studies is made whole or not at all, however many begin at once."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from optuna.storages._rdb import models
from sqlalchemy.pool import NullPool

from stsearch.errors import UserError
from stsearch.search.lock import Lock, folder_lock
from stsearch.search.place import connect, engine_of, parse_url, shown, sqlite_file
from stsearch.search.recognise import Recognised, not_ours, recognise

_MAKING = ".making"


def make_whole(text: str) -> None:
    """The database at a URL is there and whole afterwards; ``UserError`` for one that is another program's."""
    file = sqlite_file(parse_url(text))
    if not _is_empty_file(file):
        with connect(text) as connection:
            if settled(recognise(connection), text):
                return
    engine = engine_of(text)
    with folder_lock(file.parent) if file else Lock(text, "open", engine):
        if file is not None:
            _sweep(file)
            if _is_empty_file(file):
                _make_beside(file)
                return
        with engine.connect() as connection:  # on a server the one that has the lock
            found = recognise(connection)
            connection.rollback()
            if settled(found, text):
                return
            _refuse_twins(connection, found, text)
            if file is not None:
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # which the driver does not do for CREATE TABLE
            _lay_out(connection)
            connection.commit()


def _is_empty_file(file: Path | None) -> bool:
    """Whether there is no file, or one without content, which is what SQLite begins with."""
    return file is not None and (not file.exists() or (file.is_file() and file.stat().st_size == 0))


def settled(found: Recognised, text: str) -> bool:
    """Whether nothing is to be made; ``UserError`` where nothing may be."""
    if found.state == "other":
        raise not_ours(found, text)
    if found.revision and found.revision != head():
        raise UserError(
            f"the database {shown(text)} is of another Optuna version (revision {found.revision}; {head()} is known "
            "here). Nothing was written into it; `optuna storage upgrade` changes one that is older"
        )
    return found.state == "whole"


def _refuse_twins(connection: sa.Connection, found: Recognised, text: str) -> None:
    """Two studies of one name were possible where the making was cut short; which one is meant nobody knows."""
    if found.state != "unfinished" or not sa.inspect(connection).has_table("studies"):
        return
    name = models.StudyModel.study_name
    twin = connection.execute(sa.select(name).group_by(name).having(sa.func.count() > 1)).scalar()
    connection.rollback()
    if twin is not None:
        raise UserError(
            f"the database {shown(text)} holds two studies of the name {twin!r}: its making was cut short once. "
            "Rename one of them in it, or choose another database with --storage URL"
        )


def _make_beside(file: Path) -> None:
    """Beside its place, then put there in one step; the caller holds the folder."""
    making = file.parent / f".{file.name}.{os.getpid()}{_MAKING}"
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(making)), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=MEMORY")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            _lay_out(connection)
            connection.commit()
        _put(making, file)
    finally:
        making.unlink(missing_ok=True)


def _put(making: Path, file: Path) -> None:
    """Nothing is written over but an empty file."""
    if not file.exists():
        with contextlib.suppress(OSError):  # a file system without links; or another program was faster
            os.link(making, file)
            return
    if not _is_empty_file(file):
        raise UserError(f"another program just made {file}; choose another place with --storage URL")
    making.replace(file)


def _sweep(file: Path) -> None:
    """Remove what makers left that were killed; the caller holds the folder, so nobody else is at it."""
    for left in _left(file):
        left.unlink(missing_ok=True)


def _left(file: Path) -> Iterator[Path]:
    for path in file.parent.iterdir():
        if path.name.startswith(f".{file.name}.") and _MAKING in path.name:
            yield path


def _lay_out(connection: sa.Connection) -> None:
    """All that Optuna lays out, or what is missing of it, on one connection: one transaction where the database can.

    The revision comes last: without it the database counts as unfinished.
    """
    models.BaseModel.metadata.create_all(connection)
    inspector = sa.inspect(connection)
    for table in models.BaseModel.metadata.sorted_tables:
        there = {index["name"] for index in inspector.get_indexes(table.name)}
        for index in table.indexes:
            if index.name not in there:
                index.create(connection)
    version = models.VersionInfoModel
    if connection.execute(sa.select(version.version_info_id)).first() is None:
        row = {"version_info_id": 1, "schema_version": models.SCHEMA_VERSION, "library_version": optuna.__version__}
        connection.execute(sa.insert(version), row)
    MigrationContext.configure(connection).stamp(_script(), head())


@functools.cache
def _script() -> ScriptDirectory:
    return ScriptDirectory(str(Path(models.__file__).parent / "alembic"))


def head() -> str:
    """The revision of Optuna's tables that this Optuna writes."""
    return str(_script().get_current_head())
