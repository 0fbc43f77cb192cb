"""How long a proxy is trained where nobody says it; a file of its own, since it is asked where no torch is loaded."""

from __future__ import annotations

from math import ceil

CLIPS_PER_CLASS = 600
"""training clips that a proxy sees of each class, over all epochs, where nobody says how many epochs"""
FEWEST, MOST = 3, 200
"""epochs that are chosen"""


def epochs_for(clips: int, classes: int) -> int:
    """Epochs of ``clips`` training videos in which a network sees ``CLIPS_PER_CLASS`` clips of each class."""
    return min(MOST, max(FEWEST, ceil(CLIPS_PER_CLASS * classes / max(1, clips))))
