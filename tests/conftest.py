"""Shared fixtures. Videos are real files that FFmpeg encodes here; storages and processes are real."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import psycopg
import pytest
import sqlalchemy
import torch
from hypothesis import settings
from sqlalchemy.pool import NullPool

from stsearch.errors import UserError

settings.register_profile("any machine", deadline=None)  # a busy one takes its time now and then
settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parents[1]
"""The project: the folder that holds ``stsearch/``, ``docs/`` and ``tests/``."""

TINY = """\
space: paper-18
target: {frames: 8, size: 32}
proxy: {frames: 4, size: 16, width: 0.125}
data: {name: motions, classes: 2, clips: 24, val_clips: 10}
evaluate: {name: train, epochs: 1, batch: 12}
search: {sampler: random, trials: 4, start_with: none}
engine: {workers: 1}
"""
"""A study whose networks train in a fraction of a second."""


SERVERS = {
    "postgresql": ("STSEARCH_TEST_POSTGRES", "postgresql+psycopg://root@127.0.0.1:5432/postgres"),
    "mariadb": ("STSEARCH_TEST_MARIADB", "mysql+pymysql://root@127.0.0.1:3306/mysql"),
}
"""Where tests find a server: the variable that names a database of it, and what is taken without one."""


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test runs in a folder of its own, with a cache of its own, on one thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STSEARCH_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The file of the tiny study."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cli() -> Cli:
    """Run the command line in a process of its own."""

    def call(*arguments: str, timeout: float = 240, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stsearch.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **environment},
        )

    return call


@contextlib.contextmanager
def fresh_database(kind: str) -> Iterator[str]:
    """The URL of an empty database of its own, dropped at the end; skips where there is no such server."""
    if kind == "sqlite":
        yield "sqlite:///studies/fresh.db"
        return
    variable, address = SERVERS[kind]
    url = sqlalchemy.make_url(os.environ.get(variable) or address)
    server = sqlalchemy.create_engine(
        url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 5}
    )
    name = f"stsearch_test_{uuid.uuid4().hex[:12]}"
    try:
        with server.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    except sqlalchemy.exc.OperationalError as error:
        pytest.skip(f"no {kind} at {url.render_as_string()} ({variable}): {str(error.orig).splitlines()[0]}")
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        force = " WITH (FORCE)" if kind == "postgresql" else ""  # also where a worker still holds a connection
        with server.connect() as connection:
            connection.execute(sqlalchemy.text(f"DROP DATABASE {name}{force}"))


@pytest.fixture(params=["sqlite", *SERVERS])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database of each kind that studies are kept in; of SQLite for a test marked ``on_sqlite``."""
    with fresh_database(request.param) as url:
        yield url


on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""Marks a test that shares a fixture with those that are run on every database, and is not about storing."""


@pytest.fixture(params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The same of those that are servers."""
    with fresh_database(request.param) as url:
        yield url


@pytest.fixture
def postgres() -> Iterator[str]:
    """That of PostgreSQL alone."""
    with fresh_database("postgresql") as url:
        yield url


def cut_connections(postgres: str, *pids: int) -> None:
    """Have the server end connections to a database, all of them where no ``pids`` are named."""
    plain = sqlalchemy.make_url(postgres).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as killer:
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        for pid in pids or [row[0] for row in killer.execute(query)]:
            killer.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def awaited(process: subprocess.Popen[Any], ready: Callable[[], Any]) -> Any:
    """What ``ready`` answers as soon as it is true; ``None`` where the process ends or 200 s pass first.

    ``UserError`` is no answer yet: the study is not there.
    """
    until = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
        with contextlib.suppress(UserError):
            if answer := ready():
                return answer
    return None


def write_video(path: Path, frames: np.ndarray, fps: int = 25, codec: str = "libx264") -> None:
    """Encode ``frames`` uint8 ``(F, H, W, 3)``, nearly without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "1"}
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder of 2 classes, a grey ramp up and the same ramp down, 4 training and 2 validation videos each."""
    root = tmp_path / "clips"
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            ramp = (np.arange(12) * 15 + 20 + number).astype(np.uint8)
            video = np.broadcast_to(ramp[:, None, None, None], (12, 48, 64, 3))
            write_video(root / split / "brighter" / f"{number}.mp4", video)
            write_video(root / split / "darker" / f"{number}.mp4", video[::-1])
    return root


@pytest.fixture(scope="session")
def real_videos() -> Path:
    """The folder of real labelled clips that ``STSEARCH_TEST_VIDEOS`` names."""
    folder = os.environ.get("STSEARCH_TEST_VIDEOS")
    if not folder:
        pytest.skip("STSEARCH_TEST_VIDEOS names no folder of real clips")
    return Path(folder)
