"""What is decoded into a cache: the key, the frames of one video, and the size of all."""

from __future__ import annotations

import hashlib
import json
import math
import stat
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stsearch.data.cache import Progress, building_folder, cores
from stsearch.data.decode import NotAVideo, UnreadableVideo, decode, packet_times
from stsearch.data.flow import optical_flow
from stsearch.data.journal import Index, Row
from stsearch.data.listing import SPLITS, Entry, Listing
from stsearch.data.recipe import VideoRecipe
from stsearch.data.sampling import Plan, Times, plan
from stsearch.data.torchcodec import decode_torchcodec
from stsearch.errors import UserError, WorldError

DECODING = 2
"""Part of the key; changes when the frames of the same video do."""
EDGE = 65_536
"""bytes of each end of a file that make its digest"""
_NO_FILE = "it is no file"
_GROUP = 256
_SAMPLE = 32
_CHANNELS = {"rgb": 3, "flow": 2}
_DECODERS = {"pyav": decode, "torchcodec": decode_torchcodec}

Frames = npt.NDArray[np.uint8]


def frame_size(recipe: VideoRecipe, size: int) -> tuple[int, int]:
    """Cached height and width for crops of ``size``: 128 x 171 for 112, as in the paper, if nothing else is asked for.

    Raises ``UserError`` if crops do not fit in.
    """
    if recipe.short_side is None:
        return max(size, round(size * 128 / 112)), max(size, round(size * 171 / 112))
    if recipe.short_side < size:
        raise UserError(
            f"data.short_side: {recipe.short_side} is smaller than a clip of {size}x{size} pixels; "
            f"allowed is {size} or more"
        )
    return recipe.short_side, round(recipe.short_side * 171 / 128)


def frame_shape(recipe: VideoRecipe, size: int) -> tuple[int, int, int]:
    """Height, width and channels of cached frames."""
    return (*frame_size(recipe, size), _CHANNELS[recipe.modality])


@dataclass(frozen=True)
class Job:
    """What is to be decoded, and how."""

    listing: Listing
    recipe: VideoRecipe
    frames: int
    """of a clip"""
    sizes: tuple[int, ...]
    """of the files, bytes; -1 for one that cannot be read"""
    digests: tuple[str, ...]
    """of their sizes and both ends"""
    index: Index
    folder: Path
    """of the cache while it is built"""
    progress: Progress

    @property
    def frame(self) -> int:
        """Bytes of a cached frame."""
        return math.prod(self.index.shape)


def plan_of(times: Times, recipe: VideoRecipe, frames: int) -> Plan:
    """What the recipe keeps of a video whose frames appear at ``times`` ``(N,)``; nothing of none."""
    if not len(times):
        return Plan(np.empty(0, dtype=np.int64), 1, 0.0)
    return plan(times, frames=frames, span=recipe.span, windows=recipe.windows, fps=recipe.fps)


def _look(entries: Sequence[Entry]) -> list[tuple[str, int]]:
    """A digest of each file's size, first and last 64 KiB, and its size; of one that cannot be read, why, and -1."""
    found = []
    for entry in entries:
        try:
            about = entry.path.stat()
            if not stat.S_ISREG(about.st_mode):
                raise OSError(_NO_FILE)
            digest = hashlib.sha256(str(about.st_size).encode())
            with entry.path.open("rb", buffering=0) as stream:
                digest.update(stream.read(EDGE))
                if about.st_size > EDGE:
                    stream.seek(max(EDGE, about.st_size - EDGE))
                    digest.update(stream.read(EDGE))
        except OSError as error:
            found.append((f"unreadable: {error.strerror or error}", -1))
        else:
            found.append((digest.hexdigest(), about.st_size))
    return found


def _content(listing: Listing, progress: Progress) -> tuple[str, tuple[int, ...], tuple[str, ...]]:
    """A digest of names, labels, splits and files, the sizes of the files and a digest of each.

    Times of files do not matter.
    """
    digest = hashlib.sha256()
    sizes: list[int] = []
    digests: list[str] = []
    entries = listing.entries
    groups = [entries[begin : begin + _GROUP] for begin in range(0, len(entries), _GROUP)]
    with ThreadPoolExecutor(4 * cores()) as pool:
        for group, found in zip(groups, pool.map(_look, groups), strict=True):
            for entry, (file, size) in zip(group, found, strict=True):
                digest.update(json.dumps([entry.name, entry.label, entry.split, file]).encode())
                sizes.append(size)
                digests.append(file)
            progress("looking at the files", len(sizes), len(entries))
    return digest.hexdigest(), tuple(sizes), tuple(digests)


