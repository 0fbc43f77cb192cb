"""Many workers on one study whose trainings only take time, and a plan of what befalls them.

    python -m tests.benchmarks.faults URL --workers 64 --trials 5000 --seconds 2 --plan PLAN.yaml

PLAN is a list of faults, each with when it comes (seconds after all workers were begun):

    - {do: kill, every: 3}                     # -9 for a worker, drawn at random; another takes its place
    - {do: stop, every: 20, for: 8}            # SIGSTOP for a worker, and SIGCONT after that
    - {do: cut, every: 1.5}                    # half of the connections to the database
    - {do: run, at: [40, 90], command: "pg_ctl -D FOLDER -m fast restart"}

With ``--join`` the study is begun here, and workers are ``stsearch worker``, which prints no front at its end; with
``--no-count`` torch counts no FLOPs, which takes longer than all else where trainings take no time.

The database must be empty and of nobody else. Each worker is a process of its own, as on a machine of its own. Says
as JSON what came of it: workers really killed and stopped, connections really ended, commands that did their work;
networks finished, twice, lost; whether the front is that of the same accuracies computed at once; CPU milliseconds
per trial of workers and, with ``--server PID``, of the database's server and its children.
Exit code 1 where a worker failed, or a network was lost or trained twice.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy
import yaml
from sqlalchemy.pool import NullPool

import stsearch.cli
import stsearch.report.live
import stsearch.search.engine
import stsearch.search.worker
import stsearch.testing
from stsearch.evaluate.evaluators import training_seed
from stsearch.evaluate.simulated import accuracy
from stsearch.search.attributes import ARCHITECTURE
from stsearch.search.place import parse_url
from stsearch.search.reading import read_study
from stsearch.search.session import Session, open_session
from stsearch.search.spec import load_study
from stsearch.space.architecture import parse_placement
from stsearch.space.blueprint import AnyNetwork
from stsearch.space.cost import network_cost
from stsearch.stats.front import minimised, non_dominated
from tests.conftest import ROOT

SPACE = (ROOT / "search_spaces" / "r18.yaml").read_text() + "plugins: [stsearch.testing]\n"
STUDY = """
space: space.yaml
target: {frames: 16, size: 112}
proxy: {frames: 4, size: 16, width: 0.125}
data: {name: motions, classes: 2, clips: 16, val_clips: 10}
search: {start_with: none}
engine: {workers: 1}
"""
WIDTH = 0.125
_LIBC = ctypes.CDLL(None)
_DIE_WITH_PARENT = 1
"""``PR_SET_PDEATHSIG`` of Linux"""
_LOOK_S = 0.25
"""So long a connection is looked for that can be cut"""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Fault:
    """One line of the plan."""

    do: str
    every: float = 0.0
    at: list[float] = field(default_factory=list)
    lasts: float = 0.0
    command: str = ""

    @classmethod
    def read(cls, row: dict[str, Any]) -> Fault:
        """From the YAML's row."""
        known = {"do": "do", "every": "every", "at": "at", "for": "lasts", "command": "command"}
        one = cls(**{known[key]: value for key, value in row.items()})
        if one.do not in ("kill", "stop", "cut", "run") or bool(one.every) == bool(one.at):
            raise ValueError(f"a fault is kill, stop, cut or run, with `every` or `at`; given {row}")
        return one

    def times(self) -> Iterator[float]:
        """When it comes, ascending."""
        yield from self.at
        number = 0
        while self.every:
            yield (number := number + 1) * self.every


