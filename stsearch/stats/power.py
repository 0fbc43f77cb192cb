"""What a design can settle before it is spent, and what one that was spent did: differences in points."""

from __future__ import annotations

import math

from scipy.special import ndtri

from stsearch.stats.accuracy import GUESS, TOLD

POWER = 0.8
"""How often a difference that can be settled is: told apart with this probability."""
DISAGREE = 0.15
"""Share of the validation videos that one of two networks has right and the other wrong, before any is trained: as of
the paper's networks on the built-in set (docs/results/paired.md). Other data may have half or twice as many."""


def settled(error: float) -> float:
    """The difference, in points, that is told apart with probability ``POWER`` where it has the standard ``error``."""
    return float(ndtri(TOLD) + ndtri(POWER)) * error


def expected_error(videos: int, trainings: int) -> float:
    """Standard error of a difference, per cent, of two networks trained so often, before anything is known of them.

    McNemar's variance of single trainings, and as much again for what moves all videos of a training (``GUESS``).
    """
    return math.sqrt(1e4 * GUESS * DISAGREE / videos / trainings)
