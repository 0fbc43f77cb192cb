"""Optical flow between neighbouring frames, as two channels of uint8."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stsearch.errors import UserError, unknown

LIMIT = 20.0
"""Pixels of movement per frame at which flow is clipped."""
_CENTRE = 127.5
METHODS = ("dis", "farneback")
Method = Literal["dis", "farneback"]
_SMALLEST = 16
"""Pixels (short side) below which DIS has no pyramid; Farneback then stands in."""


def optical_flow(frames: npt.NDArray[np.uint8], segments: int = 1, method: Method = "dis") -> npt.NDArray[np.uint8]:
    """Movement from each frame of uint8 ``(F, H, W, 3)`` to the next: uint8 ``(F, H, W, 2)``, x then y.

    A value is ``127.5 + d * 127.5 / 20`` for a movement of ``d`` pixels (right and down are positive),
    clipped beyond 20. The video is cut into ``segments`` equal parts that are no neighbours in time;
    the last frame of each repeats the flow before it (none: no movement). DIS is the default,
    ``farneback`` is slower and smoother; frames of fewer than 16 pixels always take Farneback.

    Raises ``UserError`` for an unknown method, and where OpenCV is not installed; ``ValueError``
    for a number of frames that ``segments`` does not divide.
    """
    if method not in METHODS:
        raise UserError(unknown("optical flow", method, METHODS))
    if segments < 1 or len(frames) % segments:
        raise ValueError(f"{len(frames)} frames cannot be cut into {segments} equal segments")
    cv2 = _opencv()
    flow_between = _estimator(cv2, method if min(frames.shape[1:3]) >= _SMALLEST else "farneback")
    out = np.empty((*frames.shape[:3], 2), dtype=np.uint8)
    each = len(frames) // segments
    for begin in range(0, len(frames), each):
        grey = cv2.cvtColor(frames[begin], cv2.COLOR_RGB2GRAY)
        out[begin] = np.rint(_CENTRE)
        for number in range(begin, begin + each - 1):
            after = cv2.cvtColor(frames[number + 1], cv2.COLOR_RGB2GRAY)
            scaled = _CENTRE + flow_between(grey, after) * (_CENTRE / LIMIT)
            out[number] = np.rint(np.clip(scaled, 0, 255))
            grey = after
        if each > 1:
            out[begin + each - 1] = out[begin + each - 2]
    return out


def _opencv() -> Any:
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise UserError(
            f"optical flow needs OpenCV ({error}): pip install 'stsearch[flow]', or set data.modality: rgb"
        ) from None


def _estimator(cv2: Any, method: str) -> Callable[[Any, Any], Any]:
    """A function of two grey frames ``(H, W)`` that gives float flow ``(H, W, 2)``."""
    if method == "dis":
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        return lambda before, after: dis.calc(before, after, None)
    return lambda before, after: cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)
