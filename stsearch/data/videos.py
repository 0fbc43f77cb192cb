"""Decoded videos as one flat array of frames, and which frames make a clip.

Videos of different lengths lie one after the other in ``frames``. ``stsearch.data.augment`` says
how clips are cut from them, ``stsearch.data.loader`` where they are meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from stsearch.data.held import Held
from stsearch.data.stored import KeptFrames


@dataclass(frozen=True)
class VideoSet:
    """The videos of one split; all but ``frames`` is on the CPU."""

    frames: torch.Tensor | KeptFrames
    """uint8 ``(F, H, W, C)``, all videos one after the other; a tensor on any device, or read when they are needed"""
    starts: torch.Tensor
    """int64 ``(V,)``, first frame of each video, counted in ``frames``"""
    lengths: torch.Tensor
    """int64 ``(V,)``, frames of each video, at least 1"""
    windows: torch.Tensor
    """float32 ``(V,)``, frames that one clip covers, at most ``lengths / segments``"""
    labels: torch.Tensor
    """int64 ``(V,)``"""
    segments: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    """int64 ``(V,)``, equal parts of a video that are no neighbours in time: no clip crosses from one
    to the next; by default every video is one"""
    names: tuple[str, ...] = ()
    """of the files, as they were listed; empty where videos were rendered"""

    def __post_init__(self) -> None:
        if not len(self.segments):
            object.__setattr__(self, "segments", torch.ones_like(self.lengths))

    def __len__(self) -> int:
        return int(self.labels.numel())

    @property
    def nbytes(self) -> int:
        """Bytes of the frames."""
        return self.frames.nbytes

    @property
    def frame(self) -> tuple[int, int, int]:
        """Height, width and channels of a frame."""
        height, width, channels = self.frames.shape[1:]
        return int(height), int(width), int(channels)


@dataclass(frozen=True)
class Residence:
    """Where the clips are while networks are trained on ``device``."""

    device: torch.device
    text: str
    """the place and why it was chosen, such as ``on cuda:0 (1.2 of 130 GB)``"""


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
    opposite: tuple[int, ...] = ()
    """for every class the class that is the same motion run backwards, both over the same frames, or itself where it is
    of no such pair; empty where no class is"""
    notes: tuple[str, ...] = ()
    """what the user should know, such as files that could not be read"""
    modality: Literal["rgb", "flow"] = "rgb"
    """``flow``: channel 0 is motion to the right, 1 motion downwards, 127.5 is none; mirroring negates channel 0"""
    residence: Residence | None = None
    """once ``stsearch.data.loader.resident`` has chosen it"""
    held: Held | None = field(default=None, repr=False, compare=False)
    """keeps the cache of the clips from being pruned while they are used"""

    def __post_init__(self) -> None:
        pairs = dict(enumerate(self.opposite))
        sound = all(pairs.get(other) == number for number, other in pairs.items())
        if pairs and not (sound and len(pairs) == len(self.classes)):
            raise ValueError(
                f"opposite: {len(self.classes)} classes, in pairs one the other's, or alone their own; "
                f"given {self.opposite}"
            )

    @property
    def channels(self) -> int:
        """Channels of a clip: 3 of RGB, 2 of flow."""
        return self.splits["train"].frame[2]


def channel_statistics(frames: torch.Tensor, most: int = 4096) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 ``(F, H, W, C)``, of ``most`` frames evenly spread."""
    chosen = frames[:: max(1, -(-len(frames) // most))].double()
    mean = chosen.mean((0, 1, 2))
    std = chosen.std((0, 1, 2), unbiased=False).clamp_min(1.0)
    return tuple(mean.tolist()), tuple(std.tolist())


def frame_positions(
    videos: VideoSet, index: torch.Tensor, frames: int, place: torch.Tensor, phase: torch.Tensor
) -> torch.Tensor:
    """Which frames make the clips of the videos ``index`` ``(B,)``: int64 ``(B, T)`` into ``videos.frames``.

    A clip covers the video's window, cut into ``frames`` equal parts; ``place`` ``(B,)`` (0 to 1)
    slides the window over the video, ``phase`` ``(B,)`` (0 to 1) picks the instant within each part.
    A window shorter than ``frames`` repeats frames. In a video of ``n`` segments, ``place`` is cut
    into ``n`` equal parts, and each slides the window over its own segment.
    """
    segments, window = videos.segments[index], videos.windows[index]
    length = videos.lengths[index] // segments
    segment = (place * segments).floor().long().clamp(min=0).minimum(segments - 1)
    begin = (place * segments - segment) * (length - window)
    parts = (torch.arange(frames) + phase[:, None]) * (window / frames)[:, None]
    within = (begin[:, None] + parts).floor().long().clamp(min=0).minimum(length[:, None] - 1)
    return (videos.starts[index] + segment * length)[:, None] + within
