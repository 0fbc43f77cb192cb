"""Where clips are: chosen by what memory there is, and without effect on what a batch holds."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stsearch.data.augment import Augment, Cuts, evaluation_views, training_cuts, view_cuts
from stsearch.data.loader import Room, ahead, available_memory, batches, control_groups, resident
from stsearch.data.stored import StoredFrames
from stsearch.data.videos import ClipData, VideoSet
from stsearch.errors import WorldError

CPU = torch.device("cpu")
CUDA = torch.device("cuda")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def in_a_file(path: Path, videos: VideoSet, before: int = 3) -> VideoSet:
    """The same videos with their frames in a file, behind ``before`` frames of others."""
    assert isinstance(videos.frames, torch.Tensor)
    path.write_bytes(bytes(before * videos.frames[0].numel()) + videos.frames.numpy().tobytes())
    shape = (len(videos.frames), *videos.frame)
    return replace(videos, frames=StoredFrames(path, before, shape))


@pytest.fixture
def data(tmp_path: Path) -> ClipData:
    """10 videos of 7 to 16 frames of noise, 20x26, in a file; the last 4 are ``val``."""
    lengths = torch.arange(7, 17)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (int(lengths.sum()), 20, 26, 3), dtype=torch.uint8, generator=generator)
    starts = lengths.cumsum(0) - lengths
    every = VideoSet(frames, starts, lengths, torch.full((10,), 6.0), torch.arange(10))
    splits = {}
    for split, part in (("train", slice(0, 6)), ("val", slice(6, 10))):
        begin, end = int(starts[part][0]), int((starts + lengths)[part][-1])
        columns = (every.starts[part] - begin, every.lengths[part], every.windows[part], every.labels[part])
        splits[split] = in_a_file(tmp_path / f"{split}.bin", VideoSet(frames[begin:end], *columns))
    return ClipData("made", tuple("abcdefghij"), splits, (100.0,) * 3, (50.0,) * 3, True, "made")


def in_memory(data: ClipData) -> ClipData:
    def copied(videos: VideoSet) -> VideoSet:
        assert isinstance(videos.frames, StoredFrames)
        return replace(videos, frames=videos.frames.mapped().clone())

    return replace(data, splits={name: copied(videos) for name, videos in data.splits.items()})


def epoch(data: ClipData, augment: Augment, device: torch.device = CPU) -> list[list[torch.Tensor]]:
    """Training batches of 4, then those of a view of 3, on the CPU."""
    train, val = data.splits["train"], data.splits["val"]
    cuts = training_cuts(data, 4, 16, 4, augment, torch.Generator().manual_seed(3))
    view = view_cuts(val, evaluation_views(val, 4, 2)[1], 16)
    made = [*batches(train, cuts, 4, device), *batches(val, view, 3, device)]
    return [[part.cpu() for part in batch if part is not None] for batch in made]


AUGMENTS = [Augment(), Augment(crop="resized"), Augment(crop="resized", jitter=0.3)]


@pytest.mark.parametrize("augment", AUGMENTS, ids=["plain", "resized", "jitter"])
def test_batches_do_not_depend_on_where_the_frames_are(data: ClipData, augment: Augment) -> None:
    mapped, streamed, memory = resident(data, CPU, 1.0), resident(data, CPU, 0.0), resident(in_memory(data), CPU)
    assert isinstance(mapped.splits["train"].frames, torch.Tensor)
    assert isinstance(streamed.splits["train"].frames, StoredFrames)
    expected = epoch(memory, augment)
    assert [len(batch[1]) for batch in expected] == [4, 2, 3, 1]
    assert [list(batch[0].shape[1:]) for batch in expected] == [[3, 4, 16, 16]] * 4
    for other in (mapped, streamed):
        for one, two in zip(epoch(other, augment), expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_batches_are_as_documented(data: ClipData) -> None:
    for place in (resident(data, CPU, 1.0), resident(data, CPU, 0.0)):
        videos = place.splits["val"]
        (batch,) = batches(videos, view_cuts(videos, evaluation_views(videos, 4, 1)[0], 16), 4, CPU)
        assert (batch.clips.dtype, batch.labels.dtype, batch.colour) == (torch.uint8, torch.int64, None)
        assert batch.clips.is_contiguous(memory_format=torch.channels_last_3d)
        assert batch.labels.tolist() == [6, 7, 8, 9]


def test_residence_says_where_and_why(data: ClipData) -> None:
    def said(data: ClipData, share: float) -> str:
        placed = resident(data, CPU, share)
        assert placed.residence is not None
        return placed.residence.text

    assert said(data, 0.5).startswith("memory-mapped (179 kB of ")
    assert "streamed (179 kB are over 0% of " in said(data, 0.0)
    assert said(in_memory(data), 0.0) == "in memory (179 kB)"
    placed = resident(data, CPU)
    assert resident(placed, CPU) is placed, "it is chosen once"


def test_a_file_that_is_gone_is_one_line_from_the_thread_that_reads(data: ClipData) -> None:
    streamed = resident(data, CPU, 0.0)
    frames = streamed.splits["train"].frames
    assert isinstance(frames, StoredFrames)
    frames.path.unlink()
    with pytest.raises(WorldError, match="cannot read the clip cache"):
        epoch(streamed, Augment())


def test_ahead_keeps_the_order_and_two_results_at_most() -> None:
    begun: list[int] = []

    def make(number: int) -> int:
        begun.append(number)
        return number

    seen = []
    for number in ahead(make, 20):
        assert max(begun) <= number + 2
        seen.append(number)
    assert seen == begun == list(range(20))
    assert list(ahead(make, 0)) == []


def test_ahead_ends_its_thread_when_its_reader_stops() -> None:
    def threads() -> set[str]:
        return {thread.name for thread in threading.enumerate() if thread.name.startswith("clips")}

    def stop_early() -> None:
        reader = ahead(lambda number: number, 1000)
        assert next(reader) == 0
        assert threads()
        reader.close()  # type: ignore[attr-defined]

    stop_early()
    assert not threads()

    def fail(number: int) -> int:
        if number == 3:
            raise OSError("the disk is gone")
        return number

    with pytest.raises(OSError, match="the disk is gone"):
        list(ahead(fail, 1000))
    assert not threads()


def group(folder: Path, files: dict[str, int | str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


def test_limits_of_control_groups(tmp_path: Path) -> None:
    """Files as the kernel shows them, of both versions."""
    own, mount = tmp_path / "cgroup", tmp_path / "fs"
    statistics = "anon 700\nfile 300\ninactive_file 200\nactive_file 100"
    group(mount / "jobs", {"memory.max": 2000, "memory.current": 1000, "memory.stat": statistics})
    group(mount / "jobs" / "mine", {"memory.max": "max", "memory.current": 900, "memory.stat": statistics})
    own.write_text("0::/jobs/mine\n")
    assert list(control_groups(own, mount)) == [Room(1300, "memory of the control group")]
    (mount / "jobs" / "mine" / "memory.max").write_text("1000\n")
    assert min(control_groups(own, mount)).bytes == 400

    group(
        mount / "memory" / "old",
        {
            "memory.limit_in_bytes": 5000,
            "memory.usage_in_bytes": 4500,
            "memory.stat": "cache 9\ntotal_inactive_file 100\ntotal_active_file 50",
        },
    )
    own.write_text("5:cpu,cpuacct:/old\n4:memory:/old\n0::/\n")
    assert [room.bytes for room in control_groups(own, mount)] == [650]
    own.write_text("4:memory:/of/the/host\n0::/elsewhere\n")  # a container that sees its group as the root
    assert list(control_groups(own, mount)) == []
    group(mount / "memory", {"memory.limit_in_bytes": 50, "memory.usage_in_bytes": 60, "memory.stat": "cache 0"})
    assert [room.bytes for room in control_groups(own, mount)] == [0]
    assert list(control_groups(tmp_path / "none", mount)) == []


LIMITED = """
import json, resource, sys, time, torch
from pathlib import Path
torch.set_num_threads(1)
from stsearch.data.augment import Augment, training_cuts
from stsearch.data.loader import available_memory, batches, resident
from stsearch.data.stored import StoredFrames
from stsearch.data.videos import ClipData, VideoSet

