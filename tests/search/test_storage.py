"""Databases of studies: made whole or not at all, recognised before anything is written, locked, few connections."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.storages._rdb import models
from sqlalchemy.pool import NullPool

from stsearch.errors import UserError, WorldError
from stsearch.interrupt import flagged
from stsearch.search import lock as locks
from stsearch.search import pool as pools
from stsearch.search import workers
from stsearch.search.creation import head
from stsearch.search.reading import read_study
from stsearch.search.recognise import COLUMNS, SCHEMA, recognise
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.search.storage import Lock, open_storage, still_there, storage_errors, surely_dead, this_worker
from stsearch.search.worker import work
from tests.conftest import Cli, awaited, fresh_database


def quiet(what: str, done: int, of: int) -> None:
    """No progress."""


def execute(url: str, *statements: str) -> None:
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))


def dumped(url: str) -> list[tuple[str, ...]]:
    """All tables with their columns, and all rows."""
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    held = []
    with engine.connect() as connection:
        inspector = sqlalchemy.inspect(connection)
        for name in sorted(inspector.get_table_names()):
            columns = [column["name"] for column in inspector.get_columns(name)]
            table = sqlalchemy.table(name, *map(sqlalchemy.column, columns))
            rows = connection.execute(sqlalchemy.select(table)).all()
            held.append((name, *columns, *map(str, rows)))
    return held


def state_of(url: str) -> str:
    with sqlalchemy.create_engine(url, poolclass=NullPool).connect() as connection:
        return recognise(connection).state


@pytest.fixture(autouse=True)
def _folder() -> None:
    Path("studies").mkdir()


def test_optunas_tables_are_known_here_as_optuna_has_them() -> None:
    tables = models.BaseModel.metadata.sorted_tables
    assert {table.name: tuple(table.columns.keys()) for table in tables} == COLUMNS
    assert models.SCHEMA_VERSION == SCHEMA


def test_what_is_made_is_what_optuna_makes(database: str) -> None:
    open_storage(database)
    ours = dumped(database)
    assert state_of(database) == "whole"
    again = optuna.storages.RDBStorage(database)  # which would make what is missing
    again.engine.dispose()
    assert dumped(database) == ours
    assert [path.name for path in Path("studies").iterdir() if "making" in path.name] == []


KILLED = """
import os, signal, sys, sqlalchemy
from stsearch.search.storage import open_storage
seen = 0
def count(connection, cursor, statement, *rest):
    global seen
    seen += statement.lstrip().upper().startswith(("CREATE", "INSERT"))
    if seen == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
