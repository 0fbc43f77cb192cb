"""The engine of a Ray cluster: real nodes on this machine around a real PostgreSQL, one of them killed.

Ray's nodes listen for commands, so they are in a network of their own, which reaches PostgreSQL by its socket alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
import torch
from optuna.trial import TrialState

from stsearch.errors import SpecError
from stsearch.search.attributes import ARCHITECTURE, REASON
from stsearch.search.engines import RayEngine
from stsearch.search.ray_tasks import Place
from stsearch.search.reading import read_study
from stsearch.search.spec import load_study
from stsearch.search.state import State, state_of
from stsearch.search.storage import open_study
from tests.conftest import Cli, awaited

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("ray"),  # in one process of pytest, so that there is one cluster
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]
SECRET = "hush-hush-4711"  # noqa: S105
"""A password that the nodes have in their environment, as PGPASSWORD."""
TRIES = 5
STSEARCH = [sys.executable, "-m", "stsearch.cli"]
RAY = str(Path(sys.executable).with_name("ray"))


class Cluster:
    """Nodes of Ray on this machine, in a network of their own."""

    def __init__(self, own: list[str], users: bool) -> None:
        script = "ip link set lo up && echo up && exec sleep infinity"
        self.holder = subprocess.Popen([*own, "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.holder.stdout
        self.is_up = self.holder.stdout.readline() == b"up\n"
        self.enter = ["nsenter", f"--target={self.holder.pid}", "--net"]
        self.enter += ["--user", "--preserve-credentials"] * users
        self.runs: list[subprocess.Popen[str]] = []
        self.folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # paths of Ray's sockets must be short
        self.environment = {**os.environ, "RAY_TMPDIR": self.folder, "RAY_USAGE_STATS_ENABLED": "0"}
        self.environment |= {"STSEARCH_CACHE": f"{self.folder}/cache"}

    def start(self, name: str, *options: str, hides: Path | None = None) -> None:
        """A node; one that ``hides`` a folder of this machine sees an empty one in its place."""
        # Where cores are busy Ray's processes take longer than the 15 s that it gives them: so they come first.
        command = ["nice", "-n", "-15", RAY, "start", "--node-ip-address=127.0.0.1", f"--node-name={name}"]
        command += ["--object-store-memory=100000000", "--disable-usage-stats", "--include-log-monitor=false", *options]
        if hides is not None:
            script = f"mount -t tmpfs none '{hides}' && cd / && exec \"$@\""
            command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
        for _ in range(TRIES):
            done = subprocess.run(
                [*self.enter, *command], capture_output=True, text=True, timeout=200, cwd=self.folder,
                env={**self.environment, "PGPASSWORD": SECRET},
            )  # fmt: skip
            if done.returncode == 0:
                return
            self.kill(*self.of_node(name), *(self.processes() if "--head" in options else ()))
        pytest.fail(f"the node {name} of Ray cannot be started: {(done.stderr or done.stdout).strip()[-300:]}")

    def run(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command of stsearch on the machine of the nodes; its stderr is the file ``said``."""
        with Path("said").open("w") as said:
            command = [*self.enter, *STSEARCH, *arguments]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=self.environment)
        self.runs.append(process)
        return process

    def processes(self) -> list[int]:
        """All that are in the network, but for who holds it."""
        mine = os.readlink(f"/proc/{self.holder.pid}/ns/net")
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if pid != self.holder.pid and _link(f"/proc/{pid}/ns/net") == mine]

    def of_node(self, name: str) -> list[int]:
        """A node's own processes, and those that it started."""
        raylets = [pid for pid in self.processes() if f"--node-name={name}" in _command(pid).split()]
        return [*raylets, *(pid for pid in self.processes() if _parent(pid) in raylets)]

    def kill(self, *pids: int) -> None:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def end(self) -> None:
        while pids := self.processes():
            self.kill(*pids)
            time.sleep(0.1)
        self.holder.kill()
        self.holder.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture
