"""Which validation videos trainings had right, from their records and the study's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]

ANSWERED = "video_top1"
"""The accuracy that is the share of right answers; for others no answers are kept."""


def right(trainings: Sequence[Mapping[str, Any]], labels: Sequence[int]) -> Bools | None:
    """Which of the ``V`` videos with ``labels`` each training had right, ``(n, V)``.

    Trainings without an answer to each are left out, as are those of earlier versions; ``None`` where all are.
    """
    told = [training.get("predictions") or () for training in trainings]
    answers = [[answer for answer, _ in found] for found in told if len(found) == len(labels)]
    return np.array(answers) == np.array(labels) if answers and len(labels) else None
