"""Files that are no video, break, lie or are too large; and real ones."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

import av
import numpy as np
import pytest

import stsearch.data.decode as decoding
from stsearch.data.decode import NotAVideo, UnreadableVideo, decode, probe
from tests.data.test_decode import corners, counted, encode, numbers_in


def sound(path: Path, cover: Path | None = None) -> Path:
    """A file of sound, with a picture of ``cover`` (a JPEG) as its cover."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        picture = None
        if cover is not None:
            with av.open(str(cover)) as jpeg:
                picture = container.add_stream_from_template(jpeg.streams.video[0])
                picture.disposition = av.stream.Disposition.attached_pic
                packet = next(jpeg.demux(video=0))
                packet.stream = picture
                container.mux(packet)
        for _ in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def still(path: Path) -> Path:
    """One picture in a file of pictures."""
    av.VideoFrame.from_ndarray(corners(), format="rgb24").save(str(path))
    return path


def refusal(path: Path, kind: type[Exception] = NotAVideo) -> str:
    """Why ``path`` is refused, the same by every way in."""
    reasons = set()
    for way in (decode, lambda path: decode(path, height=8, width=8, choose=lambda times: np.arange(len(times)))):
        with pytest.raises(kind) as caught:
            way(path)
        assert type(caught.value) is kind
        reasons.add(str(caught.value))
    assert len(reasons) == 1
    assert "\n" not in min(reasons)
    return reasons.pop()


