"""Clips decoded whenever they are needed: those of the cache bit for bit, and no cache."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from stsearch.cli import main
from stsearch.data.augment import Augment, evaluation_views, training_cuts, view_cuts
from stsearch.data.folder import FolderRecipe
from stsearch.data.loader import batches, resident
from stsearch.data.sources import open_data
from stsearch.data.streamed import StreamedFrames
from stsearch.data.videos import ClipData
from stsearch.errors import UserError, WorldError
from stsearch.evaluate.weights import read_weights
from tests.conftest import awaited

CPU = torch.device("cpu")
FRAMES, SIZE = 8, 24


@pytest.fixture
def filmed(real_videos: Path, tmp_path: Path) -> Path:
    """Real clips of mouths, two letters; one file is no video, one is cut short, one letter has a long video."""
    root = tmp_path / "filmed"
    for split, count in (("train", 8), ("val", 4)):
        for letter in ("A", "W"):
            (root / split / letter).mkdir(parents=True)
            for path in sorted((real_videos / "avletters" / split / letter).iterdir())[:count]:
                shutil.copy(path, root / split / letter)
    spoilt = sorted((root / "train" / "A").iterdir())
    spoilt[0].write_bytes(b"<html>not here</html>")
    cut = spoilt[1].read_bytes()
    spoilt[1].write_bytes(cut[: len(cut) * 4 // 5])
    shutil.copy(sorted((real_videos / "weizmann").rglob("*.mp4"))[0], root / "train" / "W" / "long.mp4")
    return root


def load(root: Path, *, stream: bool, **values: object) -> ClipData:
    recipe = FolderRecipe(name="folder", path=str(root), stream=stream, **values)  # type: ignore[arg-type]
    return open_data(recipe).load(FRAMES, SIZE, lambda what, done, of: None)


def epoch(data: ClipData, augment: Augment) -> list[list[torch.Tensor]]:
    """Training batches of 5, then those of a view of the validation videos."""
    placed = resident(data, CPU)
    train, val = placed.splits["train"], placed.splits["val"]
    cuts = training_cuts(placed, FRAMES, SIZE, 5, augment, torch.Generator().manual_seed(3))
    view = view_cuts(val, evaluation_views(val, FRAMES, 3)[1], SIZE)
    made = [*batches(train, cuts, 5, CPU), *batches(val, view, 3, CPU)]
    return [[part for part in batch if part is not None] for batch in made]


@pytest.mark.parametrize(
    ("values", "augment"),
    [
        ({"span": 0.4, "windows": 2, "flip": True}, Augment()),
        ({"span": 0.4, "fit": "crop", "fps": 10.0}, Augment(crop="resized", jitter=0.3)),
        ({"span": 0.4, "modality": "flow"}, Augment()),
    ],
    ids=["plain", "resized", "flow"],
)
def test_clips_are_those_of_the_cache(
    filmed: Path, tmp_path: Path, values: dict[str, object], augment: Augment
) -> None:
    if values.get("modality") == "flow":
        pytest.importorskip("cv2")
    streamed = load(filmed, stream=True, **values)
    assert not (tmp_path / "cache").exists(), "nothing is written"
    assert isinstance(streamed.splits["train"].frames, StreamedFrames)
    found = epoch(streamed, augment)
    cached = load(filmed, stream=False, **values)
    for name, videos in cached.splits.items():
        other = streamed.splits[name]
        for column in ("starts", "lengths", "windows", "segments", "labels"):
            assert torch.equal(getattr(videos, column), getattr(other, column)), column
        assert videos.names == other.names
    for said in ("mean", "std", "flip", "fingerprint", "classes", "name"):
        assert getattr(streamed, said) == getattr(cached, said), said
    for one, two in zip(found, epoch(cached, augment), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    again = load(filmed, stream=True, **values)
    assert not isinstance(again.splits["train"].frames, StreamedFrames), "a cache that is there is read"


def test_what_cannot_be_read_is_left_out_and_said(filmed: Path) -> None:
    data = load(filmed, stream=True)
    placed = resident(data, CPU)
    assert placed.residence is not None
    assert placed.residence.text.startswith("decoded from the videos batch by batch (")
    notes = [note for note in data.notes if "could not be read" in note]
    assert notes == [
        note for note in data.notes if note.startswith("1 of 25 videos could not be read and are left out")
    ]
    assert "all in" not in notes[0], "there is no file of them"
    assert any("are damaged and used as far" in note for note in data.notes)
    with pytest.raises(UserError, match=r"1 of 25 videos cannot be read.*allows 0\. .*be read\)$"):
        load(filmed, stream=True, max_unreadable=0.0)


def test_a_file_that_changes_meanwhile_ends_it_in_one_line(filmed: Path) -> None:
    data = load(filmed, stream=True)
    first, second = sorted((filmed / "train" / "W").iterdir())[:2]
    content = second.read_bytes()
    kept = first.read_bytes()
    first.write_bytes(bytes(len(kept)))
    with pytest.raises(WorldError, match="gives other frames than when it was first read: "):
        epoch(data, Augment())
    first.write_bytes(content[: len(kept)].ljust(len(kept) + 1, b"\0"))
    with pytest.raises(WorldError, match="changed while videos are decoded; start again"):
        epoch(data, Augment())
    first.unlink()
    with pytest.raises(WorldError, match="is gone while videos are decoded"):
        epoch(data, Augment())


def written_since(path: Path, before: int) -> bool:
    return path.exists() and path.stat().st_mtime_ns > before


def test_a_training_that_was_stopped_ends_with_the_weights_that_the_cache_gives(filmed: Path, tmp_path: Path) -> None:
    words = ["train", "2d-3dx1-2dx1-2dx1-2dx1@w0.125", "--data", str(filmed), "--frames", "4", "--size", "16"]
    words += ["--threads", "1", "--set=evaluate={optimizer: sgd, lr: 0.01, epochs: 12, batch: 4, video_clips: 2}"]
    streaming = [*words, "--set=data.stream=true", "--out", "streamed"]
    for number in (signal.SIGKILL, signal.SIGINT):
        kept = tmp_path / "streamed" / "checkpoint.pt"
        before = kept.stat().st_mtime_ns if kept.exists() else 0
        process = subprocess.Popen(
            [sys.executable, "-m", "stsearch.cli", *streaming, "--quiet"], stderr=subprocess.PIPE, text=True
        )
        awaited(process, partial(written_since, kept, before))
        os.kill(process.pid, number)
        assert process.wait() == (-number if number == signal.SIGKILL else 130)
        assert process.stderr is not None
        assert ("the same command goes on" in process.stderr.read()) == (number == signal.SIGINT)
    main(streaming, standalone_mode=False)
    assert not (tmp_path / "cache").exists()
    judged = ["evaluate", words[1], "--weights", "streamed/weights.pt", "--data", str(filmed), "--views", "2x1"]
    main([*judged, "--set=data.stream=true", "--format", "json"], standalone_mode=False)
    assert not (tmp_path / "cache").exists()
    main([*words, "--out", "cached"], standalone_mode=False)
    one, other = (read_weights(tmp_path / name / "weights.pt").state for name in ("streamed", "cached"))
    assert all(torch.equal(one[key], other[key]) for key in one.keys() | other.keys())
    records = [json.loads((tmp_path / name / "record.json").read_text()) for name in ("streamed", "cached")]
    assert records[0]["of"] == records[1]["of"], "so that one may go on what the other began"
    assert records[0]["training"]["residence"].startswith("decoded from the videos")