sqlalchemy.event.listen(sqlalchemy.engine.Engine, "after_cursor_execute", count)
open_storage(sys.argv[1])
"""


def test_a_kill_after_any_statement_leaves_no_database_that_cannot_go_on(database: str, tiny: Path, cli: Cli) -> None:
    ends = []
    for statement in (1, 2, 8, 16):  # the first table, its index, ..., the last but the revision
        ended = subprocess.run([sys.executable, "-c", KILLED, database, str(statement)], timeout=120)
        ends.append(ended.returncode)
        if database.startswith("sqlite"):
            assert not Path("studies/fresh.db").exists()
    assert ends[0] == -signal.SIGKILL
    for command in (["pareto", "tiny"],):
        answer = cli(*command, "--storage", database)
        assert (answer.returncode, answer.stderr.count("\n")) == (2, 1), answer.stderr
    for _ in range(2):
        answer = cli("run", str(tiny), "--storage", database, "--set=search.trials=1", "--quiet")
        assert answer.returncode == 0, answer.stderr
    assert state_of(database) == "whole"
    assert len(open_storage(database, to_write=False).get_all_studies()) == 1


def test_a_table_of_studies_without_its_index_is_mended(database: str, tiny: Path, cli: Cli) -> None:
    storage = optuna.storages.RDBStorage(database)
    storage.engine.dispose()
    on = " ON studies" if database.startswith("mysql") else ""
    execute(database, f"DROP INDEX ix_studies_study_name{on}")
    assert state_of(database) == "unfinished"
    open_storage(database)
    assert state_of(database) == "whole"


def test_two_studies_of_one_name_are_not_guessed_at(database: str) -> None:
    storage = optuna.storages.RDBStorage(database)
    storage.engine.dispose()
    on = " ON studies" if database.startswith("mysql") else ""
    twin = "INSERT INTO studies (study_id, study_name) VALUES ({}, 'twin')"
    execute(database, f"DROP INDEX ix_studies_study_name{on}", twin.format(1), twin.format(2))
    with pytest.raises(UserError, match="holds two studies of the name 'twin'"):
        open_storage(database)


OTHERS = {
    "another program's": (["CREATE TABLE users (id int)", "CREATE TABLE studies (x int)"], "another program's"),
    "one table of a known name": (["CREATE TABLE studies (x int)"], "its table 'studies' is not Optuna's"),
    "MLflow's": (
        [
            "CREATE TABLE alembic_version (version_num varchar(32))",
            "INSERT INTO alembic_version VALUES ('bf29a5ff90ea')",
            "CREATE TABLE experiments (experiment_id int)",
            "CREATE TABLE runs (run_uuid varchar(32))",
        ],
        "another program's, with tables such as 'experiments', 'runs'",
    ),
}


@pytest.mark.parametrize("which", OTHERS)
def test_another_programs_database_is_left_alone(database: str, which: str, tiny: Path, cli: Cli) -> None:
    statements, said = OTHERS[which]
    execute(database, *statements)
    before = dumped(database)
    for command in (["run", str(tiny)], ["pareto", "tiny"]):
        answer = cli(*command, "--storage", database)
        assert answer.returncode == 2, answer.stderr
        assert said in answer.stderr
        assert answer.stderr.count("\n") == 1
    assert dumped(database) == before


def test_an_older_optunas_database_is_left_alone(database: str) -> None:
    storage = optuna.storages.RDBStorage(database)
    storage.engine.dispose()
    execute(database, "UPDATE alembic_version SET version_num = 'v2.6.0.a'")
    for to_write in (True, False):
        with pytest.raises(UserError, match=r"revision v2\.6\.0\.a"):
            open_storage(database, to_write=to_write)
    execute(database, "DROP TABLE trial_heartbeats")
    before = dumped(database)
    with pytest.raises(UserError, match=r"revision v2\.6\.0\.a"):
        open_storage(database)
    assert dumped(database) == before
    execute(database, "UPDATE version_info SET schema_version = 11")
    with pytest.raises(UserError, match="schema 11"):
        open_storage(database)
    assert head() != "v2.6.0.a"


@pytest.mark.parametrize("content", [b"no database\n" * 500, b"SQLite format 3\0" + b"\0\7" * 2000])
def test_a_file_that_is_no_database_is_left_alone(content: bytes, tiny: Path, cli: Cli) -> None:
    Path("studies/tiny.db").write_bytes(content)
    for command in (["run", str(tiny)], ["pareto", "tiny"]):
        answer = cli(*command)
        assert answer.returncode in (1, 2)
        assert answer.stderr.count("\n") == 1, answer.stderr
    assert Path("studies/tiny.db").read_bytes() == content
    assert [path.name for path in Path("studies").iterdir()] == ["tiny.db"]


def test_an_empty_file_is_an_empty_database() -> None:
    Path("studies/tiny.db").touch()
    open_storage("sqlite:///studies/tiny.db")
    assert state_of("sqlite:///studies/tiny.db") == "whole"


def test_eight_may_begin_at_once(database: str) -> None:
    code = "import sys; from stsearch.search.storage import open_storage; sys.stdin.read(); open_storage(sys.argv[1])"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, database], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    errors = [process.communicate(timeout=120)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, errors
    assert state_of(database) == "whole"


HOLD = (
    "import sys; from stsearch.search.storage import Lock, open_storage\n"
    "engine = open_storage(sys.argv[1]).engine\n"
    "with Lock(sys.argv[1], 's', engine):\n    print('held', flush=True); sys.stdin.read()\n"
)


def test_the_lock_is_a_lock_and_says_who_holds_it(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one waits, is told of the holder, can be stopped, and gets the lock when the holder is killed."""
    monkeypatch.setattr(locks, "SAY_AFTER_S", 0.0)
    engine = open_storage(database).engine
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            lock = Lock(database, "s", engine)
            told: list[str] = []

            def tell(text: str) -> None:
                told.append(text)
                signal.raise_signal(signal.SIGINT)

            lock.tell = tell
            with flagged(), pytest.raises(KeyboardInterrupt):
                lock.acquire()
        finally:
            holder.kill()
        assert "has it" in told[0]
        if not database.startswith("mysql"):  # MariaDB tells of a connection alone
            assert str(holder.pid) in told[0]
    with lock:
        pass
    lock.release()


