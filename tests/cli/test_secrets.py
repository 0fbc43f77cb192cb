"""A database's password is in no output, report, answer of the dashboard, row, or other process's command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from stsearch.report.dashboard import application
from stsearch.search.place import parse_url
from stsearch.search.reading import read_study
from tests.conftest import Cli, awaited

WORD = "S3cretPw"


def with_password(server: str) -> str:
    """The server's URL with a password that it does not ask for: in the query on PostgreSQL, before the host else."""
    url = sa.make_url(server)
    if url.get_backend_name() == "postgresql":
        return f"postgresql:///{url.database}?host={url.host}&port={url.port}&user={url.username}&password={WORD}"
    return url.set(password=WORD).render_as_string(hide_password=False)


def answers(storage: str) -> bytes:
    """What the dashboard says of the study, its trials and notes."""
    stored = read_study("tiny", storage)
    app = application(stored)
    found = b""
    for path in ("/api/studies", f"/api/studies/{stored.study_id}", "/api/meta"):
        environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "HTTP_HOST": "127.0.0.1:1"}
        found += b"".join(app(environ, lambda *_: None))
    return found


def rows(storage: str) -> str:
    """Everything in the database."""
    engine = sa.create_engine(parse_url(storage))
    with engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
        found = [connection.execute(sa.text(f"SELECT * FROM {table}")).all() for table in tables]  # noqa: S608
    engine.dispose()
    return repr(found)


def commands(pid: int) -> list[str]:
    """Command lines of the processes that ``pid`` started."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [Path(f"/proc/{child}/cmdline").read_text() for child in children.read_text().split()]


@pytest.mark.slow
def test_a_run_and_all_that_reads_it(tiny: Path, cli: Cli) -> None:
    from tests.conftest import fresh_database

    with fresh_database("postgresql") as server:
        storage = with_password(server)
        command = [
            sys.executable,
            "-m",
            "stsearch.cli",
            "run",
            str(tiny),
            "--set=engine.workers=2",
            "--set=search.trials=2",
            "--storage",
            storage,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if Path("/proc/self/task").exists():
            started = awaited(process, lambda: [text for text in commands(process.pid) if "spawn_main" in text])
            assert started
            assert WORD not in "".join(started)
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert "storage postgresql:///" in err
        assert "password=***" in err
        assert "Next:" in out
        assert WORD not in out + err
        report = cli("report", "tiny", "--storage", storage, "-o", "r.html")
        front = cli("pareto", "tiny", "--storage", storage)
        page = Path("r.html").read_text()
        assert "postgresql:///" in page
        assert WORD not in report.stdout + report.stderr + page + front.stdout + front.stderr
        found = answers(storage).decode()
        assert json.dumps("password=***")[1:-1] in found
        assert WORD not in found
        assert WORD not in rows(storage)
        assert WORD not in "".join(str(path) for path in Path.cwd().rglob("*"))


REFUSED = [
    f"postgresql://root@127.0.0.1:1/x?password={WORD}",
    f"postgresql://root:{WORD}@127.0.0.1:1/x",
    f"postgresql:///x?host=127.0.0.1&port=1&passwd={WORD}",
    f"postgresql:///x?host=127.0.0.1&port=1&options={WORD}",
    f"mysql://root@127.0.0.1:1/x?passwd={WORD}",
    f"mysql://root@127.0.0.1:1/x?unknown={WORD}",
    f"postgres//root:{WORD}@h/x",
    f"host=127.0.0.1 password={WORD}",
]


@pytest.mark.parametrize("storage", REFUSED)
def test_no_error_repeats_it(storage: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from stsearch.cli import entry

    for arguments in (["pareto", "s"], ["run", "quickstart"], ["report", "s"]):
        monkeypatch.setattr(sys, "argv", ["stsearch", *arguments, f"--storage={storage}"])
        with pytest.raises(SystemExit) as ended:
            entry()
        said = "".join(capsys.readouterr())
        assert ended.value.code in (1, 2)
        assert WORD not in said
        assert len(said.splitlines()) == 1, said


@pytest.mark.parametrize(
    "words",
    [
        ["--storage", f"postgresql://r:{WORD}@h/x"],
        [f"--storage=postgresql://r@h/x?password={WORD}"],
        [f"--set=storage=mysql://r:{WORD}@h/x"],
        ["--set", f"storage=mysql://r@h/x?passwd={WORD}"],
        ["--set", f"storage=host=h password={WORD}"],
        ["--set", f"storage=postgres//r:{WORD}@h"],
    ],
)
def test_the_command_to_go_on_with_repeats_it_neither(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from stsearch.cli.run import again

    monkeypatch.setattr(sys, "argv", ["stsearch", "run", "s.yaml", *words])
    assert WORD not in again()
    assert "s.yaml" in again()