class Workers:
    """Processes that are copies of this one, which has imported everything."""

    def __init__(self, arguments: list[str], folder: Path, seed: int) -> None:
        self.arguments, self.folder, self.random = arguments, folder, random.Random(seed)
        self.alive: dict[int, Path] = {}
        self.stopped: dict[int, float] = {}
        self.codes: collections.Counter[int] = collections.Counter()
        self.told: list[str] = []
        self.cpu, self.begun = 0.0, 0
        self.shot = set[int]()
        self.killed = 0

    def begin(self) -> None:
        """One more."""
        log = self.folder / f"{self.begun}.log"
        self.begun += 1
        log.touch()
        parent, pid = os.getpid(), os.fork()
        if pid:
            self.alive[pid] = log
            return
        _LIBC.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        with log.open("wb") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
        sys.argv = ["stsearch", *self.arguments]
        code: Any = 0
        try:
            stsearch.cli.entry()
        except SystemExit as end:
            code = 0 if end.code is None else end.code
        except BaseException:
            traceback.print_exc()
            code = 99
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)

    def look(self) -> None:
        """Note who has ended, and wake who has been stopped long enough."""
        for pid, until in list(self.stopped.items()):
            if time.monotonic() > until:
                self._signal(pid, signal.SIGCONT)
                del self.stopped[pid]
        for pid, log in list(self.alive.items()):
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if not ended:
                continue
            self.cpu += usage.ru_utime + usage.ru_stime
            code = os.waitstatus_to_exitcode(status)
            self.codes[code] += 1
            self.killed += pid in self.shot and code == -signal.SIGKILL
            text = log.read_text(errors="replace").strip()
            if code not in (0, -signal.SIGKILL) or "Traceback" in text:
                self.told.append(f"{log}: {text.splitlines()[-1][:200] if text else 'nothing'}")
            del self.alive[pid]
            self.stopped.pop(pid, None)

    def kill(self) -> None:
        """One, at random; another takes its place."""
        if self.alive:
            pid = self.random.choice(sorted(self.alive))
            self._signal(pid, signal.SIGKILL)
            self.shot.add(pid)
            self.begin()

    def stop(self, seconds: float) -> int:
        """One, at random, for a while; how many that were."""
        awake = sorted(set(self.alive) - set(self.stopped) - self.shot)
        if not awake:
            return 0
        pid = self.random.choice(awake)
        self._signal(pid, signal.SIGSTOP)
        self.stopped[pid] = time.monotonic() + seconds
        return 1

    def _signal(self, pid: int, number: int) -> None:
        if pid in self.alive:
            os.kill(pid, number)


