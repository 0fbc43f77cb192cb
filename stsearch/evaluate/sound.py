"""Trainings in a precision in which this device computes right: every convolution is tried before it is trusted.

What was found is kept in ``precision-KEY.json`` in the folder of caches, a file for every processor, version and number
of threads. On a GPU nothing is tried: there autocast is taken at its word.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from stsearch.data.cache import Progress, cache_folder
from stsearch.errors import StsearchError
from stsearch.evaluate.weights import write_whole
from stsearch.interrupt import check
from stsearch.nets.build import build
from stsearch.nets.layers import Convolution
from stsearch.profiling.device import MEMORY_FORMAT, device_facts
from stsearch.profiling.probe import PRECISIONS, Errors, Shape, probe, shapes_of
from stsearch.space.blueprint import AnyNetwork, ClipShape
from stsearch.space.cost import network_cost
from stsearch.texts import read_json

LADDER = ("bf16", "fp32", "float64")
"""What is asked for, and what comes next"""
TOLERANCE: Mapping[str, float] = {"bf16": 0.02, "fp32": 0.001}
"""Of the reference's norm. Rounding to bf16 is 0.002 of it, wrong code was never below 0.2."""
WORTH = 1.15
"""``precision: auto`` takes bf16 on a CPU where a step takes this many times less of the processor"""
LEAST, MOST = 2_000_000_000, 20_000_000_000
"""FLOPs of a step: with fewer, nothing is gained worth asking for; with more, fewer clips are timed."""
_ROUNDS = 3
_TRIES = "trying bf16 on this processor, once"
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "float64": torch.float64}


def make_right(
    network: nn.Module,
    sizes: tuple[int, int, int, int],
    batch: int,
    precision: str,
    device: torch.device,
    waiting: Callable[[], None] = check,
) -> str:
    """Let every convolution of ``network`` be computed in the asked precision, or in the next one that is right.

    Clips are ``(batch, *sizes)``, ``sizes`` ``(C, T, H, W)``. Says what was found, in a sentence; empty where there is
    nothing to say. Needs a probe of seconds where a shape was never tried on this machine; ``waiting`` is called then.
    """
    if device.type != "cpu":
        return ""
    shapes = shapes_of(network, sizes, batch)
    doubted = {name: shape for name, shape in shapes.items() if precision == "bf16" or _doubtful(shape)}
    found = _errors({shape.tried for shape in doubted.values()}, waiting)
    fallen: Counter[str] = Counter()
    modules = dict(network.named_modules())
    for name, shape in doubted.items():
        module, errors = modules[name], found.get(shape.tried)
        if not isinstance(module, Convolution) or errors is None:
            continue
        right = next((one for one in LADDER[LADDER.index(precision) :] if _right(errors, one)), "float64")
        module.right_in = _DTYPES[right]
        if right != precision:
            fallen[right] += 1
    return _said(precision, len(shapes), fallen, len(doubted) - sum(s.tried in found for s in doubted.values()))


def _doubtful(shape: Shape) -> bool:
    """Whether fp32 is tried too: oneDNN's was seen wrong for a kernel of 7 on 5 to 7 frames, never for one of 3."""
    return shape.kernel[0] > 3 and shape.entering[1] <= shape.kernel[0]


def _right(errors: Errors, precision: str) -> bool:
    error = errors.get(precision)
    return error is not None and error <= TOLERANCE.get(precision, 0)


def _said(precision: str, count: int, fallen: Mapping[str, int], untried: int) -> str:
    parts = []
    for other, of in fallen.items():
        parts.append(
            f"{of} of {count} convolutions {'is' if of == 1 else 'are'} computed in {other}, since in "
            f"{precision} this processor gets their outputs or gradients wrong, by more than {TOLERANCE[precision]:.1%}"
        )
    if untried:
        parts.append(f"{untried} of {count} convolutions could not be tried")
    if precision == "bf16" and not parts:
        parts.append(f"all {count} convolutions were found right")
    return f"{precision}: {'; '.join(parts)}" if parts else ""


