"""One video file to upright uint8 frames, with PyAV."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.stream import Disposition

from stsearch.data.files import as_text, called_a_video, indexed, is_cut, lasts
from stsearch.data.picture import MAX_PIXELS, Fit, Orientation, Painter, Picture, PictureTooLarge, check_pixels
from stsearch.data.picture import orientation as orientation_of
from stsearch.data.sampling import MOST_RATE, Times, frame_times

MAX_FRAMES = 100_000
"""Kept frames of one video; beyond it the rest is not decoded."""
MIN_WHOLE = 0.5
"""Share of the frames that must be whole, and there of a file that is cut short."""
_ABOUT = 0.95
"""Share of the frames that a header promises below which they are missed."""
_FALLBACK_RATE = 25.0
_PLAYLISTS = {"concat", "dash", "hls", "imf", "rtsp", "sdp"}
_TEXT = {"adf", "bin", "idf", "tty", "xbin"}
_NOT_SHOWN = Disposition.attached_pic | Disposition.timed_thumbnails

Numbers = npt.NDArray[np.int64]
Choose = Callable[[Times], Numbers]


class NotAVideo(Exception):
    """The file holds no video stream that FFmpeg knows."""


class UnreadableVideo(Exception):
    """The file is a video, but too little of it decodes, or it is larger than what is taken."""


@dataclass(frozen=True)
class Video:
    """Decoded frames."""

    frames: npt.NDArray[np.uint8]
    """``(F, H, W, 3)`` RGB, upright"""
    times: Times
    """``(F,)`` seconds from the first frame of the file; increasing, but for frames chosen twice"""
    damage: str | None = None
    """what of the file could not be used, in words; ``None`` for a whole file"""


@dataclass(frozen=True)
class Probe:
    """What a file says of itself and what its packets and its first frame show."""

    container: str
    """FFmpeg's names of the format, such as ``mov,mp4,m4a,3gp,3g2,mj2``"""
    codec: str
    pixel_format: str
    height: int
    """upright"""
    width: int
    rotation: int
    """degrees clockwise by which stored frames are turned"""
    mirrored: bool
    pixel_aspect: float
    """width of a stored pixel divided by its height"""
    fps: float
    """mean rate of the packets' times"""
    frames: int
    """packets that should give a frame; not decoded"""
    seconds: float
    header_frames: int
    """what the header says; 0 where it says nothing"""
    streams: int
    """of video, cover pictures left out"""
    audio: int
    """streams of sound"""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def decode(
    path: Path,
    *,
    height: int | None = None,
    width: int | None = None,
    fit: Fit = "stretch",
    choose: Choose | None = None,
) -> Video:
    """The frames of ``path``, upright, in the order in which they decode.

    Frames have ``height`` x ``width`` pixels, or the size of the first frame. ``choose`` gets the
    times ``(N,)`` of all frames and gives the numbers ``(K,)`` of those to keep, not decreasing;
    others are decoded but not converted. It is asked before anything is decoded, with times from
    the packets, and a second time only where the decoder gives another number of frames than there
    are packets.

    A file in which a packet does not decode is not used: what comes after cannot be trusted to be in
    its place. One that ends before the frames that its table lists is used, and ``Video.damage`` says
    so, where at least half of them are there; likewise one with damaged frames, each of which shows
    the last whole frame before it. What the decoder conceals without a word counts as whole.

    Raises ``NotAVideo`` or ``UnreadableVideo``, each with its reason; ``ValueError`` where only one
    of ``height`` and ``width`` is given.
    """
    if (height is None) != (width is None):
        raise ValueError(f"height and width are given together or not at all; given {height} and {width}")
    if choose is None:
        decoded = _decode_pass(path, Painter(height, width, fit), None)
        return decoded.video(decoded.times, np.array(sorted(decoded.pictures)))
    times = packet_times(path)
    numbers = choose(times)
    decoded = _decode_pass(path, Painter(height, width, fit), frozenset(numbers.tolist()))
    if len(decoded.times) != len(times):
        times = decoded.times
        numbers = choose(times)
        if not decoded.pictures.keys() >= set(numbers.tolist()):
            decoded = _decode_pass(path, Painter(height, width, fit), frozenset(numbers.tolist()))
    return decoded.video(times, numbers)


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """The file and its best video stream; ``NotAVideo`` or ``UnreadableVideo`` with the reason."""
    if not os.path.isfile(path):
        raise NotAVideo("it is no file" if os.path.lexists(path) else "there is no such file")
    try:
        if what := called_a_video(path):
            raise NotAVideo(what)
        container = av.open(
            f"file:{path.absolute()}", metadata_errors="ignore", container_options={"protocol_whitelist": "file"}
        )
    except (FFmpegError, OSError, ValueError) as error:
        raise NotAVideo(as_text(path) or reason(error)) from None
    with container:
        formats = set(container.format.name.split(","))
        if formats & _PLAYLISTS:
            raise NotAVideo(f"it is a playlist ({container.format.name}), not a video")
        if formats & _TEXT:
            raise NotAVideo(f"it is text ({container.format.name}), not a video")
        stream = _best(container)
        stream.thread_type = "NONE"  # files are decoded side by side; with threads, FFmpeg loses marks of damage
        try:
            check_pixels(stream.width, stream.height)
        except PictureTooLarge as error:
            raise UnreadableVideo(str(error)) from None
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        yield container, stream


