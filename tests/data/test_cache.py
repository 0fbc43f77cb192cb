"""The cache of decoded videos: real files, real processes that are killed, real disks that are full."""

from __future__ import annotations

import gc
import json
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

import stsearch.data.cache as cache_module
from stsearch.data.build import estimate, load_videos
from stsearch.data.cache import cache_folder, list_caches, prune, verify
from stsearch.data.jobs import frame_size, make_job
from stsearch.data.journal import read_rows
from stsearch.data.listing import Entry, Listing
from stsearch.data.recipe import VideoRecipe
from stsearch.data.stored import StoredFrames
from stsearch.data.twice import in_two_splits
from stsearch.data.videos import ClipData, channel_statistics
from stsearch.errors import UserError, WorldError
from tests.conftest import write_video

FRAMES, SIZE = 4, 16
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["stsearch.data.build", "tests.data.test_cache"])


class Said:
    """What progress was told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int, int]] = []

    def __call__(self, what: str, done: int, of: int) -> None:
        self.lines.append((what, done, of))

    def decoded(self) -> int:
        """Videos that were decoded: the first line says how many were there already."""
        lines = [line for line in self.lines if line[0] == "decoding videos"]
        return len(lines) - 1 if lines else 0

    def of(self, what: str) -> list[tuple[int, int]]:
        return [(done, of) for name, done, of in self.lines if what in name]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 videos of 16 frames, 64 x 48, each of another grey that becomes brighter."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(40):
        ramp = (np.arange(16) * 8 + 3 * number).astype(np.uint8)
        frames = np.broadcast_to(ramp[:, None, None, None], (16, 48, 64, 3)).copy()
        frames[:, : number + 4, :20, 0] = 200
        write_video(root / f"{number:02}.mp4", frames)
    return root


@pytest.fixture
def own(videos: Path, tmp_path: Path) -> Path:
    """A copy of the videos that a test may change."""
    return Path(shutil.copytree(videos, tmp_path / "own"))


def listing_of(root: Path) -> Listing:
    """The first 28 for training, 12 for validation; two classes in turn."""
    paths = sorted(root.iterdir())
    entries = tuple(
        Entry(path, path.name, number % 2, "train" if number < 28 else "val") for number, path in enumerate(paths)
    )
    return Listing(entries, ("even", "odd"), flip=False)


def recipe_of(root: Path, **values: Any) -> VideoRecipe:
    return VideoRecipe(path=str(root), **values)


def load(root: Path, said: Said | None = None, size: int = SIZE, **values: Any) -> ClipData:
    return load_videos(listing_of(root), recipe_of(root, **values), FRAMES, size, said or Said())


def key_of(listing: Listing, recipe: VideoRecipe, frames: int = FRAMES, size: int = SIZE) -> str:
    return make_job(listing, recipe, frames, size, Said()).index.key


def content(folder: Path) -> dict[str, bytes]:
    """All files of a cache but the note of its last check."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "checked.json"}


def stored(data: ClipData, split: str) -> StoredFrames:
    frames = data.splits[split].frames
    assert isinstance(frames, StoredFrames)
    return frames


def build_elsewhere(root: str, cache: str, size: int, report: str, limit: int | None = None) -> None:
    """What the child processes do: build, and write down what was said or what went wrong."""
    os.environ["STSEARCH_CACHE"] = cache
    torch.set_num_threads(1)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    said = Said()
    try:
        load(Path(root), said, size)
        Path(report).write_text(json.dumps(said.lines))
    except WorldError as error:
        Path(report).write_text(str(error))


def child(*arguments: object) -> Any:
    process = PROCESSES.Process(target=build_elsewhere, args=arguments)
    process.start()
    return process


def test_what_is_loaded(videos: Path) -> None:
    said = Said()
    data = load(videos, said)
    train, val = data.splits["train"], data.splits["val"]
    assert (len(train), len(val), "test" in data.splits, said.decoded()) == (28, 12, False, 40)
    height, width = frame_size(recipe_of(videos), SIZE)
    # 0.64 s of video: shorter than a clip's second, so 2 x 4 frames of each are kept
    assert stored(data, "train").shape == (28 * 8, height, width, 3)
    assert train.starts.tolist() == list(range(0, 28 * 8, 8))
    assert train.lengths.tolist() == train.windows.tolist() == [8] * 28
    assert train.labels.tolist() == [0, 1] * 14
    frames = stored(data, "val").mapped()
    ramps = frames.view(12, 8, height, width, 3)[:, :, -1, -1].float().mean(-1)
    expected = torch.tensor([[3 * number + 8 * (2 * t + 1) for t in range(8)] for number in range(28, 40)])
    assert torch.allclose(ramps, expected.float().clamp(max=255), atol=12)
    mean, std = channel_statistics(stored(data, "train").mapped())
    assert data.mean == pytest.approx(mean)
    assert data.std == pytest.approx(std)
    assert not data.notes


