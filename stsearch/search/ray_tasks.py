"""The engine of a Ray cluster: tasks that each are a worker. Ray starts one where there is room, and again where its
process or its node was lost; all that a worker needs to go on is in the study's storage.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stsearch.errors import StsearchError, UserError, WorldError
from stsearch.hiding import safe
from stsearch.interrupt import check, flagged, number_of, pause
from stsearch.search.engines import RayEngine, no_file
from stsearch.search.patience import persist
from stsearch.search.place import parse_url, sqlite_file
from stsearch.search.remote import Worker, trainings_left
from stsearch.search.session import Session
from stsearch.search.spec import Study
from stsearch.search.training import Emit, Event
from stsearch.search.workers import this_worker

if TYPE_CHECKING:
    from ray.util.queue import Queue

_LOOK_S = 0.5
"""Events and tasks are looked at so often."""
_NODES_S = 2.0
"""Nodes that join or leave are looked for so often."""
_GRACE_S = 20.0
"""Time for workers to write down that they were interrupted."""
_KNOCK_S = 5.0
"""Time for a head node to answer at all: Ray itself would wait for minutes."""
_SHOWN = 300
"""characters of Ray's own words that are shown"""
_DRIVER = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_gcs_server_port_wait_time_s": "1"}
"""How Ray behaves in this process, unless the user says otherwise: nothing is sent home, and where nothing
answers it asks once."""


def connect(study: Study) -> None:
    """Become a driver of the cluster at ``engine.address``.

    Raises ``UserError`` where no cluster answers, and for a file as storage where there are several nodes.
    """
    engine = _engine(study)
    for name, value in _DRIVER.items():
        os.environ.setdefault(name, value)
    import ray

    _knock(engine.address)
    heard = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=engine.address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:_SHOWN]
        raise UserError(f"engine.address: cannot join the Ray cluster at {engine.address}: {safe(said)}") from None
    finally:
        for number, handler in heard.items():  # Ray puts its own in place of ours
            signal.signal(number, handler)
    check()
    if _on_disk(study) and len(_nodes()) > 1:
        ray.shutdown()
        raise UserError(no_file(engine))


def _knock(address: str) -> None:
    """``UserError`` where nothing listens at the address, or there is no cluster that this machine is a node of."""
    from ray._private.services import canonicalize_bootstrap_address

    try:
        host, _, port = str(canonicalize_bootstrap_address(address)).rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except (OSError, ValueError) as error:
        raise _no_cluster(address, getattr(error, "strerror", None) or str(error)) from None


def _no_cluster(address: str, why: str) -> UserError:
    reason = safe(" ".join(why.split()).partition(". ")[0][:_SHOWN])
    if address == "auto":
        text = "this machine is no node of a Ray cluster; `ray start --head` begins one, or engine.address is HOST:PORT"
        return UserError(f"engine.address: {text} ({reason})")
    return UserError(f"engine.address: no Ray cluster answers at {address} ({reason}); is its head node there?")


def worker_count(study: Study) -> int:
    """How many tasks there are, or with ``auto`` room for now; not more than networks."""
    engine = _engine(study)
    if isinstance(engine.workers, int):
        return engine.workers
    return min(_rooms(study), study.spec.search.trials, 1024)


def _rooms(study: Study) -> int:
    """Workers that the nodes have room for, where they have nothing else to do."""
    here = _this_node()
    nodes = [node for node in _nodes() if not _on_disk(study) or node["NodeID"] == here]
    return sum(_room(_engine(study), node["Resources"]) for node in nodes)


def _engine(study: Study) -> RayEngine:
    assert isinstance(study.spec.engine, RayEngine)
    return study.spec.engine


def _on_disk(study: Study) -> bool:
    """Whether the storage is a file: all workers are on this machine then."""
    return sqlite_file(parse_url(study.storage_url)) is not None


def _nodes() -> list[dict[str, Any]]:
    """Of the cluster, those that are alive."""
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _this_node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