def test_what_is_no_video(tmp_path: Path) -> None:
    def written(name: str, content: bytes | str) -> Path:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / name

    assert refusal(tmp_path / "nowhere.mp4") == "there is no such file"
    assert refusal(tmp_path) == "it is no file"
    os.mkfifo(tmp_path / "pipe.mp4")
    assert refusal(tmp_path / "pipe.mp4") == "it is no file"
    assert refusal(written("empty.mp4", b"")) == "the file is empty"
    for name, content in (
        ("text.mp4", "not a video\n" * 50), ("page.mp4", "<html><body>404</body></html>"), ("zeros.mp4", bytes(5000)),
        ("noise.avi", np.random.default_rng(0).bytes(20_000)), ("one.mp4", b"\x00"), ("atom.mp4", b"\0\0\0 ftypisom"),
    ):  # fmt: skip
        assert refusal(written(name, content))
    assert "text" in refusal(written("notes.txt", "a text that FFmpeg would show as a terminal\n" * 20))
    jpeg = still(tmp_path / "still.jpg")
    assert refusal(jpeg) == "it is a still image (mjpeg), not a video"
    assert "still image" in refusal(written("still.mp4", jpeg.read_bytes()))
    assert "still image" in refusal(still(tmp_path / "still.png"))
    assert refusal(sound(tmp_path / "sound.mp4")) == "there is no video stream in it"
    assert refusal(sound(tmp_path / "cover.mp4", jpeg)) == "there is no video stream in it, only a cover picture"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>", "it is a web page, not a video"),
        ("\n\n  <HTML><BODY>404 Not Found</BODY></HTML>" + "x" * 5000, "it is a web page, not a video"),
        ("\ufeff<!-- saved -->\n<html lang='en'>", "it is a web page, not a video"),
        ('<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0">', "it is a web page, not a video"),
        ('<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>', "it is XML, not a video"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "it is a Git LFS pointer, not"),
        ("/annex/objects/MD5E-s5--ab.mp4\n", "it is a git-annex pointer, not the video"),
        ("../.git/annex/objects/x/y/MD5E-s5--ab.mp4", "it is a git-annex pointer, not the video"),
        ('{"error": {"code": 403}}', "it is JSON, not a video"),
        ('{\n  "message": "Not Found"\n}\n', "it is JSON, not a video"),
        ("[]", "it is JSON, not a video"),
        ("Access denied.\n", "it is text, not a video: 'Access denied.'"),
        ("", "the file is empty"),
    ],
)
@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "v.mkv", "v.ts"])
def test_what_a_download_leaves_in_a_videos_place(tmp_path: Path, content: str, expected: str, name: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert refusal(tmp_path / name).startswith(expected)


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    """Neither other files nor addresses, which FFmpeg would fetch."""
    encode(tmp_path / "v.ts", counted(5))
    lists = {
        "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nv.ts\n#EXT-X-ENDLIST\n",
        "far.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/v.ts\n#EXT-X-ENDLIST\n",
        "far.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/v.ts\n#EXT-X-ENDLIST\n",
        "hls.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nv.ts\n#EXT-X-ENDLIST\n",
        "concat.mp4": "ffconcat version 1.0\nfile v.ts\n",
    }
    for name, content in lists.items():
        (tmp_path / name).write_text(content)
        assert refusal(tmp_path / name), name


def test_a_video_that_breaks_in_its_middle(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    content = bytearray(encode(tmp_path / "v.mp4", noise).read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 3
    content[middle : middle + 4000] = b"\xff" * 4000
    (tmp_path / "broken.mp4").write_bytes(content)
    assert "it breaks after" in refusal(tmp_path / "broken.mp4", UnreadableVideo)


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    """Between two frames: used where at least half is there, and said."""
    path = encode(tmp_path / "v.mov", counted(40, 32, 32), "rawvideo", "rgb24", header={"movflags": "faststart"})
    content = path.read_bytes()
    begin, size = content.index(b"mdat") + 4, 32 * 32 * 3
    path.write_bytes(content[: begin + 30 * size])
    video = decode(path)
    assert numbers_in(video.frames) == list(range(30))
    assert video.damage == "the file is cut short: 30 of 40 frames decode"
    path.write_bytes(content[: begin + 10 * size])
    assert refusal(path, UnreadableVideo) == "the file is cut short: 10 of 40 frames decode"
    for name in ("v.ts", "v.mkv", "v.avi"):  # no table, or one at the end: a shorter video
        grain = np.random.default_rng(0).integers(-9, 10, (40, 96, 96, 1))
        frames = (counted(40, 96, 96) + grain).astype(np.uint8)
        path = encode(tmp_path / name, frames, options={"crf": "1", "bf": "0"})
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        frames = decode(path).frames
        assert numbers_in(frames)[:-1] == list(range(len(frames) - 1))


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("v.mp4", "libx264", "yuv420p"), ("v.mov", "rawvideo", "rgb24"), ("a.mp4", "libsvtav1", "yuv420p"),
        ("v.mkv", "libx264", "yuv420p"), ("w.mkv", "ffv1", "yuv420p"), ("v.webm", "libvpx-vp9", "yuv420p"),
        ("v.avi", "rawvideo", "bgr24"), ("w.avi", "ffv1", "yuv420p"), ("x.avi", "mpeg4", "yuv420p"),
        ("v.ts", "mpeg2video", "yuv420p"), ("v.flv", "flv", "yuv420p"),
    ],
)  # fmt: skip
def test_a_file_that_ends_in_the_middle_of_a_packet(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    """What was whole before is used, and said where the container tells."""
    header = {"movflags": "faststart"} if name.endswith(("mp4", "mov")) else None
    path = encode(tmp_path / name, grainy(24), codec, pixels, header=header)
    content, whole = path.read_bytes(), decode(path).frames
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        ends = sorted((packet.pos, packet.size) for packet in packets if packet.pos is not None and packet.pos >= 0)
    for place in (18, 21):
        at, size = ends[place]
        for part in (0.2, 0.5, 0.9):
            path.write_bytes(content[: at + int(size * part)])
            video = decode(path)
            assert len(video.frames) >= 12
            assert np.array_equal(video.frames[:8], whole[:8])
            chosen = decode(path, choose=lambda times: np.arange(len(times)))
            assert len(chosen.frames) == len(video.frames)
            assert chosen.damage == video.damage
            if path.suffix in (".mp4", ".mov", ".avi", ".mkv", ".webm"):
                assert video.damage is not None


def test_a_cut_file_with_sound_tells_as_well(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 96, 96, "yuv420p"
        voice = container.add_stream("aac", rate=16000, layout="mono")
        for number, pixels in enumerate(grainy(40)):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 640), dtype=np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 640 * number
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(voice.encode(frame))
        container.mux(video.encode())
        container.mux(voice.encode())
    assert decode(path).damage is None
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    assert re.match(r"the file is cut short: (29|30) of about 40 frames decode", str(decode(path).damage))


def wounded(path: Path, numbers: range) -> Path:
    """``path`` with zeros in the middle of its packets ``numbers``."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for number in numbers:
        middle = content.index(packets[number]) + len(packets[number]) // 2
        content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    return path


def grainy(count: int) -> np.ndarray:
    """``counted`` frames that take many bytes."""
    grain = np.random.default_rng(0).integers(-9, 10, (count, 96, 96, 1))
    return (counted(count, 96, 96) + grain).astype(np.uint8)


@pytest.mark.parametrize(("name", "codec"), [("v.avi", "mpeg4"), ("v.mkv", "libx264"), ("v.mov", "libx264")])
def test_damaged_frames_show_the_last_whole_one(tmp_path: Path, name: str, codec: str) -> None:
    """Named, counted, and the same each time; left out before the first whole one; refused where they are most."""
    options = {"g": "1", "bf": "0", **({"q": "2"} if codec == "mpeg4" else {"crf": "9"})}
    path = encode(tmp_path / name, grainy(20), codec, options=options)
    sound = decode(path).frames
    video = decode(wounded(path, range(7, 10)))
    assert video.damage == "3 of 20 frames are damaged"
    assert np.array_equal(video.frames, sound[[*range(7), 6, 6, 6, *range(10, 20)]])
    chosen = decode(path, choose=lambda times: np.arange(len(times))[8::9])
    assert np.array_equal(chosen.frames, sound[[6, 17]])
    video = decode(wounded(path, range(1)), choose=lambda times: np.arange(len(times)))
    assert video.damage == "4 of 20 frames are damaged"
    assert np.array_equal(video.frames, sound[[*range(1, 7), 6, 6, 6, *range(10, 20)]])
    assert re.fullmatch("1[1-3] of 20 frames are damaged", refusal(wounded(path, range(11, 20)), UnreadableVideo))


def test_a_damaged_frame_that_others_refer_to(tmp_path: Path) -> None:
    """With threads FFmpeg neither says so nor conceals it the same way each time."""
    path = wounded(encode(tmp_path / "v.mkv", grainy(20), options={"crf": "9", "bf": "0"}), range(8, 9))
    videos = [decode(path) for _ in range(3)]
    assert {video.damage for video in videos} == {"1 of 20 frames is damaged"}
    assert all(np.array_equal(video.frames, videos[0].frames) for video in videos)


def test_a_last_picture_that_ends_too_early(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.avi", grainy(20), "mjpeg", "yuvj420p", options={"q": "2"})
    content, sound = path.read_bytes(), decode(path).frames
    with av.open(str(path)) as container:
        last = [bytes(packet) for packet in container.demux(video=0) if packet.size][-1]
    path.write_bytes(content[: content.index(last) + len(last) * 9 // 10])
    video = decode(path)
    assert video.damage == "1 of 20 frames is damaged"
    assert np.array_equal(video.frames, sound[[*range(19), 18]])


def test_joined_transport_streams_are_whole(tmp_path: Path) -> None:
    """FFmpeg marks the packet at the joint, which is as good as the others."""
    part = encode(tmp_path / "a.ts", counted(20), options={"crf": "1", "bf": "0"}).read_bytes()
    path = tmp_path / "v.ts"
    path.write_bytes(part + part)
    with av.open(str(path)) as container:
        assert any(packet.is_corrupt for packet in container.demux(video=0))
    video = decode(path)
    assert numbers_in(video.frames) == [*range(20), *range(20)]
    assert video.damage is None


@pytest.mark.parametrize(("name", "codec", "pixels"), [("v.avi", "mjpeg", "yuvj420p"), ("v.mkv", "ffv1", "yuv420p")])
def test_a_file_shorter_than_its_header_says(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    path = encode(tmp_path / name, grainy(40), codec, pixels)
    content = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for count in (30, 10):
        path.write_bytes(content[: content.index(packets[count - 1]) + len(packets[count - 1])])
        if count == 30:
            assert decode(path).damage == "the file is cut short: 30 of about 40 frames decode"
            assert len(decode(path).frames) == 30
        else:
            said = "the file is cut short: 10 of about 40 frames decode"
            assert refusal(path, UnreadableVideo) == said
    path.write_bytes(content[:-8])  # all frames, but not all of the index
    assert decode(path).damage is None


def test_samples_of_no_size_are_no_frames(tmp_path: Path) -> None:
    """As some recorders write a picture that is to stay."""
    path = encode(tmp_path / "v.mov", grainy(20), "mjpeg", "yuvj420p")
    content = bytearray(path.read_bytes())
    place = content.index(b"stsz") + 16
    sizes = list(struct.unpack(">20I", content[place : place + 80]))
    for number in range(3, 20, 4):
        sizes[number - 1], sizes[number] = sizes[number - 1] + sizes[number], 0
    content[place : place + 80] = struct.pack(">20I", *sizes)
    path.write_bytes(content)
    video = decode(path)
    assert len(video.frames) == 15
    assert video.damage is None


def test_a_frame_that_is_not_all_there_is_not_too_large(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.avi", counted(10), "rawvideo", "yuv420p")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(path, UnreadableVideo) == "the file is cut short: 4 of about 10 frames decode"


def test_a_header_that_lies_about_the_number_of_frames(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.avi", counted(10), "mjpeg", "yuvj420p", options={"q": "1"})
    content = bytearray(path.read_bytes())
    place = content.index(b"avih") + 8 + 16
    assert struct.unpack("<I", content[place : place + 4]) == (10,)
    stream = content.index(b"strh") + 8 + 32
    assert struct.unpack("<I", content[stream : stream + 4]) == (10,)
    for claimed in (0, 9, 11, 1_000_000):
        content[place : place + 4] = content[stream : stream + 4] = struct.pack("<I", claimed)
        path.write_bytes(content)
        assert numbers_in(decode(path).frames) == list(range(10))
        assert decode(path, choose=lambda times: np.arange(len(times))).damage is None


def test_pictures_that_are_too_large(tmp_path: Path) -> None:
    """Named before memory is taken for them."""
    path = tmp_path / "huge.gif"
    path.write_bytes(b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x00\x00\x00" + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;")
    assert "frames of more than 67,108,864 pixels are not taken" in refusal(path, UnreadableVideo)
    thin = encode(tmp_path / "thin.mkv", counted(2, 4, 4000), "ffv1", "yuv444p")
    with pytest.raises(UnreadableVideo, match="at most 67,108,864"):
        decode(thin, height=512, width=512, fit="crop")


def test_a_limit_on_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_FRAMES", 7)
    path = encode(tmp_path / "v.mkv", counted(12))
    video = decode(path)
    assert numbers_in(video.frames) == list(range(7))
    assert video.damage == "only the first 7 frames are kept"


def test_half_a_size_is_no_size(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="given together or not at all; given 8 and None"):
        decode(tmp_path / "v.mkv", height=8)


def test_names_and_metadata(tmp_path: Path) -> None:
    """Names that FFmpeg would take for addresses or patterns, or that are no UTF-8; metadata that is none."""
    content = bytearray(encode(tmp_path / "v.avi", counted(5), header={}).read_bytes())
    place = content.index(b"Lavf")
    content[place : place + 4] = b"\xff\xfe\xe9\x80"
    for name in ("http:x.avi", "a%03d.avi", "-.avi", "with space's.avi", os.fsdecode(b"caf\xe9.avi"), "v"):
        (tmp_path / name).write_bytes(content)
        assert numbers_in(decode(tmp_path / name).frames) == list(range(5)), name
    here = Path("http:x.avi")
    here.write_bytes(content)
    assert len(decode(here).frames) == 5


def test_the_best_of_several_streams(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for size in ((16, 16), (64, 96), (32, 32)):
            stream = container.add_stream("libx264", rate=25)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width = size
            streams.append(stream)
        for _ in range(10):
            for stream in streams:
                pixels = np.zeros((stream.height, stream.width, 3), dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode())
    assert decode(path).frames.shape[1:3] in {(16, 16), (64, 96), (32, 32)}
    facts = probe(path)
    assert (facts.streams, facts.audio, facts.frames, facts.codec) == (3, 0, 10, "h264")


def test_probe(tmp_path: Path) -> None:
    facts = probe(encode(tmp_path / "v.mp4", counted(20, 48, 64), rate=10)).as_dict()
    assert facts == {
        "container": "mov,mp4,m4a,3gp,3g2,mj2", "codec": "h264", "pixel_format": "yuv420p", "height": 48, "width": 64,
        "rotation": 0, "mirrored": False, "pixel_aspect": 1.0, "fps": 10.0, "frames": 20, "seconds": 2.0,
        "header_frames": 20, "streams": 1, "audio": 0,
    }  # fmt: skip


def test_odd_real_files(real_videos: Path) -> None:
    expected = {
        "R6llTwEh07w.mp4": (303, 256, 340), "RATRACE_wave_f_nm_np1_fr_goo_37.avi": (72, 240, 560),
        "v_SoccerJuggling_g23_c01.avi": (240, 240, 320), "flipping_a_pancake.mkv": (310, 240, 426),
        "video_90.mov": (3, 568, 320), "h265_video.mp4": (10, 128, 128), "smth-smth-1.webm": (47, 240, 427),
        "v_biking_01_01.mpg": (151, 240, 320), "test_video.mp4": (5, 1, 1),
    }  # fmt: skip
    files = {path.name: path for path in (real_videos / "odd_clips").rglob("*.*")}
    for name, (count, height, width) in expected.items():
        facts = probe(files[name])
        assert (facts.frames, facts.height, facts.width) == (count, height, width), name
        asked: list[int] = []

        def every(times: np.ndarray, asked: list[int] = asked) -> np.ndarray:
            asked.append(len(times))
            return np.arange(len(times))

        assert len(decode(files[name], height=8, width=8, choose=every).frames) == count, name
        assert asked == [count], name
    assert refusal(files["corrupted.mp4"], UnreadableVideo).startswith("it breaks after")
    assert refusal(files["README.md"])
