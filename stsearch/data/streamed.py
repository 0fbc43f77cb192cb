"""Clips that are decoded from their videos whenever they are needed, so that no cache has to fit on a disk.

All videos are decoded once before, to know which can be read, what is kept of each, and the mean of their pixels; only
that is remembered. So clips are those of the cache, bit for bit. A video is decoded from its beginning however little
of it a clip takes: by seeking, other frames come out of some files (decision 9).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from stsearch.data.cache import cores
from stsearch.data.jobs import Frames, Job, decode_one
from stsearch.data.journal import Row
from stsearch.data.readable import clip_data, decoded, notes_of, refuse_unreadable, rows_of, statistics_of
from stsearch.data.videos import ClipData
from stsearch.errors import WorldError


@dataclass(frozen=True, eq=False)
class StreamedFrames:
    """Kept frames ``(F, H, W, C)`` of readable videos, decoded when they are asked for.

    By threads, as many as processors: FFmpeg leaves Python alone while it decodes, and processes would have to hand
    every frame over.
    """

    job: Job
    rows: tuple[Row, ...]
    """of the videos, one after the other"""
    starts: torch.Tensor
    """int64 ``(V,)``, the first frame of each"""

    def __len__(self) -> int:
        return sum(row.frames for row in self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(F, H, W, C)``."""
        return (len(self), *self.job.index.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the frames, if all were decoded at once."""
        return math.prod(self.shape)

    def read(self, positions: torch.Tensor) -> torch.Tensor:
        """The frames at int64 ``(B, T)``: uint8 ``(B, T, H, W, C)``; each video of theirs is decoded once.

        Raises ``WorldError`` for a file that is gone, or from which other frames come than at first.
        """
        wanted = positions.reshape(-1)
        assert not len(wanted) or (wanted.min() >= 0 and wanted.max() < len(self)), "positions beyond the frames"
        found = np.empty((len(wanted), *self.job.index.shape), dtype=np.uint8)
        which = torch.searchsorted(self.starts, wanted, right=True) - 1

        def fill(video: int) -> None:
            places = (which == video).nonzero().flatten()
            found[places.numpy()] = self._decoded(video)[(wanted[places] - self.starts[video]).numpy()]

        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(fill, sorted(set(which.tolist()))))
        return torch.from_numpy(found).view(*positions.shape, *self.job.index.shape)

    def _decoded(self, video: int) -> Frames:
        """All kept frames of a video ``(K, H, W, C)``, which must be those that it had at first."""
        known = self.rows[video]
        row, frames = decode_one(self.job, known.number)
        if frames is None or row != known:
            path = self.job.listing.entries[known.number].path
            why = f": {row.unreadable}" if row.unreadable else ""
            raise WorldError(f"{path} gives other frames than when it was first read{why}. Start again")
        return frames


def stream(job: Job) -> ClipData:
    """The videos of ``job``, decoded once now and whenever they are read; raises as ``load_videos`` does."""
    rows: list[Row] = []
    unreadable: list[Row] = []
    with closing(decoded(job, range(job.index.videos))) as results:
        for row, _ in results:
            rows.append(row)
            job.progress("looking through the videos", len(rows), job.index.videos)
            if row.unreadable:
                unreadable.append(row)
                refuse_unreadable(job, unreadable, len(rows), kept=False)
    notes = [*job.listing.notes, *notes_of(job, rows, kept=False)]

    def frames(own: Sequence[Row], before: int) -> StreamedFrames:
        lengths = torch.tensor([row.frames for row in own])
        return StreamedFrames(job, tuple(own), lengths.cumsum(0) - lengths)

    statistics = statistics_of(frames(rows_of(job, rows, "train"), 0), job.progress)
    return clip_data(job, rows, frames, statistics, notes)