def cluster(nodes: Cluster) -> Iterator[Cluster]:
    """The cluster, with no run on it that a failed test has left."""
    yield nodes
    for process in nodes.runs:
        process.kill()
        process.communicate()
    nodes.runs.clear()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """What most tests share."""
    with headed() as found:
        yield found


@contextlib.contextmanager
def headed() -> Iterator[Cluster]:
    """A cluster with a head node, which has room for two workers on one GPU, and for one that asks for a desk."""
    for own in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
        found = Cluster(own, users=len(own) > 2)
        if found.is_up:
            break
        found.end()
    else:
        pytest.skip("no network namespace is to be had here, and Ray would listen for commands from anywhere")
    try:
        desk = f"--resources={json.dumps({'desk': 1})}"
        found.start("first", "--head", "--port=6399", "--include-dashboard=false", "--num-cpus=2", "--num-gpus=1", desk)
        yield found
    finally:
        found.end()


@pytest.fixture
def inside(postgres: str) -> str:
    """The same database as it is reached in the cluster's network."""
    plain = sqlalchemy.make_url(postgres).set(drivername="postgresql")
    with psycopg.connect(plain.render_as_string(hide_password=False)) as connection:
        row = connection.execute("SHOW unix_socket_directories").fetchone()
    folder = str(row[0]).partition(",")[0] if row else ""
    if not Path(folder, f".s.PGSQL.{plain.port or 5432}").exists():
        pytest.skip(f"PostgreSQL has no socket in {folder!r}, and no other way leads into the cluster's network")
    query = {"host": folder, "port": str(plain.port or 5432)}
    return sqlalchemy.URL.create("postgresql", plain.username, database=plain.database, query=query).render_as_string()


def said() -> str:
    return Path("said").read_text()


def trained(url: str) -> list[str]:
    trials = open_study("tiny", url).get_trials(states=(TrialState.COMPLETE,))
    return [trial.user_attrs[ARCHITECTURE] for trial in trials]


def pids_at_work(url: str) -> set[int]:
    stored = read_study("tiny", url)
    found = stored.attributes(["worker"], stored.rows(State.RUNNING))
    return {one["worker"]["pid"] for one in found if "worker" in one}


def once(process: subprocess.Popen[str], ready: Callable[[], Any]) -> Any:
    """What ``ready`` answers as soon as it is true; it must become that before the process ends."""
    answer = awaited(process, ready)
    assert answer, said()
    return answer


def put_away(url: str) -> set[int]:
    """Workers in the middle of a training that has a checkpoint in the folder of the run."""
    stored = read_study("tiny", url)
    found = stored.attributes(["worker", ARCHITECTURE], stored.rows(State.RUNNING))
    stems = {hashlib.sha256(one[ARCHITECTURE].encode()).hexdigest()[:20]: one["worker"]["pid"] for one in found}
    return {pid for stem, pid in stems.items() if list(Path("studies").glob(f"tiny-*.checkpoints/{stem}-0.pt"))}


