"""Where a study is kept: its URL, without opening it through Optuna."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from stsearch.errors import UserError, unknown
from stsearch.search.pool import FewConnections

SQLITE_WAIT_S = 60
"""How long a write waits for another one to end."""


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


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite URL; ``None`` for a server."""
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise UserError("storage: a study lives in a file or on a server; sqlite in memory would be lost at the end")
    return Path(url.database)


def study_folder(text: str, name: str, what: str) -> Path:
    """The folder ``NAME.WHAT`` of a study: beside its SQLite file, else in ``studies/``."""
    file = sqlite_file(parse_url(text))
    return (file.parent if file else Path("studies")) / f"{name}.{what}"


def check_writable(file: Path) -> None:
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
    file = sqlite_file(parse_url(text))
    if file is not None:
        check_writable(file)


def exists(text: str) -> bool:
    """Whether there is a storage to read at all; a server is taken to be there."""
    file = sqlite_file(parse_url(text))
    return file is None or file.is_file()


@contextlib.contextmanager
def connect(text: str) -> Iterator[sa.Connection]:
    """A connection for reading, closed at the end. The database must exist (see ``exists``)."""
    url = parse_url(text)
    arguments = {"timeout": SQLITE_WAIT_S} if sqlite_file(url) else {}
    try:
        engine = sa.create_engine(url, poolclass=FewConnections, connect_args=arguments)
    except ModuleNotFoundError as error:
        raise needs_driver(url, error) from None
    with engine.connect() as connection:
        yield connection


def needs_driver(url: URL, error: ModuleNotFoundError) -> UserError:
    """What to install for a database whose driver is missing."""
    extra = {"postgresql": "postgres"}.get(url.get_backend_name(), "mysql")
    return UserError(f"storage: {shown(url)} needs the package {error.name!r}: pip install 'stsearch[{extra}]'")


def reason_of(error: BaseException) -> str:
    """The database's own words, one line."""
    inner = getattr(error, "orig", None) or error.__cause__ or error
    inner = getattr(inner, "orig", None) or inner
    return str(inner).strip().splitlines()[0] if str(inner).strip() else type(inner).__name__
