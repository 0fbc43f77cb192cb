"""What is known of a network by number: one row per metric, which everything that names, shows or optimises one reads.

A plug-in adds a row with ``closed_form`` or ``measured`` and has an objective, a cap, columns, axes and notes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from stsearch.evaluate.results import ACCURACIES as ACCURACIES
from stsearch.evaluate.results import ALWAYS as ALWAYS
from stsearch.evaluate.results import OF_PAIRS as OF_PAIRS
from stsearch.registry import Registry
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import COSTS, Counted

if TYPE_CHECKING:
    from stsearch.profiling.device import Setting

Direction = Literal["maximize", "minimize"]
Measure = Callable[[Any, ClipShape, int, "Setting"], float]
"""Of the target (an architecture, or a network of the zoo to compare with), its clip, its classes, and how it is to be
measured"""


@dataclass(frozen=True)
class Metric:
    """One figure of a network."""

    name: str
    """key of YAML and JSON"""
    title: str
    """in sentences and on axes"""
    head: str
    """over columns of the terminal, where room is short"""
    unit: str
    """that it is shown in; ``M`` are millions"""
    better: Direction
    of: Literal["target", "proxy"]
    source: Literal["closed form", "measured", "trained", "scored"]
    digits: int = 2
    scale: float = 1.0
    """what a value is divided by to be in its unit"""
    noisy: bool = False
    """whether trainings of one network differ in it"""
    objective: bool = True
    """whether a search may be after it; else it is kept and shown"""
    measure: Measure | None = None
    """of a plug-in that measures it"""

    @property
    def column(self) -> str:
        """Over a column: ``video@1 (%)``, ``GMACs``."""
        return self.head if self.head == self.unit else f"{self.head} ({self.unit})"

    @property
    def axis(self) -> str:
        """Beside an axis: ``multiply-adds (GMACs)``, ``parameters (millions)``."""
        return f"{self.title} ({'millions' if self.unit == 'M' else self.unit})"

    def shown(self, value: float) -> str:
        """A value in the unit, without it: ``61.2``."""
        return f"{value / self.scale:.{self.digits}f}"

    def amount(self, value: float) -> str:
        """A value with its unit: ``61.2 %``, ``24.50 GMACs``, ``11.18 M``."""
        return f"{self.shown(value)} {self.unit}"


METRICS: Registry[Metric] = Registry("metric")
"""All that is shown of a network, in the order in which it is shown."""


def _add(name: str, title: str, head: str, unit: str, better: Direction, **more: object) -> None:
    METRICS.add(name, Metric(name, title, head, unit, better, **more))  # type: ignore[arg-type]


def _accuracy(name: str, title: str, head: str, *, objective: bool = True) -> None:
    about = {"of": "proxy", "source": "trained", "digits": 1, "noisy": True, "objective": objective}
    _add(name, title, head, "%", "maximize", **about)


_accuracy("video_top1", "video top-1", "video@1")
_accuracy("clip_top1", "clip top-1", "clip@1")
_accuracy("order_top1", "order top-1", "order@1")
_accuracy("frames_top1", "frames top-1", "frames@1")
_accuracy("video_top5", "video top-5", "video@5", objective=False)
SCORE = "score"
"""Of the proxy before any training; no accuracy, in nats, 0 or more for networks of any size in use."""
_add(SCORE, "score", "score", "nats", "maximize", of="proxy", source="scored")
_add("gmacs", "multiply-adds", "GMACs", "GMACs", "minimize", of="target", source="closed form")
for _count, _title in (("params", "parameters"), ("activations", "activations")):
    _add(_count, _title, _count, "M", "minimize", of="target", source="closed form", scale=1e6)
LATENCY = "latency_ms"
_add(LATENCY, "latency", "latency", "ms", "minimize", of="target", source="measured")
_add("peak_memory_mb", "peak memory", "peak mem.", "MB", "minimize", of="target", source="measured")

KEPT = tuple(name for name in METRICS if METRICS[name].noisy and not METRICS[name].objective)
"""Accuracies that are kept and shown beside the others; no objectives."""
QUALITIES = (*ACCURACIES, SCORE)
"""The more the better; all else is a cost."""


def closed_form(
    name: str, *, title: str, unit: str, counts: dict[str, float], per: float = 1.0, digits: int = 2, head: str = ""
) -> None:
    """Add a cost of the target that follows from its ``params``, ``macs`` and ``activations``.

    It is the sum of those in ``counts``, each times its weight, divided by ``per``: exact, known before anything is
    built, and so a hard cap. ``ValueError`` for a name that is taken, and for other counts.
    """
    counted = Counted(counts, per)
    _add(name, title, head or title, unit, "minimize", of="target", source="closed form", digits=digits)
    COSTS[name] = counted


def measured(name: str, *, title: str, unit: str, digits: int = 2, head: str = "") -> Callable[[Measure], Measure]:
    """Add a cost of the target that the decorated function measures, on the study's device, before training.

    It is called as ``function(architecture, clip, classes, setting)``; a study minimises or caps it, both softly.
    ``ValueError`` for a name that is taken.
    """

    def decorate(function: Measure) -> Measure:
        more = {"of": "target", "source": "measured", "digits": digits, "measure": function}
        _add(name, title, head or title, unit, "minimize", **more)
        return function

    return decorate


MEANT = {
    **dict.fromkeys(("gflops", "flops", "macs", "gmac", "mac", "multiply_adds"), "gmacs"),
    **dict.fromkeys(("parameters", "weights", "model_size"), "params"),
    **dict.fromkeys(("latency", "time", "speed", "ms"), "latency_ms"),
    **dict.fromkeys(("memory", "peak_memory", "memory_mb", "ram"), "peak_memory_mb"),
    **dict.fromkeys(("accuracy", "acc", "top1", "top_1", "video@1", "val_acc"), "video_top1"),
}
"""What others call them. Published "GFLOPs" of video networks are GMACs of one view."""


def objectives() -> list[str]:
    """Metrics that a search may be after."""
    return [name for name in METRICS if METRICS[name].objective]


def measured_names() -> list[str]:
    """Costs of the target on the study's device: known only once a network has been built and timed."""
    return [name for name in METRICS if METRICS[name].source == "measured"]


def direction_of(objective: str) -> Direction:
    """The one direction that makes sense for an objective."""
    return METRICS[objective].better