def cut(url: sqlalchemy.URL, rng: random.Random) -> int:
    """End half of the connections to this database, as far as the server can be asked; how many were ended."""
    postgres = url.get_backend_name() == "postgresql"
    ids = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        if postgres
        else "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
    )
    end = "SELECT pg_terminate_backend(:one)" if postgres else "KILL :one"
    options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "connect_args": {"connect_timeout": 3}}
    ended, until = 0, time.monotonic() + _LOOK_S
    with (
        contextlib.suppress(sqlalchemy.exc.SQLAlchemyError),  # the server is away
        sqlalchemy.create_engine(url, poolclass=NullPool, **options).connect() as connection,
    ):
        while not ended and time.monotonic() < until:  # workers have few connections, and not for long
            there = connection.execute(sqlalchemy.text(ids)).scalars().all()
            for one in rng.sample(there, (len(there) + 1) // 2):
                with contextlib.suppress(sqlalchemy.exc.DBAPIError):  # it had ended
                    done = connection.execute(sqlalchemy.text(end), {"one": one})
                    ended += bool(done.scalar()) if postgres else 1
    return ended


def server_seconds(pid: int | None) -> float:
    """CPU seconds of a server, of its children, and of those that it has reaped."""
    if pid is None:
        return 0.0
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        parts = rest.split()
        own = int(name.split()[0])
        if own == pid:
            total += sum(map(int, parts[11:15]))
        elif int(parts[1]) == pid:
            total += sum(map(int, parts[11:13]))
    return total / _TICKS


def befall(workers: Workers, faults: list[Fault], url: sqlalchemy.URL, limit: float) -> collections.Counter[str]:
    """Let the plan run until all workers have ended; how many each fault befell."""
    began, came = time.monotonic(), collections.Counter[str]()
    coming = [(fault, iter(fault.times())) for fault in faults]
    due = [(next(times, float("inf")), fault, times) for fault, times in coming]
    acts: dict[str, Callable[[Fault], Any]] = {
        "kill": lambda fault: workers.kill(),  # counted as they end
        "stop": lambda fault: workers.stop(fault.lasts),
        "cut": lambda fault: cut(url, workers.random),
        "run": lambda fault: subprocess.run(fault.command, shell=True, capture_output=True).returncode == 0,  # noqa: S602
    }
    while workers.alive and time.monotonic() - began < limit:
        workers.look()
        for number, (when, fault, times) in enumerate(due):
            if time.monotonic() - began >= when and workers.alive:
                came[fault.do] += acts[fault.do](fault) or 0
                due[number] = (next(times, float("inf")), fault, times)
        time.sleep(0.05)
    for pid in list(workers.alive):
        os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    workers.look()
    came["kill"] = workers.killed
    return +came


def outcome(study: str, url: str, trials: int) -> dict[str, Any]:
    """What the storage says, beside what the accuracies of these networks give at once."""
    stored = read_study(study, url)
    known = stored.attributes([ARCHITECTURE, "gmacs"], stored.complete)
    names = [found[ARCHITECTURE] for found in known]
    count = collections.Counter(names)
    computed = {
        name: accuracy(proxy, training_seed(0, proxy, 0), 1.0)
        for name in count
        for proxy in [parse_placement(name).scaled(WIDTH)]
    }
    told = stored.values[stored.complete, list(stored.objectives).index("video_top1")]
    points = np.array([[computed[name], found["gmacs"]] for name, found in zip(names, known, strict=True)])
    stored_points = np.column_stack([told, points[:, 1]])
    front, at_once = (non_dominated(minimised(one, ["maximize", "minimize"])) for one in (stored_points, points))
    return {
        "complete": len(names),
        "distinct": len(count),
        "twice": sum(number > 1 for number in count.values()),
        "lost": max(0, trials - len(count)),
        "trials": len(stored.numbers),
        "front": int(front.sum()),
        "front_as_computed_at_once": bool(np.allclose(told, points[:, 0]) and (front == at_once).all()),
    }


def closed_form(session: Session, architecture: AnyNetwork) -> int:
    """In place of torch's count."""
    return 2 * network_cost(architecture, session.study.target_clip(), session.classes).total.macs


def commanded(asked: argparse.Namespace) -> list[str]:
    """What a worker is told on its command line; with ``--join`` the study is begun."""
    sets = [f"search.trials={asked.trials}", f"search.sampler={asked.sampler}"]
    if asked.no_count:
        stsearch.search.worker.__dict__["check_count"] = closed_form
    if not asked.join:
        return ["run", "faults.yaml", "--quiet", "--storage", asked.storage, *(f"--set={one}" for one in sets)]
    study = load_study("faults.yaml", [f"storage={asked.storage}", *sets])
    open_session(study, lambda *_: None).storage.engine.dispose()  # no connection is shared with workers
    return ["worker", study.name, "--quiet", "--storage", asked.storage]


def main() -> int:
    """Run it and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage")
    for name, kind, default in (
        ("workers", int, 16), ("trials", int, 500), ("seconds", float, 0.2), ("limit", float, 3000.0), ("seed", int, 0),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_argument("--plan", type=Path)
    parser.add_argument("--server", type=int, help="process of the database's server, to measure it")
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--join", action="store_true", help="workers join a study that is begun here")
    parser.add_argument("--no-count", action="store_true", help="let torch count no FLOPs")
    parser.add_argument("--folder", type=Path, help="for logs and cache; default: a new one in /tmp")
    asked = parser.parse_args()
    faults = [Fault.read(row) for row in yaml.safe_load(asked.plan.read_text())] if asked.plan else []
    folder = (asked.folder or Path(tempfile.mkdtemp(prefix="faults-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    os.environ["STSEARCH_CACHE"] = str(folder / "cache")
    Path("space.yaml").write_text(SPACE)
    Path("faults.yaml").write_text(f"{STUDY}evaluate: {{name: simulated, seconds: {asked.seconds}}}\n")
    arguments = commanded(asked)
    workers, began, before = Workers(arguments, folder, asked.seed), time.monotonic(), server_seconds(asked.server)
    for _ in range(asked.workers):
        workers.begin()
    came = befall(workers, faults, parse_url(asked.storage), asked.limit)
    found = outcome("faults.yaml", asked.storage, asked.trials)
    report = {
        "seconds": round(time.monotonic() - began, 1),
        "workers_begun": workers.begun,
        "came": dict(came),
        "exit_codes": dict(workers.codes),
        **found,
        "worker_ms_per_trial": round(1000 * workers.cpu / max(1, found["complete"]), 1),
        "server_ms_per_trial": round(1000 * (server_seconds(asked.server) - before) / max(1, found["complete"]), 1),
        "told": workers.told[:5],
        "logs": str(folder),
    }
    print(json.dumps(report, indent=2))
    bad = set(workers.codes) - {0, -signal.SIGKILL}
    return int(bool(bad or found["twice"] or found["lost"] or not found["front_as_computed_at_once"]))


if __name__ == "__main__":
    sys.exit(main())