def settings(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def test_the_workers_of_one_node_share_a_gpu_and_a_file(tiny: Path, cluster: Cluster) -> None:
    """The node says that it has a GPU: Ray reckons with it, the trainings do without."""
    process = cluster.run("run", str(tiny), *settings("engine={name: ray, gpus_per_worker: 0.5, device: cpu}"))
    out, _ = process.communicate(timeout=250)
    assert process.returncode == 0, said()
    assert "2 workers on Ray, storage sqlite:///studies/tiny.db" in said()
    assert "note: worker 1 begins on 127.0.0.1" in said()
    assert said().count("  video@1 ") == said().count("  clip@1 ") == 4
    assert "another run trains" not in said()
    assert "[4/4] #" in said()
    assert len(set(trained("sqlite:///studies/tiny.db"))) == 4
    assert "Next:" in out
    assert not list(Path().glob(".stsearch-*"))


def test_a_fault_that_all_workers_meet_ends_the_run(tiny: Path, cluster: Cluster) -> None:
    if torch.cuda.is_available():
        pytest.skip("the workers would find the device")
    process = cluster.run("run", str(tiny), *settings("engine={name: ray, workers: 1, device: cuda}"))
    process.communicate(timeout=250)
    assert process.returncode == 1, said()
    assert "all workers have ended, and 4 trainings are left; worker 1 ended: engine.device: " in said()
    assert "Traceback" not in said()


def test_a_node_is_killed_and_nothing_is_lost(tiny: Path, cluster: Cluster, postgres: str, inside: str) -> None:
    """Both nodes train; the network of the one that is killed goes on from its checkpoint on the other."""
    cluster.start("second", "--address=127.0.0.1:6399", "--num-cpus=1", f"--resources={json.dumps({'desk': 1})}")
    engine = "engine={name: ray, address: '127.0.0.1:6399', resources: {desk: 1}, checkpoint_s: 0}"
    more = settings(engine, "search.trials=3", "evaluate.epochs=30", "search.start_with=[R3D-18, MC3-18, rMC3-18]")
    refused = cluster.run("run", str(tiny), *more)
    assert refused.wait(timeout=200) == 2
    assert "storage: tasks of ray run on several machines, so it is a database server" in said()
    assert not Path("studies").exists()

    process = cluster.run("run", str(tiny), *more, "--storage", inside)
    held: set[int] = set()
    while len(held) < 2:  # until both are there, the first is stopped in the middle of its training
        new = once(process, lambda: put_away(postgres) - held)  # noqa: B023
        for pid in new:
            os.kill(pid, signal.SIGSTOP)
        held |= new
    commands = " ".join(map(_command, cluster.processes()))
    second = cluster.of_node("second")
    assert len(held & set(second)) == 1
    cluster.kill(*second)
    (left,) = held - set(second)
    once(process, lambda: "note: the node 127.0.0.1 left the cluster; its workers go on where there is room" in said())
    os.kill(left, signal.SIGCONT)
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, said()
    assert " goes on after epoch " in said()
    found = trained(postgres)
    assert len(set(found)) == len(found) == 3
    ended = [state_of(trial).name for trial in open_study("tiny", postgres).get_trials()]
    assert sorted(ended) == ["COMPLETE", "COMPLETE", "COMPLETE", "INTERRUPTED"]
    assert "Next:" in out
    assert "ray::stsearch tiny" in commands
    logs = [file.read_bytes() for file in Path(cluster.folder).rglob("*") if file.is_file()]
    assert any(b"stsearch" in log for log in logs)
    assert not [log for log in (commands.encode(), *logs, said().encode()) if SECRET.encode() in log]


def test_a_node_that_joins_is_used_and_ctrl_c_ends_its_work_in_order(
    tiny: Path, cluster: Cluster, postgres: str, inside: str, tmp_path: Path
) -> None:
    """Only the node that joins has what the workers need; it does not see the folder of the run."""
    engine = "engine={name: ray, resources: {chair: 1}}"
    more = [*settings(engine, "search.trials=2", "evaluate.epochs=60"), "--storage", inside]
    process = cluster.run("run", str(tiny), *more)
    once(process, lambda: "no node has room for a worker, which needs 1 CPU, 1 chair; one that joins" in said())
    chair = f"--resources={json.dumps({'chair': 1})}"
    cluster.start("third", "--address=127.0.0.1:6399", "--num-cpus=1", chair, hides=tmp_path)
    (pid,) = once(process, lambda: pids_at_work(postgres))
    assert pid in cluster.of_node("third")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=200)
    assert process.returncode == 130, said()
    assert f"this node does not share the folder {tmp_path} of the run" in said()
    assert "the same command goes on" in said()
    (trial,) = open_study("tiny", postgres).get_trials()
    assert state_of(trial) is State.INTERRUPTED
    assert "stopped by the user" in trial.user_attrs[REASON]
    again = cluster.run("run", str(tiny), *more)
    again.communicate(timeout=280)
    assert again.returncode == 0, said()
    assert len(set(trained(postgres))) == len(trained(postgres)) == 2