path, room = Path(sys.argv[1]), int(sys.argv[2])
CPU = torch.device("cpu")

def split(first, videos):
    frames = StoredFrames(path, first, (16 * videos, 64, 86, 3))
    lengths = torch.full((videos,), 16)
    return VideoSet(frames, torch.arange(videos) * 16, lengths, lengths.float(), torch.arange(videos) % 2)

def data(videos):
    splits = {"train": split(0, videos), "val": split(0, 4)}
    return ClipData("made", ("a", "b"), splits, (0.0,) * 3, (1.0,) * 3, True, "made")

def epoch(clips):
    cuts = training_cuts(clips, 16, 56, 16, Augment(), torch.Generator().manual_seed(0))
    return sum(len(batch.labels) for batch in batches(clips.splits["train"], cuts, 16, CPU))

videos = path.stat().st_size // (16 * 64 * 86 * 3)
epoch(resident(data(64), CPU, 0.0))  # libraries and threads are there before the limit
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
Path("/proc/self/clear_refs").write_text("5")  # the peak from here on

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

before = peak()
seen = available_memory()
clips = resident(data(videos), CPU)
count = epoch(clips)
print(json.dumps({"seen": seen, "clips": count, "text": clips.residence.text, "grown": peak() - before}))
try:
    data(videos).splits["train"].frames.mapped()
