"""``measure``: latency, peak memory and limits of a network, stage by stage; ``quick`` for a search.

Whole passes are timed by the wall clock with the device synchronised before and after. Stages are
timed within the same passes, by marks in hooks between them (CUDA events on a GPU): they are parts
of the whole, and what they leave over (loss, optimiser) is reported as the rest. The hooks are a
dozen Python calls a pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stsearch.nets.count import counted_flops
from stsearch.profiling.ceilings import Ceilings, Work, bound, measure_ceilings, work
from stsearch.profiling.device import (
    Setting,
    comparable,
    device_facts,
    fingerprint,
    refusing,
    with_threads,
)
from stsearch.profiling.memory import peak_bytes
from stsearch.profiling.subject import StageMarks, Subject
from stsearch.profiling.timing import WARM_S, Timing, repeat
from stsearch.space.blueprint import AnyNetwork, ClipShape
from stsearch.space.cost import NetworkCost

__all__ = ["Measurement", "Pass", "Setting", "StageFigure", "measure", "quick"]

MODES = ("forward", "training")
CLOSED, COUNTED, MEASURED = "closed form", "counted", "measured"
"""Who says a figure: the ops of the architecture, torch's counter, a clock or an allocator."""
QUICK_S = (0.3, 1.0)
"""``min_run_s`` and ``max_run_s`` at most, for ``quick``"""


@dataclass(frozen=True)
class StageFigure:
    """One stage in one mode at one batch size."""

    name: str
    latency: Timing
    share: float
    """of the stages' sum, 0 to 1"""
    flops: int
    """2 x MACs of the whole batch, closed form"""
    bytes: int
    """least traffic of its convolutions and linear layers, closed form"""
    matmul_share: float
    """reached FLOP/s over the best that was seen: of a matrix product, a large convolution, or a stage; at most 1"""
    copy_share: float
    """reached least traffic per second over the bandwidth of the copy"""

    @property
    def flops_per_s(self) -> float:
        """Reached: closed form over measured."""
        return 1e3 * self.flops / self.latency.median_ms

    @property
    def bytes_per_s(self) -> float:
        """Reached: closed form over measured."""
        return 1e3 * self.bytes / self.latency.median_ms

    @property
    def bound(self) -> str:
        """``compute``, ``memory`` or ``neither``."""
        return bound(self.matmul_share, self.copy_share)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, every section with its source."""
        return {
            "name": self.name,
            "time": {"source": MEASURED, **self.latency.as_dict(), "share": self.share},
            "work": {"source": CLOSED, "flops": self.flops, "bytes": self.bytes},
            "reached": {
                "source": f"{CLOSED} / {MEASURED}",
                "flops_per_s": self.flops_per_s,
                "matmul_share": self.matmul_share,
                "bytes_per_s": self.bytes_per_s,
                "copy_share": self.copy_share,
                "bound": self.bound,
            },
        }


@dataclass(frozen=True)
class Pass:
    """Forward pass or training step at one batch size."""

    mode: str
    batch: int
    latency: Timing
    peak_bytes: int
    stages: tuple[StageFigure, ...]
    """empty for a training step of a network with several pathways: their backward passes interleave"""
    stage_ratio: float | None
    """median over the passes of the stages' sum over the whole; ``None`` without stages"""

    @property
    def clips_per_s(self) -> float:
        """Throughput at the median latency."""
        return 1e3 * self.batch / self.latency.median_ms

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "mode": self.mode,
            "batch": self.batch,
            "latency": {"source": MEASURED, **self.latency.as_dict()},
            "clips_per_s": self.clips_per_s,
            "peak_memory": {"source": MEASURED, "bytes": self.peak_bytes, "megabytes": self.peak_bytes / 1e6},
            "stages": [stage.as_dict() for stage in self.stages],
            "stage_sum_ratio": {"source": MEASURED, "median": self.stage_ratio},
        }


@dataclass(frozen=True)
class Measurement:
    """What one network costs on one device."""

    architecture: str
    """its id"""
    cost: NetworkCost
    counted_flops: int
    """of one clip, forward, by ``torch.utils.flop_counter``"""
    setting: Setting
    facts: dict[str, str | int]
    comparable: dict[str, str | int]
    fingerprint: str
    ceilings: Ceilings
    passes: tuple[Pass, ...]
    notes: tuple[str, ...]
    busy: str
    """what to say of a machine that did other things meanwhile; empty where it did not, and on a GPU"""
    seconds: float
    """that the measurement took"""

    def as_dict(self) -> dict[str, Any]:
        """The JSON of ``stsearch profile --measure`` without the network's name."""
        return {
            "architecture": self.architecture,
            "device": self.facts,
            "setting": {
                "precision": self.setting.dtype,
                "batches": list(self.setting.clips_at_once),
                "min_run_s": self.setting.min_run_s,
                "max_run_s": self.setting.max_run_s,
            },
            "comparable": self.comparable,
            "fingerprint": self.fingerprint,
            "cost": {"source": CLOSED, **self.cost.as_dict()},
            "flops": {"source": COUNTED, "by": "torch.utils.flop_counter", "forward": self.counted_flops},
            "ceilings": self.ceilings.as_dict(),
            "passes": [measured.as_dict() for measured in self.passes],
            "notes": list(self.notes),
            "busy": self.busy,
            "seconds": self.seconds,
        }


