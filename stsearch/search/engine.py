"""The local engine: one worker in this process, or several in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from typing import Any

import torch

from stsearch.errors import StsearchError, WorldError
from stsearch.search.session import Session, choose_device, open_session
from stsearch.search.spec import Study
from stsearch.search.storage import storage_errors
from stsearch.search.worker import Emit, Event, work
from stsearch.space.search_space import load_plugins

_GRACE_S = 20
"""Time for workers to write down that they were interrupted."""


def worker_count(study: Study) -> int:
    """``auto`` is a worker per core, or one on a GPU."""
    asked = study.spec.engine.workers
    if isinstance(asked, int):
        return asked
    if choose_device(study.spec.engine.device).type == "cuda":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, study.spec.search.trials))


def run(study: Study, session: Session, emit: Emit) -> None:
    """Bring ``study`` to its number of networks; ``session`` is this process's own."""
    count = worker_count(study)
    threading.excepthook = lambda args: emit({"event": "note", "text": f"{args.exc_type.__name__}: {args.exc_value}"})
    if count == 1:
        torch.set_num_threads(study.spec.engine.threads)
        with storage_errors(study.storage_url):
            work(session, emit)
        return
    _run_processes(study, session, count, emit)


def _run_processes(study: Study, session: Session, count: int, emit: Emit) -> None:
    context = multiprocessing.get_context("spawn")
    events: Queue[Event] = context.Queue()
    session.storage.remove_session()
    processes = [context.Process(target=_work_in_process, args=(study, events), daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    fatal: list[str] = []
    try:
        while any(process.is_alive() for process in processes):
            _forward(events, emit, fatal)
        _forward(events, emit, fatal)
    except KeyboardInterrupt:
        _stop(processes)
        raise
    if fatal:
        raise WorldError(fatal[0])
    _check_exits(processes, emit)


def _forward(events: Queue[Event], emit: Emit, fatal: list[str]) -> None:
    """Pass on what the workers say, until they are silent for a moment."""
    while True:
        try:
            event = events.get(timeout=0.2)
        except queue.Empty:
            return
        if event["event"] == "fatal":
            fatal.append(event["text"])
        else:
            emit(event)


def _check_exits(processes: Sequence[BaseProcess], emit: Emit) -> None:
    """A worker that was killed is named; if all were, the run failed."""
    killed = [process for process in processes if process.exitcode]
    if len(killed) == len(processes):
        raise WorldError("all workers were killed (out of memory?); the same command goes on from there")
    for process in killed:
        emit({"event": "note", "text": f"a worker was killed (exit code {process.exitcode}); the others took over"})


def _stop(processes: Sequence[BaseProcess]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for process in processes:
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGINT)
    for process in processes:
        process.join(_GRACE_S)
        if process.is_alive():
            process.kill()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _die_with_parent() -> None:
    """A worker whose parent was killed ends at once instead of training on unseen."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work_in_process(study: Study, events: Queue[Event]) -> None:
    _die_with_parent()
    load_plugins(list(study.space.plugins), study.space.folder, study.source)
    torch.set_num_threads(study.spec.engine.threads)

    def emit(event: dict[str, Any]) -> None:
        events.put(event)

    try:
        with storage_errors(study.storage_url):
            work(open_session(study, lambda *_: None), emit)
    except KeyboardInterrupt:
        return
    except StsearchError as error:
        events.put({"event": "fatal", "text": str(error)})
    except Exception:
        events.put({"event": "fatal", "text": f"a worker met an error of its own:\n{traceback.format_exc()}"})
