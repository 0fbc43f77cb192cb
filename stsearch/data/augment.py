"""How clips are cut from videos: at random for training, evenly for evaluation. In batches, on any device.

A ``Cuts`` says where every clip of an epoch comes from and what is done to it; it is drawn on the
CPU, so it does not depend on where the frames are. ``taken``, ``finished`` and ``Normaliser`` then
make the clips of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from math import log
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field, field_validator

from stsearch.data.videos import ClipData, VideoSet, frame_positions
from stsearch.errors import UserError
from stsearch.schema import Strict

GREY = (0.299, 0.587, 0.114)
"""shares of red, green and blue in brightness (ITU-R BT.601)"""
CENTRE = 1
Pair = Annotated[list[Annotated[float, Field(gt=0, le=10)]], Field(min_length=2, max_length=2)]


class Augment(Strict):
    """The ``augment:`` section of a training. Place in time, crop and mirroring are random in any case."""

    crop: Literal["plain", "resized"] = "plain"
    """``plain``: as large as the clip; ``resized``: of random area and shape, scaled to the clip's size"""
    scale: Pair = [0.5, 1.0]
    """of ``resized``: least and largest area, as a share of the cached frame's"""
    ratio: Pair = [0.75, 4 / 3]
    """of ``resized``: least and largest width / height"""
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """brightness, contrast and saturation of a clip are each multiplied by 1 - jitter to 1 + jitter; not of flow"""

    @field_validator("scale", "ratio")
    @classmethod
    def _ascending(cls, given: list[float]) -> list[float]:
        if given[0] > given[1]:
            raise ValueError(f"should be least, then largest; given {given}")
        return given

    @field_validator("scale")
    @classmethod
    def _share(cls, given: list[float]) -> list[float]:
        if given[1] > 1:
            raise ValueError(f"should be shares of the frame's area, at most 1; given {given}")
        return given


@dataclass(frozen=True)
class Cuts:
    """Where ``N`` clips are cut from the frames of a split, and how."""

    size: int
    """height and width of a clip, pixels"""
    positions: torch.Tensor
    """int64 ``(N, T)`` into the frames of the split"""
    labels: torch.Tensor
    """int64 ``(N,)``"""
    top: torch.Tensor
    """int64 ``(N,)``, first row of the crop"""
    left: torch.Tensor
    """int64 ``(N,)``, first column of the crop"""
    boxes: torch.Tensor | None = None
    """int64 ``(N, 2)``, height and width of crops that are scaled to ``size``; ``None``: crops of ``size``"""
    mirrored: torch.Tensor | None = None
    """bool ``(N,)``, clips that are mirrored left and right; ``None``: no clip is"""
    colour: torch.Tensor | None = None
    """float32 ``(N, 3)``, factors of brightness, contrast and saturation; ``None``: colours stay"""
    flow: bool = False
    """whether mirroring negates channel 0"""

    def __len__(self) -> int:
        return len(self.labels)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Cuts:
        held = ((one.name, getattr(self, one.name)) for one in fields(self))
        changed: dict[str, Any] = {name: change(value) for name, value in held if isinstance(value, torch.Tensor)}
        return replace(self, **changed)

    def chosen(self, index: torch.Tensor) -> Cuts:
        """The clips ``index`` ``(B,)``, in that order."""
        return self._each(lambda tensor: tensor[index])

    def part(self, begin: int, end: int) -> Cuts:
        """Clips ``begin`` to ``end``."""
        return self._each(lambda tensor: tensor[begin:end])

    def to(self, device: torch.device) -> Cuts:
        """The same on ``device``."""
        return self._each(lambda tensor: tensor.to(device))


def crop_room(videos: VideoSet, size: int) -> tuple[int, int]:
    """Spare pixels (height, width) around a crop of ``size``."""
    height, width, _ = videos.frame
    if size > min(height, width):
        raise UserError(f"a clip of {size}x{size} pixels does not fit in cached frames of {height}x{width}")
    return height - size, width - size


def training_cuts(
    data: ClipData, frames: int, size: int, batch: int, augment: Augment, generator: torch.Generator
) -> Cuts:
    """One epoch of ``train`` in random order, to be used in batches of ``batch``.

    Place in time and crop are random, mirroring where labels survive it. A last batch of one clip
    is left out (BatchNorm needs two). ``generator`` is a CPU generator: what is drawn depends
    neither on the device nor on what is not switched on.
    """
    videos = data.splits["train"]
    order = torch.randperm(len(videos), generator=generator)
    if len(order) % batch == 1 and len(order) > 1:
        order = order[:-1]
    draws = torch.cat([torch.rand(5, len(some), generator=generator) for some in torch.split(order, batch)], 1)
    boxes = None
    if augment.crop == "resized":
        height, width, _ = videos.frame
        boxes = _boxes(height, width, augment, torch.rand(2, len(order), generator=generator))
        spare = torch.tensor([height, width]) - boxes
    else:
        spare = torch.tensor(crop_room(videos, size)).expand(len(order), 2)
    top, left = (draws[2:4].T * (spare + 1)).long().minimum(spare).unbind(1)
    colour = None
    if augment.jitter and data.modality == "rgb":
        colour = 1 + augment.jitter * (2 * torch.rand(len(order), 3, generator=generator) - 1)
    return Cuts(
        size,
        frame_positions(videos, order, frames, draws[0], draws[1]),
        videos.labels[order],
        top,
        left,
        boxes=boxes,
        mirrored=draws[4] < 0.5 if data.flip else None,
        colour=colour,
        flow=data.modality == "flow",
    )


