"""Latency as a sum of pieces against latency of whole networks: ``python -m tests.benchmarks.composed``.

Run it while nothing else runs: both are times on the clock. Networks are drawn evenly from the space, but for those
that the pieces were timed in.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from scipy.stats import spearmanr

from stsearch.profiling.device import Setting, choose_device, cpu_name
from stsearch.profiling.measure import occupied, quick
from stsearch.resources import find
from stsearch.search.composed import chosen_in, compose
from stsearch.space.blueprint import ClipShape
from stsearch.space.search_space import load_space
from stsearch.space.table import CostTable


def show(what: str, done: int, of: int) -> None:
    """How far it is, in one line."""
    print(f"{what}: {done}/{of}", end="\r")


def main() -> None:
    """Print how well the sums order networks, and how far they are off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="paper-18")
    for name, default in (("frames", 8), ("size", 56), ("batch", 2), ("networks", 50), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    clip = ClipShape(3, given.frames, given.size, given.size)
    table = CostTable(load_space(find("search_spaces", given.space)), clip, 400)
    setting = Setting(choose_device(given.device), batches=(given.batch,), threads=1)
    on = torch.cuda.get_device_name(setting.device) if setting.device.type == "cuda" else cpu_name()
    begun = time.perf_counter()
    composed = compose(table, setting, show)
    print(f"{on}, torch {torch.__version__}, {setting.dtype}, {time.perf_counter() - begun:.0f} s")
    print(f"{given.space}, {given.batch} clips of {clip} at once: {composed.said}")
    composed.enter(table)

    timed_before = chosen_in(table, 0)[0]
    digits, _ = table.population()
    drawn = (tuple(row.tolist()) for row in digits[np.random.default_rng(given.seed).permutation(len(digits))])
    networks = [a for a in map(table.space.from_digits, drawn) if a not in timed_before][: given.networks]
    asked, measured = occupied(setting), []
    for done, network in enumerate(networks, 1):
        measured.append(quick(network, table.clip, table.classes, setting)["latency_ms"])
        show("timing whole networks", done, len(networks))
    busy = asked()
    costs = [table.cost_of(network) for network in networks]
    predicted, gmacs = ([cost[name] for cost in costs] for name in ("latency_ms", "gmacs"))
    off = np.abs(np.array(predicted) / np.array(measured) - 1)
    sums, counts = (spearmanr(one, measured).statistic for one in (predicted, gmacs))
    print(f"{len(networks)} others of {min(measured):.1f} to {max(measured):.1f} ms; {busy or 'the machine was quiet'}")
    print(f"Spearman with the measured ones: sums {sums:.3f}, multiply-adds {counts:.3f}")
    print(
        f"off by {np.median(off):.1%} (median), {np.quantile(off, 0.9):.1%} (one in ten more), {off.max():.1%} (most)"
    )


if __name__ == "__main__":
    main()
