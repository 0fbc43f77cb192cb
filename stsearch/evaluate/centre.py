"""Clips from the middle of videos, one by one, as a network is fed with them."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from stsearch.data.augment import Normaliser, evaluation_views, view_cuts
from stsearch.data.loader import batches
from stsearch.data.videos import ClipData
from stsearch.interrupt import check

CPU = torch.device("cpu")


def centre_clips(data: ClipData, frames: int, size: int, split: str, most: int) -> Iterator[tuple[torch.Tensor, int]]:
    """Normalised float32 ``(1, C, T, H, W)`` and the class of at most ``most`` videos of a split, evenly chosen.

    ``data`` are on the CPU; each video gives the clip in its middle.
    """
    videos, normalised = data.splits[split], Normaliser.of(data, CPU)
    chosen = torch.linspace(0, len(videos) - 1, min(most, len(videos))).round().long()
    cuts = view_cuts(videos, evaluation_views(videos, frames, 1)[0], size).chosen(chosen)
    for batch in batches(videos, cuts, 1, CPU):
        check()
        yield normalised(batch.clips).contiguous(), int(batch.labels)
