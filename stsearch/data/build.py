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
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from stsearch.data.cache import (
    DAMAGED,
    FRAMES,
    UNREADABLE,
    Cache,
    Progress,
    cache_folder,
    check_frames,
    faulty,
    locked,
    mark_checked,
    offsets,
    open_cache,
    writing,
)
from stsearch.data.held import Held, hold
from stsearch.data.jobs import Estimate, Job, frame_shape, make_job, size_of
from stsearch.data.journal import JOURNAL, Damaged, Row, Totals, read_rows
from stsearch.data.listing import Listing
from stsearch.data.readable import clip_data, decoded, notes_of, refuse_unreadable, row_line, rows_of, statistics_of
from stsearch.data.recipe import VideoRecipe
from stsearch.data.stored import StoredFrames
from stsearch.data.streamed import stream
from stsearch.data.videos import ClipData
from stsearch.errors import WorldError

_SHOWN = 3
_TRIES = 3


def load_videos(listing: Listing, recipe: VideoRecipe, frames: int, size: int, progress: Progress) -> ClipData:
    """The listed videos for clips of ``frames`` x ``size`` x ``size``, decoded at the first time.

    Their frames stay on disk (``StoredFrames``). Processes that ask for the same videos at once
    decode them once. Videos that cannot be read are left out and named in ``notes``; a damaged
    cache is mended. Raises ``UserError`` where more videos are unreadable than the recipe allows
    or a class is left without one, ``WorldError`` where the disk is too small or fails.
    Where the recipe says ``stream`` no cache is written, and one that is there already is read.
    """
    job = make_job(listing, recipe, frames, size, progress)
    cache, damage, held = _opened(job)
    if cache is None and recipe.stream:
        return stream(job)
    notes = list(listing.notes)
    if cache is None:
        with locked(job.index.key, lambda: _tell_waiting(job)):
            cache, damage, held = _opened(job)  # another process may have built it
            if cache is None:
                count = _build(job, damage)
                cache, _, held = _opened(job)
                if damage:
                    place = cache_folder() / job.index.key
                    notes.append(
                        f"the clip cache {place} was damaged ({damage}) and is mended: "
                        f"{count} of {job.index.videos} videos were decoded again"
                    )
    if cache is None:
        raise WorldError(f"the clip cache {cache_folder() / job.index.key} cannot be read back; check the disk")
    notes += notes_of(job, cache.rows, f" (all in {cache.folder / UNREADABLE})", f" (all in {cache.folder / DAMAGED})")
    path, shape = cache.frames.path, cache.index.shape

    def stored(rows: Sequence[Row], before: int) -> StoredFrames:
        return StoredFrames(path, before, (sum(row.frames for row in rows), *shape))

    data = clip_data(job, cache.rows, stored, (cache.totals.mean, cache.totals.std), notes)
    return replace(data, name=cache.index.source["name"], held=held)


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


def _tell_waiting(job: Job) -> None:
    try:
        done = (job.folder / JOURNAL).read_bytes().count(b"\n")
    except OSError:
        done = 0
    job.progress("waiting for another process that decodes these videos", done, job.index.videos)


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
        refuse_unreadable(job, [row for row in rows if row.unreadable], len(rows))
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
            "make the cache smaller (data.windows, data.short_side or the clip's size), or do without: data.stream=true"
        )


def _mend(job: Job, file: int, rows: list[Row], wrong: Sequence[int]) -> list[Row]:
    """Write damaged videos again in their places; what of the journal holds then."""
    begins = offsets(rows, job.frame)
    with closing(decoded(job, wrong)) as results:
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
    with closing(decoded(job, range(len(rows), total))) as results:
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
                refuse_unreadable(job, unreadable, len(rows))


def _finish(job: Job, rows: Sequence[Row]) -> None:
    """Write what is known now that all videos are decoded."""
    unreadable = [row for row in rows if row.unreadable]
    for name, found in ((UNREADABLE, unreadable), (DAMAGED, [row for row in rows if row.damage])):
        if found:
            lines = "".join(f"{row_line(row)}\n" for row in found)
            (job.folder / name).write_text(lines, encoding="utf-8", errors="surrogateescape")
    count = sum(row.frames for row in rows_of(job, rows, "train"))
    mean, std = statistics_of(StoredFrames(job.folder / FRAMES, 0, (count, *job.index.shape)))
    total = sum(row.frames for row in rows)
    journal = zlib.crc32(b"".join(row.line() for row in rows))
    replace(job.index, totals=Totals(total, len(unreadable), mean, std, journal)).write(job.folder)
    mark_checked(job.folder)
