"""Where clips are while networks are trained, and how batches of them reach the device.

On the training device, if they fit there; else memory-mapped, one copy for all workers of a
machine; else read from the cache as they are needed, in memory that does not grow with it; or decoded
from the videos as they are needed, where there is no cache. What a batch holds does not depend on which.
"""

from __future__ import annotations

import os
import resource
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from stsearch.data.augment import Cuts, finished, taken, taken_shape
from stsearch.data.stored import KeptFrames, StoredFrames
from stsearch.data.videos import ClipData, Residence, VideoSet

RESIDENT_SHARE = 0.5
"""Share of the free memory of a device, or of the available memory of a machine, that clips may take."""
USED = ("train", "val")
"""Splits that a training reads."""
_AHEAD = 2
"""batches fetched while one is trained on"""
T = TypeVar("T")


class Room(NamedTuple):
    """Memory that can be had."""

    bytes: int
    limit: str
    """what limits it"""


def available_memory() -> Room:
    """What this process can still allocate: the least of machine, control groups and address space."""
    return min([*_machine(), *control_groups(), *_address_space()], default=Room(sys.maxsize, "nothing known"))


def _machine(meminfo: Path = Path("/proc/meminfo")) -> Iterator[Room]:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        yield Room(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "memory of this machine")
        return
    for line in lines:
        if line.startswith("MemAvailable:"):
            yield Room(int(line.split()[1]) * 1024, "memory of this machine")


