"""What a trial costs besides its training, beside plain Optuna's with as many attributes, in the same database.

    python -m tests.benchmarks.overhead URL --server PID

The database must be empty. Studies of 100, 1,000 and 5,000 finished trials are made of copies of one real trial, some
of them with trials that run elsewhere as well. In turns, a worker of stsearch makes trials in one, whose trainings
take no time, and plain Optuna in another: ``ask``, a ``suggest`` per decision, a ``set`` per attribute, ``tell``, with
the attributes of the same real trial. Both with their random sampler. Counted is CPU: of this process, and with
``--server`` of the database's. FLOPs are not counted by torch.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
import torch
from optuna.trial import FrozenTrial

import stsearch.testing  # noqa: F401 - which has the made-up training
from stsearch.evaluate.simulated import accuracy
from stsearch.report.live import Display
from stsearch.search import worker
from stsearch.search.attributes import ARCHITECTURE, NETWORK, WORKER
from stsearch.search.place import sqlalchemy_text
from stsearch.search.records import describe
from stsearch.search.samplers import suggest
from stsearch.search.session import Session, open_session
from stsearch.search.spec import load_study
from tests.benchmarks.copies import Copy, Template, insert, tables_of, template
from tests.benchmarks.faults import SPACE, STUDY, closed_form, server_seconds

TURNS = 5
"""Turns of each, of which the median counts"""
KNOWN_BEFORE = ("placement", "depths", "gmacs", "params", "activations", ARCHITECTURE, NETWORK, WORKER)


@dataclass
class Cost:
    """CPU milliseconds per trial, a turn each."""

    client: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)


def copies(session: Session, finished: int, running: int) -> tuple[list[Copy], list[Copy]]:
    """Of different networks of the space."""
    space = session.study.space
    chosen = np.random.default_rng(0).choice(space.size, finished + running, replace=False)
    found = []
    for number, index in enumerate(chosen, start=1):
        architecture = space.architecture(int(index))
        costs = session.costs(architecture)
        top1 = accuracy(architecture, 0, 1.0)
        known = {ARCHITECTURE: architecture.id, **describe(architecture, costs), "video_top1": top1, "clip_top1": top1}
        found.append(Copy(number, known, {0: top1, 1: costs["gmacs"]}))
    return found[:finished], found[finished:]


def under_way(of: Template) -> Template:
    """A trial of another machine that runs, and will for long."""
    beat = datetime.now() + timedelta(days=2)
    elsewhere = {"host": "elsewhere", "pid": 1, "born": "1", "token": "1"}
    attributes = [row for row in of["trial_user_attributes"] if row["key"] in KNOWN_BEFORE]
    attributes = [{**row, "value_json": str(elsewhere).replace("'", '"')} if row["key"] == WORKER else row
                  for row in attributes]  # fmt: skip
    return {
        **of, "trial_user_attributes": attributes, "trial_system_attributes": [], "trial_values": [],
        "trial_heartbeats": [{"heartbeat": beat}], "trials": [{**of["trials"][0], "datetime_complete": None}],
    }  # fmt: skip


def filled(folder: Path, url: str, finished: int, running: int) -> tuple[Session, optuna.Study, FrozenTrial]:
    """Our study and plain Optuna's of so many trials, and the real trial that all are copies of."""
    name = f"of-{finished}-{running}"
    study = load_study(
        str(folder / "faults.yaml"),
        [f"storage={url}", f"name={name}", "search.trials=9000", "search.sampler=random"],
    )
    session = open_session(study, lambda *_: None)
    worker._step(session, lambda _: None)
    real = session.optuna_study.get_trials()[0]
    plain = optuna.create_study(
        storage=optuna.storages.RDBStorage(sqlalchemy_text(url), skip_table_creation=True),
        study_name=f"{name}-plain", directions=session.optuna_study.directions,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )  # fmt: skip
    ended, begun = copies(session, finished, running)
    with session.storage.engine.begin() as connection:
        meta = tables_of(connection)
        of = template(connection, meta, real._trial_id)
        for number in (session.optuna_study._study_id, plain._study_id):
            list(insert(connection, meta, of, ended, study_id=number))
            if begun:
                list(insert(connection, meta, under_way(of), begun, study_id=number, state="RUNNING"))
    if url.startswith("postgresql"):
        with session.storage.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("ANALYZE"))  # as the server does by itself after a while
    return open_session(study, lambda *_: None), plain, real


def plain_trial(study: optuna.Study, session: Session, real: FrozenTrial) -> None:
    """As a script for Optuna would have it."""
    trial = study.ask()
    suggest(trial, session.study.space)
    for key, value in real.user_attrs.items():
        trial.set_user_attr(key, value)
    for key, value in real.system_attrs.items():
        study._storage.set_trial_system_attr(trial._trial_id, key, value)
    study.tell(trial, real.values)


def turn(cost: Cost, one: Callable[[], Any], count: int, server: int | None) -> None:
    """``count`` trials."""
    before, theirs = time.process_time(), server_seconds(server)
    for _ in range(count):
        one()
    cost.client.append(1000 * (time.process_time() - before) / count)
    time.sleep(0.2 if server else 0)  # for processes of the server that end
    cost.server.append(1000 * (server_seconds(server) - theirs) / count)


def measured(folder: Path, url: str, finished: int, running: int, count: int, server: int | None) -> tuple[Cost, Cost]:
    """Our cost and plain Optuna's, in turns."""
    session, plain, real = filled(folder, url, finished, running)
    ours, theirs = Cost(), Cost()
    with Display(session, 1, quiet=True) as display:
        both: tuple[tuple[Cost, Callable[[], Any]], ...] = (
            (ours, lambda: worker._step(session, display.emit)),
            (theirs, lambda: plain_trial(plain, session, real)),
        )
        for _, one in both:  # what reads the study for the first time
            one()
        for _ in range(TURNS):
            for cost, one in both:
                turn(cost, one, count, server)
    return ours, theirs


def lines(finished: int, running: int, ours: Cost, theirs: Cost) -> Iterator[str]:
    """A row of the table."""
    cells = []
    for who in ("client", "server"):
        mine, plain = (statistics.median(getattr(cost, who)) for cost in (ours, theirs))
        cells += [f"{mine:.1f}", f"{plain:.1f}", f"{mine / plain:.2f}" if plain else ""]
    yield f"| {finished:,} | {running} | " + " | ".join(cells) + " |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage")
    parser.add_argument("--server", type=int, help="process of the database's server")
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--running", type=int, nargs="+", default=[0, 64])
    parser.add_argument("--count", type=int, default=20, help="trials of each in a turn")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="overhead-"))
    os.chdir(folder)
    os.environ["STSEARCH_CACHE"] = str(folder / "cache")
    (folder / "space.yaml").write_text(SPACE)
    (folder / "faults.yaml").write_text(f"{STUDY}evaluate: {{name: simulated, seconds: 0}}\n")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    worker.__dict__["check_count"] = closed_form
    print(f"{platform.machine()}, Python {platform.python_version()}, Optuna {optuna.__version__}, {asked.storage}")
    print("| finished | running | client | plain | ratio | server | plain | ratio |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for running in asked.running:
        for finished in asked.trials:
            costs = measured(folder, asked.storage, finished, running, asked.count, asked.server)
            print(*lines(finished, running, *costs), flush=True)


if __name__ == "__main__":
    main()