def _room(engine: RayEngine, has: Mapping[str, float]) -> int:
    """Workers that an empty node has room for."""
    return int(min((has.get(name, 0) / need + 1e-6 for name, need in engine.needs.items() if need), default=0))


def run_tasks(study: Study, session: Session, emit: Emit) -> None:
    """Start the workers and follow them to the end of the study; ``emit`` hears what they do.

    Ctrl-C ends them in order. Raises ``WorldError`` where all have ended and the study is not complete.
    """
    import ray

    with flagged(), _reached(), _marked() as place:
        crew = _Crew(study, place, _queue(), emit)
        try:
            crew.follow()
        except KeyboardInterrupt:
            with contextlib.suppress(ray.exceptions.RayError):
                crew.stop()
            raise
        finally:
            ray.shutdown()
    if left := persist(session, partial(trainings_left, session)):
        why = crew.faults[0] if crew.faults else "the same command starts others"
        raise WorldError(f"all workers have ended, and {left:,} trainings are left; {why}")


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    """``WorldError`` where the cluster, or this machine's node of it, is lost."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        said = safe(" ".join(str(error).split())[:_SHOWN]) or type(error).__name__
        raise WorldError(f"the cluster is gone: {said}; the same command goes on") from None


def _queue() -> Queue:
    """What workers tell; it is kept by this node, so that it is there as long as who reads it."""
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    again = {"max_restarts": -1, "max_task_retries": -1}
    return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": On(_this_node(), soft=False), **again})


@dataclass(frozen=True)
class Place:
    """The folder that a study's files are in, and one of them by which workers know it."""

    folder: str
    """absolute"""
    mark: str
    """there while the run lasts"""

    def enter(self) -> str:
        """Work there, as the study's own process does; says what is lacking on a node that does not share it."""
        with contextlib.suppress(OSError):  # it may be another user's
            if Path(self.folder, self.mark).exists():
                os.chdir(self.folder)
                return ""
        return (
            f"this node does not share the folder {self.folder} of the run: checkpoints and traces are in {Path.cwd()} "
            "here, and a training that is cut off here begins anew on another node"
        )


@contextlib.contextmanager
def _marked() -> Iterator[Place]:
    """The folder of this process as workers are told it."""
    try:
        mark = tempfile.NamedTemporaryFile(prefix=".stsearch-", dir=Path.cwd())  # noqa: SIM115 - the next line closes it
    except OSError as error:
        raise WorldError(f"cannot write into {Path.cwd()}, the folder of the run: {error.strerror}") from None
    with mark:
        yield Place(str(Path.cwd()), Path(mark.name).name)


