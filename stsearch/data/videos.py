"""Decoded videos as one flat array of frames, and how clips are drawn from them in batches.

Videos of different lengths lie one after the other in ``frames``; a clip is a gather. So
temporal and spatial augmentation of a whole batch is one indexing operation, on the device
where the frames are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from stsearch.errors import UserError


@dataclass(frozen=True)
class VideoSet:
    """The videos of one split."""

    frames: torch.Tensor
    """uint8 ``(F, H, W, C)``, all videos one after the other"""
    starts: torch.Tensor
    """int64 ``(V,)``, first frame of each video"""
    lengths: torch.Tensor
    """int64 ``(V,)``, frames of each video, at least 1"""
    windows: torch.Tensor
    """float32 ``(V,)``, frames that one clip covers, at most the length"""
    labels: torch.Tensor
    """int64 ``(V,)``"""

    def __len__(self) -> int:
        return int(self.labels.numel())

    def to(self, device: torch.device) -> VideoSet:
        """The same videos on ``device``."""
        return replace(self, **{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})

    @property
    def nbytes(self) -> int:
        """Bytes of the frames."""
        return self.frames.numel()


@dataclass(frozen=True)
class ClipData:
    """A data set ready for training: decoded splits and what may be done to their clips."""

    name: str
    classes: tuple[str, ...]
    splits: dict[str, VideoSet]
    """``train``, ``val`` and, where there is one, ``test``"""
    mean: tuple[float, ...]
    """per channel, of 0..255, over the training frames"""
    std: tuple[float, ...]
    flip: bool
    """whether labels survive mirroring left and right"""
    fingerprint: str
    """changes when content or recipe do"""
    notes: tuple[str, ...] = ()
    """what the user should know, such as files that could not be read"""


def channel_statistics(frames: torch.Tensor, most: int = 4096) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 ``(F, H, W, C)``, of ``most`` frames evenly spread."""
    chosen = frames[:: max(1, -(-len(frames) // most))].double()
    mean = chosen.mean((0, 1, 2))
    std = chosen.std((0, 1, 2), unbiased=False).clamp_min(1.0)
    return tuple(mean.tolist()), tuple(std.tolist())


def frame_positions(
    videos: VideoSet, index: torch.Tensor, frames: int, place: torch.Tensor, phase: torch.Tensor
) -> torch.Tensor:
    """Which frames make the clips: int64 ``(B, T)`` into ``videos.frames``.

    A clip covers the video's window, cut into ``frames`` equal parts; ``place`` (0 to 1) slides
    the window over the video, ``phase`` (0 to 1) picks the instant within each part. A window
    shorter than ``frames`` repeats frames.
    """
    lengths, window = videos.lengths[index], videos.windows[index]
    begin = place * (lengths - window)
    parts = (torch.arange(frames, device=index.device) + phase[:, None]) * (window / frames)[:, None]
    position = (begin[:, None] + parts).floor().long()
    return videos.starts[index][:, None] + position.clamp(min=0).minimum(lengths[:, None] - 1)


def gather(
    videos: VideoSet, positions: torch.Tensor, top: torch.Tensor, left: torch.Tensor, size: int, flip: torch.Tensor
) -> torch.Tensor:
    """Clips uint8 ``(B, C, T, size, size)``, channels last in memory.

    ``positions`` is ``(B, T)``; ``top`` and ``left`` (pixels) and ``flip`` (bool) are ``(B,)``.
    """
    span = torch.arange(size, device=positions.device)
    rows = top[:, None] + span
    columns = left[:, None] + torch.where(flip[:, None], span.flip(0), span)
    clips = videos.frames[positions[:, :, None, None], rows[:, None, :, None], columns[:, None, None, :]]
    return clips.permute(0, 4, 1, 2, 3)


def crop_room(videos: VideoSet, size: int) -> tuple[int, int]:
    """Spare pixels (height, width) around a crop of ``size``."""
    height, width = int(videos.frames.shape[1]), int(videos.frames.shape[2])
    if size > min(height, width):
        raise UserError(f"a clip of {size}x{size} pixels does not fit in cached frames of {height}x{width}")
    return height - size, width - size


def training_batches(
    videos: VideoSet, frames: int, size: int, batch: int, flip: bool, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch in random order: clips ``(B, C, T, H, W)`` uint8 and labels ``(B,)``.

    Temporal position, crop and, if ``flip``, mirroring are random. A last batch of one clip is
    left out (BatchNorm needs two). ``generator`` is a CPU generator, so that the order does not
    depend on the device.
    """
    device = videos.frames.device
    spare_rows, spare_columns = crop_room(videos, size)
    order = torch.randperm(len(videos), generator=generator)
    for begin in range(0, len(order), batch):
        chosen = order[begin : begin + batch]
        count = len(chosen)
        if count == 1 and len(order) > 1:
            return
        draws = torch.rand(5, count, generator=generator).to(device)
        index = chosen.to(device)
        positions = frame_positions(videos, index, frames, draws[0], draws[1])
        top = (draws[2] * (spare_rows + 1)).long().clamp(max=spare_rows)
        left = (draws[3] * (spare_columns + 1)).long().clamp(max=spare_columns)
        mirrored = (draws[4] < 0.5) & flip
        yield gather(videos, positions, top, left, size, mirrored), videos.labels[index]


def evaluation_views(videos: VideoSet, frames: int, clips: int) -> list[torch.Tensor]:
    """Frame positions ``(V, T)`` of ``clips`` clips evenly spread over every video, without repeats.

    Where all videos are as short as a clip, the views coincide and one is left.
    """
    index = torch.arange(len(videos), device=videos.frames.device)
    views: list[torch.Tensor] = []
    for number in range(clips):
        place = torch.full_like(videos.windows, number / (clips - 1) if clips > 1 else 0.5)
        phase = torch.full_like(videos.windows, (number + 0.5) / clips)
        view = frame_positions(videos, index, frames, place, phase)
        if not any(torch.equal(view, seen) for seen in views):
            views.append(view)
    return views


def centre_crop(videos: VideoSet, positions: torch.Tensor, size: int) -> torch.Tensor:
    """Clips uint8 ``(B, C, T, size, size)`` from the middle of the frames at ``positions`` ``(B, T)``."""
    spare_rows, spare_columns = crop_room(videos, size)
    zeros = torch.zeros(len(positions), dtype=torch.long, device=positions.device)
    return gather(videos, positions, zeros + spare_rows // 2, zeros + spare_columns // 2, size, zeros.bool())
