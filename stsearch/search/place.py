"""Where a study is kept: its URL, without opening it through Optuna."""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from stsearch.errors import SpecError, UserError, brief, unknown
from stsearch.hiding import MASK, remember, safe
from stsearch.search.pool import FewConnections

SQLITE_WAIT_S = 60
"""How long a write waits for another one to end."""
EXAMPLES = "sqlite:///studies/mine.db, postgresql://user:password@host/database or mysql://user:password@host/database"
_ALIASES = {"postgres": "postgresql", "mariadb": "mysql"}
_DRIVERS = {"postgresql": ("psycopg", "psycopg2"), "mysql": ("pymysql", "MySQLdb")}
"""The driver of stsearch's extra, and the module that SQLAlchemy may take without one"""
_SQLITE_OPTIONS = ("timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements")
_SQLITE_URI = ("uri", "mode", "cache", "vfs", "nolock", "immutable", "psow", "modeof")
_HARMLESS = (
    "host", "port", "user", "dbname", "charset", "client_encoding", "sslmode", "ssl_mode", "connect_timeout",
    "read_timeout", "write_timeout", "application_name", "target_session_attrs", "unix_socket", "gssencmode",
    *_SQLITE_OPTIONS,
)  # fmt: skip
"""Keys of a query that are shown; of all others only the key is."""
_FILES = (
    "passfile", "read_default_file", "sslrootcert", "sslcert", "sslkey", "sslcrl", "ssl_ca", "ssl_cert", "ssl_key",
)  # fmt: skip
"""Keys of a query that name a file: what is in it is not in the URL"""
_PLAIN = re.compile(r"[\w.,:@/+ -]*")


def parse_url(text: str) -> URL:
    """A database URL with its driver named; ``UserError`` says what is allowed."""
    if not text.strip():
        raise UserError(f"storage: an empty text is no database URL; allowed are such as {EXAMPLES}")
    scheme, separator, rest = text.partition("://")
    backend, plus, driver = scheme.partition("+")
    backend = _ALIASES.get(backend, backend)
    if not separator or not re.fullmatch(r"\w+(\+\w+)?", scheme) or not _is_text(text):
        raise _no_url()
    if backend not in ("sqlite", *_DRIVERS):
        raise UserError(f"storage: {unknown('database', scheme, ('sqlite', 'postgresql', 'mysql', 'mariadb'))}")
    if backend == "sqlite":
        return _sqlite_url(scheme, rest)
    named = plus + driver if driver else f"+{_driver(backend)}"
    try:
        url = make_url(f"{backend}{named}://{rest}")
    except (SQLAlchemyError, ValueError):
        raise _no_url() from None
    if url.host and "@" in url.host:  # a password with an @ that was not written as %40
        more, _, host = url.host.rpartition("@")
        if url.password is None:
            raise _no_url()
        url = url.set(password=f"{url.password}@{more}", host=host)
    remember(secrets_in(url))
    return _for_pymysql(url) if url.get_driver_name() == "pymysql" else url


def _for_pymysql(url: URL) -> URL:
    """With the names that pymysql has for the options of a query: it answers others with a warning or a traceback."""
    query = {{"passwd": "password", "db": "database"}.get(key, key): value for key, value in url.query.items()}
    if importlib.util.find_spec("pymysql") is not None:
        connection = importlib.import_module("pymysql.connections").Connection
        allowed = sorted(set(inspect.signature(connection.__init__).parameters) - {"self"})
        if wrong := [key for key in query if key not in allowed]:
            raise UserError(f"storage: {unknown('option of pymysql', wrong[0], allowed)}")
    return url.set(query=query)


def _no_url() -> UserError:
    """Nothing of the text is repeated: who knows where in it the password is."""
    return UserError(f"storage: what was given is no database URL; allowed are such as {EXAMPLES}")


def _is_text(text: str) -> bool:
    try:
        return "\0" not in text and bool(text.encode())
    except UnicodeEncodeError:
        return False


def _driver(backend: str) -> str:
    """That of stsearch's extra, unless only SQLAlchemy's own is installed."""
    ours, other = _DRIVERS[backend]
    if importlib.util.find_spec(ours) is None and importlib.util.find_spec(other) is not None:
        return other.lower()
    return ours


def _sqlite_url(scheme: str, rest: str) -> URL:
    """All after ``sqlite:///`` is the path, as it stands: SQLAlchemy would read ``%41`` and cut at ``?``."""
    if scheme not in ("sqlite", "sqlite+pysqlite"):
        raise UserError("storage: sqlite is opened by Python's own driver: write sqlite:///FOLDER/NAME.db")
    if rest and not rest.startswith("/"):
        raise UserError("storage: three slashes come before the path, as in sqlite:///FOLDER/NAME.db")
    path, mark, tail = rest[1:].rpartition("?")
    query = dict(parse_qsl(tail, keep_blank_values=True)) if mark and re.fullmatch(r"[^/]*=[^/]*", tail) else {}
    if refused := [key for key in query if key in _SQLITE_URI or safe(f"{key}=x") != f"{key}=x"]:
        raise UserError(f"storage: sqlite takes no {refused[0]!r} here: write the path, as in sqlite:///FOLDER/NAME.db")
    if not query or any(key not in _SQLITE_OPTIONS for key in query):
        path, query = rest[1:], {}
    if path in ("", ":memory:"):
        raise UserError("storage: a study lives in a file or on a server; sqlite in memory would be lost at the end")
    return URL.create(scheme, database=path, query=query)


