"""The local engine: one worker in this process, or several in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext

import torch

from stsearch.data.videos import ClipData
from stsearch.errors import StsearchError, WorldError
from stsearch.profiling.device import choose_device
from stsearch.search.audit import Plan, work_audit
from stsearch.search.session import Session, open_session
from stsearch.search.spec import Engine, Study
from stsearch.search.storage import storage_errors
from stsearch.search.training import Emit, Event
from stsearch.search.worker import work
from stsearch.space.blueprint import ClipShape
from stsearch.space.search_space import load_plugins

Job = Callable[[Emit], None]
"""What a process does; it tells what happens."""
_GRACE_S = 20
"""Time for workers to write down that they were interrupted."""
_KNOCK_S = 0.5
"""Time between two requests to stop."""


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
    run_processes(partial(_work, study), study.spec.engine.threads, count, emit)


def run_audit(
    plan: Plan, engine: Engine, tasks: int, emit: Emit, clips: Mapping[ClipShape, ClipData] | None = None
) -> None:
    """Do the work of ``plan``, in this process, with ``clips``, or in several, which load them themselves."""
    count = min(workers_for(engine, tasks), tasks)
    threading.excepthook = lambda args: emit(_thread_note(args))
    if count == 1:
        torch.set_num_threads(engine.threads)
        work_audit(plan, emit, clips)
    else:
        run_processes(partial(work_audit, plan), engine.threads, count, emit)


def _work(study: Study, emit: Emit) -> None:
    """What a worker does in a process of its own."""
    load_plugins(list(study.space.plugins), study.space.folder, study.source)
    with storage_errors(study.storage_url):
        session = open_session(study, lambda *_: None)
        session.lock.tell = lambda text: emit({"event": "note", "text": text})
        work(session, emit)


def _thread_note(args: threading.ExceptHookArgs) -> Event:
    """A heartbeat that fails is told in a line; the storage's own error follows where it matters."""
    return {"event": "note", "text": f"{args.exc_type.__name__}: {str(args.exc_value).splitlines()[0]}"}


def run_processes(job: Job, threads: int, count: int, emit: Emit) -> None:
    """Run ``job``, which can be pickled, in ``count`` processes of ``threads`` torch threads, to their end.

    The caller has closed its connections. Raises ``WorldError`` where a job does, or all were killed.
    """
    context = multiprocessing.get_context("spawn")
    crew = [_Member(context, job, threads) for _ in range(count)]
    _start(crew)
    fatal: list[str] = []
    try:
        while listening := [member.events for member in crew if not member.silent]:
            for ready in wait(listening):
                for member in crew:
                    if member.events is ready:
                        _forward(member, emit, fatal)
    except KeyboardInterrupt:
        _stop(crew)
        raise
    for member in crew:
        member.process.join()
    if fatal:
        raise WorldError(fatal[0])
    if all(member.process.exitcode for member in crew):
        raise WorldError("all workers were killed (out of memory?); the same command goes on from there")


class _Member:
    """A worker process and its own pipe: one that is killed while it writes can block no other."""

    def __init__(self, context: SpawnContext, job: Job, threads: int) -> None:
        self.events, self.end = context.Pipe(duplex=False)
        self.process = context.Process(target=_work_in_process, args=(job, threads, self.end), daemon=True)
        self.silent = False

    def start(self) -> None:
        self.process.start()
        self.end.close()  # so that the pipe ends with the process


def _forward(member: _Member, emit: Emit, fatal: list[str]) -> None:
    """Pass on one event of a worker, or notice its end."""
    try:
        event = member.events.recv()
    except (EOFError, OSError):
        member.silent = True
        member.process.join()  # a killed process that nobody waits for would pass for alive
        if member.process.exitcode:
            code = member.process.exitcode
            emit({"event": "note", "text": f"a worker was killed (exit code {code}); the others take over"})
        return
    if event["event"] == "fatal":
        fatal.append(event["text"])
    else:
        emit(event)


def _start(crew: Sequence[_Member]) -> None:
    """Start workers deaf to Ctrl-C until they are ready for it: a terminal sends it to them too."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for member in crew:
            member.start()
    finally:
        signal.signal(signal.SIGINT, handler)


def _interrupt_once(signum: int, frame: object) -> None:
    """The first Ctrl-C is written down; a second one must not interrupt that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _stop(crew: Sequence[_Member]) -> None:
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    until = time.monotonic() + _GRACE_S
    while (alive := [member.process for member in crew if member.process.is_alive()]) and time.monotonic() < until:
        for process in alive:  # again and again: one that is only starting is deaf to it yet
            if process.pid is not None:
                os.kill(process.pid, signal.SIGINT)
        wait([process.sentinel for process in alive], timeout=_KNOCK_S)
    for member in crew:
        if member.process.is_alive():
            member.process.kill()
        member.process.join()
    signal.signal(signal.SIGINT, handler)


def _die_with_parent() -> None:
    """A worker whose parent was killed ends at once instead of training on unseen."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work_in_process(job: Job, threads: int, events: Connection) -> None:
    signal.signal(signal.SIGINT, _interrupt_once)
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
        job(emit)
    except KeyboardInterrupt:
        return
    except StsearchError as error:
        emit({"event": "fatal", "text": str(error)})
    except Exception:  # an error of stsearch's own must reach the parent, not die with this process
        emit({"event": "fatal", "text": f"a worker met an error of its own:\n{traceback.format_exc()}"})
