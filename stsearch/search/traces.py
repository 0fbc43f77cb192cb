"""Traces of trials for the TensorBoard profiler: a few training steps of the proxy, after its training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stsearch.errors import StsearchError
from stsearch.profiling.device import Setting
from stsearch.profiling.trace import write_trace
from stsearch.search.place import study_folder
from stsearch.search.session import Session
from stsearch.search.state import State, state_of
from stsearch.space.architecture import Architecture
from stsearch.space.published import name_of
from stsearch.stats.front import dominates, minimised


def trace_folder(session: Session) -> Path:
    """Where a study's traces are: beside its SQLite file, else in ``studies/``."""
    return study_folder(session.study.storage_url, session.study.name, "traces", session.own)


def keep_trace(
    session: Session, architecture: Architecture, number: int, metrics: Mapping[str, float], micro_batch: int
) -> str | None:
    """Write the trace that ``evaluate.trace`` asks for; its path, or ``None`` where it asks for none.

    Raises ``StsearchError`` where it cannot be written: a reason for a note, not for losing a result.
    """
    study = session.study
    policy = getattr(study.spec.evaluate, "trace", "none")  # an evaluator that trains nothing has none
    if policy == "none" or (policy == "best" and _dominated(session, metrics)):
        return None
    setting = Setting(session.device, study.spec.evaluate.precision, threads=study.spec.engine.threads)
    try:
        return str(
            write_trace(
                architecture.scaled(study.spec.proxy.width),
                study.proxy_clip(),
                len(session.data.classes),
                setting,
                trace_folder(session),
                name=f"trial-{number}-{name_of(architecture)}",
                training=True,
                batch=micro_batch,
            )
        )
    except OSError as error:
        raise StsearchError(f"cannot write the trace of trial {number}: {error}") from error


def _dominated(session: Session, metrics: Mapping[str, float]) -> bool:
    """Whether a network trained before is nowhere worse and somewhere better."""
    objectives = session.study.spec.objectives
    finished = [t for t in session.trials() if state_of(t) is State.COMPLETE]
    kept = [t.values for t in finished if all(value <= 0 for value in t.constraints.values())]
    values = minimised([[metrics[name] for name in objectives], *kept], objectives.values())
    return bool(dominates(values[1:], values[0]).any())