def _errors(shapes: Iterable[Shape], waiting: Callable[[], None]) -> dict[Shape, Errors]:
    """What is known of ``shapes``, or is tried now."""
    wanted = sorted(shapes, key=lambda shape: shape.key)
    known = _read("shapes")
    found = {shape: known[shape.key] for shape in wanted if _is_errors(known.get(shape.key))}
    missing = [shape for shape in wanted if shape not in found]
    fresh = probe(missing, PRECISIONS, torch.get_num_threads(), waiting)
    if fresh:
        _keep("shapes", {shape.key: dict(errors) for shape, errors in fresh.items()})
    return {**found, **fresh}


def _is_errors(given: Any) -> bool:
    plain = isinstance(given, dict) and set(given) == set(PRECISIONS)
    return plain and all(one is None or (isinstance(one, int | float) and one >= 0) for one in given.values())


def gain(
    architecture: AnyNetwork, clip: ClipShape, classes: int, batch: int, threads: int, progress: Progress | None = None
) -> float:
    """How many times as long a training step in fp32 has the processor as one in bf16; 1 for steps too small to ask.

    Measured once on a machine: the same study then gets the same answer. ``progress`` is told of that.
    """
    one = 6 * network_cost(architecture, clip, classes).total.macs
    if one * batch < LEAST:
        return 1.0
    batch = max(2, min(batch, MOST // one))
    key = f"{architecture.id} {clip} {classes} {batch} {threads}"
    known = _read("gains").get(key)
    if isinstance(known, int | float) and 0 < known < 1000:
        return float(known)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = _timed(architecture, clip, classes, batch, progress or (lambda *_: check()))
    finally:
        torch.set_num_threads(before)
    _keep("gains", {key: found})
    return found


def _timed(architecture: AnyNetwork, clip: ClipShape, classes: int, batch: int, progress: Progress) -> float:
    generator = torch.Generator().manual_seed(0)
    network: nn.Module = build(architecture, clip, classes, generator=generator)
    network = network.to(memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
    total = 2 + _ROUNDS
    progress(_TRIES, 0, total)
    make_right(network, clip.sizes, batch, "bf16", torch.device("cpu"), lambda: progress(_TRIES, 0, total))
    clips = torch.randn(batch, *clip.sizes, generator=generator).contiguous(memory_format=MEMORY_FORMAT)
    labels = torch.arange(batch) % classes

    def step(low: bool) -> float:
        check()
        begun = time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            logits = network(clips)
        functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        network.zero_grad(set_to_none=True)
        return time.process_time() - begun

    ratios = []
    for done in range(1, total):
        progress(_TRIES, done, total)
        ratios.append(step(False) / step(True))
    progress(_TRIES, total, total)
    return median(ratios[1:])  # the first round warms up


def place() -> Path:
    """The file of what was found on this machine, with these versions and so many threads as torch has now."""
    facts = device_facts(torch.device("cpu"))
    told = [facts[name] for name in ("cpu", "instructions", "torch", "threads", "platform")]
    told += [os.environ.get(name, "") for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")]
    told += [hashlib.sha256(torch.__config__.show().encode()).hexdigest()]
    return cache_folder() / f"precision-{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]}.json"


def _read(section: str) -> dict[str, Any]:
    """A section of the file; empty where there is none, or what is there is damaged."""
    with suppress(StsearchError, OSError, ValueError):
        kept = read_json(place(), "")
        if isinstance(kept, dict) and isinstance(kept.get(section), dict):
            found: dict[str, Any] = kept[section]
            return found
    return {}


def _keep(section: str, more: Mapping[str, Any]) -> None:
    """Add to a section; where nothing can be written, it is found again the next time."""
    sections = {name: _read(name) for name in ("shapes", "gains")}
    sections[section] |= more
    with suppress(StsearchError, OSError):
        write_whole(place(), memoryview(f"{json.dumps(sections, indent=1, sort_keys=True)}\n".encode()))