BUSY = 0.85
"""Of the time that a measurement takes, a CPU computes nearly all of it; with less, others had it too"""


def busy(cpu_s: float, wall_s: float) -> str:
    """What to say of a measurement on a CPU that had it for ``cpu_s`` of ``wall_s`` seconds; empty if all is well."""
    if wall_s <= 0 or cpu_s >= BUSY * wall_s:
        return ""
    return (
        f"the machine was busy: this measurement had its processor for {cpu_s / wall_s:.0%} of the time, so its times "
        "are too long; measure again when nothing else runs"
    )


def occupied(setting: Setting) -> Callable[[], str]:
    """Begins to watch; what it gives, asked at the end, says whether a CPU was busy with other things meanwhile."""
    had, at = time.thread_time(), time.perf_counter()

    def asked() -> str:
        return busy(time.thread_time() - had, time.perf_counter() - at) if setting.device.type == "cpu" else ""

    return asked


def measure(
    architecture: AnyNetwork,
    clip: ClipShape,
    classes: int,
    setting: Setting,
    progress: Callable[[str], None] | None = None,
) -> Measurement:
    """Measure ``architecture`` on clips of shape ``clip`` forward and in training, at every batch size.

    ``progress`` is told what comes next. Raises ``WorldError`` when memory runs out and
    ``StsearchError`` when the network cannot be built or run.
    """
    say = progress or (lambda text: None)
    begun = time.perf_counter()
    with with_threads(setting):
        say("counting FLOPs")
        with refusing(setting, f"counting the FLOPs of {architecture.id}"):
            counted = counted_flops(architecture, clip, classes)
        say("timing a matrix product, a convolution and a copy")
        ceiling = measure_ceilings(setting)
        subject = Subject(architecture, clip, classes, setting)
        works = work(architecture, clip, classes)
        samples, notes = [], []
        shared = occupied(setting)
        for mode in MODES:
            for batch in setting.clips_at_once:
                if mode == "training" and not subject.trainable(batch):
                    notes.append("no training step of 1 clip: BatchNorm needs more than one value per channel")
                    continue
                say(f"{_named(mode, batch)}, for {setting.min_run_s:g} s or more")
                samples.append(_sample(subject, mode, batch))
        others = shared()
        if not subject.network.is_chain:
            notes.append("no stages of a training step: the backward passes of several pathways interleave")
        notes += _slow_alone(subject, samples)
        say("timing a matrix product, a convolution and a copy again")
        ceilings = _raised(ceiling.or_better(measure_ceilings(setting)), samples, works)
        return Measurement(
            architecture=architecture.id,
            cost=subject.cost,
            counted_flops=counted,
            setting=setting,
            facts=device_facts(setting.device),
            comparable=comparable(setting),
            fingerprint=fingerprint(setting),
            ceilings=ceilings,
            passes=tuple(_pass(sample, works, setting.dtype, ceilings) for sample in samples),
            notes=tuple(notes),
            busy=others,
            seconds=time.perf_counter() - begun,
        )


def _slow_alone(subject: Subject, samples: Sequence[_Sample]) -> list[str]:
    """A note where one clip takes longer than two: on a CPU torch takes other code for one clip and one thread."""
    alone = next((s for s in samples if (s.mode, s.batch) == ("forward", 1)), None)
    if alone is None or subject.setting.device.type != "cpu":
        return []
    subject.load(2)
    subject.prepare(training=False)
    with refusing(subject.setting, f"{_named('forward', 2)} of {subject.architecture.id}"):
        two = Timing.of(repeat(subject.forward, shorter(subject.setting)))
    return slow_alone(Timing.of(alone.whole).median_ms, two.median_ms)


def slow_alone(one_ms: float, two_ms: float) -> list[str]:
    """What to say of forward passes of one and of two clips; nothing where two take longer."""
    if two_ms >= one_ms:
        return []
    return [
        f"a forward pass of 1 clip takes {one_ms:,.0f} ms and of 2 clips {two_ms:,.0f} ms: for 1 clip torch takes its "
        "slow path on this CPU, so the latency of 1 clip is that of the path more than of the network"
    ]


