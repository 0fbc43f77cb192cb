"""Files as the world has them, made here with FFmpeg's encoders: frames, orientation, colours, times and faults."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from stsearch.data.decode import UnreadableVideo, decode, packet_times, probe
from stsearch.data.sampling import plan

COLOURS = np.array(
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 120, 40), (30, 90, 220)],
    dtype=np.uint8,
)
MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593), 2: (0.299, 0.114)}
"""Weights of red and blue by AVColorSpace: BT.709, BT.601 (625 and 525 lines), BT.2020; 2 is unspecified."""


def bars(height: int = 32, width: int = 32) -> np.ndarray:
    """``(H, 8 * W, 3)``, a colour of ``COLOURS`` in each column of blocks."""
    return np.concatenate([np.broadcast_to(colour, (height, width, 3)) for colour in COLOURS], axis=1)


def corners(height: int = 48, width: int = 64) -> np.ndarray:
    """White above left, red above right, green below left, blue below right."""
    frame = np.zeros((height, width, 3), dtype=np.uint8)
    rows, columns = height // 2, width // 2
    frame[:rows, :columns], frame[:rows, columns:] = (255, 255, 255), (255, 0, 0)
    frame[rows:, :columns], frame[rows:, columns:] = (0, 255, 0), (0, 0, 255)
    return frame


def counted(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Grey frames ``(F, H, W, 3)`` whose brightness says their number: 20 + 4 n."""
    return np.broadcast_to((20 + 4 * np.arange(count, dtype=np.uint8))[:, None, None, None], (count, height, width, 3))


def numbers_in(frames: np.ndarray) -> list[int]:
    """What ``counted`` frames say of their numbers."""
    return [round((float(frame.mean()) - 20) / 4) for frame in frames]