def test_it_is_decoded_once(videos: Path) -> None:
    first, said = load(videos), Said()
    again = load(videos, said)
    assert not said.of("decoding")
    assert again.fingerprint == first.fingerprint
    assert stored(again, "val") == stored(first, "val")
    assert torch.equal(stored(again, "val").mapped(), stored(first, "val").mapped())
    assert {path.name for path in cache_folder().iterdir()} == {first.fingerprint}


def test_what_changes_the_key(own: Path) -> None:
    listing, recipe = listing_of(own), recipe_of(own)
    key = key_of(listing, recipe)
    first = listing.entries[0]

    def entry(**values: Any) -> str:
        return key_of(replace(listing, entries=(replace(first, **values), *listing.entries[1:])), recipe)

    def file(where: int) -> str:
        whole = first.path.read_bytes()
        changed = bytearray(whole)
        changed[where] ^= 1
        first.path.write_bytes(changed)
        try:
            return key_of(listing, recipe)
        finally:
            first.path.write_bytes(whole)

    other = [
        entry(name="a.mp4"), entry(label=1), file(3), file(-1), key_of(listing, recipe, frames=8),
        key_of(listing, recipe, size=32), key_of(replace(listing, entries=listing.entries[1:]), recipe),
    ]  # fmt: skip
    settings: dict[str, Any] = {
        "span": 0.5, "windows": 3, "fps": 5.0, "short_side": 20, "fit": "crop", "modality": "flow",
        "decoder": "torchcodec",
    }  # fmt: skip
    other += [key_of(listing, recipe_of(own, **{name: value})) for name, value in settings.items()]
    assert key not in other
    assert len(set(other)) == len(other)

    os.utime(first.path)
    moved = Path(shutil.copytree(own, own.parent / "moved"))
    same = [
        key_of(listing, recipe), key_of(listing_of(moved), recipe_of(moved)),
        key_of(listing, recipe_of(own, flip=True, max_unreadable=0.5)),
        key_of(replace(listing, flip=True, notes=("a note",)), recipe),
    ]  # fmt: skip
    assert set(same) == {key}


def test_a_last_video_moved_to_another_split_changes_the_key(videos: Path) -> None:
    listing = listing_of(videos)
    last = replace(listing.entries[-1], split="test")
    changed = replace(listing, entries=(*listing.entries[:-1], last))
    assert key_of(changed, recipe_of(videos)) != key_of(listing, recipe_of(videos))
    assert len(load_videos(changed, recipe_of(videos), FRAMES, SIZE, Said()).splits["test"]) == 1


