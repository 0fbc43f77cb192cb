"""URLs of databases: what they mean, and that their passwords are never shown."""

from __future__ import annotations

import pytest

from stsearch.errors import UserError
from stsearch.hiding import safe
from stsearch.search.place import parse_url, reason_of, shown, sqlalchemy_text, sqlite_file

WORD = "S3cretPw"
GOOD = [
    f"postgresql://root:{WORD}@127.0.0.1/test",
    f"postgresql:///test?host=127.0.0.1&user=root&password={WORD}",
    f"postgresql://root@127.0.0.1/test?sslmode=require&sslpassword={WORD}",
    f"mysql+pymysql://root@127.0.0.1/test?passwd={WORD}",
    f"mariadb://root@127.0.0.1/test?ssl_key_password={WORD}&charset=utf8mb4",
    f"postgres://root:{WORD}%40x@h/x",
    f"postgresql://root:{WORD}@x@h/x",
    f"postgresql://root:x@{WORD}@h/x",
    f"postgresql://root%3A{WORD}@h/x",
    f"postgresql:///host=h password={WORD}",
    f"postgresql://h/x?options=-c {WORD}",
    f"postgresql://h/x?host={WORD}%3Aa%3Db",
]
BAD = [
    f"postgres//root:{WORD}@h/x",
    f"postgresql:/root:{WORD}@h/x",
    f"host=127.0.0.1 password={WORD}",
    f"postgresql://root:{WORD}/x",
    f"postgresl://root:{WORD}@h/x",
    f"sqlite:///x.db?password={WORD}",
    f"sqlite://:{WORD}@/x.db",
    f"sqlite+pysqlcipher://:{WORD}@/x.db",
    f"root:{WORD}",
]


@pytest.mark.parametrize("text", GOOD)
def test_a_url_is_shown_without_its_password_wherever_it_is(text: str) -> None:
    url = parse_url(text)
    assert WORD not in shown(text)
    assert WORD not in shown(url)
    assert parse_url(shown(text)).get_backend_name() in ("postgresql", "mysql")
    assert WORD not in safe(f'connection to "{sqlalchemy_text(text)}" failed, as {text} says')
    assert WORD not in reason_of(ValueError(f"bad DSN: {text}"))


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_url_is_not_repeated(text: str) -> None:
    with pytest.raises(UserError, match="storage: ") as caught:
        parse_url(text)
    assert WORD not in str(caught.value)
    assert WORD not in shown(text)


def test_harmless_parts_of_a_url_are_shown() -> None:
    assert shown("postgresql://me@db.example:5433/nas?sslmode=require&password=x1y2z3") == (
        "postgresql://me@db.example:5433/nas?sslmode=require&password=***"
    )
    assert shown("postgresql://me:pw@[::1]:5433/nas") == "postgresql://me:***@[::1]:5433/nas"
    assert shown("mysql+mysqldb://me@h/x") == "mysql+mysqldb://me@h/x"
    assert shown("sqlite:///studies/mine.db") == "sqlite:///studies/mine.db"
    assert (
        safe("evaluate.epochs=8 data.path=/a/b keeps key=value") == "evaluate.epochs=8 data.path=/a/b keeps key=value"
    )


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("mysql://root@h/x", "mysql+pymysql"),
        ("mariadb://root@h/x", "mysql+pymysql"),
        ("mysql+mysqldb://root@h/x", "mysql+mysqldb"),
        ("mariadb+pymysql://root@h/x", "mysql+pymysql"),
        ("postgresql://root@h/x", "postgresql+psycopg"),
        ("postgres://root@h/x", "postgresql+psycopg"),
        ("postgresql+psycopg2://root@h/x", "postgresql+psycopg2"),
    ],
)
def test_a_url_without_a_driver_takes_that_of_the_extra(text: str, driver: str) -> None:
    assert parse_url(text).drivername == driver
    assert sqlalchemy_text(text).startswith(f"{driver}://root@h/x")


@pytest.mark.parametrize(
    "path",
    ["st/day #1/a.db", "a?b.db", "100%.db", "a%20b.db", "a%3Fb.db", "a+b & c.db", "{x}.db", "a;b='c'.db", "é?.db"],
)
def test_a_path_of_sqlite_means_what_was_written(path: str) -> None:
    from sqlalchemy import make_url

    assert str(sqlite_file(parse_url(f"sqlite:///{path}"))) == path
    assert make_url(sqlalchemy_text(f"sqlite:///{path}")).database == path, "Optuna opens the same file"
    assert shown(f"sqlite:///{path}") == f"sqlite:///{path}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "an empty text"),
        ("  ", "an empty text"),
        ("sqlite://", "in memory"),
        ("sqlite:///", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite://studies/a.db", "three slashes"),
        ("sqlite:///file:a?mode=memory&uri=true", "takes no 'mode'"),
        ("studies/a.db", "no database URL"),
        ("sqlite:///a\0b.db", "no database URL"),
        ("sqlite:///a\udcff.db", "no database URL"),
        ("sqlit:///a.db", "Did you mean 'sqlite'"),
        ("mongodb://h/x", "unknown database 'mongodb'"),
        ("postgresql://h:port/x", "no database URL"),
    ],
)
def test_what_is_no_place_for_a_study_is_refused(text: str, why: str) -> None:
    with pytest.raises(UserError, match=r"^storage: ") as caught:
        parse_url(text)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
