"""The local engine: one worker in this process, or several in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import NamedTuple

import torch

from stsearch.data.videos import ClipData
from stsearch.errors import StsearchError, WorldError
from stsearch.interrupt import check, flagged, number_of
from stsearch.profiling.device import choose_device
from stsearch.search.audit import Input, Plan, work_audit
from stsearch.search.engines import Engine
from stsearch.search.patience import reopened
from stsearch.search.session import Session, open_session
from stsearch.search.spec import Study
from stsearch.search.storage import storage_errors
from stsearch.search.training import Emit, Event
from stsearch.search.worker import work
from stsearch.space.search_space import load_plugins

Job = Callable[[Emit], None]
"""What a process does; it tells what happens."""


class Plugins(NamedTuple):
    """What a process must import before it can be told its job, which may be of classes of theirs."""

    modules: Sequence[str] = ()
    folder: str = ""
    source: str = ""
    """what names them, for messages"""


_GRACE_S = 20
"""Time for workers to write down that they were interrupted."""
_KNOCK_S = 0.5
"""Time between two requests to stop."""
_LOOK_S = 0.5
"""Ctrl-C is looked for so often."""
_AGAIN = 3
"""So many times as there are workers, one that was killed is started again."""
_REQUESTS = {signal.SIGINT, signal.SIGTERM}
"""Signals that ask to stop."""


def worker_count(study: Study) -> int:
    """``auto`` is a worker per core, or one: on a GPU, and where networks are timed."""
    if study.measured and study.spec.engine.workers == "auto":
        return 1
    return workers_for(study.spec.engine, study.spec.search.trials)


def workers_for(engine: Engine, tasks: int) -> int:
    """As many as asked for; ``auto`` is one on a GPU, else one per core, not more than there are tasks."""
    if isinstance(engine.workers, int):
        return engine.workers
    if choose_device(engine.device, "engine.device").type == "cuda":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, tasks))


def run(study: Study, session: Session, emit: Emit) -> None:
    """Bring ``study`` to its number of networks; ``session`` is this process's own."""
    count = worker_count(study)
    threading.excepthook = lambda args: emit(_thread_note(args))
    if count == 1:
        torch.set_num_threads(study.spec.engine.threads)
        session.lock.tell = lambda text: emit({"event": "note", "text": text})
        with storage_errors(study.storage_url):
            work(session, emit)
        return
    session.storage.remove_session()
    plugins = Plugins(study.space.plugins, study.space.folder, study.source)
    run_processes(partial(_work, study), study.spec.engine.threads, count, emit, plugins)


def run_audit(
    plan: Plan, engine: Engine, tasks: int, emit: Emit, clips: Mapping[Input, ClipData] | None = None
) -> None:
    """Do the work of ``plan``, in this process, with ``clips``, or in several, which load them themselves."""
    count = min(workers_for(engine, tasks), tasks)
    threading.excepthook = lambda args: emit(_thread_note(args))
    if count == 1:
        torch.set_num_threads(engine.threads)
        work_audit(plan, emit, clips)
    else:
        run_processes(partial(work_audit, plan), engine.threads, count, emit, Plugins(*plan.plugins, plan.study))


def _work(study: Study, emit: Emit) -> None:
    """What a worker does in a process of its own."""
    with storage_errors(study.storage_url):
        session = reopened(study.storage_url, lambda: open_session(study, lambda *_: None))
        session.lock.tell = lambda text: emit({"event": "note", "text": text})
        work(session, emit)


def _thread_note(args: threading.ExceptHookArgs) -> Event:
    """A heartbeat that fails is told in a line; the storage's own error follows where it matters."""
    return {"event": "note", "text": f"{args.exc_type.__name__}: {str(args.exc_value).splitlines()[0]}"}


