"""One video file to upright uint8 frames, with TorchCodec (extra ``torchcodec``)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from stsearch.data.decode import Choose, Video, decode, first_picture, opened, packet_times, probe
from stsearch.data.files import ends_early
from stsearch.data.picture import Fit, Painter
from stsearch.errors import UserError

_AT_ONCE = 16
"""Frames of full size that are in memory at a time."""
_SAME = 2.0
"""Mean difference of two decoders' first frames, of 255, up to which they show the same."""


def decode_torchcodec(
    path: Path,
    *,
    height: int | None = None,
    width: int | None = None,
    fit: Fit = "stretch",
    choose: Choose | None = None,
) -> Video:
    """As ``decode``, to which a file is left that TorchCodec does not decode as PyAV does.

    That is a file in which it finds another number of frames, or whose first frame it gives with
    another orientation or other colours (as for orders of frames or colours that it does not
    know), that it cannot read, or that is cut short, of which it says nothing. Raises ``UserError``
    where TorchCodec or the FFmpeg libraries that it needs are not installed, ``NotAVideo`` and
    ``UnreadableVideo`` as ``decode``.
    """
    found = _decoded(path, Painter(height, width, fit), choose)
    return decode(path, height=height, width=width, fit=fit, choose=choose) if found is None else found


def _decoded(path: Path, painter: Painter, choose: Choose | None) -> Video | None:
    video_decoder = _imported()
    facts = probe(path)
    times = packet_times(path)
    with opened(path) as (container, stream):
        if ends_early(path, container, stream):
            return None
    try:
        source = video_decoder(str(path.absolute()), dimension_order="NHWC")
        if len(source) != len(times) or not _same_start(path, _pictures(source, [0])[0]):
            return None
        numbers = np.arange(len(times)) if choose is None else choose(times)
        aspect = 1 / facts.pixel_aspect if facts.rotation % 180 else facts.pixel_aspect
        painted = {}
        wanted = sorted(set(numbers.tolist()))
        for begin in range(0, len(wanted), _AT_ONCE):
            part = wanted[begin : begin + _AT_ONCE]
            for number, picture in zip(part, _pictures(source, part), strict=True):
                painted[number] = painter.paint(av.VideoFrame.from_ndarray(picture, format="rgb24"), aspect)
    except (RuntimeError, ValueError, IndexError):
        return None
    return Video(np.stack([painted[number] for number in numbers.tolist()]), times[numbers])


def _imported() -> Any:
    try:
        return importlib.import_module("torchcodec.decoders").VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        said = str(error).strip().splitlines()
        raise UserError(
            f"data.decoder: torchcodec cannot be used ({said[0] if said else type(error).__name__}); "
            "pip install 'stsearch[torchcodec]' and install FFmpeg's shared libraries, or set data.decoder: pyav"
        ) from None


def _pictures(source: Any, numbers: list[int]) -> npt.NDArray[np.uint8]:
    """``(K, H, W, 3)``"""
    return np.ascontiguousarray(source.get_frames_at(numbers).data.numpy())


def _same_start(path: Path, picture: npt.NDArray[np.uint8]) -> bool:
    first = first_picture(path)
    return first.shape == picture.shape and bool(np.abs(first.astype(np.float32) - picture).mean() <= _SAME)