def _boxes(height: int, width: int, augment: Augment, draws: torch.Tensor) -> torch.Tensor:
    """Heights and widths of random boxes, int64 ``(N, 2)``; a side longer than the frame's is cut to it."""
    (least, most), (narrow, wide) = augment.scale, map(log, augment.ratio)
    area = height * width * (least + (most - least) * draws[0])
    ratio = (narrow + (wide - narrow) * draws[1]).exp()
    sides = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], 1).round().long()
    return sides.clamp(min=1).minimum(torch.tensor([height, width]))


class View(NamedTuple):
    """One clip of every video, for evaluation."""

    positions: torch.Tensor
    """int64 ``(V, T)``"""
    side: int = CENTRE
    """which crop along the longer side: 0 at its begin, 1 in the middle, 2 at its end"""


def evaluation_views(videos: VideoSet, frames: int, clips: int, crops: Literal[1, 3] = 1) -> list[View]:
    """``clips`` clips evenly spread over every video, in the middle or at three crops, without repeats.

    Where all videos are as short as a clip, its instants coincide and one is left.
    """
    index = torch.arange(len(videos))
    places: list[torch.Tensor] = []
    for number in range(clips):
        place = torch.full_like(videos.windows, number / (clips - 1) if clips > 1 else 0.5)
        phase = torch.full_like(videos.windows, (number + 0.5) / clips)
        positions = frame_positions(videos, index, frames, place, phase)
        if not any(torch.equal(positions, seen) for seen in places):
            places.append(positions)
    sides = (CENTRE,) if crops == 1 else (0, 1, 2)
    return [View(positions, side) for positions in places for side in sides]


def view_cuts(videos: VideoSet, view: View, size: int) -> Cuts:
    """The clips of a view, in the order of the videos."""
    spare_rows, spare_columns = crop_room(videos, size)
    top, left = spare_rows // 2, spare_columns // 2
    if spare_columns >= spare_rows:
        left = (0, left, spare_columns)[view.side]
    else:
        top = (0, top, spare_rows)[view.side]
    rows, columns = (torch.full_like(videos.starts, at) for at in (top, left))
    return Cuts(size, view.positions, videos.labels, rows, columns)


def taken_shape(frame: tuple[int, int, int], cuts: Cuts) -> tuple[int, int, int, int, int]:
    """Shape ``(B, T, h, w, C)`` of what ``taken`` returns."""
    count, instants = cuts.positions.shape
    height, width = frame[:2] if cuts.boxes is not None else (cuts.size, cuts.size)
    return count, instants, height, width, frame[2]


def taken(frames: torch.Tensor, positions: torch.Tensor, cuts: Cuts, out: torch.Tensor | None = None) -> torch.Tensor:
    """The pixels that clips are made of: uint8 ``(B, T, h, w, C)``, crops, or whole frames if they are resized.

    ``frames`` is uint8 ``(F, H, W, C)``, ``positions`` int64 ``(B, T)`` into it.
    """
    height, width, channels = frames.shape[1:]
    shape = taken_shape((height, width, channels), cuts)
    if cuts.boxes is not None:
        flat = out.flatten(0, 1) if out is not None else None
        return torch.index_select(frames, 0, positions.flatten(), out=flat).view(shape)
    if frames.is_cuda:
        span = torch.arange(cuts.size, device=frames.device)
        rows, columns = cuts.top[:, None] + span, cuts.left[:, None] + span
        return frames[positions[:, :, None, None], rows[:, None, :, None], columns[:, None, None, :]]
    if out is None:
        out = torch.empty(shape, dtype=torch.uint8)
    corners = zip(cuts.top.tolist(), cuts.left.tolist(), strict=True)
    for clip, where, (top, left) in zip(out, positions, corners, strict=True):
        window = frames[:, top : top + cuts.size, left : left + cuts.size]
        torch.index_select(window, 0, where, out=clip)
    return out