@dataclass
class _Crew:
    """The tasks of a run, and what is known of them."""

    study: Study
    place: Place
    events: Queue
    emit: Emit
    tasks: dict[Any, int] = field(default_factory=dict)
    """those that have not ended, and their numbers"""
    begun: dict[int, int] = field(default_factory=dict)
    """how often each task has begun"""
    faults: list[str] = field(default_factory=list)
    """why workers left before the end"""
    nodes: dict[str, str] = field(default_factory=dict)
    """addresses of those that are alive"""
    looked: float = float("-inf")

    def follow(self) -> None:
        """Until all tasks have ended, or one says that the study is complete."""
        import ray

        while True:
            check()
            self._recruit()
            if not self.tasks:
                if self.begun:
                    return
                pause(_LOOK_S)
                continue
            ended, _ = ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=_LOOK_S)
            self._hear()
            if any(self._complete(task) for task in ended):
                self.stop()
                return

    def stop(self) -> None:
        """End the tasks in order, and at once those that take too long: their results are kept all the same."""
        import ray

        if not self.tasks:
            return
        for task in self.tasks:
            ray.cancel(task)
        _, busy = ray.wait(list(self.tasks), num_returns=len(self.tasks), timeout=_GRACE_S)
        for task in busy:
            ray.cancel(task, force=True)

    def _recruit(self) -> None:
        """As many tasks as there is room for; one whose node left is started again by Ray, where there is room."""
        if time.monotonic() - self.looked < _NODES_S:
            return
        first, self.looked = not self.nodes, time.monotonic()
        now = {node["NodeID"]: node["NodeManagerAddress"] for node in _nodes()}
        for node in self.nodes.keys() - now.keys():
            self._note(f"the node {self.nodes[node]} left the cluster; its workers go on where there is room")
        self.nodes = now
        wanted = worker_count(self.study)
        if first and not _rooms(self.study):
            needs = ", ".join(f"{need:g} {name}" for name, need in _engine(self.study).needs.items() if need)
            self._note(f"no node has room for a worker, which needs {needs}; one that joins is waited for")
        if not self.faults:  # where one worker met a fault, further ones may meet it too
            for number in range(len(self.begun), wanted):
                self.tasks[self._started(number)] = number
                self.begun[number] = 0

    def _started(self, number: int) -> Any:
        """A task, which Ray begins when there is room."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        study, engine = self.study, _engine(self.study)
        cpu = engine.device == "auto" and not engine.gpus_per_worker
        worker = Worker(study.name, study.storage_url, ("engine.device=cpu",) if cpu else ())
        options = {
            "name": f"stsearch {study.name}",
            "num_cpus": engine.needs["CPU"],
            "num_gpus": engine.needs["GPU"],
            **({"memory": engine.needs["memory"]} if engine.memory_gb else {}),
            **({"resources": engine.resources} if engine.resources else {}),
            "max_retries": engine.restarts,
            "scheduling_strategy": On(_this_node(), soft=False) if _on_disk(study) else "SPREAD",
        }
        alone = ray.remote(max_calls=1)(_task)  # in a process of its own, which gives back all memory
        return alone.options(**options).remote(number, worker, self.place, self.events)

    def _hear(self) -> None:
        """Pass on what the workers have told since."""
        for event in self.events.get_nowait_batch(self.events.qsize()):
            if event["event"] == "joined":
                self._greet(event)
            self.emit(event)

    def _greet(self, event: Event) -> None:
        number = event["number"]
        self.begun[number] += 1
        again = f" again, after it was lost (time {self.begun[number]})" if self.begun[number] > 1 else ""
        self._note(f"worker {number + 1} begins on {event['node']}{again}")

    def _complete(self, task: Any) -> bool:
        """Whether a task that ended says that the study is complete; else why it ended is kept, and told."""
        import ray

        number = self.tasks.pop(task)
        try:
            fault = str(ray.get(task))
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            fault = f"{type(cause).__name__}: {next(iter(str(cause).strip().splitlines()), '')}"
        if fault:
            self.faults.append(f"worker {number + 1} ended: {safe(fault)}")
            self._note(self.faults[-1])
        return not fault

    def _note(self, text: str) -> None:
        self.emit({"event": "note", "text": text})


def _task(number: int, worker: Worker, place: Place, events: Queue) -> str:
    """In the task, in the main thread of a process of its own: what ended its work, empty where that is complete."""
    import ray

    def emit(event: Event) -> None:
        try:
            events.put(event)
        except ray.exceptions.RayError:  # the run is gone: not the fault of the network in training
            os._exit(1)

    try:
        with flagged(patient=True, always=True):  # Ray cancels a task as Ctrl-C would
            node = ray.util.get_node_ip_address()
            emit({"event": "joined", "number": number, "node": node, "worker": this_worker()})
            if lacking := place.enter():
                emit({"event": "note", "text": f"worker {number + 1} on {node}: {lacking}"})
            worker(emit)
    except KeyboardInterrupt as error:
        if number_of(error) == signal.SIGTERM:  # its node is stopped: as a lost worker, it begins again elsewhere
            os._exit(1)
        raise
    except StsearchError as error:
        return safe(str(error))
    except Exception:  # an error of stsearch's own must reach the run
        return safe(f"an error of its own:\n{traceback.format_exc()}")
    return ""