def test_files_that_cannot_be_listed(own: Path) -> None:
    listing = listing_of(own)
    (own / "07.mp4").unlink()
    (own / "05.mp4").unlink()
    os.mkfifo(own / "05.mp4")
    data = load_videos(listing, recipe_of(own), FRAMES, SIZE, Said())
    (note,) = data.notes
    count = len(listing.entries)
    assert note.startswith(f"2 of {count} videos could not be read and are left out: 05.mp4: it is no file; 07.mp4: No")
    assert sum(map(len, data.splits.values())) == count - 2
    assert load_videos(listing, recipe_of(own), FRAMES, SIZE, Said()).fingerprint == data.fingerprint
    with pytest.raises(UserError, match=rf"2 of {count} videos cannot be read: 05\.mp4: it is no file"):
        load_videos(listing, recipe_of(own, max_unreadable=0.0), FRAMES, SIZE, Said())
    with pytest.raises(UserError, match=r"data.short_side: 12 is smaller than a clip of 16x16 pixels"):
        load(own, short_side=12)


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_the_same(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 112
    whole = content(cache_folder() / load(videos, size=size).fingerprint)
    draw = random.Random(0)
    kept = []
    for number in range(10):
        home = tmp_path / f"cache{number}"
        process = child(str(videos), str(home), size, str(tmp_path / "said"))
        lines = draw.randrange(0, 36)
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            journals = list(home.glob("*.building/journal.jsonl"))
            if journals and journals[0].read_bytes().count(b"\n") >= lines:
                break
            time.sleep(0.001)
        time.sleep(draw.random() * 0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        [folder] = home.glob("*.building")
        there = len(read_rows(folder))
        assert there >= lines

        monkeypatch.setenv("STSEARCH_CACHE", str(home))
        said = Said()
        data = load(videos, said, size)
        first = said.of("decoding videos")[:1]
        assert first == [(there, 40)] * (there < 40), "nothing that is in the journal is decoded again"
        assert said.decoded() == 40 - there
        assert not said.of("again")
        assert content(home / data.fingerprint) == whole
        assert not data.notes
        kept.append(there)
    assert len(set(kept)) > 3


@pytest.mark.slow
def test_interrupted_with_ctrl_c_it_goes_on(videos: Path) -> None:
    def stop(what: str, done: int, of: int) -> None:
        if what == "decoding videos" and done == 9:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        load_videos(listing_of(videos), recipe_of(videos), FRAMES, SIZE, stop)
    [partial] = list_caches()
    assert (partial.whole, partial.done, partial.videos) == (False, 9, 40)
    said = Said()
    load(videos, said)
    assert said.decoded() == 31


def test_a_journal_that_is_ahead_of_its_frames(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a power cut may leave it."""
    data = load(videos)
    whole = cache_folder() / data.fingerprint
    for name, damage in (("short", -1), ("hole", 0), ("gone", None)):
        home = tmp_path / name
        folder = Path(shutil.copytree(whole, home / f"{data.fingerprint}.building"))
        journal = (folder / "journal.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "journal.jsonl").write_bytes(b"".join(journal[:20]) + journal[20][:30])
        frames = folder / "frames.bin"
        if damage is None:
            frames.unlink()
        elif damage:
            os.truncate(frames, stored(data, "train").nbytes // 28 * 19)
        else:
            with frames.open("r+b") as stream:
                stream.write(bytes(5000))
        monkeypatch.setenv("STSEARCH_CACHE", str(home))
        said = Said()
        load(videos, said)
        assert content(home / data.fingerprint) == content(whole)
        assert len(said.of("again")) == (20 if damage is None else 1)
        assert said.decoded() == 20


@pytest.mark.slow
def test_two_processes_at_once_build_once(videos: Path, tmp_path: Path) -> None:
    home = tmp_path / "shared"
    processes = [child(str(videos), str(home), 112, str(tmp_path / f"said{number}")) for number in range(2)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    decoded = []
    for number in range(2):
        said = Said()
        said.lines = [tuple(line) for line in json.loads((tmp_path / f"said{number}").read_text())]
        decoded.append(said.decoded())
    assert sorted(decoded) == [0, 40]


def test_who_waits_says_for_what(videos: Path) -> None:
    """The lock is held by a process that dies; that lets the waiting one go on."""
    key = key_of(listing_of(videos), recipe_of(videos))
    cache_folder().mkdir()
    script = (
        "import time; from filelock import FileLock\n"
        f"with FileLock({str(cache_folder() / f'.{key}.lock')!r}): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        said = Said()

        def progress(what: str, done: int, of: int) -> None:
            said(what, done, of)
            if "waiting" in what:
                holder.kill()

        load_videos(listing_of(videos), recipe_of(videos), FRAMES, SIZE, progress)
    assert said.of("waiting for another process that decodes these videos")[0] == (0, 40)
    assert said.decoded() == 40


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    gc.collect()  # what still holds a cache keeps the disk busy
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_too_small(videos: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STSEARCH_CACHE", str(small_disk))
    said = Said()
    with pytest.raises(
        WorldError, match=r"needs about 0\.02 GB more for 40 videos and .*/disk has 0\.00 GB free"
    ) as one:
        load(videos, said, 112)
    assert "STSEARCH_CACHE" in str(one.value)
    assert "\n" not in str(one.value)
    assert not said.of("decoding")
    assert len(load(videos).splits["train"]) == 28, "small clips fit"


def test_a_disk_that_becomes_full(videos: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = content(cache_folder() / load(videos).fingerprint)
    monkeypatch.setenv("STSEARCH_CACHE", str(small_disk))
    ballast = small_disk / "ballast"

    def fill(what: str, done: int, of: int) -> None:
        if what == "decoding videos" and done == 10:
            with pytest.raises(OSError, match="No space left"):
                ballast.write_bytes(bytes(5_000_000))

    with pytest.raises(WorldError, match=r"No space left on device. Free some space") as one:
        load_videos(listing_of(videos), recipe_of(videos), FRAMES, SIZE, fill)
    assert "\n" not in str(one.value)
    [partial] = list_caches()
    assert not partial.whole
    assert 10 <= partial.done < 40
    ballast.unlink()
    said = Said()
    data = load(videos, said)
    assert said.decoded() == 40 - partial.done
    assert content(small_disk / data.fingerprint) == whole


@pytest.mark.slow
def test_a_file_that_may_not_grow(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, report = tmp_path / "cache2", tmp_path / "said"
    process = child(str(videos), str(home), SIZE, str(report), 200_000)
    process.join()
    assert process.exitcode == 0
    assert report.read_text().startswith(f"cannot write the clip cache in {home}: File too large.")
    monkeypatch.setenv("STSEARCH_CACHE", str(home))
    [partial] = list_caches()
    said = Said()
    load(videos, said)
    assert 0 < partial.done < 40
    assert said.decoded() == 40 - partial.done


def test_places_that_cannot_be_written(
    videos: Path, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    for place in (blocker, blocker / "inside"):
        monkeypatch.setenv("STSEARCH_CACHE", str(place))
        with pytest.raises(WorldError, match=f"cannot write the clip cache in {place}: ") as one:
            load(videos)
        assert "\n" not in str(one.value)
    monkeypatch.setenv("STSEARCH_CACHE", str(small_disk))
    data = load(videos)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert load(videos).fingerprint == data.fingerprint, "a whole cache may be read-only"
    with pytest.raises(WorldError, match="Read-only file system"):
        load(videos, windows=2)


@pytest.mark.parametrize("damage", ["flip", "short", "gone", "journal", "no journal", "index", "no index"])
def test_a_damaged_cache_is_mended(videos: Path, damage: str) -> None:
    data = load(videos)
    folder = cache_folder() / data.fingerprint
    whole = content(folder)
    name = {"journal": "journal.jsonl", "index": "index.json"}.get(damage.removeprefix("no "), "frames.bin")
    file = folder / name
    about = file.stat()
    if damage.startswith("no ") or damage == "gone":
        file.unlink()
    else:
        changed = bytearray(file.read_bytes())
        changed[len(changed) // 2] ^= 1
        file.write_bytes(changed[:-1] if damage == "short" else changed)
        os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    said = Said()
    again = load(videos, said)
    assert content(folder) == whole
    [note] = again.notes
    assert "was damaged" in note
    decoded = {"journal": 20, "no journal": 40, "flip": 1, "short": 2, "gone": 40}.get(damage, 0)
    assert f"is mended: {decoded} of 40 videos were decoded again" in note
    assert said.decoded() + len(said.of("again")) == decoded
    assert not load(videos).notes
    if damage == "flip":
        assert "20.mp4" in note


def test_a_large_cache_is_checked_in_turn(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bit that flips without a trace in a cache that is too large to be read at every start."""
    data = load(videos)
    one = stored(data, "train").nbytes // 28
    monkeypatch.setattr(cache_module, "CHECKED_AT_ONCE", 4 * one)
    frames = cache_folder() / data.fingerprint / "frames.bin"
    about = frames.stat()
    with frames.open("r+b") as stream:
        stream.seek(18 * one + 5)
        byte = stream.read(1)[0]
        stream.seek(18 * one + 5)
        stream.write(bytes([byte ^ 16]))
    os.utime(frames, ns=(about.st_atime_ns, about.st_mtime_ns))
    for _load in range(4):
        said = Said()
        assert not load(videos, said).notes
        assert len(said.of("checking")) == 4
    assert "18.mp4" in load(videos).notes[0], "videos 16 to 19 are checked at the fifth load"
    os.utime(frames)
    said = Said()
    load(videos, said)
    assert len(said.of("checking")) == 40, "a file that was written is checked as a whole"


def spoil(root: Path) -> None:
    """Three of 40 files that cannot be read: text, nothing, and a film without its frames."""
    (root / "03.mp4").write_text("not a video")
    (root / "08.mp4").write_bytes(b"")
    (root / "30.mp4").write_bytes((root / "30.mp4").read_bytes()[:200])


def test_unreadable_files_are_left_out_and_named(own: Path) -> None:
    spoil(own)
    data = load(own, max_unreadable=0.075)
    assert (len(data.splits["train"]), len(data.splits["val"])) == (26, 11)
    assert data.splits["train"].labels.tolist() == [number % 2 for number in range(28) if number not in (3, 8)]
    folder = cache_folder() / data.fingerprint
    [note] = data.notes
    assert note.startswith("3 of 40 videos could not be read and are left out: 03.mp4: ")
    assert f"(all in {folder / 'unreadable.txt'})" in note
    assert [line.partition(": ")[0] for line in (folder / "unreadable.txt").read_text().splitlines()] == [
        "03.mp4", "08.mp4", "30.mp4",
    ]  # fmt: skip
    said = Said()
    assert load(own, said, max_unreadable=0.1).notes == data.notes
    assert not said.of("decoding")
    with pytest.raises(UserError, match=r"data.max_unreadable: 0 allows 0"):
        load(own, max_unreadable=0)


def test_too_many_unreadable_files_stop(own: Path) -> None:
    spoil(own)
    with pytest.raises(UserError) as one:
        load(own, max_unreadable=0.05)
    text = str(one.value)
    assert text.startswith("3 of 40 videos cannot be read (31 were tried): 03.mp4: ")
    assert "data.max_unreadable: 0.05 allows 2" in text
    assert "\n" not in text
    said = Said()
    load(own, said, max_unreadable=0.5)
    assert said.decoded() == 40 - 31, "what was decoded is kept"


def test_a_class_without_a_readable_video(own: Path) -> None:
    for number in range(29, 40, 2):
        (own / f"{number}.mp4").write_text("not a video")
    with pytest.raises(UserError, match=r"no video of the class odd in 'val' can be read: 29.mp4: "):
        load(own, max_unreadable=0.5)


def test_nothing_is_readable(own: Path) -> None:
    for path in own.iterdir():
        path.write_text("not a video")
    with pytest.raises(UserError, match="no video of the classes even, odd in 'train' can be read"):
        load(own, max_unreadable=1)


def test_a_file_that_changes_while_it_is_decoded(own: Path) -> None:
    def change(what: str, done: int, of: int) -> None:
        if (what, done) == ("decoding videos", 1):
            (own / "30.mp4").unlink()

    with pytest.raises(WorldError, match=r"30\.mp4 is gone while videos are decoded"):
        load_videos(listing_of(own), recipe_of(own), FRAMES, SIZE, change)
    assert not any(row.unreadable for row in read_rows(list_caches()[0].folder))


def test_the_size_is_known_before(videos: Path) -> None:
    for values in ({}, {"fps": 25.0}, {"short_side": 40}, {"windows": 2, "span": 0.2}):
        about = estimate(listing_of(videos), recipe_of(videos, **values), FRAMES, SIZE)
        data = load(videos, **values)
        assert about.nbytes == stored(data, "train").nbytes + stored(data, "val").nbytes
        assert (about.videos, about.sampled) == (40, 32)


def test_windows_of_a_long_video(tmp_path: Path) -> None:
    """8 s at 25 per second, two windows of 1 s: the first and the last second."""
    ramp = np.arange(200).astype(np.uint8)
    write_video(tmp_path / "v" / "0.mp4", np.broadcast_to(ramp[:, None, None, None], (200, 48, 64, 3)))
    entries = tuple(Entry(tmp_path / "v" / "0.mp4", split, 0, split) for split in ("train", "val"))
    data = load_videos(
        Listing(entries, ("a",), True), recipe_of(tmp_path, windows=2), FRAMES, SIZE, Said()
    )  # fmt: skip
    train = data.splits["train"]
    assert (train.segments.tolist(), train.lengths.tolist(), train.windows.tolist()) == ([2], [16], [8.0])
    grey = stored(data, "train").mapped().float().mean((1, 2, 3))
    assert grey[:8].max() < 30
    assert grey[8:].min() > 170
    assert data.flip
    assert not load_videos(
        Listing(entries, ("a",), True), recipe_of(tmp_path, windows=2, flip=False), FRAMES, SIZE, Said()
    ).flip


def test_flow_is_cached_as_two_channels(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="optical flow needs OpenCV")
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    frames = np.stack([np.roll(noise, 2 * t, axis=1) for t in range(16)])
    for split in ("train", "val"):
        write_video(tmp_path / "v" / f"{split}.mp4", frames)
    entries = tuple(Entry(tmp_path / "v" / f"{split}.mp4", split, 0, split) for split in ("train", "val"))
    recipe = recipe_of(tmp_path, modality="flow", fps=25.0, short_side=96)
    data = load_videos(Listing(entries, ("right",), True), recipe, 8, 64, Said())
    assert stored(data, "train").shape == (16, 96, 128, 2)
    assert (data.modality, data.channels, len(data.mean), len(data.std)) == ("flow", 2, 2, 2)
    x, y = stored(data, "train").mapped()[:, 24:72, 32:96].float().median(0).values.median(0).values.median(0).values
    assert (x - 127.5) * 20 / 127.5 == pytest.approx(2, abs=0.4)
    assert (y - 127.5) * 20 / 127.5 == pytest.approx(0, abs=0.3)


def peak(videos: str, cache: str, copies: int, report: str) -> None:
    """How much the memory of a process grows while it builds a cache of many videos."""
    os.environ["STSEARCH_CACHE"] = cache
    torch.set_num_threads(1)
    path = Path(videos) / "00.mp4"
    split = ["train"] * (copies - 1) + ["val"]
    entries = tuple(Entry(path, f"{number}", 0, split[number]) for number in range(copies))
    recipe = recipe_of(Path(videos), fps=25.0)
    load_videos(Listing(entries[-2:], ("a",), True), recipe, FRAMES, 112, Said())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    load_videos(Listing(entries, ("a",), True), recipe, FRAMES, 112, Said())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    Path(report).write_text(str(grown * 1024))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in other units elsewhere")
def test_memory_does_not_grow_with_the_number_of_videos(videos: Path, tmp_path: Path) -> None:
    process = PROCESSES.Process(target=peak, args=(str(videos), str(tmp_path / "c"), 300, str(tmp_path / "grown")))
    process.start()
    process.join()
    assert process.exitcode == 0
    written = max(path.stat().st_size for path in (tmp_path / "c").rglob("frames.bin"))
    assert written == 300 * 16 * 128 * 171 * 3
    assert int((tmp_path / "grown").read_text()) < 80e6 < written / 3


def read_under_a_limit(path: str, report: str) -> None:
    """Read a file of 64 GB with 1 GB of address space beyond what is used already."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
    count = (64 << 30) // 3000
    frames = StoredFrames(Path(path), 0, (count, 25, 40, 3))
    values = frames.read(torch.tensor([[0, 1], [count - 1, count // 2]]))[:, :, 0, 0, 0].tolist()
    try:
        frames.mapped()
    except WorldError as error:
        Path(report).write_text(f"{values} {error}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="address space cannot be limited elsewhere")
def test_a_file_larger_than_the_address_space_is_read(tmp_path: Path) -> None:
    count = (64 << 30) // 3000
    with (tmp_path / "frames.bin").open("wb") as stream:
        for number, value in ((0, 7), (count // 2, 8), (count - 1, 9)):
            stream.seek(number * 3000)
            stream.write(bytes([value]) * 3000)
    process = PROCESSES.Process(target=read_under_a_limit, args=(str(tmp_path / "frames.bin"), str(tmp_path / "said")))
    process.start()
    process.join()
    assert process.exitcode == 0
    said = (tmp_path / "said").read_text()
    assert said.startswith("[[7, 0], [9, 8]] cannot map 68,7")
    assert "Cannot allocate memory" in said


def test_stored_frames(tmp_path: Path) -> None:
    path = tmp_path / "frames.bin"
    whole = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3000, 3, 5, 2), dtype=np.uint8))
    path.write_bytes(whole.numpy().tobytes())
    frames = StoredFrames(path, 700, (2300, 3, 5, 2))
    part = whole[700:]
    assert (len(frames), frames.nbytes) == (2300, part.numel())
    assert torch.equal(frames.mapped(), part)
    generator = torch.Generator().manual_seed(0)
    for positions in (
        torch.randint(0, 2300, (7, 40), generator=generator),
        torch.tensor([[5, 5, 6], [6, 5, 2299]]),
        torch.arange(2300)[None],
        torch.arange(2299, -1, -1).view(2, 1150),
        torch.empty(0, 4, dtype=torch.long),
    ):
        assert torch.equal(frames.read(positions), part[positions])
    for beyond in (-1, 2300):
        with pytest.raises(AssertionError, match="beyond the frames"):
            frames.read(torch.tensor([[0, beyond]]))


def test_each_frame_is_read_once_and_neighbours_in_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "frames.bin"
    path.write_bytes(bytes(range(100)) * 12)
    calls = []
    preadv = os.preadv

    def counted(file: int, buffers: list[memoryview], offset: int) -> int:
        calls.append((offset // 12, len(buffers)))
        return preadv(file, buffers, offset)

    monkeypatch.setattr(os, "preadv", counted)
    StoredFrames(path, 0, (100, 2, 2, 3)).read(torch.tensor([[7, 8, 9, 9], [40, 8, 10, 41]]))
    assert calls == [(7, 4), (40, 2)]


def test_a_file_that_vanishes_or_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "frames.bin"
    path.write_bytes(bytes(1200))
    frames = StoredFrames(path, 0, (100, 2, 2, 3))
    os.truncate(path, 1190)
    tries: tuple[Callable[[], torch.Tensor], ...] = (lambda: frames.read(torch.tensor([[98, 99]])), frames.mapped)
    for read in tries:
        with pytest.raises(WorldError, match="became shorter while it was in use"):
            read()
    assert not frames.read(torch.tensor([[98]])).any()
    path.unlink()
    for read in tries:
        with pytest.raises(WorldError, match=r"No such file or directory. Was it removed meanwhile"):
            read()


def test_caches_are_listed_verified_and_removed(own: Path) -> None:
    assert not list_caches()
    spoil(own)
    data = load(own, max_unreadable=1)
    with pytest.raises(UserError, match="3 of 40 videos cannot be read"):
        load(own, windows=3, max_unreadable=0.05)
    by_state = {facts.whole: facts for facts in list_caches()}
    whole, partial = by_state[True], by_state[False]
    assert (whole.key, whole.videos, whole.done, whole.unreadable) == (data.fingerprint, 40, 40, 3)
    assert (partial.videos, partial.done, partial.unreadable) == (40, 31, 3)
    assert whole.source == {"name": "videos", "path": str(own)}
    assert (whole.clip["frames"], whole.clip["windows"], partial.clip["windows"]) == (FRAMES, 10, 3)
    assert whole.nbytes == sum(path.stat().st_size for path in whole.folder.iterdir())
    assert not whole.damage
    assert verify(whole.key, Said()) == verify(partial.key[:12], Said()) == []
    with pytest.raises(UserError, match="unknown clip cache 'nonsense'"):
        verify("nonsense", Said())

    frames = whole.folder / "frames.bin"
    about = frames.stat()
    changed = bytearray(frames.read_bytes())
    changed[-1] ^= 1
    frames.write_bytes(changed)
    os.utime(frames, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert verify(whole.key, Said()) == ["39.mp4: its frames do not match their checksum"]
    (whole.folder / "index.json").write_text("{")
    assert verify(whole.key, Said()) == ["index.json is broken"]
    assert list_caches()[0].source == {} or list_caches()[1].source == {}


def test_pruning_leaves_what_is_built_and_what_is_no_cache(videos: Path) -> None:
    keys = [load(videos, windows=number).fingerprint for number in (1, 2, 3)]
    foreign = cache_folder() / "thesis"
    foreign.mkdir()
    with FileLock(cache_folder() / f".{keys[0]}.lock"):
        removed, busy = prune(keys[:2])
    assert ([facts.key for facts in removed], [(facts.key, why) for facts, why in busy]) == (
        [keys[1]],
        [(keys[0], "it is being built")],
    )
    os.utime(cache_folder() / keys[2], (0, 0))
    for path in (cache_folder() / keys[2]).iterdir():
        os.utime(path, (0, 0))
    assert prune(partial=True) == ([], [])
    removed, _ = prune(unused_s=3600)
    assert [facts.key for facts in removed] == [keys[2]]
    removed, _ = prune(everything=True)
    assert [facts.key for facts in removed] == [keys[0]]
    assert not list_caches()
    assert {path.name for path in cache_folder().iterdir() if path.is_dir()} == {"thesis"}
    data = load(videos, windows=1)
    assert data.fingerprint == keys[0], "it is built again when it is needed"
    assert math.prod(stored(data, "val").shape) == stored(data, "val").nbytes


def hold_elsewhere(root: str, cache: str, ready: str) -> None:
    """A process that reads a cache until it is killed."""
    os.environ["STSEARCH_CACHE"] = cache
    data = load(Path(root))
    Path(ready).write_text(data.fingerprint)
    signal.pause()


def test_pruning_leaves_what_is_read(videos: Path, tmp_path: Path) -> None:
    data = load(videos)
    folder = cache_folder() / data.fingerprint
    assert [why for _, why in prune(everything=True)[1]] == ["it is being read"]
    again = load(videos)
    del data
    assert [why for _, why in prune([again.fingerprint])[1]] == ["it is being read"], "another one still reads it"
    for path in (*folder.iterdir(), folder):
        os.utime(path, (0, 0))
    assert list_caches()[0].used == 0
    begun = time.time()
    del again
    assert list_caches()[0].used > begun - 60, "it was read until now"
    assert prune(unused_s=3600) == ([], [])

    process = PROCESSES.Process(target=hold_elsewhere, args=(str(videos), str(cache_folder()), str(tmp_path / "ready")))
    process.start()
    try:
        while not (tmp_path / "ready").exists() and process.is_alive():
            time.sleep(0.05)
        assert [why for _, why in prune(everything=True)[1]] == ["it is being read"]
    finally:
        process.kill()
        process.join()
    assert [facts.key for facts in prune(everything=True)[0]] == [folder.name], "who was killed holds nothing"


def test_no_lock_files_stay(videos: Path) -> None:
    load(videos)
    assert not list(cache_folder().glob(".*")), "built"
    (cache_folder() / f".{'a' * 24}.lock").touch()  # as a killed process leaves it
    with FileLock(cache_folder() / f".{'b' * 24}.lock"):
        prune(everything=True)
        assert [path.name for path in cache_folder().iterdir()] == [f".{'b' * 24}.lock"]
    prune(everything=True)
    assert not list(cache_folder().iterdir())


def test_a_video_in_two_splits_is_named(own: Path) -> None:
    listing = listing_of(own)
    train = next(entry for entry in listing.entries if entry.split == "train")
    val = [entry for entry in listing.entries if entry.split == "val"]
    assert not any("byte for byte" in note for note in load(own).notes)
    shutil.copy(train.path, val[0].path)
    for entry in val[1:3]:
        entry.path.write_bytes(b"")  # unreadable ones are no videos
    assert load(own).notes[-1] == (
        "1 video is in 'train' and in 'val', byte for byte, so accuracy on 'val' will flatter: "
        f"{train.name} is {val[0].name}"
    )


def test_large_files_with_the_same_ends_are_compared_whole(tmp_path: Path) -> None:
    for name, middle in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(bytes(100_000) + middle + bytes(100_000))
    splits = {"a": "train", "b": "val", "c": "test"}
    entries = [Entry(tmp_path / name, name, 0, split) for name, split in splits.items()]
    [note] = in_two_splits(entries, [("alike", 200_001)] * 3, 131_072)
    assert note.startswith("1 video is in 'train' and in 'test', byte for byte")


def test_real_videos(real_videos: Path) -> None:
    """Odd files of many formats, of which one breaks in the middle."""
    paths = sorted(path for path in (real_videos / "odd_clips").rglob("*.*") if path.is_file())
    entries = tuple(Entry(path, path.name, 0, split) for split in ("train", "val") for path in paths)
    recipe = recipe_of(real_videos, max_unreadable=0.5)
    data = load_videos(Listing(entries, ("odd",), True), recipe, 8, 32, Said())
    assert "could not be read and are left out" in data.notes[0]
    assert "corrupted.mp4: " in (cache_folder() / data.fingerprint / "unreadable.txt").read_text()
    left = len(data.splits["train"])
    assert left == len(data.splits["val"])
    assert torch.equal(stored(data, "train").mapped(), stored(data, "val").mapped())
    assert 0 < left <= len(paths)
