"""When frames are on screen, and which of them are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_RATE = 1000.0
"""Frames per second above which a rate, or the time stamps of a file, say nothing."""

Times = npt.NDArray[np.float64]
_FAULTS = 0.1
"""Share of missing or backward stamps above which the time stamps of a file say nothing."""
_LONGEST = 60.0
"""Seconds up to which a frame may be on screen in any video."""
_ROUNDING = 0.05
"""Share of a frame's time by which a stamp may be rounded; 1 ms in Matroska."""


@dataclass(frozen=True)
class Plan:
    """Which frames of a video are kept, and what of them one clip covers."""

    numbers: npt.NDArray[np.int64]
    """``(K,)`` frame numbers, not decreasing; a frame that is long on screen comes several times"""
    segments: int
    """windows that are kept, ``K // segments`` frames each; 1: the whole video"""
    window: float
    """kept frames that one clip covers, at most ``K / segments``"""


def frame_times(stamps: Sequence[int | None], unit: float, rate: float) -> Times:
    """Seconds ``(N,)`` from the first frame, strictly increasing, of frames in the order they are shown.

    ``stamps`` count in ``unit`` seconds. A missing stamp, or one that is not after all stamps before
    it, lies between its neighbours; where more than a tenth of the stamps are such, or nine tenths are
    closer than at ``MOST_RATE`` frames per second, frames are spread evenly at ``rate`` per second. A
    step that no video has (joined files) is as long as the middle one.
    """
    count = len(stamps)
    values = np.array([np.nan if stamp is None else stamp for stamp in stamps], dtype=np.float64)
    known = np.nan_to_num(values, nan=-np.inf)
    latest = np.maximum.accumulate(np.concatenate([[-np.inf], known]))[:-1]
    good = np.flatnonzero(known > latest)
    if len(good) < 2 or count - len(good) > _FAULTS * count:
        return np.arange(count) / rate
    steps, spans = np.diff(values[good]), np.diff(good)
    step = float(np.median(steps / spans))
    steps = np.where(_absurd(steps * unit), step * spans, steps)
    if float(np.quantile(steps / spans, 1 - _FAULTS)) * unit * MOST_RATE < 1 - _ROUNDING:
        return np.arange(count) / rate
    at = np.concatenate([[0.0], np.cumsum(steps)])
    places = np.concatenate([[-1], good, [count]])
    ends = -(good[0] + 1) * step, at[-1] + (count - good[-1]) * step
    filled: Times = np.interp(np.arange(count), places, np.concatenate([ends[:1], at, ends[1:]]))
    return np.asarray((filled - filled[0]) * unit, dtype=np.float64)


def _absurd(seconds: Times) -> npt.NDArray[np.bool_]:
    """Steps ``(N,)`` longer than a minute and ten times all that are shorter; none where they are no exception."""
    long = seconds > max(_LONGEST, 10 * float(seconds[seconds <= _LONGEST].sum()))
    return long & (float(long.mean()) <= _FAULTS)


def plan(times: Times, *, frames: int, span: float, windows: int, fps: float | None) -> Plan:
    """Frames to keep of a video whose frames appear at ``times`` ``(N,)``, for clips of ``frames`` frames.

    A clip covers ``span`` seconds, or a shorter video as a whole. Frames are taken at evenly spaced
    instants, each the frame then on screen: ``2 * frames`` in ``span`` seconds (or ``fps`` a second),
    but no more than the video has on average. A video longer than ``windows * span`` seconds is
    reduced to ``windows`` windows of ``span`` seconds, evenly spread from its beginning to its end.
    Fewer frames may be left than a clip asks for; its frames then repeat.
    """
    count = len(times)
    interval = float(times[-1]) / (count - 1) if count > 1 else span
    duration = count * interval
    covered = min(span, duration)
    wanted = fps * covered if fps else 2.0 * frames
    per_clip = min(wanted, covered / interval)
    if duration <= windows * span:
        kept = max(1, round(per_clip * duration / covered))
        instants = (np.arange(kept) + 0.5) * (duration / kept)
        return Plan(_shown(times, instants, interval), 1, min(float(kept), max(1.0, kept * covered / duration)))
    each = max(1, round(per_clip))
    begins = np.linspace(0.0, duration - span, windows) if windows > 1 else np.array([(duration - span) / 2])
    instants = begins[:, None] + (np.arange(each) + 0.5) * (span / each)
    return Plan(_shown(times, instants.ravel(), interval), windows, float(each))


def _shown(times: Times, instants: npt.NDArray[np.floating[Any]], interval: float) -> npt.NDArray[np.int64]:
    """Numbers of the frames on screen at ``instants``; stamps are rounded, so an instant just before one is at it."""
    shown = np.searchsorted(times, instants + _ROUNDING * interval, side="right") - 1
    return np.clip(shown, 0, len(times) - 1)