except Exception as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the address space")
def test_a_cache_of_three_times_the_memory_is_streamed_without_growing(tmp_path: Path) -> None:
    """The address space of a real process is limited; every frame of the cache is read."""
    room, frame = 200 * 2**20, 64 * 86 * 3
    path = tmp_path / "frames.bin"
    with path.open("wb") as file:
        file.truncate(-(-3 * room // (16 * frame)) * 16 * frame)
    command = [sys.executable, "-c", LIMITED, str(path), str(room)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    first, last = (json.loads(line) for line in ran.stdout.splitlines())
    assert first["seen"] == [room, "limit on the address space (ulimit -v)"]
    assert first["clips"] == path.stat().st_size // (16 * frame)
    assert first["text"].startswith("streamed (630 MB are over 50% of 2")
    assert first["text"].endswith(" MB available, limit on the address space (ulimit -v))")
    assert first["grown"] < 60 * 2**20, "three batches of whole frames are 13 MB"
    assert "cannot map" in last, "the limit is real"


def test_available_memory_is_not_more_than_the_machine_has() -> None:
    facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert 0 < available_memory().bytes <= 1024 * int(facts["MemTotal"].split()[0])


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("augment", AUGMENTS, ids=["plain", "resized", "jitter"])
def test_gpu_batches_do_not_depend_on_where_the_frames_are(data: ClipData, augment: Augment) -> None:
    on_device = resident(data, CUDA)
    assert on_device.residence is not None
    assert on_device.residence.text.startswith("on cuda:0 (179 kB of ")
    assert on_device.splits["train"].frames.device.type == "cuda"  # type: ignore[union-attr]
    pinned_from_file = resident(data, CUDA, 0.0)
    assert pinned_from_file.residence is not None
    assert "copied to cuda:0 batch by batch" in pinned_from_file.residence.text
    pinned_from_memory = resident(in_memory(data), CUDA, 0.0)
    expected = epoch(on_device, augment, CUDA)
    for other in (pinned_from_file, pinned_from_memory):
        for one, two in zip(epoch(other, augment, CUDA), expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    for one, two in zip(epoch(resident(data, CPU), augment), expected, strict=True):
        difference = (one[0].float() - two[0].float()).abs().max()
        assert difference <= (0 if augment.crop == "plain" else 1), "a level at most, where a product is rounded"


@pytest.mark.gpu
@gpu
def test_gpu_copies_keep_their_order_over_many_batches(data: ClipData) -> None:
    """Two pinned buffers are filled again and again while the GPU is busy."""
    far, near = resident(data, CUDA, 0.0), resident(data, CUDA)
    busy = torch.randn(2048, 2048, device="cuda")
    cuts = [training_cuts(data, 4, 16, 2, Augment(), torch.Generator().manual_seed(seed)) for seed in range(50)]
    joined = joined_cuts(cuts)

    def made(place: ClipData) -> Iterator[torch.Tensor]:
        for batch in batches(place.splits["train"], joined, 2, CUDA):
            nonlocal busy
            busy = (busy @ busy).clamp(-1, 1)
            yield batch.clips.clone()

    assert all(torch.equal(a, b) for a, b in zip(list(made(far)), list(made(near)), strict=True))


def joined_cuts(cuts: list[Cuts]) -> Cuts:
    def joined(name: str) -> torch.Tensor:
        return torch.cat([getattr(some, name) for some in cuts])

    return replace(
        cuts[0],
        positions=joined("positions"),
        labels=joined("labels"),
        top=joined("top"),
        left=joined("left"),
        mirrored=joined("mirrored"),
    )