def test_only_one_of_many_has_the_lock(database: str) -> None:
    inside: list[int] = []
    most: list[int] = []

    def enter(engine: sqlalchemy.Engine) -> None:
        for _ in range(5):
            with Lock(database, "s", engine):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=enter, args=(open_storage(database).engine,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20


def test_a_lock_file_that_was_removed_is_made_again() -> None:
    with Lock("sqlite:///studies/x.db", "s"):
        assert Path("studies/x.db.lock").read_text() == f"{workers.this_process()}\n"
        Path("studies/x.db.lock").unlink()
    with Lock("sqlite:///studies/x.db", "s"):
        assert Path("studies/x.db.lock").exists()


def connections(url: str) -> int:
    """Of all clients to the database, but for this question's own."""
    query = {
        "postgresql": "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database() "
        "AND backend_type = 'client backend'",
        "mysql": "SELECT count(*) - 1 FROM information_schema.processlist WHERE db = database()",
    }
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return int(connection.execute(sqlalchemy.text(query[engine.dialect.name])).scalar_one())


def settles(url: str, wanted: int) -> bool:
    """A server takes a moment to notice that a client went."""
    return any(connections(url) == wanted for _ in range(2000))


def test_one_connection_per_worker_and_only_while_it_is_used(server: str, tiny: Path) -> None:
    session = open_session(load_study(str(tiny), [f"storage={server}"]), quiet)
    assert settles(server, 0)
    with session.lock:
        assert session.trials() == []
        assert settles(server, 1)
        session.optuna_study.set_user_attr("x", 1)
        assert settles(server, 1)
    assert settles(server, 0)


def test_a_lock_whose_connection_is_cut_guards_no_more_writes(server: str) -> None:
    storage = open_storage(server)
    study = optuna.create_study(storage=storage, study_name="s")
    cut = {"postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
           "WHERE datname = current_database() AND pid <> pg_backend_pid()"}  # fmt: skip
    lock = Lock(server, "s", storage.engine)
    with lock:
        if server.startswith("postgresql"):
            execute(server, cut["postgresql"])
        else:
            engine = sqlalchemy.create_engine(server, poolclass=NullPool)
            with engine.connect() as connection:
                rows = connection.execute(
                    sqlalchemy.text(
                        "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
                    )
                ).all()
                for (number,) in rows:
                    connection.exec_driver_sql(f"KILL {int(number)}")
        for _ in range(2):
            with pytest.raises(optuna.exceptions.StorageInternalError):
                study.set_user_attr("x", 1)
    with lock:
        study.set_user_attr("x", 2)
    assert study.user_attrs == {"x": 2}


def test_a_connection_of_another_thread_that_is_cut_leaves_the_lock_where_it_is(server: str) -> None:
    """As one of a heartbeat may be: the connection that has the lock is not opened anew, without it."""
    storage, own = open_storage(server), sqlalchemy.func.pg_backend_pid()
    cut = "SELECT pg_terminate_backend({}, 5000)"
    if not server.startswith("postgresql"):
        own, cut = sqlalchemy.func.connection_id(), "KILL {}"

    def mine(connection: sqlalchemy.Connection) -> int:
        return int(connection.execute(sqlalchemy.select(own)).scalar_one())

    def is_cut() -> None:
        with storage.engine.connect() as connection, contextlib.suppress(sqlalchemy.exc.DBAPIError):
            execute(server, cut.format(mine(connection)))
            mine(connection)

    with Lock(server, "s", storage.engine):
        with storage.engine.connect() as connection:
            before = mine(connection)
        thread = threading.Thread(target=is_cut)
        thread.start()
        thread.join()
        with storage.engine.connect() as connection:
            assert mine(connection) == before
        assert settles(server, 1)


@pytest.fixture
def one_client(server: str) -> Iterator[str]:
    """The URL of a role that may have one connection to an empty database, which is its own."""
    admin, role = sqlalchemy.make_url(server), f"stsearch_{os.getpid()}"
    if server.startswith("postgresql"):
        make = [f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1", f"ALTER DATABASE {admin.database} OWNER TO {role}"]
        drop = [f"REASSIGN OWNED BY {role} TO CURRENT_USER", f"DROP ROLE {role}"]
    else:
        user = f"{role}@'%'"
        make = [f"CREATE USER {user} WITH MAX_USER_CONNECTIONS 1", f"GRANT ALL ON {admin.database}.* TO {user}"]
        drop = [f"DROP USER {user}"]
    execute(server, *make)
    url = admin.set(username=role, password=None)
    try:
        try:
            sqlalchemy.create_engine(url, poolclass=NullPool).connect().close()
        except sqlalchemy.exc.OperationalError as error:
            pytest.skip(f"a new role may not log in here: {error.orig}")
        yield url.render_as_string(hide_password=False)
    finally:
        execute(server, *drop)


def test_one_client_too_many_waits(one_client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second connection comes when the first is gone."""
    engine = sqlalchemy.create_engine(one_client, poolclass=pools.FewConnections)
    first, refused, full = engine.connect(), threading.Event(), pools.is_full
    came: list[object] = []

    def second() -> None:
        with engine.connect() as connection:
            came.append(connection.execute(sqlalchemy.text("SELECT 1")).scalar())

    def noted(error: BaseException) -> bool:
        refused.set()
        return full(error)

    monkeypatch.setattr(pools, "is_full", noted)
    thread = threading.Thread(target=second)
    thread.start()
    assert refused.wait(60)
    assert came == []
    first.close()
    thread.join(60)
    assert came == [1]


def test_one_connection_is_enough(one_client: str, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To make a database, to open it and to train: who waits for a second one while it has a first may wait forever."""
    monkeypatch.setattr(pools, "PATIENCE_S", 10)
    session = open_session(load_study(str(tiny), [f"storage={one_client}", "search.trials=2"]), quiet)
    work(session, lambda event: None)
    assert len(read_study("tiny", one_client).complete) == 2


def test_a_role_that_may_only_read_gets_one_line(tiny: Path, cli: Cli) -> None:
    with fresh_database("postgresql") as url:
        open_storage(url)
        role = f"stsearch_reader_{os.getpid()}"
        execute(url, f"CREATE ROLE {role} LOGIN", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        try:
            theirs = sqlalchemy.make_url(url).set(username=role).render_as_string(hide_password=False)
            answer = cli("run", str(tiny), "--storage", theirs)
            assert answer.returncode in (1, 2)
            assert "permission denied for table studies" in answer.stderr
            assert answer.stderr.count("\n") == 1
        finally:
            execute(url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def remove(file: Path) -> None:
    file.unlink()


def replace(file: Path) -> None:
    copy = Path("copy.db")
    copy.write_bytes(file.read_bytes())
    copy.replace(file)


@pytest.mark.parametrize(("harm", "said"), [(remove, "deleted or moved away"), (replace, "replaced by another")])
def test_a_database_that_is_deleted_or_replaced_is_noticed(tiny: Path, harm: Callable[[Path], None], said: str) -> None:
    session = open_session(load_study(str(tiny)), quiet)

    def emit(event: dict[str, object]) -> None:
        if event["event"] == "epoch":
            harm(Path("studies/tiny.db"))

    with pytest.raises(WorldError, match=said), storage_errors(session.study.storage_url):
        work(session, emit)
    with pytest.raises(WorldError, match=said):  # nor does Ctrl-C say now that nothing is lost
        still_there(session.storage)


def test_damaged_databases_cost_one_line(tiny: Path, cli: Cli) -> None:
    import random

    file = Path("studies/tiny.db")
    assert cli("run", str(tiny), "--quiet").returncode == 0
    whole = file.read_bytes()
    for seed in range(2):
        chosen, damaged = random.Random(seed), bytearray(whole)
        for _ in range(6):
            at = chosen.randrange(len(damaged) - 200)
            damaged[at : at + 200] = chosen.randbytes(200)
        file.write_bytes(damaged)
        answer = cli("run", str(tiny), "--set=search.trials=5", "--quiet")
        assert "Traceback" not in answer.stderr, answer.stderr
        assert answer.returncode in (0, 1, 2)


def test_machines_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another machine of this name, with the same first space of processes, would have written."""
    me = this_worker()
    gone = {**me, "pid": 2**22 - 3, "born": "5"}
    assert surely_dead(gone)
    name, namespace, place = str(me["host"]).split(" ")
    assert not surely_dead({**gone, "host": f"{name} {namespace} {place[::-1]}"})
    assert not surely_dead({**gone, "host": f"{name} {namespace}"}), "written by an earlier version: unknown"


def test_a_process_that_cannot_be_looked_at_is_left_to_its_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    me, read = this_worker(), workers._read
    other = {**me, "pid": os.getppid(), "born": workers._born(os.getppid())}
    monkeypatch.setattr(workers, "_read", lambda path: "" if path.endswith("/stat") else read(path))
    assert not surely_dead(other), "hidden"
    monkeypatch.setattr(workers, "_read", lambda path: "")
    monkeypatch.setattr(workers, "_kernel", workers._kernel.__wrapped__)
    assert not surely_dead({**other, "pid": 2**22 - 3, "host": workers._host()}), "no /proc at all"


def test_a_process_is_not_another_of_the_same_number() -> None:
    code = "from stsearch.search.storage import this_worker; print(this_worker()['token'])"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert this_worker() == this_worker()
    assert other != this_worker()["token"]


def test_a_wait_for_a_file_lock_ends_at_ctrl_c() -> None:
    code = (
        "from pathlib import Path\nfrom stsearch.interrupt import flagged\n"
        "from stsearch.search import lock as locks\nlocks.SAY_AFTER_S = 0.0\n"
        "lock = locks.Lock('sqlite:///studies/x.db', 's')\nlock.tell = lambda text: Path('waits').touch()\n"
        "with flagged(always=True):\n    lock.acquire()\n"
    )
    with (
        Lock("sqlite:///studies/x.db", "s"),
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as waiting,
    ):
        assert awaited(waiting, Path("waits").exists)
        waiting.send_signal(signal.SIGINT)
        assert "Interrupted" in waiting.communicate(timeout=60)[1]


def test_the_lock_of_a_folder_that_cannot_be_written_is_one_line() -> None:
    Path("studies/x.db.lock").mkdir()
    with pytest.raises(WorldError, match=r"cannot lock the study: studies/x\.db\.lock: Is a directory"):
        Lock("sqlite:///studies/x.db", "s").acquire()


def test_a_database_read_only_is_not_made() -> None:
    with pytest.raises(UserError, match="there is no storage"):
        open_storage("sqlite:///studies/none.db", to_write=False)
    assert not Path("studies/none.db").exists()
    sqlite3.connect("studies/other.db").execute("CREATE TABLE x (y int)")
    with pytest.raises(UserError, match="another program's"):
        open_storage("sqlite:///studies/other.db", to_write=False)