def finished(pixels: torch.Tensor, cuts: Cuts) -> torch.Tensor:
    """Clips uint8 ``(B, C, T, size, size)``, channels last in memory, of what was ``taken``; changes ``pixels``."""
    mirrored = cuts.mirrored
    if cuts.boxes is not None:
        pixels = _resized(pixels, cuts)
    elif mirrored is not None:
        if pixels.is_cuda:
            pixels = torch.where(mirrored[:, None, None, None, None], pixels.flip(3), pixels)
        else:
            for number in mirrored.nonzero().flatten().tolist():
                pixels[number] = pixels[number].flip(2)
    if mirrored is not None and cuts.flow:
        to_the_right = pixels[..., 0]
        pixels[..., 0] = torch.where(mirrored[:, None, None, None], 255 - to_the_right, to_the_right)
    return pixels.permute(0, 4, 1, 2, 3)


def _resized(frames: torch.Tensor, cuts: Cuts) -> torch.Tensor:
    """Boxes of uint8 ``(B, T, H, W, C)`` scaled to ``(B, T, size, size, C)`` and mirrored: two batched products."""
    assert cuts.boxes is not None
    count, instants, height, width, channels = frames.shape
    down = _weights(cuts.top, cuts.boxes[:, 0], cuts.size, height)
    across = _weights(cuts.left, cuts.boxes[:, 1], cuts.size, width)
    if cuts.mirrored is not None:
        across = torch.where(cuts.mirrored[:, None, None], across.flip(1), across)
    planes = frames.permute(0, 1, 4, 2, 3).to(torch.float32, memory_format=torch.contiguous_format)
    narrowed = planes.view(count, -1, width) @ across.transpose(1, 2)
    scaled = down[:, None] @ narrowed.view(count, instants * channels, height, cuts.size)
    pixels = scaled.round_().clamp_(0, 255).to(torch.uint8)
    return pixels.view(count, instants, channels, cuts.size, cuts.size).permute(0, 1, 3, 4, 2).contiguous()


def _weights(begin: torch.Tensor, length: torch.Tensor, size: int, extent: int) -> torch.Tensor:
    """What every pixel of ``extent`` adds to every one of ``size``: float32 ``(B, size, extent)``, sums 1.

    A triangle as wide as the step between two of ``size``, at least one pixel, within
    ``begin`` to ``begin + length``: what torch's ``interpolate(antialias=True)`` does to the cut-out box.
    """
    step = (length / size)[:, None, None]
    begin, end = begin[:, None, None], (begin + length)[:, None, None]
    centre = begin + (torch.arange(size, device=begin.device)[:, None] + 0.5) * step
    pixel = torch.arange(extent, device=begin.device) + 0.5
    weight = (1 - (pixel - centre).abs() / step.clamp(min=1)).clamp(min=0) * ((pixel > begin) & (pixel < end))
    return weight / weight.sum(2, keepdim=True)


@dataclass(frozen=True)
class Normaliser:
    """From pixels to what a network is fed: ``(x - mean) * scale`` per channel, with the colours of each clip."""

    mean: torch.Tensor
    """float32 ``(C,)``, on the device of the clips"""
    scale: torch.Tensor
    """float32 ``(C,)``, 1 / standard deviation"""

    @staticmethod
    def of(data: ClipData, device: torch.device) -> Normaliser:
        """With the statistics of a data set."""
        return Normaliser(torch.tensor(data.mean, device=device), 1.0 / torch.tensor(data.std, device=device))

    def __call__(self, clips: torch.Tensor, colour: torch.Tensor | None = None) -> torch.Tensor:
        """uint8 ``(B, C, T, H, W)`` to float32 of the same shape, channels last in memory."""
        pixels = clips.permute(0, 2, 3, 4, 1)
        if colour is not None:
            return self._coloured(pixels, colour).permute(0, 4, 1, 2, 3)
        if clips.is_cuda:
            return torch.addcmul(-self.mean * self.scale, pixels, self.scale).permute(0, 4, 1, 2, 3)
        # Rows of pixels against rows of means: loops over three channels at a time are several times slower.
        width = clips.shape[4]
        rows = pixels.reshape(-1, width * len(self.mean)).to(torch.float32)
        rows.sub_(self.mean.repeat(width)).mul_(self.scale.repeat(width))
        return rows.view(pixels.shape).permute(0, 4, 1, 2, 3)

    def _coloured(self, pixels: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
        """``(B, T, H, W, 3)``: brightness, contrast and saturation are a matrix and a shift per clip, so is the rest.

        Contrast is about the brightness of the mean pixel of the training frames, not of each clip;
        values are not cut to 0..255.
        """
        grey = torch.tensor(GREY, device=pixels.device)
        bright, contrast, saturation = (factor[:, None, None] for factor in colour.unbind(1))
        mixed = saturation * torch.eye(3, device=pixels.device) + (1 - saturation) * grey.expand(3, 3)
        matrix = self.scale[:, None] * contrast * bright * mixed
        shift = ((1 - contrast) * (grey @ self.mean) - self.mean) * self.scale
        flat = pixels.flatten(1, 3).to(torch.float32)
        return torch.baddbmm(shift, flat, matrix.transpose(1, 2)).view(pixels.shape)
