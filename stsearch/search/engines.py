"""Where trainings run: the ``engine:`` section of a study, by its ``name``."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from stsearch.errors import brief
from stsearch.evaluate.checkpoint import EVERY_S
from stsearch.hiding import safe
from stsearch.registry import Registry
from stsearch.schema import Strict
from stsearch.search.place import has_secret, parse_url, sqlite_file

Word = Annotated[str, Field(min_length=1, max_length=200)]
_LEAST_GPU = 0.01
"""Share of a GPU: smaller ones are a slip of the pen"""

_LEAST_RESOURCE = 0.0001
"""Ray reckons in units of that"""
_OF_RAY = ("object_store_memory", "bundle")
"""Resources that no task may ask for by name"""


class Engine(Strict):
    """Processes of this machine."""

    here: ClassVar[bool] = True
    """whether the process that runs the study does, or starts, its work itself"""
    crew: ClassVar[str] = "processes"
    """its workers, for messages"""
    handed: ClassVar[str] = ""
    """who may read what they are told"""
    name: Literal["local", "slurm", "ray"] = "local"
    """``slurm``, ``ray``: jobs or tasks of a cluster, with further keys"""
    workers: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    """``auto``: one per CPU core, or one in all on a GPU"""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """torch threads per worker"""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``"""
    checkpoint_s: Annotated[float, Field(ge=0, le=86_400)] = EVERY_S
    """seconds of training between two checkpoints of a network; shorter trainings have none"""


class SlurmEngine(Engine):
    """Jobs of a Slurm cluster, one per worker, around one database server."""

    here: ClassVar[bool] = False
    crew: ClassVar[str] = "jobs of slurm"
    handed: ClassVar[str] = "are kept in files"
    name: Literal["slurm"] = "slurm"
    """workers are jobs"""
    workers: Annotated[int, Field(ge=1, le=1024)] = 4
    """jobs"""
    where: Literal["slurm", "here"] = "slurm"
    """``here``: the jobs are processes of this machine, to try it out"""
    partition: Word | None = None
    """of the cluster; default: the cluster's own"""
    account: Word | None = None
    """that the jobs are charged to"""
    qos: Word | None = None
    """quality of service, a name of the cluster's"""
    constraint: Word | None = None
    """features that a node must have, as ``a100``"""
    minutes: Annotated[int, Field(ge=1, le=100_000)] = 240
    """time limit of a job; one that reaches it is queued again, up to ``requeues`` times"""
    requeues: Annotated[int, Field(ge=0, le=1000)] = 20
    """of each job"""
    gpus: Annotated[int, Field(ge=0, le=1)] = 0
    """per job"""
    memory_gb: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """per job"""
    setup: list[Word] = []
    """lines of the shell before the worker is started, as ``module load cuda``"""

    @property
    def parameters(self) -> dict[str, object]:
        """What submitit hands to ``sbatch`` (its own names; ``time`` in minutes)."""
        asked: dict[str, object] = {
            "time": self.minutes,
            "nodes": 1,
            "ntasks_per_node": 1,
            "cpus_per_task": self.threads + 1,  # one more reads clips and keeps the heartbeat
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "gpus_per_node": self.gpus or None,
            "mem": f"{self.memory_gb}GB" if self.memory_gb else None,
            "setup": self.setup or None,
        }
        return {name: value for name, value in asked.items() if value is not None}


class RayEngine(Engine):
    """Tasks of a Ray cluster, one per worker, around one database server."""

    here: ClassVar[bool] = False
    crew: ClassVar[str] = "tasks of ray"
    handed: ClassVar[str] = "are open to all of the cluster"
    name: Literal["ray"] = "ray"
    """workers are tasks"""
    workers: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    """``auto``: as many as the nodes have room for, also those that join later"""
    address: Word = "auto"
    """of the cluster: ``HOST:PORT``, or ``auto``, the one that this machine is a node of"""
    gpus_per_worker: Annotated[float, Field(ge=0, le=1)] = 0.0
    """share of a GPU; ``0.5``: two workers on each"""
    memory_gb: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """per worker, as Ray reckons; nothing is held back or refused"""
    resources: dict[Word, Annotated[float, Field(gt=0, le=1_000_000)]] = {}
    """what else a node must have free for each worker, by the names of ``ray start --resources``"""
    restarts: Annotated[int, Field(ge=0, le=1000)] = 20
    """of each worker that is killed, or whose node is lost"""

    @property
    def needs(self) -> dict[str, float]:
        """What a node has free for a worker, by Ray's names."""
        memory = float((self.memory_gb or 0) * 10**9)
        return {"CPU": float(self.threads), "GPU": self.gpus_per_worker, "memory": memory, **self.resources}


class EngineKind(NamedTuple):
    """What stands under a name."""

    recipe: type[Engine]


ENGINES: Registry[EngineKind] = Registry("engine")
ENGINES.add("local", EngineKind(Engine))
ENGINES.add("slurm", EngineKind(SlurmEngine))
ENGINES.add("ray", EngineKind(RayEngine))


def remote_faults(engine: Engine, storage: str | None) -> list[str]:
    """What an engine of several machines needs: a server that all reach, and no password on the way to it."""
    if engine.here:
        return []
    url = parse_url(storage) if storage is not None else None
    if (url is None or sqlite_file(url) is not None) and getattr(engine, "where", "") == "slurm":
        return [no_file(engine)]
    faults = _ray_faults(engine) if isinstance(engine, RayEngine) else []
    if any(safe(line) != line for line in getattr(engine, "setup", ())):
        faults.append(
            "engine.setup: a line holds a password, and would be stored with the study; the jobs take it from a file"
        )
    elif url is not None and has_secret(url):
        faults.append(
            f"storage: {engine.crew} {engine.handed}, so the URL has no password; PostgreSQL takes it from "
            "PGPASSWORD or ~/.pgpass, MySQL from a file named by ?read_default_file=~/.my.cnf"
        )
    return faults


def no_file(engine: Engine) -> str:
    """The fault of a storage that is a file of one machine."""
    return (
        f"storage: {engine.crew} run on several machines, so it is a database server that all of them "
        "reach, as in postgresql://db.example/stsearch; a file on a shared disk is no such place"
    )


def _ray_faults(engine: RayEngine) -> list[str]:
    faults = []
    if engine.address != "auto" and not re.fullmatch(r"([\w.-]+|\[[\da-fA-F:.]+\]):\d{1,5}", engine.address):
        faults.append(
            "engine.address: is HOST:PORT of the head node, as in 10.0.0.1:6379, or auto on a machine of the cluster; "
            f"given {brief(safe(engine.address))}"
        )
    if 0 < engine.gpus_per_worker < _LEAST_GPU:
        faults.append(f"engine.gpus_per_worker: is 0 or {_LEAST_GPU} to 1; given {engine.gpus_per_worker:g}")
    for name, need in engine.resources.items():
        if name in RayEngine().needs:
            faults.append(f"engine.resources: {name} follows from threads, gpus_per_worker or memory_gb")
        elif name in _OF_RAY:
            faults.append(f"engine.resources: {name} is a name of Ray's own; choose another one")
        elif need < _LEAST_RESOURCE or (need > 1 and not need.is_integer()):
            faults.append(
                f"engine.resources: {brief(safe(name))} is {_LEAST_RESOURCE:.4f} to 1 or a whole number; given {need:g}"
            )
    return faults