def encode(
    path: Path,
    frames: Iterable[np.ndarray | av.VideoFrame],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    stamps: list[int] | None = None,
    rate: int = 25,
    options: dict[str, str] | None = None,
    header: dict[str, str] | None = None,
    **attributes: Any,
) -> Path:
    """Encode ``frames``; ``stamps`` are in milliseconds, ``attributes`` are set on the codec."""
    with av.open(str(path), "w", options=header or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.options = {**(options or ({"crf": "1"} if codec == "libx264" else {}))}
        turn = attributes.pop("turn", None)
        if turn is not None:
            stream.set_display_rotation(*turn)
        for number, given in enumerate(frames):
            frame = given if isinstance(given, av.VideoFrame) else av.VideoFrame.from_ndarray(given, format="rgb24")
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = frame.height, frame.width, pixels
                for name, value in attributes.items():
                    setattr(stream.codec_context, name, value)
            frame.pts = number if stamps is None else stamps[number]
            frame.time_base = Fraction(1, rate) if stamps is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def to_yuv(rgb: np.ndarray, matrix: int, full: bool, bits: int = 8) -> np.ndarray:
    """Planes ``(3, H, W)`` of ``rgb`` ``(H, W, 3)``, by the definition."""
    red, blue = MATRICES[matrix]
    r, g, b = np.moveaxis(rgb.astype(np.float64) / 255, 2, 0)
    y = red * r + (1 - red - blue) * g + blue * b
    planes = np.stack([y, (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)])
    top, offset = 2**bits - 1, 2 ** (bits - 1)
    scale = 2 ** (bits - 8)
    if full:
        coded = planes * top + np.array([0, offset, offset])[:, None, None]
    else:
        coded = planes * np.array([219, 224, 224])[:, None, None] * scale
        coded += np.array([16, 128, 128])[:, None, None] * scale
    return np.asarray(coded.round().clip(0, top), dtype=np.uint8 if bits == 8 else np.uint16)


def off(got: np.ndarray, expected: np.ndarray, block: int = 32) -> float:
    """Largest difference of blocks' middles, where no chroma of a neighbour reaches."""
    middle = np.s_[..., block // 2 :: block, :]
    return float(np.abs(got[..., 8:-8, :, :][middle].astype(float) - expected[8:-8][middle].astype(float)).max())


# ---- colours ----


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 2, 5, 6, 9])
@pytest.mark.parametrize("bits", [8, 10])
def test_colours_are_those_of_the_definition(tmp_path: Path, matrix: int, full: bool, bits: int) -> None:
    """Lossless YUV of known colours, tagged with its matrix and range; untagged is BT.601, as FFmpeg has it."""
    planes = to_yuv(bars(), matrix, full, bits)
    frame = av.VideoFrame(planes.shape[2], planes.shape[1], "yuv444p" if bits == 8 else "yuv444p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        line = np.zeros((plane.height, plane.line_size), dtype=np.uint8)
        data = np.ascontiguousarray(values).view(np.uint8)
        line[:, : data.shape[1]] = data
        plane.update(line.tobytes())
    frame.colorspace, frame.color_range = matrix, 2 if full else 1
    encode(
        tmp_path / "v.mkv", [frame] * 3, "ffv1", frame.format.name, colorspace=matrix, color_range=2 if full else 1
    )  # fmt: skip
    got = decode(tmp_path / "v.mkv").frames
    assert got.shape == (3, 32, 256, 3)
    assert off(got, bars()) <= 2
    small = decode(tmp_path / "v.mkv", height=16, width=128).frames
    assert np.abs(small[:, 4:-4, 8::16].astype(int) - bars(16, 16)[4:-4, 8::16]).max() <= 2


def test_the_number_of_lines_does_not_choose_the_matrix(tmp_path: Path) -> None:
    """Untagged HD is BT.601 too: what FFmpeg does; players guess BT.709."""
    planes = to_yuv(bars(720, 160), 2, False)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
    encode(tmp_path / "v.mkv", [frame], "ffv1", "yuv444p")
    assert off(decode(tmp_path / "v.mkv").frames, bars(720, 160), 160) <= 2


@pytest.mark.parametrize(("codec", "pixels", "top"), [("libx265", "gray", 255), ("ffv1", "gray10le", 1023)])
@pytest.mark.parametrize("full", [False, True])
def test_grey_has_the_range_that_it_says(tmp_path: Path, codec: str, pixels: str, top: int, full: bool) -> None:
    """Which swscale does not look at."""
    levels = np.array([0, 40, 128, 200, 255])
    coded = (levels / 255 * top if full else (16 + levels / 255 * 219) * (top + 1) / 256).round()
    plane: np.ndarray = np.repeat(coded, 32)[None].repeat(32, 0).astype(np.uint8 if top == 255 else np.uint16)
    frame = av.VideoFrame.from_ndarray(plane, format=pixels)
    frame.color_range = 2 if full else 1
    tags = f"log-level=none:lossless=1:range={'full' if full else 'limited'}"
    options = {"x265-params": tags} if codec == "libx265" else {}
    path = encode(tmp_path / "v.mkv", [frame] * 3, codec, pixels, options=options, color_range=2 if full else 1)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).format.name == pixels
    got = decode(path).frames[1, 16, 16::32].astype(int)
    assert np.abs(got - levels[:, None]).max() <= 1


@pytest.mark.parametrize(("primaries", "matrix"), [(1, 1), (9, 9)])
def test_a_matrix_derived_from_the_primaries(tmp_path: Path, primaries: int, matrix: int) -> None:
    """Where that is exactly one that swscale knows; others are refused."""
    frame = av.VideoFrame.from_ndarray(to_yuv(bars(), matrix, False), format="yuv444p")
    frame.color_range = 1
    for given in (primaries, 5):
        tags: dict[str, Any] = {"colorspace": 12, "color_primaries": given, "color_range": 1}
        path = encode(tmp_path / "v.mp4", [frame] * 3, pixels="yuv444p", options={"qp": "0"}, **tags)
        if given == primaries:
            assert off(decode(path).frames, bars()) <= 2
        else:
            with pytest.raises(UnreadableVideo, match="frames of yuv444p cannot be converted"):
                decode(path)


