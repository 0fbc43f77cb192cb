"""Building the cache of a source's videos, once, and loading it.

Videos are decoded side by side and written in the order of the listing: the frames, then a line
of the journal. A build that was killed goes on behind the last line, so that what it ends with
does not depend on how often it was begun.
"""

from __future__ import annotations

import math
import os
import shutil
import zlib
from collections import Counter, deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from stsearch.data.cache import (
    DAMAGED,
    FRAMES,
    UNREADABLE,
    Cache,
    Progress,
    cache_folder,
    check_frames,
    cores,
    faulty,
    locked,
    mark_checked,
    offsets,
    open_cache,
    writing,
)
from stsearch.data.held import Held, hold
from stsearch.data.jobs import EDGE, Estimate, Frames, Job, decode_one, frame_shape, make_job, size_of
from stsearch.data.journal import JOURNAL, Damaged, Row, Totals, read_rows
from stsearch.data.listing import SPLITS, Listing, printable
from stsearch.data.recipe import VideoRecipe
from stsearch.data.stored import StoredFrames
from stsearch.data.twice import in_two_splits
from stsearch.data.videos import ClipData, VideoSet
from stsearch.errors import UserError, WorldError

_STATISTICS = 4096
_SHOWN = 3
_TRIES = 3


def load_videos(listing: Listing, recipe: VideoRecipe, frames: int, size: int, progress: Progress) -> ClipData:
    """The listed videos for clips of ``frames`` x ``size`` x ``size``, decoded at the first time.

    Their frames stay on disk (``StoredFrames``). Processes that ask for the same videos at once
    decode them once. Videos that cannot be read are left out and named in ``notes``; a damaged
    cache is mended. Raises ``UserError`` where more videos are unreadable than the recipe allows
    or a class is left without one, ``WorldError`` where the disk is too small or fails.
    """
    job = make_job(listing, recipe, frames, size, progress)
    cache, damage, held = _opened(job)
    notes = list(listing.notes)
    if cache is None:
        with locked(job.index.key, lambda: _tell_waiting(job)):
            cache, damage, held = _opened(job)  # another process may have built it
            if cache is None:
                decoded = _build(job, damage)
                cache, _, held = _opened(job)
                if damage:
                    place = cache_folder() / job.index.key
                    notes.append(
                        f"the clip cache {place} was damaged ({damage}) and is mended: "
                        f"{decoded} of {job.index.videos} videos were decoded again"
                    )
    if cache is None:
        raise WorldError(f"the clip cache {cache_folder() / job.index.key} cannot be read back; check the disk")
    unreadable = [row for row in cache.rows if row.unreadable]
    _refuse_unreadable(job, unreadable, len(cache.rows))
    _refuse_lost_classes(job, cache.rows)
    if unreadable:
        notes.append(
            f"{len(unreadable)} of {len(cache.rows)} videos could not be read and are left out: {_some(unreadable)} "
            f"(all in {cache.folder / UNREADABLE})"
        )
    if damaged := [row for row in cache.rows if row.damage]:
        notes.append(
            f"{len(damaged)} of {len(cache.rows)} videos are damaged and used as far as they can be read: "
            f"{_some(damaged)} (all in {cache.folder / DAMAGED})"
        )
    notes += in_two_splits(job.listing.entries, _contents(job, cache.rows), 2 * EDGE)
    return replace(_clip_data(job, cache, tuple(notes)), held=held)


def _contents(job: Job, rows: Sequence[Row]) -> list[tuple[str, int]]:
    """What is known of each file: its size, both ends and what was kept of it; nothing of one that cannot be read."""
    return [
        ("" if row.unreadable else f"{digest} {row.frames} {row.crc32}", size)
        for row, digest, size in zip(rows, job.digests, job.sizes, strict=True)
    ]


def _opened(job: Job) -> tuple[Cache | None, str, Held | None]:
    """What ``_checked`` says, and the cache held, so that it is not pruned from now on."""
    for _ in range(_TRIES):
        held = hold(cache_folder() / job.index.key / FRAMES)
        cache, damage = _checked(job)
        if cache is None or held is not None:
            break  # else it was finished or pruned between the two
    return cache, damage, held


def _checked(job: Job) -> tuple[Cache | None, str]:
    """The whole cache, or ``None`` and what is wrong with it (nothing, if there is none)."""
    try:
        cache = open_cache(job.index.key)
    except Damaged as error:
        return None, str(error)
    if cache is None:
        return None, ""
    wrong = check_frames(cache, job.progress)
    return (None, _names([cache.rows[number].name for number in wrong])) if wrong else (cache, "")


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _some(rows: Sequence[Row]) -> str:
    more = f"; ... and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return "; ".join(map(_line, rows[:_SHOWN])) + more


