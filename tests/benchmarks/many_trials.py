"""A study of very many trials: how long do `pareto`, `report` and the dashboard's first answer take?

Trains one network, then writes as many like it as asked for, with architectures of the space,
their exact costs and made-up accuracies, straight into the tables. Run by hand:

    python -m tests.benchmarks.many_trials --trials 100000 --folder /tmp/many
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from stsearch.search.engine import run
from stsearch.search.session import open_session
from stsearch.search.spec import load_study
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import name_of
from stsearch.space.table import CostTable
from tests.benchmarks.copies import Copy, insert, tables_of, template

SPACE = """\
name: wide
width: [0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0]
stem: {kind: [2d, 3d, 2plus1d]}
stages:
  conv2_x: {kind: [2d, 3d, 2plus1d], depth: [1, 2, 3]}
  conv3_x: {kind: [2d, 3d, 2plus1d], depth: [1, 2, 3]}
  conv4_x: {kind: [2d, 3d, 2plus1d], depth: [1, 2, 3]}
  conv5_x: {kind: [2d, 3d, 2plus1d], depth: [1, 2, 3]}
"""
STUDY = """\
space: wide.yaml
target: {frames: 8, size: 32}
proxy: {frames: 4, size: 16, width: 0.125}
data: {name: motions, classes: 2, clips: 24, val_clips: 10}
evaluate: {name: train, epochs: 4, batch: 12}
search: {sampler: random, trials: 1, start_with: none}
engine: {workers: 1}
"""


def fill(folder: Path, trials: int, seed: int) -> None:
    """A study ``many`` with ``trials`` trained networks."""
    (folder / "wide.yaml").write_text(SPACE)
    (folder / "many.yaml").write_text(STUDY)
    study = load_study(str(folder / "many.yaml"))
    session = open_session(study, lambda *_: None)
    run(study, session, lambda _: None)
    table = CostTable(study.space, ClipShape(3, 8, 32, 32), 2)
    rng = np.random.default_rng(seed)
    indices = rng.choice(study.space.size, size=trials - 1, replace=False)
    costs = table.costs(table.digits_of(indices))
    gmacs = costs["macs"] / 1e9
    accuracy = 90 - 60 * np.exp(-gmacs / gmacs.mean()) + rng.normal(0, 3, len(gmacs))
    copies = [
        Copy(1 + number, _attributes(study.space.architecture(int(index)), g, p, a, acc), {0: float(acc), 1: float(g)})
        for number, (index, g, p, a, acc) in enumerate(
            zip(indices, gmacs, costs["params"], costs["activations"], accuracy, strict=True)
        )
    ]
    with session.storage.engine.begin() as connection:
        meta = tables_of(connection)
        for done in insert(connection, meta, template(connection, meta, 1), copies):
            print(f"{done:,} of {trials - 1:,}", file=sys.stderr)


def _attributes(architecture: Architecture, gmacs: Any, params: Any, activations: Any, accuracy: Any) -> dict[str, Any]:
    return {
        "architecture": architecture.id, "network": name_of(architecture), "placement": architecture.placement,
        "depths": list(architecture.depths), "gmacs": float(gmacs), "params": int(params),
        "activations": int(activations), "video_top1": float(accuracy), "clip_top1": float(accuracy) - 2,
        "flops_counted": round(2e9 * float(gmacs)),
    }  # fmt: skip


def measure(arguments: list[str]) -> None:
    """Time a command on one core, with its peak memory."""
    begun = time.perf_counter()
    done = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "-m", "stsearch.cli", *arguments], capture_output=True, text=True
    )
    spent = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{' '.join(arguments):50} exit {done.returncode}  {spent:6.2f} s  peak of all so far {peak:,.0f} MiB")
    if done.returncode:
        print(done.stderr)


def main() -> None:
    """Fill, then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(asked.folder)
    if not Path("studies/many.db").exists():
        # In a process of its own: a child's peak counts what its parent holds when it is forked.
        filler = multiprocessing.get_context("spawn").Process(target=fill, args=(Path(), asked.trials, asked.seed))
        filler.start()
        filler.join()
    size = Path("studies/many.db").stat().st_size / 1e6
    print(f"{platform.machine()}, Python {platform.python_version()}, database {size:.0f} MB")
    for command in (["--help"], ["pareto", "many"], ["pareto", "many"], ["pareto", "many", "--format", "json"],
                    ["pareto", "many", "--plot", "front.png"], ["report", "many", "-o", "report.html"]):  # fmt: skip
        measure(command)


if __name__ == "__main__":
    main()
