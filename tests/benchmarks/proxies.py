"""Trained proxies per hour of processor: ``python -m tests.benchmarks.proxies``.

Four ways train the same network on the same clips, once over each. ``plain`` is a loop as torchvision's reference for
video classification has it: a ``DataLoader`` over decoded clips, SGD, tensors as they come; it does not validate.
``ours fp32`` and ``ours bf16`` are the loop of a search, with the validation of 16 videos at its end. ``step`` is as
many steps on one normalised batch that is there already, with nothing but the network, the loss and the optimiser.
Each is a process; they take turns, and what counts is the time that a process had the processor, so that what else
the machine does meets all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.data.videos import ClipData
from stsearch.evaluate.recipe import TrainRecipe
from stsearch.evaluate.train import train
from stsearch.nets.build import build
from stsearch.profiling.allocator import VARIABLE, keep_memory
from stsearch.profiling.device import MEMORY_FORMAT, cpu_name
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import find_network

WAYS = ("plain", "ours fp32", "ours bf16", "step")
NETWORKS = ("R2D-18", "f-R2D-18", "MC3-18", "rMC3-18", "R3D-18", "R(2+1)D-18")
CPU = torch.device("cpu")
BATCH, CLASSES, LR = 16, 4, 0.02


def _network(name: str, width: float, clip: ClipShape) -> torch.nn.Module:
    made = build(find_network(name).scaled(width), clip, CLASSES, generator=torch.Generator().manual_seed(0))
    return made.train()


def _step(
    network: torch.nn.Module, optimiser: torch.optim.Optimizer, clips: torch.Tensor, labels: torch.Tensor
) -> None:
    optimiser.zero_grad(set_to_none=True)
    functional.cross_entropy(network(clips), labels).backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _sgd(network: torch.nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(network.parameters(), LR, 0.9, weight_decay=1e-4, nesterov=True)


class Clips(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Decoded videos, normalised clip by clip."""

    def __init__(self, data: ClipData, frames: int) -> None:
        self.set, self.frames = data.splits["train"], frames
        assert isinstance(self.set.frames, torch.Tensor), "built-in clips are in memory"
        self.videos = self.set.frames
        self.mean, self.std = (torch.tensor(some).view(-1, 1, 1, 1) for some in (data.mean, data.std))

    def __len__(self) -> int:
        return len(self.set.labels)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = int(self.set.starts[number])
        clip = self.videos[start : start + self.frames]
        return (clip.permute(3, 0, 1, 2).float() - self.mean) / self.std, self.set.labels[number]


def plain(name: str, width: float, clip: ClipShape, data: ClipData) -> None:
    """One epoch as somebody would write it."""
    network = _network(name, width, clip)
    optimiser = _sgd(network)
    loader = DataLoader(Clips(data, clip.frames), BATCH, shuffle=True, drop_last=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [len(loader)], 0.1)
    for clips, labels in loader:
        _step(network, optimiser, clips, labels)
        schedule.step()


def ours(name: str, width: float, clip: ClipShape, data: ClipData, precision: str) -> None:
    """One epoch of a search."""
    recipe = TrainRecipe.model_validate(
        {"optimizer": "sgd", "epochs": 1, "batch": BATCH, "lr": LR, "video_clips": 1, "precision": precision}
    )
    generator = torch.Generator().manual_seed(0)
    train(
        _network(name, width, clip), data, recipe, frames=clip.frames, size=clip.height, generator=generator, device=CPU
    )


def resident(name: str, width: float, clip: ClipShape, data: ClipData) -> None:
    """As many steps on one batch."""
    network = _network(name, width, clip).to(memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
    optimiser = _sgd(network)
    clips = torch.randn(BATCH, *clip.sizes).contiguous(memory_format=MEMORY_FORMAT)
    for _ in range(len(data.splits["train"].labels) // BATCH):
        _step(network, optimiser, clips, torch.arange(BATCH) % CLASSES)


def serve(name: str, width: float, frames: int, size: int, steps: int, way: str) -> None:
    """Train whenever a line comes; print the seconds that it took."""
    torch.set_num_threads(1)
    keep_memory(CPU)
    clip = ClipShape(3, frames, size, size)
    data = load_motions(MotionsRecipe(classes=CLASSES, clips=BATCH * steps, val_clips=16), frames, size)
    todo: dict[str, Callable[[], None]] = {
        "plain": lambda: plain(name, width, clip, data),
        "ours fp32": lambda: ours(name, width, clip, data, "fp32"),
        "ours bf16": lambda: ours(name, width, clip, data, "bf16"),
        "step": lambda: resident(name, width, clip, data),
    }
    for _ in sys.stdin:
        before = resource.getrusage(resource.RUSAGE_SELF)
        todo[way]()
        after = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), flush=True)


def compared(name: str, asked: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every way in every round."""
    children = {}
    for way in WAYS:
        words = [name, *map(str, (asked.width, asked.frames, asked.size, asked.steps)), way]
        children[way] = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.proxies", "--serve", *words],
            env={**os.environ, VARIABLE: "returned" if way == "plain" else "kept"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(asked.rounds + 1):
        for way, child in children.items():
            assert child.stdin is not None
            assert child.stdout is not None
            print(file=child.stdin, flush=True)
            seconds = json.loads(child.stdout.readline())
            if number:  # the first round warms up
                found[way].append(seconds)
    for child in children.values():
        child.communicate()
    return found


def _ratio(over: list[float], seconds: list[float]) -> str:
    """Median and range of what one way takes over what another does, round by round."""
    ratios = [one / other for one, other in zip(over, seconds, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    """Print a row for every network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--width", type=float, default=0.25)
    for name, default in (("frames", 8), ("size", 32), ("steps", 16), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--serve", nargs=6)
    asked: Any = parser.parse_args()
    if asked.serve:
        name, width, frames, size, steps, way = asked.serve
        serve(name, float(width), int(frames), int(size), int(steps), way)
        return
    shape = ClipShape(3, asked.frames, asked.size, asked.size)
    print(f"{cpu_name()}, torch {torch.__version__}, one thread, {BATCH} clips of {shape}, width {asked.width:g}")
    print("| network | plain, clips/s | ours over plain, fp32 | ... bf16 | ours fp32 over a bare step |")
    print("|---|--:|--:|--:|--:|")
    for name in asked.networks:
        found = compared(name, asked)
        rate = BATCH * asked.steps / statistics.median(found["plain"])
        ratios = [_ratio(found["plain"], found[way]) for way in ("ours fp32", "ours bf16")]
        print(
            f"| {name} | {rate:.1f} | {' | '.join(ratios)} | {_ratio(found['step'], found['ours fp32'])} |", flush=True
        )


if __name__ == "__main__":
    main()