def _line(row: Row) -> str:
    """What is wrong with a video, on one line whatever its name is."""
    return f"{printable(row.name)}: {row.unreadable or row.damage}"


def _tell_waiting(job: Job) -> None:
    try:
        done = (job.folder / JOURNAL).read_bytes().count(b"\n")
    except OSError:
        done = 0
    job.progress("waiting for another process that decodes these videos", done, job.index.videos)


def _refuse_unreadable(job: Job, unreadable: Sequence[Row], seen: int) -> None:
    """``UserError`` where more videos are unreadable than the recipe allows."""
    total, share = job.index.videos, job.recipe.max_unreadable
    allowed = math.floor(share * total + 1e-9)
    if len(unreadable) > allowed:
        so_far = "" if seen == total else f" ({seen} were tried)"
        raise UserError(
            f"{len(unreadable)} of {total} videos cannot be read{so_far}: {_some(unreadable)}; data.max_unreadable: "
            f"{share:g} allows {allowed}. Replace or remove these files, or set "
            "data.max_unreadable higher (1 leaves out whatever cannot be read); what is decoded is kept"
        )


def _refuse_lost_classes(job: Job, rows: Sequence[Row]) -> None:
    """``UserError`` where none of the listed videos of a class can be read."""
    entries = job.listing.entries
    left = Counter((entries[row.number].split, entries[row.number].label) for row in rows if not row.unreadable)
    for split in ("train", "val"):
        lost = sorted({entry.label for entry in entries if entry.split == split and not left[split, entry.label]})
        if lost:
            names = ", ".join(job.listing.classes[label] for label in lost)
            raise UserError(
                f"no video of the class{'es' if len(lost) > 1 else ''} {names} in {split!r} can be read: "
                + _some([row for row in rows if row.unreadable and entries[row.number].label in lost])
            )


def _clip_data(job: Job, cache: Cache, notes: tuple[str, ...]) -> ClipData:
    splits = {}
    before = 0
    for split in SPLITS:
        rows = [row for row in cache.rows if row.frames and job.listing.entries[row.number].split == split]
        if not rows:
            continue
        lengths = torch.tensor([row.frames for row in rows])
        count = int(lengths.sum())
        splits[split] = VideoSet(
            frames=StoredFrames(cache.frames.path, before, (count, *cache.index.shape)),
            starts=lengths.cumsum(0) - lengths,
            lengths=lengths,
            windows=torch.tensor([row.window for row in rows], dtype=torch.float32),
            segments=torch.tensor([row.segments for row in rows]),
            labels=torch.tensor([job.listing.entries[row.number].label for row in rows]),
            names=tuple(row.name for row in rows),
        )
        before += count
    return ClipData(
        name=cache.index.source["name"],
        classes=job.listing.classes,
        splits=splits,
        mean=cache.totals.mean,
        std=cache.totals.std,
        flip=job.listing.flip if job.recipe.flip is None else job.recipe.flip,
        fingerprint=cache.index.key,
        notes=notes,
        modality=job.recipe.modality,
    )


def estimate(listing: Listing, recipe: VideoRecipe, frames: int, size: int) -> Estimate:
    """How large the cache of some videos will be, from the packets of at most 32 of them."""
    return size_of(listing.entries, recipe, frames, math.prod(frame_shape(recipe, size)))


def _build(job: Job, damage: str) -> int:
    """Decode what is not decoded yet and publish the cache; how many videos that were."""
    place = job.folder.with_name(job.index.key)
    with writing(place.parent), ExitStack() as files:
        if damage:
            shutil.rmtree(job.folder, ignore_errors=True)
            place.rename(job.folder)
        job.folder.mkdir(exist_ok=True)
        job.index.write(job.folder)
        rows, wrong = _already(job)
        _refuse_unreadable(job, [row for row in rows if row.unreadable], len(rows))
        _refuse_small_disk(job, rows)
        frames, journal = (_open(job.folder / name, files) for name in (FRAMES, JOURNAL))
        rows = _mend(job, frames, rows, wrong)
        decoded = len(wrong) + job.index.videos - len(rows)
        _append(job, frames, journal, rows)
        _finish(job, rows)
        for file in (frames, journal):
            os.fsync(file)
        _sync(job.folder)
        job.folder.rename(place)
        _sync(place.parent)
    return decoded


def _open(path: Path, files: ExitStack) -> int:
    """A file to write anywhere in, closed with ``files``."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    files.callback(os.close, file)
    return file


def _write(file: int, content: bytes | memoryview, offset: int) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def _sync(folder: Path) -> None:
    """Wait until names in a folder are on disk."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _already(job: Job) -> tuple[list[Row], list[int]]:
    """What the journal of an earlier try says, and which of its videos do not match their checksums."""
    rows = read_rows(job.folder)[: job.index.videos]
    fit = [row.name == entry.name for row, entry in zip(rows, job.listing.entries, strict=False)]
    rows = rows[: fit.index(False)] if False in fit else rows
    return rows, faulty(job.folder, rows, job.frame, range(len(rows)), job.progress)