def run_processes(job: Job, threads: int, count: int, emit: Emit, plugins: Plugins) -> None:
    """Run ``job`` in ``count`` processes of ``threads`` torch threads, to their end.

    It can be pickled; to read it, a process must have imported ``plugins``. One that is killed is started again,
    ``_AGAIN`` times for each.

    The caller has closed its connections. Raises ``WorldError`` where a job does, or all were killed.
    """
    recruit = partial(_Member, multiprocessing.get_context("spawn"), pickle.dumps(job), plugins, threads)
    crew = [recruit() for _ in range(count)]
    fatal: list[str] = []
    with flagged():
        _start(crew)
        try:
            while listening := {member.events: member for member in crew if not member.silent}:
                check()
                for ready in wait(list(listening), timeout=_LOOK_S):
                    member = listening[ready]  # type: ignore[index]
                    if not _forward(member, emit, fatal):
                        more = _killed(member) and not fatal and len(crew) < (1 + _AGAIN) * count
                        _tell_killed(member, emit, more)
                        if more:
                            crew.append(recruit())
                            _start(crew[-1:])
        except KeyboardInterrupt as error:
            _stop(crew, number_of(error))
            raise
    for member in crew:
        member.process.join()
    if fatal:
        raise WorldError(fatal[0])
    if all(member.process.exitcode for member in crew):
        raise WorldError("all workers were killed (out of memory?); the same command goes on from there")


class _Member:
    """A worker process and its own pipe: one that is killed while it writes can block no other."""

    def __init__(self, context: SpawnContext, packed: bytes, plugins: Plugins, threads: int) -> None:
        self.events, self.end = context.Pipe(duplex=False)
        self.process = context.Process(target=_work_in_process, args=(packed, plugins, threads, self.end), daemon=True)
        self.silent = False

    def start(self) -> None:
        self.process.start()
        self.end.close()  # so that the pipe ends with the process


def _forward(member: _Member, emit: Emit, fatal: list[str]) -> bool:
    """Pass on one event of a worker; false where that was its end."""
    try:
        event = member.events.recv()
    except (EOFError, OSError):
        member.silent = True
        member.process.join()  # a killed process that nobody waits for would pass for alive
        return False
    if event["event"] == "fatal":
        fatal.append(event["text"])
    else:
        emit(event)
    return True


def _killed(member: _Member) -> bool:
    """Whether a signal ended it that it could not answer, as the kernel's where memory runs out."""
    return (member.process.exitcode or 0) < 0


def _tell_killed(member: _Member, emit: Emit, again: bool) -> None:
    if code := member.process.exitcode:
        then = "another is started in its place" if again else "the others take over"
        emit({"event": "note", "text": f"a worker was killed (exit code {code}); {then}"})


def _start(crew: Sequence[_Member]) -> None:
    """Start workers; Ctrl-C and SIGTERM, which may come to all at once, wait until each is ready for them."""
    resource_tracker.ensure_running()  # as it starts, it lets the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _REQUESTS)
    try:
        for member in crew:
            member.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(crew: Sequence[_Member], number: signal.Signals) -> None:
    """Pass a request to stop on to the workers, and kill those that do not end in time."""
    until = time.monotonic() + _GRACE_S
    while (alive := [member.process for member in crew if member.process.is_alive()]) and time.monotonic() < until:
        for process in alive:
            if process.pid is not None:
                os.kill(process.pid, number)
        wait([process.sentinel for process in alive], timeout=_KNOCK_S)
    for member in crew:
        if member.process.is_alive():
            member.process.kill()
        member.process.join()


def _die_with_parent() -> None:
    """A worker whose parent was killed ends at once instead of training on unseen."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work_in_process(packed: bytes, plugins: Plugins, threads: int, events: Connection) -> None:
    for number in _REQUESTS:
        signal.signal(number, signal.SIG_IGN)  # as it is again when work has ended: the end is not disturbed
    with flagged(patient=True, always=True):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _REQUESTS)
        _work_at(packed, plugins, threads, events)


def _work_at(packed: bytes, plugins: Plugins, threads: int, events: Connection) -> None:
    _die_with_parent()
    torch.set_num_threads(threads)
    turn = threading.Lock()

    def emit(event: Event) -> None:
        with turn:
            try:
                events.send(event)
            except OSError:  # the parent is gone: not the fault of the network in training
                os._exit(1)

    threading.excepthook = lambda args: emit(_thread_note(args))
    try:
        load_plugins(list(plugins.modules), plugins.folder, plugins.source)
        job: Job = pickle.loads(packed)  # noqa: S301 - of the parent process
        job(emit)
    except KeyboardInterrupt as error:
        sys.exit(128 + number_of(error))
    except StsearchError as error:
        emit({"event": "fatal", "text": str(error)})
    except Exception:  # an error of stsearch's own must reach the parent, not die with this process
        emit({"event": "fatal", "text": f"a worker met an error of its own:\n{traceback.format_exc()}"})
