"""Clips drawn from videos, folders of real files, and the cache."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from stsearch.data.cache import Arrays, cache_folder, load_cached, store
from stsearch.data.decode import NotAVideo, UnreadableVideo, decode
from stsearch.data.folder import FolderRecipe, folder_classes, frame_size, load_folder
from stsearch.data.videos import (
    VideoSet,
    centre_crop,
    channel_statistics,
    evaluation_views,
    frame_positions,
    gather,
    training_batches,
)
from stsearch.errors import UserError, WorldError
from tests.conftest import write_video


def quiet(what: str, done: int, of: int) -> None:
    """No progress."""


def numbered(lengths: list[int], windows: list[float], side: int = 6) -> VideoSet:
    """Videos whose pixels say video and frame: 20 x video + frame in red, row in green, column in blue."""
    frames = torch.zeros(sum(lengths), side, side, 3, dtype=torch.uint8)
    row = 0
    for number, length in enumerate(lengths):
        for t in range(length):
            frames[row, :, :, 0] = 20 * number + t
            row += 1
    frames[..., 1] = torch.arange(side)[None, :, None]
    frames[..., 2] = torch.arange(side)[None, None, :]
    starts = torch.tensor([sum(lengths[:n]) for n in range(len(lengths))])
    labels = torch.arange(len(lengths))
    return VideoSet(frames, starts, torch.tensor(lengths), torch.tensor(windows), labels)


def positions(videos: VideoSet, frames: int, place: float, phase: float) -> list[list[int]]:
    index = torch.arange(len(videos))
    drawn = frame_positions(videos, index, frames, torch.full((len(videos),), place), torch.full((len(videos),), phase))
    return (drawn - videos.starts[:, None]).tolist()


@pytest.mark.parametrize(
    ("length", "window", "frames", "place", "phase", "expected"),
    [
        (8, 8, 8, 0.5, 0.5, [0, 1, 2, 3, 4, 5, 6, 7]),  # a clip as long as its video
        (8, 8, 4, 0.5, 0.5, [1, 3, 5, 7]),  # every second frame
        (16, 8, 8, 0.0, 0.5, [0, 1, 2, 3, 4, 5, 6, 7]),
        (16, 8, 8, 1.0, 0.5, [8, 9, 10, 11, 12, 13, 14, 15]),
        (2, 2, 4, 0.5, 0.5, [0, 0, 1, 1]),  # shorter than the clip: frames repeat
        (1, 1, 4, 0.5, 0.5, [0, 0, 0, 0]),
        (8, 8, 8, 1.0, 0.999, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_where_frames_come_from(
    length: int, window: float, frames: int, place: float, phase: float, expected: list[int]
) -> None:
    assert positions(numbered([length], [window]), frames, place, phase) == [expected]


def test_gather_crops_and_mirrors() -> None:
    videos = numbered([3, 2], [3.0, 2.0])
    where = torch.tensor([[0, 2], [3, 4]])
    clips = gather(videos, where, torch.tensor([1, 0]), torch.tensor([2, 3]), 3, torch.tensor([False, True]))
    assert clips.shape == (2, 3, 2, 3, 3)
    assert clips[0, 0, :, 0, 0].tolist() == [0, 2]
    assert clips[1, 0, :, 0, 0].tolist() == [20, 21]
    assert clips[0, 1, 0].tolist() == [[1] * 3, [2] * 3, [3] * 3]
    assert clips[0, 2, 0].tolist() == [[2, 3, 4]] * 3
    assert clips[1, 2, 0].tolist() == [[5, 4, 3]] * 3
    assert clips.is_contiguous(memory_format=torch.channels_last_3d)


def test_an_epoch_visits_every_video_once_and_depends_on_its_generator() -> None:
    videos = numbered([4] * 9, [4.0] * 9)

    def epoch(seed: int) -> list[tuple[list[int], list[int]]]:
        generator = torch.Generator().manual_seed(seed)
        return [(c.flatten().tolist(), y.tolist()) for c, y in training_batches(videos, 2, 4, 4, True, generator)]

    seen = [label for _, labels in epoch(0) for label in labels]
    assert len(seen) == 8, "nine videos in batches of four: the last batch of one is left out"
    assert len(set(seen)) == 8
    assert epoch(0) == epoch(0) != epoch(1)


def test_views_are_spread_and_not_repeated() -> None:
    long = numbered([40], [8.0])
    starts = [int(view[0, 0]) for view in evaluation_views(long, 8, 10)]
    assert len(starts) == 10
    assert (starts[0], starts[-1]) == (0, 32)
    assert len(evaluation_views(numbered([8, 8], [8.0, 8.0]), 8, 10)) == 1
    with pytest.raises(UserError, match="does not fit in cached frames of 6x6"):
        centre_crop(long, evaluation_views(long, 8, 1)[0], 7)


def test_channel_statistics() -> None:
    frames = torch.zeros(10, 2, 2, 3, dtype=torch.uint8)
    frames[::2, ..., 0] = 200
    mean, std = channel_statistics(frames)
    assert mean == (100.0, 0.0, 0.0)
    assert std == (100.0, 1.0, 1.0)  # never below one grey level


def test_folder_of_real_files(clips: Path) -> None:
    recipe = FolderRecipe(path=str(clips))
    assert folder_classes(recipe) == ("brighter", "darker")
    data = load_folder(recipe, 4, 16, quiet)
    train = data.splits["train"]
    assert (len(train), len(data.splits["val"]), "test" in data.splits) == (8, 4, False)
    assert train.frames.shape == (8 * 12, *frame_size(16), 3)
    assert train.labels.tolist() == [0] * 4 + [1] * 4
    assert train.windows.tolist() == [12.0] * 8  # half a second: shorter than the span of one second
    ramp = train.frames[:12].float().mean((1, 2, 3))
    assert torch.all(ramp[1:] > ramp[:-1]), "frames keep their order"
    assert torch.allclose(ramp, torch.arange(12) * 15.0 + 20, atol=3)


def test_the_cache_is_used_until_content_or_recipe_change(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def progress(what: str, done: int, of: int) -> None:
        decoded.append(done)

    def load(**values: float) -> str:
        decoded.clear()
        return load_folder(FolderRecipe(path=str(clips), **values), 4, 16, progress).fingerprint  # type: ignore[arg-type]

    first = load()
    assert len(decoded) == 12
    assert load() == first
    assert not decoded
    os.utime(clips / "train" / "darker" / "0.mp4")
    assert load() == first, "a file's time does not matter"
    assert not decoded
    assert load(span=0.2) != first
    assert len(decoded) == 12
    shutil.copy(clips / "train" / "darker" / "0.mp4", clips / "train" / "darker" / "9.mp4")
    assert load() != first
    assert len(decoded) == 13


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "index"])
def test_a_damaged_cache_is_named_and_built_again(clips: Path, damage: str) -> None:
    whole = load_folder(FolderRecipe(path=str(clips)), 4, 16, quiet)
    place = cache_folder() / whole.fingerprint
    file = place / "train.frames.npy"
    if damage == "flip":
        content = bytearray(file.read_bytes())
        content[-100] ^= 1
        file.write_bytes(content)
    elif damage == "truncate":
        file.write_bytes(file.read_bytes()[:500])
    elif damage == "remove":
        file.unlink()
    else:
        (place / "index.json").write_text("{")
    again = load_folder(FolderRecipe(path=str(clips)), 4, 16, quiet)
    assert torch.equal(again.splits["train"].frames, whole.splits["train"].frames)
    assert "was damaged" in again.notes[0]
    assert not load_folder(FolderRecipe(path=str(clips)), 4, 16, quiet).notes


def test_a_cache_that_cannot_be_written_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setenv("STSEARCH_CACHE", str(blocker / "inside"))
    with pytest.raises(WorldError, match="cannot write the clip cache"):
        store("key", {"a": np.zeros(3)}, {})


def test_a_cache_is_whole_or_absent() -> None:
    arrays: Arrays = {"a": np.arange(6, dtype=np.int64)}
    store("key", arrays, {"x": 1})
    store("key", arrays, {"x": 1})  # a second worker that was as quick
    cached, warnings = load_cached("key")
    assert cached is not None
    assert not warnings
    assert cached[0]["a"].tolist() == list(range(6))
    assert [path.name for path in cache_folder().iterdir()] == ["key"]


def test_layouts_that_are_wrong(tmp_path: Path, clips: Path) -> None:
    def fault(path: Path) -> str:
        with pytest.raises(UserError) as caught:
            load_folder(FolderRecipe(path=str(path)), 4, 16, quiet)
        return str(caught.value)

    assert "is no folder" in fault(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "has no folder 'train'" in fault(tmp_path / "empty")
    (clips / "val" / "sideways").mkdir()
    assert "classes in 'val' that 'train' has not: sideways" in fault(clips)
    (clips / "train" / "sideways").mkdir()
    assert "the class 'sideways' has no clips in 'train'" in fault(clips)
    assert not cache_folder().exists()


def test_odd_entries_of_a_class_folder(clips: Path) -> None:
    def fault() -> str:
        with pytest.raises(UserError) as caught:
            load_folder(FolderRecipe(path=str(clips)), 4, 16, quiet)
        return str(caught.value)

    (clips / "train" / ".ipynb_checkpoints").mkdir()
    (clips / "train" / "darker" / "._0.mp4").write_text("left there by a file manager")
    assert len(load_folder(FolderRecipe(path=str(clips)), 4, 16, quiet).splits["train"]) == 8
    for name, make in (
        ("pipe.mp4", os.mkfifo), ("folder.mp4", os.mkdir), ("link.mp4", lambda path: os.symlink("nowhere", path)),
    ):  # fmt: skip
        odd = clips / "train" / "darker" / name
        make(odd)
        assert f"{name}' is named like a video and is no file" in fault()
        odd.rmdir() if odd.is_dir() else odd.unlink()


def test_files_that_are_no_video(clips: Path) -> None:
    (clips / "train" / "darker" / "notes.mp4").write_text("not a video")
    with pytest.raises(UserError, match=r"1 file is no video: .*notes\.mp4"):
        load_folder(FolderRecipe(path=str(clips)), 4, 16, quiet)
    assert not cache_folder().exists()
    data = load_folder(FolderRecipe(path=str(clips), unreadable="skip"), 4, 16, quiet)
    assert len(data.splits["train"]) == 8
    assert "1 of 13 videos could not be read and are left out" in data.notes[0]


def test_a_video_that_breaks_is_left_out_and_named(clips: Path) -> None:
    broken = clips / "train" / "darker" / "broken.mpg"
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    write_video(broken, noise, codec="mpeg1video")
    (clips / "val" / "darker" / "no_frames.mp4").write_bytes(_audio_only(clips.parent / "sound.mp4"))
    data = load_folder(FolderRecipe(path=str(clips), unreadable="skip"), 4, 16, quiet)
    assert "no video stream" in data.notes[0]
    assert len(data.splits["train"]) == 9, "noise decodes as it is"


def _audio_only(path: Path) -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


def test_thinning_keeps_at_least_the_rate_asked_for(tmp_path: Path) -> None:
    frames = np.zeros((50, 32, 32, 3), dtype=np.uint8)
    frames[:, :, :] = (np.arange(50) * 5)[:, None, None, None]
    write_video(tmp_path / "v.mp4", frames, fps=50)
    video = decode(tmp_path / "v.mp4", 8, 8, frames=16, span=1)
    assert video.fps == pytest.approx(50 / 3)
    assert np.allclose(video.frames.mean((1, 2, 3)), np.arange(0, 50, 3) * 5, atol=4)
    assert len(decode(tmp_path / "v.mp4", 8, 8, frames=16, span=10).frames) == 17, "a short video is covered whole"


def test_odd_real_files(real_videos: Path) -> None:
    expected = {
        "R6llTwEh07w.mp4": 303, "RATRACE_wave_f_nm_np1_fr_goo_37.avi": 72, "v_SoccerJuggling_g23_c01.avi": 240,
        "flipping_a_pancake.mkv": 310, "video_90.mov": 3, "h265_video.mp4": 10, "smth-smth-1.webm": 47,
        "v_biking_01_01.mpg": 151, "test_video.mp4": 5,
    }  # fmt: skip
    files = {path.name: path for path in (real_videos / "odd_clips").rglob("*.*")}
    assert {name: len(decode(files[name], 8, 8, frames=1e9, span=1).frames) for name in expected} == expected
    with pytest.raises(UnreadableVideo):
        decode(files["corrupted.mp4"], 8, 8, frames=1e9, span=1)
    with pytest.raises(NotAVideo):
        decode(files["README.md"], 8, 8, frames=1e9, span=1)