def _raised(ceilings: Ceilings, samples: Sequence[_Sample], works: tuple[Work, ...]) -> Ceilings:
    """``ceilings`` with the fastest stage, if that passes them."""
    for sample in samples:
        for part in works:
            if times := sample.stages.get(part.name):
                flops = part.flops(sample.batch, training=sample.mode == "training")
                ceilings = ceilings.reached(1e3 * flops / Timing.of(times).median_ms)
    return ceilings


def shorter(setting: Setting) -> Setting:
    """``setting`` with one batch size, its first or 1, and passes repeated as often as a search has time for."""
    least, most = min(QUICK_S[0], setting.min_run_s), min(QUICK_S[1], setting.max_run_s)
    return replace(setting, batches=(setting.batches or (1,))[:1], min_run_s=least, max_run_s=most)


def quick(architecture: AnyNetwork, clip: ClipShape, classes: int, setting: Setting) -> dict[str, float]:
    """What an objective of a search needs: one batch, by default of one clip, forward, about a second if it is small.

    ``latency_ms`` is the median and ``latency_iqr_ms`` the interquartile range of ``latency_n``
    passes; ``peak_memory_mb`` is the forward pass's peak (1 MB = 1e6 bytes), what running the
    network takes, weights included; training takes more and is not asked here.
    """
    brief = shorter(setting)
    batch = brief.clips_at_once[0]
    with with_threads(brief):
        subject = Subject(architecture, clip, classes, brief)
        subject.load(batch)
        subject.prepare(training=False)
        with refusing(brief, f"{_named('forward', batch)} of {architecture.id}"):
            peak, samples = _peak_and_times(subject, subject.forward)
    timing = Timing.of(samples)
    return {
        "latency_ms": timing.median_ms,
        "latency_iqr_ms": timing.iqr_ms,
        "latency_n": timing.n,
        "peak_memory_mb": peak / 1e6,
    }


def _named(mode: str, batch: int) -> str:
    what = {"forward": "forward pass", "training": "training step"}[mode]
    return f"{what} of {batch} clip{'s' * (batch > 1)}"


@dataclass(frozen=True)
class _Sample:
    """The raw times of one mode and batch size, in ms."""

    mode: str
    batch: int
    peak_bytes: int
    whole: tuple[float, ...]
    stages: dict[str, list[float]]


def _sample(subject: Subject, mode: str, batch: int) -> _Sample:
    training = mode == "training"
    subject.load(batch)
    subject.prepare(training=training)
    what = f"{_named(mode, batch)} of {subject.architecture.id}"
    with refusing(subject.setting, what), StageMarks(subject) as marks:

        def call() -> None:
            if training:
                subject.step(marks.after_backward)
            else:
                subject.forward()

        peak, whole = _peak_and_times(subject, call, marks.collect)
    return _Sample(mode, batch, peak, tuple(whole), marks.ms)


def _peak_and_times(
    subject: Subject, call: Callable[[], None], after: Callable[[], None] | None = None
) -> tuple[int, list[float]]:
    """Peak memory in bytes and times in ms; on a CPU a long pass of the first is the warm-up of the second."""
    begun = time.perf_counter()
    peak = peak_bytes(subject, call)
    cold = subject.setting.device.type == "cuda" or time.perf_counter() - begun < 4 * WARM_S
    return peak, repeat(call, subject.setting, warm=cold, after=after)


def _pass(sample: _Sample, works: tuple[Work, ...], dtype: str, ceilings: Ceilings) -> Pass:
    if not sample.stages:
        return Pass(sample.mode, sample.batch, Timing.of(sample.whole), sample.peak_bytes, (), None)
    timings = {name: Timing.of(times) for name, times in sample.stages.items()}
    together = sum(timing.median_ms for timing in timings.values())
    training = sample.mode == "training"
    figures = []
    for part in works:
        timing = timings[part.name]
        seconds = timing.median_ms / 1e3
        flops = part.flops(sample.batch, training=training)
        traffic = part.bytes(sample.batch, dtype, training=training)
        of_best = flops / seconds / ceilings.flops_per_s
        of_copy = traffic / seconds / ceilings.copy_bytes_per_s
        figures.append(StageFigure(part.name, timing, timing.median_ms / together, flops, traffic, of_best, of_copy))
    ratio = float(np.median(np.sum(list(sample.stages.values()), axis=0) / np.array(sample.whole)))
    return Pass(sample.mode, sample.batch, Timing.of(sample.whole), sample.peak_bytes, tuple(figures), ratio)
