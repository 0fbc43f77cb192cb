"""What becomes of decoded videos: which are used, what is said of the others, and the clips that they make."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from stsearch.data.cache import Progress, cores
from stsearch.data.jobs import EDGE, Frames, Job, decode_one
from stsearch.data.journal import Row
from stsearch.data.listing import SPLITS, printable
from stsearch.data.stored import KeptFrames
from stsearch.data.twice import in_two_splits
from stsearch.data.videos import ClipData, VideoSet
from stsearch.errors import UserError

_STATISTICS = 4096
_SHOWN = 3

Channels = tuple[float, ...]


def decoded(job: Job, numbers: Iterable[int]) -> Generator[tuple[Row, Frames | None]]:
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


def refuse_unreadable(job: Job, unreadable: Sequence[Row], seen: int, *, kept: bool = True) -> None:
    """``UserError`` where more videos are unreadable than the recipe allows; ``kept``: what was decoded is."""
    total, share = job.index.videos, job.recipe.max_unreadable
    allowed = math.floor(share * total + 1e-9)
    if len(unreadable) > allowed:
        so_far = "" if seen == total else f" ({seen} were tried)"
        end = "; what is decoded is kept" if kept else ""
        raise UserError(
            f"{len(unreadable)} of {total} videos cannot be read{so_far}: {some_rows(unreadable)}; "
            f"data.max_unreadable: {share:g} allows {allowed}. Replace or remove these files, or set "
            f"data.max_unreadable higher (1 leaves out whatever cannot be read){end}"
        )


def refuse_lost_classes(job: Job, rows: Sequence[Row]) -> None:
    """``UserError`` where none of the listed videos of a class can be read."""
    entries = job.listing.entries
    left = Counter((entries[row.number].split, entries[row.number].label) for row in rows if not row.unreadable)
    for split in ("train", "val"):
        lost = sorted({entry.label for entry in entries if entry.split == split and not left[split, entry.label]})
        if lost:
            names = ", ".join(job.listing.classes[label] for label in lost)
            raise UserError(
                f"no video of the class{'es' if len(lost) > 1 else ''} {names} in {split!r} can be read: "
                + some_rows([row for row in rows if row.unreadable and entries[row.number].label in lost])
            )


def some_rows(rows: Sequence[Row]) -> str:
    """The first three of ``rows``, each with what is wrong, and how many more there are."""
    more = f"; ... and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return "; ".join(map(row_line, rows[:_SHOWN])) + more


def row_line(row: Row) -> str:
    """What is wrong with a video, on one line whatever its name is."""
    return f"{printable(row.name)}: {row.unreadable or row.damage}"


def notes_of(
    job: Job, rows: Sequence[Row], unreadable_in: str = "", damaged_in: str = "", *, kept: bool = True
) -> list[str]:
    """What a user should know of all videos; ``UserError`` where too few can be read.

    ``unreadable_in`` and ``damaged_in`` say where all names are, with a leading space.
    """
    unreadable = [row for row in rows if row.unreadable]
    refuse_unreadable(job, unreadable, len(rows), kept=kept)
    refuse_lost_classes(job, rows)
    notes = []
    if unreadable:
        some = some_rows(unreadable)
        notes.append(
            f"{len(unreadable)} of {len(rows)} videos could not be read and are left out: {some}{unreadable_in}"
        )
    if damaged := [row for row in rows if row.damage]:
        notes.append(
            f"{len(damaged)} of {len(rows)} videos are damaged and used as far as they can be read: "
            f"{some_rows(damaged)}{damaged_in}"
        )
    return notes + in_two_splits(job.listing.entries, _contents(job, rows), 2 * EDGE)


def _contents(job: Job, rows: Sequence[Row]) -> list[tuple[str, int]]:
    """What is known of each file: its size, both ends and what was kept of it; nothing of one that cannot be read."""
    return [
        ("" if row.unreadable else f"{digest} {row.frames} {row.crc32}", size)
        for row, digest, size in zip(rows, job.digests, job.sizes, strict=True)
    ]


def rows_of(job: Job, rows: Sequence[Row], split: str) -> list[Row]:
    """Those of the readable videos of a split."""
    return [row for row in rows if row.frames and job.listing.entries[row.number].split == split]


def clip_data(
    job: Job,
    rows: Sequence[Row],
    frames: Callable[[Sequence[Row], int], KeptFrames],
    statistics: tuple[Channels, Channels],
    notes: Sequence[str],
) -> ClipData:
    """The readable videos; ``frames`` gives those of a split by its rows and the frames of the splits before it."""
    splits = {}
    before = 0
    for split in SPLITS:
        own = rows_of(job, rows, split)
        if not own:
            continue
        lengths = torch.tensor([row.frames for row in own])
        splits[split] = VideoSet(
            frames=frames(own, before),
            starts=lengths.cumsum(0) - lengths,
            lengths=lengths,
            windows=torch.tensor([row.window for row in own], dtype=torch.float32),
            segments=torch.tensor([row.segments for row in own]),
            labels=torch.tensor([job.listing.entries[row.number].label for row in own]),
            names=tuple(row.name for row in own),
        )
        before += int(lengths.sum())
    return ClipData(
        name=job.index.source["name"],
        classes=job.listing.classes,
        splits=splits,
        mean=statistics[0],
        std=statistics[1],
        flip=job.listing.flip if job.recipe.flip is None else job.recipe.flip,
        fingerprint=job.index.key,
        notes=tuple(notes),
        modality=job.recipe.modality,
    )


def statistics_of(frames: KeptFrames, progress: Progress = lambda what, done, of: None) -> tuple[Channels, Channels]:
    """Mean and standard deviation per channel of at most 4096 of the training ``frames``, evenly spread."""
    levels, channels = np.arange(256.0), range(frames.shape[3])
    seen = np.zeros((len(channels), 256), dtype=np.int64)
    chosen = torch.arange(0, len(frames), max(1, -(-len(frames) // _STATISTICS)))
    for begin in range(0, len(chosen), 64):
        progress("taking the mean of the pixels", begin, len(chosen))
        pixels = frames.read(chosen[begin : begin + 64]).numpy()
        seen += [np.bincount(pixels[..., channel].reshape(-1), minlength=256) for channel in channels]
    count = max(1, int(seen[0].sum()))
    mean = seen @ levels / count
    std = np.sqrt((seen * (levels - mean[:, None]) ** 2).sum(1) / count).clip(min=1.0)
    return tuple(mean.tolist()), tuple(std.tolist())