def _refuse_small_disk(job: Job, rows: Sequence[Row]) -> None:
    """``WorldError`` if what follows the ``rows`` of the journal will not fit, going by a sample."""
    file = job.folder / FRAMES
    lost = offsets(rows, job.frame)[-1] - (file.stat().st_size if file.exists() else 0)
    about = size_of(job.listing.entries[len(rows) :], job.recipe, job.frames, job.frame)
    needed, free = about.nbytes + max(0, lost), shutil.disk_usage(job.folder).free
    if needed > free:
        raise WorldError(
            f"the clip cache needs about {needed / 1e9:,.2f} GB more for {about.videos:,} videos and "
            f"{job.folder.parent} has {free / 1e9:,.2f} GB free. Set STSEARCH_CACHE to a folder on a larger disk, or "
            "make the cache smaller: data.windows, data.short_side or the clip's size"
        )


def _results(job: Job, numbers: Iterable[int]) -> Generator[tuple[Row, Frames | None]]:
    """Decode videos side by side, in order; two for each processor are in memory at most."""
    pending: deque[Future[tuple[Row, Frames | None]]] = deque()
    pool = ThreadPoolExecutor(cores())
    try:
        for number in numbers:
            pending.append(pool.submit(decode_one, job, number))
            if len(pending) == 2 * cores():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _mend(job: Job, file: int, rows: list[Row], wrong: Sequence[int]) -> list[Row]:
    """Write damaged videos again in their places; what of the journal holds then."""
    begins = offsets(rows, job.frame)
    with closing(_results(job, wrong)) as results:
        for done, (row, frames) in enumerate(results, 1):
            if row != rows[row.number] or frames is None:  # decoded otherwise by another version of FFmpeg, say
                return rows[: row.number]
            _write(file, frames.reshape(-1).data, begins[row.number])
            job.progress("decoding damaged videos again", done, len(wrong))
    return rows


def _append(job: Job, file: int, journal: int, rows: list[Row]) -> None:
    """Decode what is not in the journal, whose lines are ``rows``, and add to both."""
    total = job.index.videos
    end, line_end = offsets(rows, job.frame)[-1], sum(len(row.line()) for row in rows)
    os.ftruncate(file, end)
    os.ftruncate(journal, line_end)
    if len(rows) == total:
        return
    job.progress("decoding videos", len(rows), total)
    unreadable = [row for row in rows if row.unreadable]
    with closing(_results(job, range(len(rows), total))) as results:
        for row, frames in results:
            if frames is not None:
                _write(file, frames.reshape(-1).data, end)
                end += frames.nbytes
            _write(journal, row.line(), line_end)
            line_end += len(row.line())
            rows.append(row)
            job.progress("decoding videos", len(rows), total)
            if row.unreadable:
                unreadable.append(row)
                _refuse_unreadable(job, unreadable, len(rows))


def _finish(job: Job, rows: Sequence[Row]) -> None:
    """Write what is known now that all videos are decoded."""
    unreadable = [row for row in rows if row.unreadable]
    for name, found in ((UNREADABLE, unreadable), (DAMAGED, [row for row in rows if row.damage])):
        if found:
            lines = "".join(f"{_line(row)}\n" for row in found)
            (job.folder / name).write_text(lines, encoding="utf-8", errors="surrogateescape")
    mean, std = _statistics(job, rows)
    total = sum(row.frames for row in rows)
    journal = zlib.crc32(b"".join(row.line() for row in rows))
    replace(job.index, totals=Totals(total, len(unreadable), mean, std, journal)).write(job.folder)
    mark_checked(job.folder)


def _statistics(job: Job, rows: Sequence[Row]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of at most 4096 training frames, evenly spread."""
    count = sum(row.frames for row in rows if job.listing.entries[row.number].split == "train")
    stored = StoredFrames(job.folder / FRAMES, 0, (count, *job.index.shape))
    levels, channels = np.arange(256.0), range(job.index.shape[2])
    seen = np.zeros((len(channels), 256), dtype=np.int64)
    chosen = torch.arange(0, count, max(1, -(-count // _STATISTICS)))
    for begin in range(0, len(chosen), 64):
        frames = stored.read(chosen[begin : begin + 64]).numpy()
        seen += [np.bincount(frames[..., channel].reshape(-1), minlength=256) for channel in channels]
    pixels = max(1, int(seen[0].sum()))
    mean = seen @ levels / pixels
    std = np.sqrt((seen * (levels - mean[:, None]) ** 2).sum(1) / pixels).clip(min=1.0)
    return tuple(mean.tolist()), tuple(std.tolist())