def _best(container: InputContainer) -> av.VideoStream:
    shown = [stream for stream in container.streams.video if not stream.disposition & _NOT_SHOWN]
    if not shown:
        covers = ", only a cover picture" if container.streams.video else ""
        raise NotAVideo(f"there is no video stream in it{covers}")
    readable = [stream for stream in shown if stream.codec_context is not None]
    if not readable:
        raise UnreadableVideo("FFmpeg has no decoder for it")
    best = container.streams.best("video")
    return next(
        (stream for stream in readable if best is not None and stream.index == best.index),
        max(readable, key=lambda stream: stream.width * stream.height),
    )


def packet_times(path: Path) -> Times:
    """Times ``(N,)`` of the frames that the packets promise, without decoding."""
    pts: list[int | None] = []
    dts: list[int | None] = []
    with opened(path) as (container, stream):
        unit, rate = _unit(stream), rate_of(stream)
        tiny = 1 if stream.codec_context.name == "mpeg4" else 0  # an encoder's place holder for a later frame
        try:
            for packet in container.demux(stream):
                if packet.size > tiny and not packet.is_discard:
                    pts.append(packet.pts)
                    dts.append(packet.dts)
        except (FFmpegError, OSError):
            pass  # what can be decoded up to here shows in decoding
    if not pts:
        raise UnreadableVideo("it holds no frames")
    known = [stamp for stamp in pts if stamp is not None]
    stamps: list[int | None] = [*sorted(known)] if len(known) == len(pts) else dts
    return frame_times(stamps, unit, rate)


@dataclass
class _Decoded:
    """What one pass over a file gave."""

    times: Times
    """``(N,)`` of all frames from the first whole one"""
    pictures: dict[int, Picture]
    """by number of the frame"""
    damage: str | None

    def video(self, times: Times, numbers: Numbers) -> Video:
        """The frames ``numbers`` at ``times``."""
        within = [number for number in numbers.tolist() if number in self.pictures]
        return Video(np.stack([self.pictures[number] for number in within]), times[within], self.damage)


@dataclass
class _Progress:
    """Of a pass over a file."""

    packets: int = 0
    decoded: int = 0
    damaged: int = 0
    broken: str = ""
    """why the last packet does not decode, as where the file ends in the middle of it"""
    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)


def _decode_pass(path: Path, painter: Painter, wanted: frozenset[int] | None) -> _Decoded:
    """Decode all of ``path``, keep the frames ``wanted`` (all: ``None``)."""
    done = _Progress()
    pictures: dict[int, Picture] = {}
    with opened(path) as (container, stream):
        aspect = float(stream.sample_aspect_ratio or 1)
        damage = None
        for number, frame in enumerate(_frames(container, stream, done)):
            if wanted is None or number in wanted:
                if len(pictures) == MAX_FRAMES:
                    damage = f"only the first {MAX_FRAMES:,} frames are kept"
                    break
                pictures[number] = _painted(painter, frame, aspect)
        _refuse_image(container, stream, done.decoded)
        damage = damage or _damage(path, container, stream, done)
        stamps = done.pts if None not in done.pts else done.dts
        return _Decoded(frame_times(stamps, _unit(stream), rate_of(stream)), pictures, damage)


def _frames(container: InputContainer, stream: av.VideoStream, done: _Progress) -> Iterator[av.VideoFrame]:
    """All frames in the order in which they decode, counted in ``done``; ``UnreadableVideo`` where it breaks before the
    last packet.

    A damaged frame (FFmpeg fills it with what was in memory) is the last whole one before it; without one, left out.
    """
    packets = container.demux(stream)
    trusted = container.format.name != "mpegts"  # there good packets are marked too, where files are joined
    torn: set[int | None] = set()
    whole = None
    more = True
    while more:
        try:
            packet = next(packets, None)
            if packet is not None and not packet.size:
                continue  # an empty packet in mid-stream would end the decoder
            if packet is not None and done.broken:
                raise UnreadableVideo(done.broken)
            more = packet is not None
            done.packets += packet is not None and not packet.is_discard
            if packet is not None and packet.is_corrupt and trusted:
                torn.add(packet.dts if packet.pts is None else packet.pts)
            frames = stream.codec_context.decode(packet)
        except (FFmpegError, OSError, ValueError) as error:
            done.broken = done.broken or f"it breaks after {done.decoded:,} frames: {_why(stream, error)}"
            continue
        for frame in frames:
            done.decoded += 1
            if frame.is_corrupt or (frame.dts if frame.pts is None else frame.pts) in torn:
                done.damaged += 1
            else:
                whole = frame
            if whole is not None:
                done.pts.append(frame.pts)
                done.dts.append(frame.dts)
                yield whole
    if whole is None:
        nothing = "all of its frames are damaged" if done.decoded else "no frame can be decoded"
        raise UnreadableVideo(done.broken or nothing)


