"""What a proposal costs, and how long it holds the lock, when a study has 100, 1,000 or 5,000 trials.

Writes finished trials of made-up accuracies into a SQLite database, then lets one worker propose, "train" (the
answer is made up at once) and tell. Counted are the CPU of the whole trial, without FLOPs counted by torch; of it the
CPU until the network is begun, which is the proposal; and the lock: CPU and wall time, the median and the longest.

    python tests/benchmarks/proposals.py --folder /tmp/proposals
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import TrialState

from stsearch.evaluate.evaluators import Evaluation, mean_of
from stsearch.evaluate.results import Epoch, Training
from stsearch.search import worker
from stsearch.search.attributes import ARCHITECTURE, WORKER
from stsearch.search.records import describe
from stsearch.search.samplers import distribution
from stsearch.search.session import Session, open_session
from stsearch.search.spec import Study, load_study
from stsearch.search.storage import Lock
from stsearch.space.architecture import Architecture

STUDY = """\
space: r18
target: {frames: 8, size: 32}
proxy: {frames: 4, size: 16, width: 0.125}
data: {name: motions, classes: 2, clips: 24, val_clips: 10}
evaluate: {name: train, epochs: 1, batch: 12}
search: {sampler: random, trials: 6000, start_with: none}
engine: {workers: 1}
"""
SAMPLERS = ("random", "nsga2", "tpe", "ehvi", "exhaustive", "gp")
SLOW = {"gp": 100}
"""the most trials that a sampler is measured at: Optuna's Gaussian process takes minutes a proposal beyond"""


def accuracy(architecture: Architecture) -> float:
    """Per cent; more with time, and with depth, and some luck that is the network's own."""
    kinds = [architecture.stem, *(kind for stage in architecture.stages for kind in stage)]
    luck = np.random.default_rng(sum(map(ord, architecture.id))).normal(0, 2)
    share = sum(kind != "2d" for kind in kinds) / len(kinds)
    return float(np.clip(40 + 30 * share + 1.5 * len(kinds) + luck, 0, 100))


def evaluation(architecture: Architecture) -> Evaluation:
    """As a training would have found it."""
    top1 = accuracy(architecture)
    training = Training(
        clip_top1=top1, video_top1=top1, video_top5=100.0, per_class=(top1, top1),
        curve=(Epoch(1, 0.1, 1.0, top1, 0.1),), loss_sum=1.0, seconds=0.1, clips_per_second=100.0, micro_batch=12,
        confusion=(), residence="made up", clips=24,
    )  # fmt: skip
    return mean_of((training,), (0,), torch.device("cpu"))


def fill(study: Study, trials: int) -> None:
    """Finished trials of different networks of the space, as workers would have left them."""
    session = open_session(study, lambda *_: None)
    space = study.space
    chosen = np.random.default_rng(0).choice(space.size, trials, replace=False)
    kinds = {parameter.name: distribution(parameter) for parameter in space.parameters}
    for index in chosen:
        architecture = space.architecture(int(index))
        costs = session.costs(architecture)
        known = {ARCHITECTURE: architecture.id, WORKER: {"host": "made up", "pid": 1, "born": ""}}
        top1 = accuracy(architecture)
        session.optuna_study.add_trial(optuna.create_trial(
            state=TrialState.COMPLETE, values=[top1, costs["gmacs"]], params=dict(space.encode(architecture)),
            distributions=kinds, user_attrs={**known, **describe(architecture, costs), "video_top1": top1},
        ))  # fmt: skip
    session.storage.engine.dispose()


@dataclass
class Clock:
    """What was spent, in seconds, per trial."""

    whole: list[float] = field(default_factory=list)
    """CPU"""
    proposal: list[float] = field(default_factory=list)
    """CPU until the network was begun"""
    held: list[float] = field(default_factory=list)
    """CPU under the lock"""
    waited: list[float] = field(default_factory=list)
    """wall time under the lock"""


class Watched(Lock):
    """A lock that says how long it was held."""

    clock: Clock
    _since: tuple[float, float] | None = None

    def acquire(self, *rest: Any, **more: Any) -> None:
        super().acquire(*rest, **more)
        self._since = (time.process_time(), time.perf_counter())

    def release(self) -> None:
        if self._since is not None:
            self.clock.held.append(time.process_time() - self._since[0])
            self.clock.waited.append(time.perf_counter() - self._since[1])
            self._since = None
        super().release()


def measured(session: Session, count: int) -> Clock:
    """``count`` trials of one worker; two before them, which read the study, do not count."""
    lock = Watched(session.study.storage_url, session.study.name)
    session.lock = lock
    begun: list[float] = []

    def emit(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            begun.append(time.process_time())

    clock = lock.clock = Clock()
    for number in range(count + 2):
        if number == 2:
            clock = lock.clock = Clock()
        before = time.process_time()
        worker._step(session, emit)
        clock.whole.append(time.process_time() - before)
        clock.proposal.append(begun[-1] - before)
    return clock


def trained(session: Session, architecture: Architecture, *_: Any) -> tuple[Evaluation, int]:
    """In place of a training."""
    return evaluation(architecture), 0


def line(sampler: str, trials: int, clock: Clock) -> str:
    """A row of the table, in milliseconds."""
    middle: Callable[[list[float]], str] = lambda values: f"{1000 * statistics.median(values):,.0f}"  # noqa: E731
    mean = f"{1000 * statistics.fmean(clock.proposal):,.0f}"
    longest = f"{1000 * max(clock.waited):,.0f}"
    cells = [middle(clock.whole), middle(clock.proposal), mean, middle(clock.held), middle(clock.waited), longest]
    return f"| {sampler} | {trials:,} | " + " | ".join(cells) + " |"


def opened(folder: Path, sampler: str, trials: int) -> Session:
    """A copy of the study of so many trials, with this sampler."""
    filled = folder / f"filled-{trials}.db"
    arguments = [f"name=p{trials}", f"search.sampler={sampler}"]
    if not filled.exists():
        part = folder / f"part-{trials}.db"
        part.unlink(missing_ok=True)
        fill(load_study(str(folder / "p.yaml"), [*arguments, f"storage=sqlite:///{part}"]), trials)
        with sqlite3.connect(part) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        part.rename(filled)
    copy = folder / f"copy-{sampler}-{trials}.db"
    for old in folder.glob(f"{copy.name}*"):
        old.unlink()
    shutil.copy(filled, copy)
    study = load_study(str(folder / "p.yaml"), [*arguments, f"storage=sqlite:///{copy}"])
    return open_session(study, lambda *_: None)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--samplers", nargs="+", default=SAMPLERS)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--count", type=int, default=20, help="proposals of each")
    asked = parser.parse_args()
    asked.folder = asked.folder.resolve()
    asked.folder.mkdir(parents=True, exist_ok=True)
    (asked.folder / "p.yaml").write_text(STUDY)
    os.environ["STSEARCH_CACHE"] = str(asked.folder / "cache")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    worker.__dict__["_evaluate"] = trained
    print(
        f"{platform.machine()}, Python {platform.python_version()}, Optuna {optuna.__version__}, numpy {np.__version__}"
    )
    print("| sampler | trials | CPU whole | CPU proposal | its mean | CPU locked | locked | longest |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for sampler in asked.samplers:
        for trials in asked.trials:
            if trials <= SLOW.get(sampler, trials):
                print(line(sampler, trials, measured(opened(asked.folder, sampler, trials), asked.count)), flush=True)


if __name__ == "__main__":
    main()
