"""The engines whose work is done elsewhere: how each is reached, and how it runs a study."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import NamedTuple

from stsearch.errors import UserError
from stsearch.search.ray_tasks import connect, run_tasks
from stsearch.search.ray_tasks import worker_count as tasks
from stsearch.search.session import Session
from stsearch.search.slurm import run_jobs
from stsearch.search.spec import Study
from stsearch.search.training import Emit


class Cluster(NamedTuple):
    """What does the work of an engine that is not ``here``."""

    title: str
    package: str
    extra: str
    reach: Callable[[Study], None]
    """before anything is written; raises ``UserError``"""
    count: Callable[[Study], int]
    """workers that there will be, once it is reached"""
    run: Callable[[Study, Session, Emit], None]
    """to the end of the study"""


def _jobs(study: Study) -> int:
    assert isinstance(study.spec.engine.workers, int)
    return study.spec.engine.workers


CLUSTERS: Mapping[str, Cluster] = {
    "slurm": Cluster("Slurm", "submitit", "slurm", lambda study: None, _jobs, run_jobs),
    "ray": Cluster("Ray", "ray", "ray", connect, tasks, run_tasks),
}


def cluster_of(study: Study) -> Cluster | None:
    """That of the study's engine, reached; ``None`` where the work is done here. Raises ``UserError``."""
    if study.spec.engine.here:
        return None
    cluster = CLUSTERS[study.spec.engine.name]
    if importlib.util.find_spec(cluster.package) is None:
        raise UserError(
            f"engine {study.spec.engine.name} needs {cluster.package}: pip install 'stsearch[{cluster.extra}]'"
        )
    cluster.reach(study)
    return cluster