def sqlalchemy_text(text: str) -> str:
    """The URL as SQLAlchemy, and so Optuna, reads it from a text; with its password, so never to be shown."""
    return parse_url(text).render_as_string(hide_password=False)


def secrets_in(url: URL) -> list[str]:
    """What of a URL is never shown."""
    pairs = [(key, value) for key, values in url.normalized_query.items() for value in values]
    hidden = [value for key, value in pairs if not _is_harmless(key, value)]
    plain = (url.username, url.host, url.database)
    return [secret for secret in (url.password, *hidden) if secret and secret not in plain]


def has_secret(url: URL) -> bool:
    """Whether who reads the URL may know a password: also one that is the user's name, but not the file it is in."""
    pairs = [(key, value) for key, values in url.normalized_query.items() for value in values]
    return bool(url.password) or any(key not in _FILES and not _is_harmless(key, value) for key, value in pairs)


def _is_harmless(key: str, value: str) -> bool:
    return key in _HARMLESS and _PLAIN.fullmatch(value) is not None


def _part(text: str | None) -> str:
    """A user, host or database; one with other letters than these have may hold a whole connection string."""
    return text if text and _PLAIN.fullmatch(text) and ":" not in text else MASK if text else ""


def shown(url: URL | str) -> str:
    """The URL without passwords, in whatever place they are, as it may be typed again."""
    try:
        url = parse_url(url) if isinstance(url, str) else url
    except UserError:
        return "(no database URL)"
    backend, driver = url.get_backend_name(), url.get_driver_name()
    query = "&".join(
        f"{key}={value if _is_harmless(key, value) else MASK}"
        for key, values in url.normalized_query.items()
        for value in values
    )
    query = f"?{query}" if query else ""
    if backend == "sqlite":
        return safe(f"sqlite:///{url.database}{query}")
    scheme = backend if driver == _driver(backend) else f"{backend}+{driver}"
    password = f":{MASK}" if url.password else ""
    user = f"{_part(url.username)}{password}@" if url.username or url.password else ""
    host = f"[{url.host}]" if url.host and re.fullmatch(r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", url.host) else _part(url.host)
    port = f":{url.port}" if url.port else ""
    return f"{scheme}://{user}{host}{port}/{_part(url.database)}{query}"


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite URL; ``None`` for a server."""
    if url.get_backend_name() != "sqlite":
        return None
    return Path(str(url.database))


def needs_own_folder(text: str, name: str) -> bool:
    """Whether another study of this name may keep its files in the same folder: all but ``NAME.db`` may share it."""
    file = sqlite_file(parse_url(text))
    return file is None or file.name != f"{name}.db"


def study_folder(text: str, name: str, what: str, own: str = "") -> Path:
    """The folder ``NAME.WHAT`` or ``NAME-OWN.WHAT`` of a study: beside its SQLite file, else in ``studies/``.

    ``own`` is what the study remembers as ``FOLDER``; older studies, and those in ``NAME.db``, have none.
    """
    file = sqlite_file(parse_url(text))
    return (file.parent if file else Path("studies")) / f"{name}{f'-{own}' if own else ''}.{what}"


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


def engine_of(text: str) -> sa.Engine:
    """What connects to a database, with no connection yet."""
    url = parse_url(text)
    arguments = {"timeout": SQLITE_WAIT_S} if sqlite_file(url) else {}
    try:
        return sa.create_engine(url, poolclass=FewConnections, connect_args=arguments)
    except ModuleNotFoundError as error:
        raise needs_driver(url, error) from None


@contextlib.contextmanager
def connect(text: str) -> Iterator[sa.Connection]:
    """A connection for reading, closed at the end. The database must exist (see ``exists``)."""
    with engine_of(text).connect() as connection:
        yield connection


def needs_driver(url: URL, error: ModuleNotFoundError) -> UserError:
    """What to install for a database whose driver is missing."""
    extra = {"postgresql": "postgres"}.get(url.get_backend_name(), "mysql")
    return UserError(f"storage: {shown(url)} needs the package {error.name!r}: pip install 'stsearch[{extra}]'")


def reason_of(error: BaseException) -> str:
    """The database's own words, one line, without passwords."""
    inner = getattr(error, "orig", None) or error.__cause__ or error
    inner = getattr(inner, "orig", None) or inner
    return safe(str(inner).strip().splitlines()[0]) if str(inner).strip() else type(inner).__name__


MOST_OF_A_NAME = 200
"""bytes of a study's name: file systems take 255 with what is added to it"""


def plain_name(name: str, source: str) -> str:
    """A name that can stand in a file name, in a URL and before ``#``."""
    if not re.fullmatch(r"[\w][\w .+=@~-]*", name) or name == "published":
        raise SpecError(
            source,
            [
                f"name: a study's name is of letters, digits and ' .+=@~_-' and is not 'published'; "
                f"given {brief(name)}. Without `name:` it is the file's name"
            ],
        )
    if len(name.encode()) > MOST_OF_A_NAME:
        raise SpecError(source, [f"name: a study's name has at most {MOST_OF_A_NAME} bytes; given {brief(name)}"])
    return name
