"""Processor time of a training step by precision and by whether memory is kept: ``python -m tests.benchmarks.speed``.

Every way is a process of its own. They take turns, a few steps each, so that what else the machine does meets all of
them; and what is compared is the time that a process had the processor (user and system), not that on the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from typing import Any

import torch
from torch.nn import functional

from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.sound import make_right
from stsearch.evaluate.train import train
from stsearch.nets.build import build
from stsearch.profiling.allocator import VARIABLE, keep_memory
from stsearch.profiling.device import MEMORY_FORMAT, cpu_name
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import find_network

WAYS = [(precision, memory) for precision in ("fp32", "bf16") for memory in ("returned", "kept")]
BATCH, CLASSES, STEPS = 32, 6, 2


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def serve(network: str, width: float, frames: int, size: int, precision: str) -> None:
    """Do steps whenever a line comes; print what they took."""
    torch.set_num_threads(1)
    keep_memory(torch.device("cpu"))
    clip = ClipShape(3, frames, size, size)
    model = build(find_network(network).scaled(width), clip, CLASSES, generator=torch.Generator().manual_seed(0))
    model = model.to(memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
    make_right(model, clip.sizes, BATCH, precision, torch.device("cpu"))
    optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True)
    clips = torch.randn(BATCH, *clip.sizes, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(BATCH) % CLASSES
    for line in sys.stdin:
        begun, faults = _spent(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(int(line)):
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                logits = model(clips.contiguous(memory_format=MEMORY_FORMAT))
            functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps([(_spent() - begun), used.ru_minflt - faults, used.ru_maxrss // 1024]), flush=True)


def compared(network: str, width: float, frames: int, size: int, rounds: int) -> dict[str, Any]:
    """Seconds a step of every way in every round, page faults a step, and resident megabytes at most."""
    children = {}
    for precision, memory in WAYS:
        command = [sys.executable, "-m", "tests.benchmarks.speed", "--serve", network, str(width), str(frames)]
        children[precision, memory] = subprocess.Popen(
            [*command, str(size), precision],
            env={**os.environ, VARIABLE: memory},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    found: dict[str, list[list[float]]] = {" ".join(way): [] for way in WAYS}
    for number in range(rounds + 1):
        for way, child in children.items():
            assert child.stdin is not None
            assert child.stdout is not None
            print(STEPS, file=child.stdin, flush=True)
            seconds, faults, megabytes = json.loads(child.stdout.readline())
            if number:  # the first round warms up
                found[" ".join(way)].append([seconds / STEPS, faults / STEPS, megabytes])
    for child in children.values():
        child.communicate()
    return found


def accuracies(network: str, width: float, seeds: int) -> None:
    """Print video@1 in both precisions, seed by seed, on the same clips in the same order."""
    torch.set_num_threads(1)
    data = load_motions(MotionsRecipe(classes=4, clips=320, val_clips=200), 8, 32)
    for seed in range(seeds):
        found = {}
        for precision in ("fp32", "bf16"):
            recipe = TrainRecipe.model_validate({"epochs": 8, "video_clips": 1, "precision": precision})
            generator = torch.Generator().manual_seed(seed)
            model = build(find_network(network).scaled(width), ClipShape(3, 8, 32, 32), 4, generator=generator)
            trained = train(model, data, recipe, frames=8, size=32, generator=generator, device=torch.device("cpu"))
            found[precision] = f"{precision} {trained.video_top1:.1f} %"
        print(f"{network} width {width:g} seed {seed}: video@1 {', '.join(found.values())}", flush=True)


def main() -> None:
    """Print a table of what every network takes in every way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--widths", type=float, nargs="+", default=[0.25, 0.125])
    parser.add_argument("--networks", nargs="+", default=["R(2+1)D-18", "R3D-18"])
    parser.add_argument("--serve", nargs=5)
    parser.add_argument("--accuracies", type=int, metavar="SEEDS", help="accuracies in place of times")
    asked = parser.parse_args()
    if asked.serve:
        network, width, frames, size, precision = asked.serve
        serve(network, float(width), int(frames), int(size), precision)
        return
    if asked.accuracies:
        for network in asked.networks:
            accuracies(network, asked.widths[-1], asked.accuracies)
        return
    machine = f"{cpu_name()}, torch {torch.__version__}"
    print(f"{machine}, {BATCH} clips of 3x8x32x32, {asked.rounds} rounds of {STEPS} steps")
    for width in asked.widths:
        for network in asked.networks:
            found = compared(network, width, 8, 32, asked.rounds)
            base = [seconds for seconds, *_ in found["fp32 returned"]]
            for way, rows in found.items():
                ratios = [one / row[0] for one, row in zip(base, rows, strict=True)]
                print(
                    f"{network} width {width:g} {way}: {statistics.median(row[0] for row in rows):.3f} s a step, "
                    f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) times fp32 returned, "
                    f"{statistics.median(row[1] for row in rows):,.0f} page faults, {rows[-1][2]:,.0f} MB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