def make_job(listing: Listing, recipe: VideoRecipe, frames: int, size: int, progress: Progress) -> Job:
    """What clips of ``frames`` x ``size`` x ``size`` of the listed videos need, with the key of its cache.

    Raises ``UserError`` if crops do not fit into the frames.
    """
    shape = frame_shape(recipe, size)
    order = [SPLITS.index(entry.split) for entry in listing.entries]
    assert order == sorted(order), "a listing is ordered by split"
    clip: dict[str, Any] = {"frames": frames, "height": shape[0], "width": shape[1]}
    clip |= {name: getattr(recipe, name) for name in ("span", "windows", "fps", "fit", "modality", "decoder")}
    clip |= {"flow": recipe.flow} if recipe.modality == "flow" else {}
    content, sizes, digests = _content(listing, progress)
    key = hashlib.sha256(json.dumps([DECODING, content, clip]).encode()).hexdigest()[:24]
    source = {"name": str(getattr(recipe, "name", "videos")), "path": recipe.path}
    index = Index(key, source, clip, shape, len(listing.entries))
    return Job(listing, recipe, frames, sizes, digests, index, building_folder(key), progress)


def decode_one(job: Job, number: int) -> tuple[Row, Frames | None]:
    """A video's line of the journal and its frames ``(K, H, W, C)``; none if it is unreadable.

    Raises ``WorldError`` if the file is no longer the one of the key or memory runs out.
    """
    entry, recipe = job.listing.entries[number], job.recipe
    if job.sizes[number] < 0:
        return Row(number, entry.name, unreadable=_why_unreadable(entry.path)), None
    asked: list[Times] = []

    def choose(times: Times) -> npt.NDArray[np.int64]:
        asked.append(times)
        return plan_of(times, recipe, job.frames).numbers

    try:
        height, width, _ = job.index.shape
        video = _DECODERS[recipe.decoder](entry.path, height=height, width=width, fit=recipe.fit, choose=choose)
        kept = plan_of(asked[-1], recipe, job.frames)
        if len(video.frames) != len(kept.numbers):
            raise UnreadableVideo(f"only {len(video.frames):,} of {len(kept.numbers):,} chosen frames decode")
        frames = optical_flow(video.frames, kept.segments, recipe.flow) if recipe.modality == "flow" else video.frames
    except (NotAVideo, UnreadableVideo) as error:
        _refuse_change(job, number)
        return Row(number, entry.name, unreadable=str(error)), None
    except MemoryError:
        raise WorldError(f"not enough memory to decode {entry.path}; what is decoded already is kept") from None
    _refuse_change(job, number)
    frames = np.ascontiguousarray(frames)
    seconds = float(asked[-1][-1])
    row = Row(
        number,
        entry.name,
        frames=len(frames),
        segments=kept.segments,
        window=kept.window,
        fps=(len(asked[-1]) - 1) / seconds if seconds else 0.0,
        seconds=seconds,
        crc32=zlib.crc32(frames.reshape(-1).data),
        damage=video.damage or "",
    )
    return row, frames


def _why_unreadable(path: Path) -> str:
    """Of a file that could not be read when the key was made; ``WorldError`` if it can be by now."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            return _NO_FILE
        path.open("rb").close()
    except OSError as error:
        return error.strerror or str(error)
    raise WorldError(f"{path} changed while videos are decoded; start again when it is written")


def _refuse_change(job: Job, number: int) -> None:
    """``WorldError`` if a file is no longer the one that the key was made of."""
    path = job.listing.entries[number].path
    try:
        size = path.stat().st_size
    except OSError as error:
        raise WorldError(f"{path} is gone while videos are decoded: {error.strerror}; start again") from None
    if size != job.sizes[number]:
        raise WorldError(f"{path} changed while videos are decoded; start again when it is written")


@dataclass(frozen=True)
class Estimate:
    """How large a cache will be, from a sample."""

    videos: int
    sampled: int
    """videos that were looked at, without decoding them"""
    frames: float
    """kept of one video, on average"""
    nbytes: int
    """of all, about"""
    seconds: tuple[float, ...] = ()
    """of each that was looked at and can be read"""


def size_of(entries: Sequence[Entry], recipe: VideoRecipe, frames: int, frame: int) -> Estimate:
    """The size of some videos with ``frame`` bytes for each kept frame, from at most 32 of them, evenly spread."""
    chosen = [entries[place] for place in np.linspace(0, len(entries) - 1, min(_SAMPLE, len(entries))).astype(int)]
    with ThreadPoolExecutor(cores()) as pool:
        looked = list(pool.map(lambda entry: _looked_at(entry.path, recipe, frames), chosen))
    mean = sum(kept for kept, _ in looked) / max(1, len(looked))
    seconds = tuple(seconds for kept, seconds in looked if kept)
    return Estimate(len(entries), len(chosen), mean, round(mean * len(entries) * frame), seconds)


def _looked_at(path: Path, recipe: VideoRecipe, frames: int) -> tuple[int, float]:
    """Frames that are kept of a video, and its seconds, going by its packets; 0 and 0 if it cannot be read."""
    try:
        times = packet_times(path)
    except (NotAVideo, UnreadableVideo):
        return 0, 0.0
    lasts = float(np.ptp(times)) if len(times) else 0.0
    return len(plan_of(times, recipe, frames).numbers), lasts + lasts / max(1, len(times) - 1)