def control_groups(own: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> Iterator[Room]:
    """Room below the memory limit of every control group (version 1 or 2) that this process is in.

    Cached file pages count as room, as they give way.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            top, limit, usage, prefix = mount, "memory.max", "memory.current", ""
        elif "memory" in controllers.split(","):
            top, limit, usage, prefix = mount / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
        else:
            continue
        folder = top / path.lstrip("/")
        for place in (folder, *folder.parents):
            if place == top.parent:
                break
            yield from _room_below(place / limit, place / usage, place / "memory.stat", prefix)


def _room_below(limit: Path, usage: Path, statistics: Path, prefix: str) -> Iterator[Room]:
    try:
        most, used = limit.read_text().strip(), int(usage.read_text())
        facts = dict(line.split(maxsplit=1) for line in statistics.read_text().splitlines())
    except (OSError, ValueError):
        return  # not mounted here, or a root without a limit
    if most != "max":
        cached = sum(int(facts.get(f"{prefix}{name}_file", 0)) for name in ("inactive", "active"))
        yield Room(max(0, int(most) - used + cached), "memory of the control group")


def _address_space() -> Iterator[Room]:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        try:
            used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        except OSError:
            used = 0
        yield Room(max(0, limit - used), "limit on the address space (ulimit -v)")


def _size(count: int) -> str:
    unit, factor = next(((u, f) for u, f in (("GB", 1e9), ("MB", 1e6)) if count >= f), ("kB", 1e3))
    return f"{count / factor:.3g} {unit}"


def resident(data: ClipData, device: torch.device, share: float = RESIDENT_SHARE) -> ClipData:
    """``data`` with its clips where they are best read for trainings on ``device``, and the reason.

    On a GPU if ``train`` and ``val`` fit in ``share`` of its free memory; else mapped if they fit in
    ``share`` of the available memory; else left in the file. Where there is no file, decoded as they are needed. What
    is placed already is returned as it is.
    """
    place = torch.empty(0, device=device).device
    if data.residence is not None and data.residence.device == place:
        return data
    size = sum(data.splits[name].nbytes for name in USED)
    if not all(isinstance(data.splits[name].frames, torch.Tensor | StoredFrames) for name in USED):
        text = f"decoded from the videos batch by batch ({_size(size)} of frames are in no cache)"
        return replace(data, residence=Residence(place, text))
    why = ""
    if place.type == "cuda":
        free, _ = torch.cuda.mem_get_info(place)
        why = f"; copied to {place} batch by batch: over {share:.0%} of {_size(free)} free there"
        if size <= share * free:
            try:
                splits = _with_frames(data, lambda frames: _tensor(frames).to(place))
                text = f"on {place} ({_size(size)} of {_size(free)} free)"
                return replace(data, splits=splits, residence=Residence(place, text))
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                why = f"; copied to {place} batch by batch: others took its memory meanwhile"
    if not any(isinstance(data.splits[name].frames, StoredFrames) for name in USED):
        splits = data.splits if place.type == "cuda" else _with_frames(data, lambda frames: _tensor(frames).cpu())
        return replace(data, splits=splits, residence=Residence(place, f"in memory ({_size(size)}{why})"))
    room = available_memory()
    if size <= share * room.bytes:
        text = f"memory-mapped ({_size(size)} of {_size(room.bytes)} available{why})"
        return replace(data, splits=_with_frames(data, _tensor), residence=Residence(place, text))
    text = f"streamed ({_size(size)} are over {share:.0%} of {_size(room.bytes)} available, {room.limit}{why})"
    return replace(data, residence=Residence(place, text))


def _tensor(frames: torch.Tensor | KeptFrames) -> torch.Tensor:
    if isinstance(frames, torch.Tensor):
        return frames
    assert isinstance(frames, StoredFrames), "what is in no file cannot be mapped"
    return frames.mapped()


def _with_frames(data: ClipData, change: Callable[[torch.Tensor | KeptFrames], torch.Tensor]) -> dict[str, VideoSet]:
    moved = {name: replace(data.splits[name], frames=change(data.splits[name].frames)) for name in USED}
    return {**data.splits, **moved}


class Batch(NamedTuple):
    """Clips as a network gets them, but for the normalisation."""

    clips: torch.Tensor
    """uint8 ``(B, C, T, H, W)``, channels last in memory"""
    labels: torch.Tensor
    """int64 ``(B,)``"""
    colour: torch.Tensor | None
    """float32 ``(B, 3)``, for ``Normaliser``"""


def batches(videos: VideoSet, cuts: Cuts, batch: int, device: torch.device) -> Iterator[Batch]:
    """The clips of ``cuts`` on ``device``, ``batch`` at a time, in order.

    Frames in files are read by a thread ahead of their use. Those that are not on a GPU get there
    through two pinned buffers, filled by a thread and copied beside the GPU's work.
    """
    frames = videos.frames
    if isinstance(frames, torch.Tensor) and frames.device.type == device.type:
        for part in _parts(cuts.to(frames.device), batch):
            yield _batch(taken(frames, part.positions, part), part)
    elif device.type == "cuda":
        yield from _through_pinned(videos, cuts, batch, device)
    else:
        assert not isinstance(frames, torch.Tensor), "clips on a GPU are for trainings on it"
        stored, parts = frames, _parts(cuts, batch)
        wholes = ahead(lambda number: stored.read(parts[number].positions), len(parts))
        for part, whole in zip(parts, wholes, strict=True):
            yield _batch(_from_whole(whole, part), part)


def _parts(cuts: Cuts, batch: int) -> list[Cuts]:
    return [cuts.part(begin, begin + batch) for begin in range(0, len(cuts), batch)]


def _batch(pixels: torch.Tensor, part: Cuts) -> Batch:
    return Batch(finished(pixels, part), part.labels, part.colour)


def _from_whole(whole: torch.Tensor, part: Cuts, out: torch.Tensor | None = None) -> torch.Tensor:
    """What is ``taken`` from frames uint8 ``(B, T, H, W, C)`` that are those of the clips already."""
    if part.boxes is not None and out is None:
        return whole
    positions = torch.arange(part.positions.numel()).view(part.positions.shape)
    return taken(whole.flatten(0, 1), positions, part, out)


def ahead(make: Callable[[int], T], count: int) -> Iterator[T]:
    """``make(0)`` to ``make(count - 1)`` in order, each made by a thread while those before it are used."""
    with ThreadPoolExecutor(1, thread_name_prefix="clips") as pool:
        waiting: deque[Future[T]] = deque(pool.submit(make, number) for number in range(min(_AHEAD, count)))
        try:
            for number in range(count):
                made = waiting.popleft().result()
                if number + _AHEAD < count:
                    waiting.append(pool.submit(make, number + _AHEAD))
                yield made
        finally:
            for future in waiting:
                future.cancel()


def _through_pinned(videos: VideoSet, cuts: Cuts, batch: int, device: torch.device) -> Iterator[Batch]:
    """Batches from host memory or a file to a GPU, copied on a stream of their own."""
    frames, parts = videos.frames, _parts(cuts, batch)
    beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    shape = taken_shape(videos.frame, parts[0])
    buffers = [torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
    copied: dict[int, torch.cuda.Event] = {}

    def move(number: int) -> tuple[torch.Tensor, torch.cuda.Event]:
        part = parts[number]
        if number % 2 in copied:
            copied[number % 2].synchronize()
        buffer = buffers[number % 2][: len(part)]
        if isinstance(frames, torch.Tensor):
            taken(frames, part.positions, part, buffer)
        else:
            _from_whole(frames.read(part.positions), part, buffer)
        with torch.cuda.stream(beside):
            pixels = buffer.to(device, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(beside)
        copied[number % 2] = event
        return pixels, event

    for part, (pixels, event) in zip(_parts(cuts.to(device), batch), ahead(move, len(parts)), strict=True):
        current = torch.cuda.current_stream(device)
        current.wait_event(event)
        pixels.record_stream(current)
        yield _batch(pixels, part)
