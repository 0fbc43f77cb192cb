"""Who works: the identity of a process, and whether one that left a trial is gone."""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import os
import socket
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from stsearch.search.attributes import WORKER
from stsearch.search.state import State, state_of


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError):
        return ""


def _born(pid: int) -> str:
    """When a process of this machine started, so that a reused number is not taken for it.

    Empty where the system does not tell; ``dead`` for one that ended and is not yet waited for.
    """
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return ""
    state, *fields = stat.rpartition(")")[2].split()
    return "dead" if state in "ZX" else fields[18]


def _place() -> str:
    """The kernel that runs here and its space of process numbers, as no other machine has them.

    Names of hosts repeat (``localhost``, cloned machines), and so does the number of a first space of process numbers;
    the number of this boot does not. Empty where the system does not tell.
    """
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    return f"{namespace} {kernel}" if (kernel := _kernel()) else ""


@functools.cache
def _kernel() -> str:
    """This boot of this machine; asked for each trial of a study, it is read once."""
    boot = _read("/proc/sys/kernel/random/boot_id")
    machine = f"{boot} {_read('/etc/machine-id')}"
    return hashlib.sha256(f"stsearch {machine}".encode()).hexdigest()[:16] if boot else ""


def _host() -> str:
    return f"{socket.gethostname()} {_place()}".strip()


@functools.cache
def _token(pid: int) -> str:
    """Tells this process from all others, also where nothing is known of the machine."""
    return f"{pid:x}-{uuid.uuid4().hex[:12]}"


def this_worker() -> dict[str, Any]:
    """Who is running a trial: host, process number, when the process was born, and a word that only it has."""
    pid = os.getpid()
    return {"host": _host(), "pid": pid, "born": _born(pid), "token": _token(pid)}


def this_process() -> str:
    """The same for people who wait for it."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def surely_dead(worker: object) -> bool:
    """Whether the process ``this_worker`` described was on this machine and is gone.

    Of other machines nothing is known here, nor of a process that the system does not show; the heartbeat tells.
    """
    if not isinstance(worker, dict) or not _place() or worker.get("host") != _host():
        return False
    pid = int(worker["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    born = _born(pid)
    return (bool(born) and bool(worker.get("born")) and born != worker["born"]) or born == "dead"


class Crew:
    """This process and those that it started, seen while they were there."""

    def __init__(self) -> None:
        self._pids = {os.getpid()}
        self._elsewhere: list[object] = []
        self.look()

    def add(self, worker: object) -> None:
        """One that works for this process on any machine."""
        self._elsewhere.append(worker)

    def look(self) -> None:
        """Take note of those that are there now."""
        self._pids.update(child.pid for child in multiprocessing.active_children() if child.pid is not None)

    def has(self, worker: object) -> bool:
        """Whether the process ``this_worker`` described is one of them."""
        here = isinstance(worker, dict) and worker.get("host") == _host() and worker.get("pid") in self._pids
        return here or worker in self._elsewhere


def surely_alive(worker: object) -> bool:
    """Whether the process ``this_worker`` described is on this machine, and there."""
    if not isinstance(worker, dict) or not _place() or worker.get("host") != _host():
        return False
    return bool(worker.get("born")) and _born(int(worker["pid"])) == worker["born"]


class Silence:
    """How long trials of this machine's living workers have been without a sign of life, as far as this process saw.

    Where the machine slept, or its clock was set, none could give one, and each needs a while for the next.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: dict[int, float] = {}

    def is_over(self, trial: FrozenTrial, silent: bool) -> bool:
        """Whether the worker of a running trial, which is ``silent`` at this moment, is not waited for any longer."""
        if not silent:
            self._since.pop(trial._trial_id, None)
            return False
        if not surely_alive(trial.user_attrs.get(WORKER)):
            return True
        since = self._since.setdefault(trial._trial_id, time.monotonic())
        return time.monotonic() - since > self._patience


def at_work(trials: Iterable[FrozenTrial]) -> list[str]:
    """Who trains networks of a study now, in words; this process is not among them."""
    running = [trial.user_attrs.get(WORKER) for trial in trials if state_of(trial) is State.RUNNING]
    alive = [worker for worker in running if isinstance(worker, dict) and not surely_dead(worker)]
    me = this_worker()
    return sorted({f"process {w['pid']} on {str(w['host']).partition(' ')[0]}" for w in alive if w != me})
