"""One decoded frame to an upright RGB picture of the size that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
import av.filter
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorRange, Interpolation, VideoReformatter

Fit = Literal["stretch", "crop"]
Picture = npt.NDArray[np.uint8]
"""``(H, W, 3)`` RGB"""
MAX_PIXELS = 2**26
"""Of one frame (8192 x 8192); a larger one is refused before memory is taken for it."""
_EXACT = Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
_CHROMA_DERIVED = 12
"""AVColorSpace: the matrix that follows from the primaries, which swscale does not know by this name."""
_DERIVED: dict[int, int] = {ColorPrimaries.BT709: 1, ColorPrimaries.BT2020: 9}
"""Primaries for which it is exactly another AVColorSpace."""


class PictureTooLarge(Exception):
    """A frame, or what it would have to be scaled to, has more than ``MAX_PIXELS``."""


@dataclass(frozen=True)
class Orientation:
    """How stored pixels become upright: transposed first, then mirrored."""

    transposed: bool = False
    mirrored: bool = False
    """left and right"""
    upside_down: bool = False

    @property
    def rotation(self) -> int:
        """Degrees clockwise, after mirroring left and right where ``mirrors``."""
        if not self.transposed:
            return 180 if self.upside_down else 0
        return 270 if self.upside_down else 90

    @property
    def mirrors(self) -> bool:
        """Whether the picture is a mirror image of what is stored, not only turned."""
        return self.transposed ^ self.mirrored ^ self.upside_down

    def apply(self, picture: Picture) -> Picture:
        """Turn ``picture`` ``(H, W, 3)``."""
        turned = picture.transpose(1, 0, 2) if self.transposed else picture
        return np.ascontiguousarray(turned[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1])


def orientation(frame: av.VideoFrame) -> Orientation:
    """From the display matrix of ``frame``; another angle counts as the nearest right one."""
    try:
        found: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # side data of a kind that PyAV has no name for
        return _turned(frame.rotation)
    if found is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(memoryview(found), dtype=np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)


def _turned(counterclockwise: float) -> Orientation:
    quarter = round(counterclockwise / 90) % 4
    return Orientation(quarter % 2 == 1, quarter in (2, 3), quarter in (1, 2))


class Painter:
    """Makes the pictures of one video.

    All pictures have the size ``height`` x ``width``, or that of the first frame where both are
    ``None``. ``stretch`` gives all of the frame; ``crop`` keeps its aspect ratio as it is to be
    shown (pixels may not be square) and cuts the middle out.
    """

    def __init__(self, height: int | None, width: int | None, fit: Fit) -> None:
        self._cut = fit == "crop" and height is not None
        self._size = (height, width) if height is not None and width is not None else None
        self._scaler = VideoReformatter()
        self._weavers: dict[tuple[int, int, str], av.filter.Graph] = {}

    def paint(self, frame: av.VideoFrame, pixel_aspect: float) -> Picture:
        """``(H, W, 3)`` of ``frame``, whose pixels are ``pixel_aspect`` times as wide as high.

        Raises ``PictureTooLarge``, and ``av.FFmpegError`` or ``ValueError`` for a pixel format
        that swscale does not know.
        """
        check_pixels(frame.width, frame.height)
        turn = orientation(frame)
        upright = (frame.width, frame.height) if turn.transposed else (frame.height, frame.width)
        if self._size is None:
            self._size = upright
        height, width = self._size
        if not self._cut:
            return turn.apply(self._scaled(frame, *((width, height) if turn.transposed else (height, width))))
        wide = upright[1] * (1 / pixel_aspect if turn.transposed else pixel_aspect)
        factor = max(height / upright[0], width / wide)
        rows, columns = max(height, round(upright[0] * factor)), max(width, round(wide * factor))
        check_pixels(columns, rows)
        picture = turn.apply(self._scaled(frame, *((columns, rows) if turn.transposed else (rows, columns))))
        top, left = (rows - height) // 2, (columns - width) // 2
        return np.ascontiguousarray(picture[top : top + height, left : left + width])

    def _scaled(self, frame: av.VideoFrame, height: int, width: int) -> Picture:
        if frame.colorspace == _CHROMA_DERIVED:
            frame.colorspace = _DERIVED.get(frame.color_primaries, frame.colorspace)
        if frame.interlaced_frame:
            frame = self._woven(frame)
        same = (height, width) == (frame.height, frame.width)
        how = (Interpolation.BICUBIC if same else Interpolation.AREA) | _EXACT
        scaled = self._scaler.reformat(frame, width, height, "rgb24", interpolation=how, threads=1)
        pixels = scaled.to_ndarray()
        assert pixels.dtype == np.uint8
        picture = np.asarray(pixels, dtype=np.uint8)
        if frame.format.name.startswith("gray") and frame.color_range == ColorRange.MPEG:
            return _expanded(frame.format.components[0].bits)[picture]
        return picture

    def _woven(self, frame: av.VideoFrame) -> av.VideoFrame:
        """``frame`` without the mark of being interlaced, for which swscale would scale its fields one by one."""
        kind = (frame.width, frame.height, frame.format.name)
        if kind not in self._weavers:
            graph = av.filter.Graph()
            source = graph.add_buffer(width=kind[0], height=kind[1], format=frame.format, time_base=Fraction(1, 1000))
            graph.link_nodes(source, graph.add("setfield", "mode=prog"), graph.add("buffersink")).configure()
            self._weavers[kind] = graph
        self._weavers[kind].push(frame)
        woven = self._weavers[kind].pull()
        assert isinstance(woven, av.VideoFrame)
        return woven


def _expanded(bits: int) -> npt.NDArray[np.uint8]:
    """``(256,)`` what limited grey of ``bits`` bits is, which swscale takes for full range."""
    luma = np.arange(256) / 255 * (2**bits - 1) / 2 ** (bits - 8)
    return np.asarray(((luma - 16) / 219 * 255).round().clip(0, 255), dtype=np.uint8)


def check_pixels(width: int, height: int) -> None:
    """``PictureTooLarge`` for more than ``MAX_PIXELS``."""
    if width * height > MAX_PIXELS:
        raise PictureTooLarge(f"frames of {width}x{height} pixels; at most {MAX_PIXELS:,} pixels are taken")