def test_a_number_of_workers_without_room_says_so(tiny: Path, cluster: Cluster, inside: str) -> None:
    more = [*settings("engine={name: ray, workers: 2, resources: {sofa: 1}}"), "--storage", inside]
    process = cluster.run("run", str(tiny), *more)
    once(process, lambda: "no node has room for a worker, which needs 1 CPU, 1 sofa; one that joins" in said())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=200)
    assert process.returncode == 130, said()


def test_a_cluster_that_is_lost_ends_the_run_in_one_line(tiny: Path) -> None:
    with headed() as lost:
        more = settings("engine={name: ray, workers: 1, device: cpu}", "evaluate.epochs=60")
        process = lost.run("run", str(tiny), *more)
        once(process, lambda: "note: worker 1 begins on" in said())
        lost.kill(*lost.of_node("first"))
        process.communicate(timeout=200)
    assert process.returncode == 1, said()
    last = said().splitlines()[-1]
    assert last.startswith("stsearch: the cluster is gone: ")
    assert last.endswith("; the same command goes on")
    assert "Traceback" not in said()


def test_a_folder_of_another_user_is_not_shared(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(mode=0)
    nobody = 65534
    os.seteuid(nobody if os.getuid() == 0 else os.getuid())
    try:
        lacking = Place(str(mine / "study"), "mark").enter()
    finally:
        os.seteuid(os.getuid())
        mine.chmod(0o700)
    assert f"this node does not share the folder {mine}/study of the run" in lacking


def test_no_cluster_no_study(tiny: Path, cli: Cli) -> None:
    done = cli("run", str(tiny), "--set", "engine={name: ray, address: '127.0.0.1:1'}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "engine.address: no Ray cluster answers at 127.0.0.1:1 (Connection refused); is its head" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not Path("studies").exists()


@pytest.mark.parametrize(
    ("engine", "storage", "line"),
    [
        ("gpus_per_worker: 1.5", None, "engine.gpus_per_worker: should be less than or equal to 1; given 1.5"),
        ("gpus_per_worker: 0.001", None, "engine.gpus_per_worker: is 0 or 0.01 to 1; given 0.001"),
        ("address: here", None, "engine.address: is HOST:PORT of the head node, as in 10.0.0.1:6379, or auto"),
        ("address: 'ray://head:10001'", None, "engine.address: is HOST:PORT of the head node"),
        ("resources: {GPU: 1}", None, "engine.resources: GPU follows from threads, gpus_per_worker or memory_gb"),
        ("resources: {memory: 1}", None, "engine.resources: memory follows from threads, gpus_per_worker or memory_gb"),
        ("resources: {object_store_memory: 1}", None, "engine.resources: object_store_memory is a name of Ray's own"),
        ("resources: {bundle: 1}", None, "engine.resources: bundle is a name of Ray's own; choose another one"),
        ("resources: {chair: 1.5}", None, "'chair' is 0.0001 to 1 or a whole number; given 1.5"),
        ("resources: {chair: 1.0e-06}", None, "'chair' is 0.0001 to 1 or a whole number; given 1e-06"),
        ("gpus: 1", None, "engine.gpus: unknown key"),
        ("workers: 2", "postgresql://me:hush@db.example/x", "tasks of ray are open to all of the cluster, so the URL"),
    ],
)
def test_faults_of_the_section(tiny: Path, engine: str, storage: str | None, line: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_study(str(tiny), [f"engine={{name: ray, {engine}}}"], storage)
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("need", [0.0001, 0.5, 1, 3])
def test_what_ray_takes_is_taken(tiny: Path, need: float) -> None:
    import ray

    engine = load_study(str(tiny), [f"engine={{name: ray, resources: {{chair: {need}}}}}"]).spec.engine
    assert isinstance(engine, RayEngine)
    ray.remote(load_study).options(resources=engine.resources)
