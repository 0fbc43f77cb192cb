"""One video file to uint8 frames, with PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError

_FALLBACK_FPS = 25.0
MAX_FRAMES = 100_000
"""Kept frames of one video; beyond it the rest is not decoded."""


class NotAVideo(Exception):
    """The file holds no video stream that FFmpeg knows."""


class UnreadableVideo(Exception):
    """The file is a video but breaks while it is decoded, or holds no frame."""


@dataclass(frozen=True)
class Video:
    """Decoded frames and their rate."""

    frames: npt.NDArray[np.uint8]
    """``(F, H, W, 3)`` RGB"""
    fps: float
    """of the kept frames"""


def decode(path: Path, height: int, width: int, *, frames: float, span: float) -> Video:
    """Decode ``path``, resized to ``height`` x ``width``, upright, in decode order.

    Every k-th frame is kept, with k so small that ``frames`` frames are left of ``span`` seconds
    (or of a shorter video as a whole) where the file has them. Raises ``NotAVideo`` or
    ``UnreadableVideo``.
    """
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except (FFmpegError, OSError, ValueError) as error:
        raise NotAVideo(_reason(error)) from None
    with container:
        if not container.streams.video:
            raise NotAVideo("there is no video stream in it")
        best = container.streams.best("video")
        stream = best if isinstance(best, av.VideoStream) else container.streams.video[0]
        stream.thread_type = "SLICE"  # files are decoded side by side; frame threads would only queue
        fps = float(stream.average_rate or stream.guessed_rate or _FALLBACK_FPS)
        every = max(1, int(fps * min(span, _seconds(container) or span) / frames))
        try:
            kept = list(_frames(container, stream, every, height, width))
        except (FFmpegError, OSError, ValueError) as error:
            raise UnreadableVideo(_reason(error)) from None
    if not kept:
        raise UnreadableVideo("no frame can be decoded")
    return Video(np.stack(kept), fps / every)


def _frames(
    container: av.container.InputContainer, stream: av.VideoStream, every: int, height: int, width: int
) -> Iterator[npt.NDArray[np.uint8]]:
    for number, frame in enumerate(container.decode(stream)):
        if number % every:
            continue
        if number // every >= MAX_FRAMES:
            return
        turned = round(frame.rotation / 90) % 4
        h, w = (width, height) if turned % 2 else (height, width)
        pixels = frame.reformat(width=w, height=h, format="rgb24", interpolation="AREA").to_ndarray()
        yield np.ascontiguousarray(np.rot90(pixels, turned))


def _seconds(container: av.container.InputContainer) -> float:
    """Duration by the header; 0 where it says nothing."""
    return (container.duration or 0) / av.time_base


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
