"""Timing with care: warm-up, a synchronised device, a minimum of time and of repetitions."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from stsearch.profiling.device import Setting

ENOUGH, FEW = 10, 3
"""Repetitions of a figure, and of one whose passes are long."""
WARM_S = 0.25
WARM_PASSES = {"cpu": 1, "cuda": 3}


@dataclass(frozen=True)
class Timing:
    """What repeated passes took."""

    median_ms: float
    iqr_ms: float
    """interquartile range: the middle half of the passes lies within it"""
    n: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Timing:
        """Of times in ms."""
        low, middle, high = np.percentile(samples, (25, 50, 75))
        return cls(float(middle), float(high - low), len(samples))

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class Clock:
    """Marks on the device's own time line: CUDA events on a GPU, the performance counter on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"

    def mark(self) -> Any:
        """The present, or the point of the stream where the device will come to it."""
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def ms(self, begin: Any, end: Any) -> float:
        """Milliseconds between two marks; on a GPU, synchronise before."""
        return float(begin.elapsed_time(end)) if self.on_gpu else (end - begin) * 1e3


def repeat(
    call: Callable[[], None], setting: Setting, *, warm: bool = True, after: Callable[[], None] | None = None
) -> list[float]:
    """Times of single calls in ms by the wall clock, the device synchronised before and after each.

    Goes on for ``setting.min_run_s`` and 10 calls, or for ``setting.max_run_s`` and 3 calls.
    ``after`` runs after every timed call, untimed. ``warm=False`` where warm-up was done.
    """
    if warm:
        warm_up(call, setting)
    samples: list[float] = []
    collecting = gc.isenabled()
    gc.disable()
    begun = time.perf_counter()
    try:
        while True:
            setting.synchronise()
            start = time.perf_counter()
            call()
            setting.synchronise()
            samples.append((time.perf_counter() - start) * 1e3)
            if after is not None:
                after()
            elapsed = time.perf_counter() - begun
            if elapsed >= setting.min_run_s and len(samples) >= (FEW if elapsed >= setting.max_run_s else ENOUGH):
                return samples
    finally:
        if collecting:
            gc.enable()


def warm_up(call: Callable[[], None], setting: Setting) -> None:
    """Call until a quarter of a second has passed, at least once on a CPU and three times on a GPU."""
    begun, count = time.perf_counter(), 0
    while count < WARM_PASSES[setting.device.type] or time.perf_counter() - begun < WARM_S:
        call()
        setting.synchronise()
        count += 1
