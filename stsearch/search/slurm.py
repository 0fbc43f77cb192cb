"""The engine of a Slurm cluster: jobs that each are a worker, submitted and watched with submitit.

All that the jobs share is in the study's storage, so the process that submitted them may be killed and run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stsearch.errors import UserError, WorldError
from stsearch.hiding import safe
from stsearch.interrupt import check, flagged, pause
from stsearch.search.engines import SlurmEngine
from stsearch.search.patience import persist
from stsearch.search.place import study_folder
from stsearch.search.remote import Worker, trainings_left
from stsearch.search.session import Session
from stsearch.search.spec import Study
from stsearch.search.training import Emit, Event

if TYPE_CHECKING:
    import submitit

_LOOK_S = 2.0
"""Jobs and study are looked at so often."""
_TAIL = 5
"""lines of a failed job's log that are shown"""


@dataclass(frozen=True)
class Job:
    """What a job does. Queued again, it does the same."""

    worker: Worker

    def __call__(self) -> None:
        """In the job."""
        self.worker(_log)

    def checkpoint(self) -> Any:
        """Asked by submitit before the time limit, and where the job must make room for another."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _log(event: Event) -> None:
    """A job's output: what began and ended there."""
    if event["event"] in ("note", "clips", "precision"):
        print(f"{event['event']}: {safe(event['text'])}", flush=True)
    elif event["event"] != "epoch":
        about = [event["event"], event.get("network", ""), event.get("reason", "")]
        print(" ".join(str(word) for word in about if word), flush=True)


def run_jobs(study: Study, session: Session, emit: Emit) -> None:
    """Submit ``engine.workers`` jobs and follow them to the end of the study; ``emit`` hears how they are.

    After Ctrl-C the jobs are cancelled. Raises ``UserError`` without Slurm, and ``WorldError`` where all
    jobs have ended and the study is not complete.
    """
    engine = study.spec.engine
    assert isinstance(engine, SlurmEngine)
    folder = study_folder(study.storage_url, study.name, "jobs")
    jobs = _submitted(engine, folder, Worker(study.name, study.storage_url))
    emit({"event": "note", "text": f"{len(jobs)} jobs: {_named(jobs)}; their logs are in {folder}"})
    with flagged():
        try:
            _follow(jobs, session, emit)
        except KeyboardInterrupt:
            for job in jobs:
                job.cancel(check=False)
            raise
    if left := persist(session, partial(trainings_left, session)):
        raise WorldError(f"all jobs have ended, and {left:,} trainings are left{_why(jobs)}")


def _submitted(engine: SlurmEngine, folder: Path, worker: Worker) -> Sequence[submitit.Job[Any]]:
    import submitit

    kind: Callable[..., submitit.Executor] = submitit.SlurmExecutor
    if engine.where == "here":
        kind = submitit.LocalExecutor
    try:
        executor = kind(folder=folder, max_num_timeout=engine.requeues)
    except RuntimeError as error:
        raise UserError(f"{error} `engine: {{where: here}}` runs the jobs on this machine, to try it out") from None
    if engine.where == "slurm":
        executor.update_parameters(job_name=f"stsearch-{worker.study}", **engine.parameters)
    else:
        executor.update_parameters(timeout_min=engine.minutes)
    with executor.batch():
        return [executor.submit(Job(worker)) for _ in range(engine.workers)]


def _named(jobs: Sequence[submitit.Job[Any]]) -> str:
    return ", ".join(str(job.job_id) for job in jobs)


def _follow(jobs: Sequence[submitit.Job[Any]], session: Session, emit: Emit) -> None:
    """Until all jobs have ended."""
    states: dict[str, str] = {}
    while True:
        check()
        emit({"event": "others"})
        for job in jobs:
            now = "ended" if job.done() else str(job.state)
            if states.get(job.job_id, "PENDING") != now:
                emit({"event": "note", "text": f"job {job.job_id}: {now.lower()}"})
            states[job.job_id] = now
        if all(state == "ended" for state in states.values()):
            return
        pause(_LOOK_S)


def _why(jobs: Sequence[submitit.Job[Any]]) -> str:
    """The last lines of the log of a job that failed, if one did."""
    for job in jobs:
        if job.exception() is not None:
            lines = (job.stderr() or "").strip().splitlines()[-_TAIL:]
            return f"; job {job.job_id} failed, and its log {job.paths.stderr} ends:\n  " + "\n  ".join(
                map(safe, lines)
            )
    return "; the same command submits others"
