"""``motions``: rendered clips on which the order of frames is what tells classes apart.

Classes come in pairs: a motion and the same motion run backwards. Every video is in its split
twice, forwards under one class and backwards under the other, so both classes of a pair hold
exactly the same frames. A network blind to the order of frames gives both videos the same
answer, of which one is wrong: it cannot exceed 50 % top-1, on any split, by any training.

The pair itself can be read off a frame (each pair's actor has a hue of its own), as the scene
often tells that a door is moved but not whether it opens or closes. So a blind network gets to
its 50 %, and what a network gains above that is order alone.

A textured actor over about half of the frame moves before a textured background; the camera
drifts, small distractors cross, and shapes, textures, colours, speeds and contrast vary. None
of that depends on the direction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import pi
from typing import Literal

import torch
from pydantic import field_validator

from stsearch.data.rendering import (
    MOTIONS,
    Batch,
    Draw,
    MotionPair,
    Pose,
    actor,
    disc,
    over,
    plane,
    reversed_too,
    texture,
)
from stsearch.data.videos import ClipData, VideoSet, channel_statistics
from stsearch.schema import Strict

_DISTRACTORS = 2


MAX_CLASSES = 2 * len(MOTIONS)
MAX_CLIPS = 1_000_000
RENDERING = "motions 1"
"""Part of the fingerprint; changes when the pictures do."""


def render(pair: MotionPair, count: int, frames: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Render ``count`` forward clips of a pair: uint8 ``(N, T, H, W, 3)``, a function of ``generator``."""
    draw = Draw(count, generator)
    time, x, y = plane(count, frames, size)

    drift = draw.uniform(-0.12, 0.12, 1, 2) * time[None, :, None]
    camera_x, camera_y = x + drift[..., 0, None, None], y + drift[..., 1, None, None]
    picture = 0.6 * texture(draw, 2.0, 8.0)(camera_x, camera_y)

    for _ in range(_DISTRACTORS):
        path = draw.uniform(-0.9, 0.9, 1, 2) + draw.uniform(-0.5, 0.5, 1, 2) * time[None, :, None]
        mask = disc(x, y, path, draw.uniform(0.08, 0.16, 1, 1, 1))
        picture = over(picture, draw.uniform(-1, 1, 1, 1, 1, 3).expand_as(picture), mask)

    rest = Pose(
        draw.uniform(-0.2, 0.2, 1, 2).expand(count, frames, 2),
        draw.uniform(0, 2 * pi, 1).expand(count, frames),
        draw.uniform(0.55, 0.75, 1).expand(count, frames),
    )
    pose = pair.motion(time, draw.uniform(0.7, 1.3, 1), rest)
    u, v, mask = actor(x, y, pose, draw.uniform(2.0, 6.0, 1, 1, 1))
    picture = over(picture, texture(draw, 2.0, 8.0)(u, v) + torch.tensor(pair.hue), mask)

    contrast, light = draw.uniform(35, 55, 1, 1, 1, 1), draw.uniform(100, 155, 1, 1, 1, 1)
    noise = 4.0 * torch.randn(picture.shape, generator=generator)
    return (light + contrast * picture + noise).round().clamp(0, 255).to(torch.uint8)


class MotionsRecipe(Strict):
    """The ``data:`` section for the built-in set; half of the videos are reversals of the other half."""

    name: Literal["motions"] = "motions"
    classes: int = 4
    """even, 2 to 10"""
    clips: int = 2000
    """training videos"""
    val_clips: int = 400
    """validation videos"""
    seed: int = 0
    """of the videos"""

    @field_validator("classes")
    @classmethod
    def _pairs(cls, given: int) -> int:
        if given % 2 or not 2 <= given <= MAX_CLASSES:
            raise ValueError(f"should be even, 2 to {MAX_CLASSES}, since classes come in pairs; given {given}")
        return given

    @field_validator("clips", "val_clips")
    @classmethod
    def _enough(cls, given: int) -> int:
        if given % 2 or not MAX_CLASSES <= given <= MAX_CLIPS:
            raise ValueError(f"should be even, {MAX_CLASSES} to {MAX_CLIPS:,}; given {given}")
        return given


@dataclass(frozen=True)
class Motions:
    """The set that a recipe describes."""

    recipe: MotionsRecipe

    @property
    def classes(self) -> tuple[str, ...]:
        """Each motion, then its reversal."""
        pairs = MOTIONS[: self.recipe.classes // 2]
        return tuple(name for pair in pairs for name in (pair.forward, pair.backward))

    def load(self, frames: int, size: int, progress: Callable[[str, int, int], None]) -> ClipData:
        """Rendered clips of ``frames`` x ``size`` x ``size``, with room for crops."""
        return load_motions(self.recipe, frames, size)


def load_motions(recipe: MotionsRecipe, frames: int, size: int) -> ClipData:
    """Render the set for clips of ``frames`` frames and ``size`` pixels (with room for crops)."""
    canvas = padded(size)
    generator = torch.Generator().manual_seed(recipe.seed)
    pairs = recipe.classes // 2

    def split(videos: int) -> VideoSet:
        per_pair = [videos // 2 // pairs + (number < videos // 2 % pairs) for number in range(pairs)]
        return reversed_too(
            [
                Batch(partial(render, MOTIONS[k], frames=frames, size=canvas, generator=generator), n, 2 * k, 2 * k + 1)
                for k, n in enumerate(per_pair)
            ],
            frames,
        )

    train = split(recipe.clips)
    splits = {"train": train, "val": split(recipe.val_clips)}
    assert isinstance(train.frames, torch.Tensor)
    mean, std = channel_statistics(train.frames)
    key = repr((sorted(recipe.model_dump().items()), frames, size, RENDERING))
    return ClipData(
        name="motions",
        classes=Motions(recipe).classes,
        splits=splits,
        mean=mean,
        std=std,
        flip=False,
        fingerprint=hashlib.sha256(key.encode()).hexdigest()[:16],
        opposite=tuple(number ^ 1 for number in range(recipe.classes)),
    )


def padded(size: int) -> int:
    """Cached short side for crops of ``size``: 128 for 112, as in the paper's evaluation protocol."""
    return max(size, round(size * 8 / 7))
