"""Placement effects of a stored study: which accuracy against which cost, over all its trained networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from stsearch.report.effects import Effects, placement_effects_of_ids
from stsearch.report.pareto import Pareto
from stsearch.search.attributes import ARCHITECTURE
from stsearch.search.metrics import QUALITIES
from stsearch.search.reading import StoredStudy
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import COSTS, network_cost


def axes(stored: StoredStudy) -> tuple[str, str]:
    """Accuracy and cost that effects are about: the first objectives of their kind, else the usual ones."""
    accuracy = next((name for name in stored.objectives if name in QUALITIES), "video_top1")
    return accuracy, next((name for name in stored.objectives if name not in QUALITIES), "gmacs")


def wanted_keys(stored: StoredStudy) -> list[str]:
    """Attributes of trials that ``study_effects`` needs."""
    return [ARCHITECTURE, *(name for name in axes(stored) if name not in stored.objectives)]


def study_effects(
    stored: StoredStudy, pareto: Pareto, attributes: Sequence[Mapping[str, Any]] | None = None
) -> Effects:
    """Effects over all trained networks of ``stored``, whose front is ``pareto``.

    ``attributes`` are those of the complete trials, at least ``wanted_keys``, for a caller that has
    read them already. ``UserError`` where no network has the accuracy and the cost.
    """
    found = stored.attributes(wanted_keys(stored), stored.complete) if attributes is None else attributes
    names = axes(stored)
    known = [number for number, one in enumerate(found) if ARCHITECTURE in one]
    accuracy, cost = (_column(stored, found, name)[known] for name in names)
    found_effects = placement_effects_of_ids(
        [found[number][ARCHITECTURE] for number in known],
        accuracy,
        cost,
        names=names,
        cost_of=partial(_cost, stored.target_clip, stored.classes, names[1]) if names[1] in COSTS else None,
        accuracy_of=pareto.accuracy_of,
        asked=stored.resolved["search"]["start_with"] == "balanced",
    )
    most = max(map(stored.count, stored.repeats), default=stored.trainings)
    return replace(found_effects, trainings=stored.trainings, most_trainings=most)


def _column(stored: StoredStudy, attributes: Sequence[Mapping[str, Any]], name: str) -> npt.NDArray[np.float64]:
    """A metric of the trained networks ``(N,)``."""
    if name in stored.objectives:
        return np.asarray(stored.values[stored.complete, list(stored.objectives).index(name)])
    return np.array([found.get(name, np.nan) for found in attributes], dtype=float)


def _cost(clip: ClipShape, classes: int, name: str, architecture: Architecture) -> float:
    return float(COSTS[name](network_cost(architecture, clip, classes).total))
