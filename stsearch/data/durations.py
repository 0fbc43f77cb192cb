"""How long videos are, beside the seconds that one clip covers."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from stsearch.data.journal import Row

CUT = 1.25
"""A middle video longer than so many spans is cut by a clip: that is said"""
SHORT, MOST = 0.8, 0.1
"""Videos shorter than so much of a span are stretched; more than that share of them is worth a word"""


def durations(rows: Sequence[Row]) -> list[float]:
    """Seconds of all readable videos, the time that the last frame is shown included."""
    return [row.seconds + (1 / row.fps if row.fps else 0.0) for row in rows if row.frames]


def lengths(found: Sequence[float]) -> str:
    """``videos last 1.5 to 2.5 s, 2.0 s in the middle``, of their seconds; empty for none."""
    if not found:
        return ""
    return f"videos last {_s(min(found))} to {_s(max(found))} s, {_s(median(found))} s in the middle"


def mismatch(found: Sequence[float], span: float) -> list[str]:
    """What is to be said where clips of ``span`` seconds cut or stretch videos of so many: at most one sentence."""
    if not found:
        return []
    middle = median(found)
    if middle > CUT * span:
        return [
            f"a clip covers {_s(span)} s (data.span), which is {span / middle:.0%} of a video of {_s(middle)} s, the "
            f"middle one; where a whole video is one action, take data.span={_s(middle)}"
        ]
    short = sum(one < SHORT * span for one in found)
    if short > MOST * len(found):
        return [
            f"{short:,} of {len(found):,} videos are much shorter than a clip of {_s(span)} s (data.span); their "
            f"frames are spread over it, so motion looks slower there; data.span={_s(middle)} is the middle video"
        ]
    return []


def _s(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"
