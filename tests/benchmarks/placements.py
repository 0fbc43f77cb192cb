"""The table of all placements: studies in pieces, merged into one compressed file.

    stsearch run placements                               # all 243 and R2D once; stop and resume at will
    stsearch run placements --set name=placements-1 --set seed=1 --set search.trials=11 \
        --set 'search.start_with=[f-R2D-18, R3D-18, ...]'   # further seeds of some
    python tests/benchmarks/placements.py merge placements placements-1 -o docs/results/placements.json.gz
    python tests/benchmarks/placements.py near docs/results/placements.json.gz --networks 40

``merge`` adds to the file where it is there. ``near`` prints the placements nearest to the front, which
deserve further seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from stsearch.evaluate.replay import Table, merged, read_table
from stsearch.search.reading import read_study
from stsearch.search.recorded import table_of
from stsearch.space.architecture import parse_placement
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import COSTS, network_cost
from stsearch.space.published import name_of
from stsearch.stats.front import minimised, non_dominated


def near(table: Table, count: int) -> list[tuple[float, str]]:
    """Placements by how much accuracy they lack to the front of ``table``, least first; R2D is none."""
    names = [name for name in table.trainings if not name.startswith("collapse")]
    target = table.about["identity"]["target"]
    clip = ClipShape(3, target["frames"], target["size"], target["size"])
    cost = [COSTS["gmacs"](network_cost(parse_placement(name), clip, target["classes"] or 400).total) for name in names]
    accuracy = [float(np.mean([one.video_top1 for one in table.trainings[name]])) for name in names]
    front = non_dominated(minimised(list(zip(accuracy, cost, strict=True)), ["maximize", "minimize"]))
    best = sorted((cost[row], accuracy[row]) for row in np.flatnonzero(front))
    lacks = [max(a for c, a in best if c <= own) - accuracy[row] for row, own in enumerate(cost)]
    return sorted(zip(lacks, names, strict=True))[:count]


def main() -> None:
    """Merge or look."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    modes = parser.add_subparsers(dest="mode", required=True)
    first = modes.add_parser("merge")
    first.add_argument("studies", nargs="+")
    first.add_argument("-o", "--output", type=Path, required=True)
    second = modes.add_parser("near")
    second.add_argument("table", type=Path)
    second.add_argument("--networks", type=int, default=40)
    options = parser.parse_args()
    if options.mode == "near":
        for lack, name in near(read_table(options.table), options.networks):
            print(f"{lack:5.1f}  {name_of(parse_placement(name))}")
        return
    pieces = [read_table(options.output)] if options.output.exists() else []
    whole = merged([*pieces, *(table_of(read_study(name)) for name in options.studies)])
    whole.write(options.output)
    seeds = sum(map(len, whole.trainings.values()))
    print(f"{len(whole.trainings)} networks, {seeds} trainings, {options.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
