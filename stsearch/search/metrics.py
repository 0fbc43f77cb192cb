"""What is known of a network by number: names and directions."""

from __future__ import annotations

from typing import Literal

from stsearch.evaluate.results import ACCURACIES as ACCURACIES
from stsearch.evaluate.results import ALWAYS as ALWAYS
from stsearch.evaluate.results import OF_PAIRS as OF_PAIRS
from stsearch.space.cost import COSTS

KEPT = ("video_top5",)
"""Accuracies that are kept and shown beside them; no objectives."""
SCORE = "score"
"""Of the proxy before any training; no accuracy, of no unit, 0 or more for networks of any size in use."""
QUALITIES = (*ACCURACIES, SCORE)
"""The more the better; all else is a cost."""
MEASURED = ("latency_ms", "peak_memory_mb")
"""Of the target, on the study's device: known only once a network has been built and timed."""
METRICS = (*ACCURACIES, *KEPT, SCORE, *COSTS, *MEASURED)
"""All that is shown of a network."""
OBJECTIVES = (*QUALITIES, *COSTS, *MEASURED)


def direction_of(objective: str) -> Literal["maximize", "minimize"]:
    """The one direction that makes sense for an objective."""
    return "maximize" if objective in QUALITIES else "minimize"
