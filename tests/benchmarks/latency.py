"""Does `profile --measure` agree with torch.utils.benchmark on the same networks? Run by hand, not in CI.

    python tests/benchmarks/latency.py --turns 5

A few passes as `measure` times them and a few under torch's Timer take turns, so that other load on the
machine meets both alike. The Timer runs a network built, and a training step written, here. The two agree
where their medians differ by no more than the interquartile range that `measure` reports.
"""

from __future__ import annotations

import argparse
import itertools
import platform
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional
from torch.utils.benchmark import Timer

from stsearch.nets.build import build
from stsearch.profiling.measure import Setting
from stsearch.profiling.subject import Subject
from stsearch.profiling.timing import Timing, repeat
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import find_network

NETWORKS = ("R2D-18", "MC3-18", "R3D-18", "R(2+1)D-18")
CLIP, CLASSES = ClipShape(3, 4, 40, 40), 10
BATCHES = (1, 4)


def passes(architecture: Architecture, batch: int) -> dict[str, Callable[[], object]]:
    """A forward pass and a training step, written down once more."""
    network = build(architecture, CLIP, CLASSES, generator=torch.Generator().manual_seed(1))
    network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    clips = torch.randn(batch, *CLIP.sizes).contiguous(memory_format=torch.channels_last_3d)
    labels = torch.zeros(batch, dtype=torch.long)
    optimiser = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4, nesterov=True)

    def forward() -> None:
        network.eval()
        with torch.inference_mode():
            network(clips)

    def training() -> None:
        network.train()
        functional.cross_entropy(network(clips), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return {"forward": forward, "training": training}


def compare(name: str, batch: int, turns: int) -> Iterator[tuple[str, Timing, Timing]]:
    """Mode, what `measure` would report, and what torch does."""
    setting = Setting(torch.device("cpu"), "fp32", (batch,), 1, min_run_s=0.05, max_run_s=0.05)
    subject = Subject(find_network(name), CLIP, CLASSES, setting)
    subject.load(batch)
    ours = {"forward": subject.forward, "training": subject.step}
    for mode, run in passes(find_network(name), batch).items():
        subject.prepare(training=mode == "training")
        timer = Timer("run()", globals={"run": run}, num_threads=1)
        mine: list[float] = []
        theirs: list[float] = []
        for _ in range(turns):
            mine += repeat(ours[mode], setting)
            theirs += [1e3 * timer.timeit(1).median for _ in range(3)]
        yield mode, Timing.of(mine), Timing.of(theirs)


def main() -> None:
    """Compare and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, clip {CLIP}")
    print("| network | pass | clips | measure, ms | torch, ms | difference | within |\n|---|---|--:|--:|--:|--:|---|")
    agreed = []
    for name, batch in itertools.product(NETWORKS, BATCHES):
        for mode, mine, its in compare(name, batch, asked.turns):
            gap = mine.median_ms - its.median_ms
            agreed.append(abs(gap) <= mine.iqr_ms)
            print(f"| {name} | {mode} | {batch} | {mine.median_ms:.1f} +- {mine.iqr_ms:.1f} | {its.median_ms:.1f} +- "
                  f"{its.iqr_ms:.1f} | {gap:+.1f} ({gap / its.median_ms:+.0%}) | {'yes' if agreed[-1] else 'no'} |",
                  flush=True)  # fmt: skip
    print(f"within the interquartile range that `measure` reports: {sum(agreed)} of {len(agreed)}")


if __name__ == "__main__":
    main()