def _why(stream: av.VideoStream, error: Exception) -> str:
    if stream.container.format.name == "webp_pipe":
        return "FFmpeg decodes no animated WebP"
    small = 0 < stream.width * stream.height <= MAX_PIXELS
    large = "" if small else f"; frames of more than {MAX_PIXELS:,} pixels are not taken"
    return reason(error) + (large if isinstance(error, ArgumentError) else "")


def _painted(painter: Painter, frame: av.VideoFrame, aspect: float) -> Picture:
    try:
        return painter.paint(frame, aspect)
    except PictureTooLarge as error:
        raise UnreadableVideo(str(error)) from None
    except (FFmpegError, OSError, ValueError) as error:
        raise UnreadableVideo(f"frames of {frame.format.name} cannot be converted: {reason(error)}") from None


def _refuse_image(container: InputContainer, stream: av.VideoStream, frames: int) -> None:
    if frames == 1 and (container.format.name == "image2" or container.format.name.endswith("_pipe")):
        raise NotAVideo(f"it is a still image ({stream.codec_context.name}), not a video")


def _damage(path: Path, container: InputContainer, stream: av.VideoStream, done: _Progress) -> str | None:
    """What a file lacks of its frames; ``UnreadableVideo`` where it is more than half."""
    damaged = f"{done.damaged:,} of {done.decoded:,} frames {'is' if done.damaged == 1 else 'are'} damaged"
    if done.decoded - done.damaged < MIN_WHOLE * done.decoded:
        raise UnreadableVideo(damaged)
    said = [damaged] if done.damaged else []
    expected, about = indexed(container, stream), ""
    missing = done.packets < expected
    if not expected and is_cut(path):
        expected, about = _promised(container, stream, done), "about "
        missing = done.packets < min(_ABOUT * expected, expected - 2)
    if missing or (done.broken and expected > done.decoded):
        said = [f"the file is cut short: {done.decoded:,} of {about}{expected:,} frames decode", *said]
        if done.decoded < MIN_WHOLE * expected:
            raise UnreadableVideo(said[0])
    elif done.broken:
        said = [f"its last packet is not whole: {done.decoded:,} frames decode", *said]
    return "; ".join(said) or None


def _promised(container: InputContainer, stream: av.VideoStream, done: _Progress) -> int:
    """Frames by the header: AVI's number, or as many as fill the time that Matroska says of the stream."""
    stamps = sorted(stamp for stamp in done.pts if stamp is not None)
    end = lasts(container, stream)
    if container.format.name == "avi" or not stamps or end is None:
        return stream.frames
    step = (stamps[-1] - stamps[0]) * _unit(stream) / (len(stamps) - 1) if len(stamps) > 1 else 1 / rate_of(stream)
    return done.packets - 1 + round((end - stamps[-1] * _unit(stream)) / step)


def _unit(stream: av.VideoStream) -> float:
    return float(stream.time_base or 1)


def rate_of(stream: av.VideoStream) -> float:
    """Frames per second by the header, within reason."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= MOST_RATE:
            return float(rate)
    return _FALLBACK_RATE


def first_picture(path: Path) -> Picture:
    """The first frame ``(H, W, 3)``, upright, at its own size; raises as ``decode`` does."""
    with opened(path) as (container, stream):
        return _painted(Painter(None, None, "stretch"), next(_frames(container, stream, _Progress())), 1.0)


def probe(path: Path) -> Probe:
    """Facts about ``path``; only its first frame is decoded. Raises as ``decode`` does."""
    with opened(path) as (container, stream):
        first = next(_frames(container, stream, _Progress()))
        turn: Orientation = orientation_of(first)
        times = packet_times(path)
        _refuse_image(container, stream, len(times))
        fps = (len(times) - 1) / float(times[-1]) if len(times) > 1 else rate_of(stream)
        size = (first.width, first.height) if turn.transposed else (first.height, first.width)
        return Probe(
            container=container.format.name,
            codec=stream.codec_context.name,
            pixel_format=first.format.name,
            height=size[0],
            width=size[1],
            rotation=turn.rotation,
            mirrored=turn.mirrors,
            pixel_aspect=float(stream.sample_aspect_ratio or 1),
            fps=fps,
            frames=len(times),
            seconds=len(times) / fps,
            header_frames=stream.frames,
            streams=sum(not one.disposition & _NOT_SHOWN for one in container.streams.video),
            audio=len(container.streams.audio),
        )


def reason(error: Exception) -> str:
    """One line that says why."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