LOSES = {
    "v.gif": 60,
    "cinepak": 12,
    "svq1": 12,
    "rgb565le": 9,
    "dvvideo": 6,
    "h261": 8,
    "msmpeg4": 16,
    "msmpeg4v2": 6,
    "snow": 6,
}
"""Levels by which a codec or a pixel format changes flat colours, where it is more than 4."""


@pytest.mark.parametrize(
    ("codec", "pixels", "name", "options"),
    [
        ("ffv1", "bgr0", "v.mkv", {}),
        ("ffv1", "gbrp10le", "v.mkv", {}),
        ("ffv1", "gbrp12le", "v.mkv", {"strict": "-2"}),
        ("ffv1", "yuv422p", "v.avi", {}),
        ("ffv1", "yuva420p", "v.mkv", {}),
        ("ffv1", "yuv420p12le", "v.mkv", {"strict": "-2"}),
        ("huffyuv", "rgb24", "v.avi", {}),
        ("huffyuv", "yuv422p", "v.avi", {}),
        ("png", "rgb48be", "v.mov", {}),
        ("ffvhuff", "yuv420p", "v.avi", {}),
        ("utvideo", "gbrp", "v.avi", {}),
        ("png", "rgba", "v.mov", {}),
        ("qtrle", "rgb24", "v.mov", {}),
        ("qtrle", "argb", "v.mov", {}),
        ("rawvideo", "uyvy422", "v.mov", {}),
        ("rawvideo", "bgr24", "v.avi", {}),
        ("rawvideo", "rgb565le", "v.nut", {}),
        ("rawvideo", "nv12", "v.nut", {}),
        ("v210", "yuv422p10le", "v.mov", {}),
        ("prores_ks", "yuv422p10le", "v.mov", {}),
        ("prores_ks", "yuva444p10le", "v.mov", {"profile": "4444"}),
        ("cfhd", "yuv422p10le", "v.mov", {}),
        ("jpeg2000", "rgb24", "v.mov", {}),
        ("mjpeg", "yuvj420p", "v.avi", {"q": "1"}),
        ("mjpeg", "yuvj444p", "v.mov", {"q": "1"}),
        ("mpeg4", "yuv420p", "v.avi", {"q": "1"}),
        ("mpeg4", "yuv420p", "v.3gp", {"q": "1"}),
        ("msmpeg4v2", "yuv420p", "v.avi", {"q": "1"}),
        ("msmpeg4", "yuv420p", "v.avi", {"q": "1"}),
        ("mpeg1video", "yuv420p", "v.mpg", {"q": "1"}),
        ("mpeg2video", "yuv422p", "v.ts", {"q": "1"}),
        ("mpeg2video", "yuv420p", "v.vob", {"q": "1"}),
        ("wmv1", "yuv420p", "v.wmv", {"q": "1"}),
        ("wmv2", "yuv420p", "v.asf", {"q": "1"}),
        ("flv", "yuv420p", "v.flv", {"q": "1"}),
        ("svq1", "yuv410p", "v.mov", {"q": "1"}),
        ("cinepak", "rgb24", "v.avi", {}),
        ("snow", "yuv420p", "v.avi", {"q": "1"}),
        ("asv2", "yuv420p", "v.avi", {"q": "1"}),
        ("libvpx", "yuv420p", "v.webm", {"crf": "4", "b": "8M"}),
        ("libvpx-vp9", "yuv420p", "v.webm", {"crf": "4", "b": "0"}),
        ("libvpx-vp9", "yuva420p", "v.webm", {"crf": "4", "b": "0", "auto-alt-ref": "0"}),
        ("libx265", "yuv420p10le", "v.mp4", {"crf": "2", "x265-params": "log-level=none"}),
        ("libx265", "yuv444p12le", "v.mkv", {"crf": "2", "x265-params": "log-level=none"}),
        ("libsvtav1", "yuv420p", "v.mp4", {"crf": "5", "preset": "12"}),
        ("libx264", "yuv420p10le", "v.mp4", {"crf": "1"}),
        ("libx264", "yuvj444p", "v.flv", {"crf": "1"}),
        ("libx264", "yuv422p", "v.m2ts", {"crf": "1"}),
        ("libx264", "yuv420p", "v.h264", {"crf": "1"}),
        ("libx264rgb", "rgb24", "v.mkv", {"crf": "1"}),
        ("gif", "rgb8", "v.gif", {}),
        ("apng", "rgba", "v.apng", {"pred": "mixed"}),
        ("dvvideo", "yuv420p", "v.dv", {}),
        ("dvvideo", "yuv411p", "v.avi", {}),
        ("h263", "yuv420p", "v.3gp", {"q": "1"}),
        ("h261", "yuv420p", "v.avi", {"q": "1"}),
    ],
)
def test_codecs_and_pixel_formats(tmp_path: Path, codec: str, pixels: str, name: str, options: dict[str, str]) -> None:
    """Twelve frames in their order and with their colours, but for what the codec must lose."""
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    height, width = (576, 720) if codec == "dvvideo" else (288, 352)
    frames = np.tile(bars(height, width // 8), (12, 1, 1, 1))
    frames[:, -height // 3 :] = (20 + 18 * np.arange(12))[:, None, None, None]
    path = encode(tmp_path / name, frames, codec, pixels, options=options)
    video = decode(path)
    assert video.frames.shape == frames.shape
    assert video.damage is None
    loss = next((value for key, value in LOSES.items() if key in (codec, pixels, name)), 4)
    assert np.abs(video.frames[:, height // 3, width // 16 :: width // 8] - bars(1, 1).astype(int)).max() <= loss
    assert np.abs(video.frames[:, -height // 6].mean((1, 2)) - frames[:, -1, 0, 0]).max() <= loss
    kept = decode(path, height=16, width=16, choose=lambda times: np.arange(len(times))[::3])
    assert kept.frames.shape == (4, 16, 16, 3)
    assert kept.times == pytest.approx(np.arange(12)[::3] / 25, abs=0.03)
    assert packet_times(path) == pytest.approx(np.arange(12) / 25, abs=0.03)


# ---- orientation, sizes, aspect ----

TURNS: dict[tuple[float, bool, bool], Callable[[np.ndarray], np.ndarray]] = {
    (0.0, False, False): lambda frame: frame,
    (90.0, False, False): lambda frame: np.rot90(frame, 1),
    (-90.0, False, False): lambda frame: np.rot90(frame, -1),
    (180.0, False, False): lambda frame: frame[::-1, ::-1],
    (0.0, True, False): lambda frame: frame[:, ::-1],
    (0.0, False, True): lambda frame: frame[::-1],
    (90.0, True, False): lambda frame: frame[::-1, ::-1].transpose(1, 0, 2),
    (-90.0, True, False): lambda frame: frame.transpose(1, 0, 2),
}
"""Degrees counterclockwise, mirrored, upside down; what FFmpeg's command line shows of each."""


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("name", ["v.mp4", "v.mov", "v.mkv"])
def test_frames_are_upright(tmp_path: Path, turn: tuple[float, bool, bool], name: str) -> None:
    path = encode(tmp_path / name, [corners()] * 3, pixels="yuv444p", turn=turn)
    upright = TURNS[turn](corners()).astype(int)
    got = decode(path).frames
    assert got.shape[1:] == upright.shape
    assert np.abs(got[0] - upright).mean() <= 2
    facts = probe(path)
    assert (facts.height, facts.width, facts.mirrored) == (*upright.shape[:2], turn[1] or turn[2])
    assert facts.mirrored or facts.rotation == round(-turn[0]) % 360
    small = decode(path, height=8, width=8).frames[0].astype(int)
    quarters = upright[:: upright.shape[0] // 2, :: upright.shape[1] // 2]
    assert np.abs(small[1::4, 1::4] - quarters).max() <= 3


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    """``crop`` cuts from what is shown (64 x 48 stored, 128 x 48 shown), ``stretch`` takes all, native stays."""
    path = encode(tmp_path / "v.mp4", [corners()] * 2, pixels="yuv444p", sample_aspect_ratio=Fraction(2))
    assert probe(path).pixel_aspect == 2
    assert decode(path).frames.shape == (2, 48, 64, 3)
    ramp = np.broadcast_to((np.arange(64) * 4).astype(np.uint8)[None, :, None], (48, 64, 3))
    path = encode(tmp_path / "r.mp4", [ramp] * 2, pixels="yuv444p", sample_aspect_ratio=Fraction(2))
    cut = decode(path, height=48, width=48, fit="crop").frames[0, 24, :, 0]
    assert cut[[0, -1]].tolist() == pytest.approx([80, 174], abs=4)
    whole = decode(path, height=48, width=48).frames[0, 24, :, 0]
    assert whole[[0, -1]].tolist() == pytest.approx([1, 251], abs=4)
    turned = encode(tmp_path / "t.mp4", [ramp] * 2, pixels="yuv444p", sample_aspect_ratio=Fraction(2), turn=(90.0,))
    cut = decode(turned, height=48, width=48, fit="crop").frames[0, :, 24, 0]
    assert cut[[0, -1]].tolist() == pytest.approx([174, 80], abs=4)


def test_frames_that_change_their_size_get_that_of_the_first(tmp_path: Path) -> None:
    parts = [encode(tmp_path / f"{n}.h264", counted(4, *size)) for n, size in enumerate([(48, 64), (96, 80), (32, 32)])]
    path = tmp_path / "v.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    video = decode(path)
    assert video.frames.shape == (12, 48, 64, 3)
    assert numbers_in(video.frames) == [0, 1, 2, 3] * 3
    assert numbers_in(decode(path, height=9, width=9).frames) == [0, 1, 2, 3] * 3


@pytest.mark.parametrize("matrix", [1, 6])
def test_interlaced_frames_stay_woven(tmp_path: Path, matrix: int) -> None:
    """As FFmpeg's command line has it: lines are scaled together, not field by field."""
    lines = np.zeros((64, 64, 3), dtype=np.uint8)
    lines[::2] = 200
    frames = [av.VideoFrame.from_ndarray(lines, format="rgb24").reformat(format="yuv420p", dst_colorspace=matrix)] * 4
    path = encode(
        tmp_path / "v.mkv",
        frames,
        "mpeg2video",
        options={"q": "1", "flags": "+ilme+ildct"},
        colorspace=matrix,
        bit_rate=10**8,
    )
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    assert np.abs(decode(path, height=16, width=16).frames.astype(int) - 100).max() <= 4
    assert np.abs(decode(path).frames[:, 8:56:2].astype(int) - 200).max() <= 6


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 2), (17, 33), (1, 64), (255, 3)])
def test_odd_sizes(tmp_path: Path, height: int, width: int) -> None:
    frames = counted(5, height, width)
    video = decode(encode(tmp_path / "v.mkv", frames, "ffv1", "yuv444p"))
    assert np.abs(video.frames.astype(int) - frames).max() <= 1
    resized = decode(tmp_path / "v.mkv", height=12, width=16).frames
    assert resized.shape == (5, 12, 16, 3)
    assert numbers_in(resized) == [0, 1, 2, 3, 4]
    assert decode(tmp_path / "v.mkv", height=12, width=16, fit="crop").frames.shape == (5, 12, 16, 3)


# ---- times, order and number ----


def test_frames_with_b_frames_come_in_the_order_in_which_they_are_shown(tmp_path: Path) -> None:
    options = {"crf": "1", "bf": "3", "b-adapt": "0", "g": "12"}
    for name in ("v.mp4", "v.mkv", "v.ts", "v.avi", "v.h264", "v.flv"):
        path = encode(tmp_path / name, counted(30), options=options)
        video = decode(path)
        assert numbers_in(video.frames) == list(range(30)), name
        assert video.times == pytest.approx(np.arange(30) / 25, abs=0.002), name
        asked: list[int] = []

        def some(times: np.ndarray, asked: list[int] = asked) -> np.ndarray:
            asked.append(len(times))
            return np.array([3, 3, 17, 29])

        chosen = decode(path, height=8, width=8, choose=some)
        assert asked == [30], "the packets promise what the decoder gives"
        assert numbers_in(chosen.frames) == [3, 3, 17, 29], name
        assert chosen.times == pytest.approx(video.times[[3, 3, 17, 29]], abs=0.002)


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    stamps = [0, 40, 80, 1080, 1120, 5000, 5010]
    for name in ("v.mkv", "v.mp4"):
        path = encode(tmp_path / name, counted(7), stamps=stamps, rate=1000)
        assert decode(path).times == pytest.approx(np.array(stamps) / 1000, abs=0.002)
        assert packet_times(path) == pytest.approx(np.array(stamps) / 1000, abs=0.002)
        kept = decode(path, choose=lambda times: plan(times, frames=4, span=2.0, windows=10, fps=None).numbers)
        assert numbers_in(kept.frames) == sorted(numbers_in(kept.frames))


def test_stamps_that_go_back_do_not_reorder(tmp_path: Path) -> None:
    """Two transport streams, one after the other: time starts again, frames do not."""
    part = encode(tmp_path / "a.ts", counted(20), options={"crf": "1", "bf": "0"}).read_bytes()
    path = tmp_path / "v.ts"
    path.write_bytes(part + part)
    video = decode(path)
    assert numbers_in(video.frames) == [*range(20), *range(20)]
    assert np.all(np.diff(video.times) > 0)


def test_stamps_that_leap_or_stand_on_each_other(tmp_path: Path) -> None:
    """Joined parts with hours between them, and a rate that nothing has: neither hides most of the frames."""
    leap = [40 * number + 20_000_000 * (number >= 20) for number in range(40)]
    dense = encode(tmp_path / "v.avi", counted(40), "mpeg4", options={"q": "1"})
    content = bytearray(dense.read_bytes())
    place = content.index(b"strh") + 8 + 20
    scale, rate = struct.unpack("<II", content[place : place + 8])
    assert rate == 25 * scale
    content[place : place + 8] = struct.pack("<II", 1, 1_000_000)
    dense.write_bytes(content)
    for path in (dense, encode(tmp_path / "v.mkv", counted(40), stamps=leap, options={"crf": "1", "bf": "0"})):
        assert decode(path).times == pytest.approx(np.arange(40) / 25, abs=0.002)
        assert packet_times(path) == pytest.approx(np.arange(40) / 25, abs=0.002)


def test_edit_lists_hide_frames(tmp_path: Path) -> None:
    """Frames before the beginning that an edit list sets are there for others to refer to; they are not shown."""
    source = encode(tmp_path / "a.mp4", counted(40), options={"crf": "1", "bf": "2", "g": "40"})
    path = tmp_path / "v.mp4"
    with av.open(str(source)) as whole, av.open(str(path), "w") as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.dts is not None and packet.pts is not None:
                unit = int(1 / 25 / packet.time_base)
                packet.pts, packet.dts = packet.pts - 10 * unit, packet.dts - 10 * unit
                packet.stream = stream
                cut.mux(packet)
    video = decode(path)
    assert numbers_in(video.frames) == list(range(10, 40))
    assert len(packet_times(path)) == 30
    assert video.damage is None


def test_where_the_decoder_gives_other_frames_than_the_packets_promise_choose_is_asked_again(tmp_path: Path) -> None:
    """A stream that begins in mid-picture-group: what comes before its first key frame does not decode."""
    whole = encode(tmp_path / "a.ts", counted(48), options={"crf": "1", "g": "12", "bf": "0"}).read_bytes()
    path = tmp_path / "v.ts"
    path.write_bytes(whole[len(whole) // 188 // 3 * 188 :])
    asked: list[int] = []

    def last(times: np.ndarray) -> np.ndarray:
        asked.append(len(times))
        return np.array([0, len(times) - 1])

    video = decode(path, choose=last)
    everything = numbers_in(decode(path).frames)
    assert asked == [len(packet_times(path)), len(everything)]
    assert asked[0] > asked[1]
    assert numbers_in(video.frames) == [everything[0], everything[-1]]
