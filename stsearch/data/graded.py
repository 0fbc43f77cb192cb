"""``graded``: rendered clips from very easy to very hard, on which looks count and the order of frames counts.

Two kinds of classes. **Pairs**: a motion and the same motion run backwards, by an actor of a look that only this
pair has. Every video of a pair is in its split twice, forwards under one class and backwards under the other, so both
classes hold exactly the same frames. **Scenes**: a look alone; what moves how says nothing, and every one of its videos
is in its split backwards too, under the same class.

So what frames alone can tell (which look) and what only their order can (which way) are two questions. A network blind
to order answers a video and its reversal alike. Of a pair's two videos one answer is wrong: it cannot exceed 50 %
``order_top1``, on any split, by any training.

A look is the colour of the actor and of its texture's waves. How large, fast, clean and clear of others' colours it is,
and how much the camera drifts, is drawn clip by clip: accuracy grows with ability, and the hardest clips stay hard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import pi
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator

from stsearch.data.motions import MAX_CLIPS, padded
from stsearch.data.rendering import (
    MOTIONS,
    Batch,
    Draw,
    Motion,
    Pose,
    actor,
    disc,
    over,
    plane,
    reversed_too,
    straight,
    texture,
)
from stsearch.data.videos import ClipData, VideoSet, channel_statistics
from stsearch.errors import brief
from stsearch.schema import Strict

RENDERING = "graded 2"
"""Part of the fingerprint; changes when the pictures do."""
_DISTRACTORS = 3


@dataclass(frozen=True)
class Look:
    """What an actor looks like, in red, green and blue."""

    name: str
    hue: tuple[float, float, float]
    """added to its colours"""
    waves: tuple[float, float, float]
    """direction in which the waves of its texture change colour"""


LOOKS = (
    Look("red", (0.7, -0.3, -0.3), (1.0, 0.0, 0.0)),
    Look("blue", (-0.3, -0.3, 0.7), (0.0, 0.0, 1.0)),
    Look("green", (-0.3, 0.7, -0.3), (0.0, 1.0, 0.0)),
    Look("yellow", (0.55, 0.55, -0.55), (0.8, 0.8, 0.0)),
    Look("cyan", (-0.55, 0.55, 0.55), (0.0, 0.8, 0.8)),
    Look("magenta", (0.55, -0.55, 0.55), (0.8, 0.0, 0.8)),
    Look("grey", (-0.5, -0.5, -0.5), (0.6, 0.6, 0.6)),
)


@dataclass(frozen=True)
class Way:
    """A motion and its reversal."""

    forward: str
    backward: str
    motion: Motion


WAYS = (
    Way("right", "left", straight(0.0)),
    Way("down_right", "up_left", straight(pi / 3)),
    Way("down_left", "up_right", straight(2 * pi / 3)),
    *(Way(pair.forward, pair.backward, pair.motion) for pair in MOTIONS[1:3]),
)
"""The first three are alike but for their direction, so that a network learns all of them or none: what it learns by
luck sooner than another is small. Those with approach and rotation are learnt one by one."""


class _Grades:
    """How hard each of ``count`` clips is, from 0 to 1, and what that makes of its properties ``(N, 1)``."""

    def __init__(self, draw: Draw) -> None:
        self._draw, self._grade = draw, draw.uniform(0, 1, 1)

    def evenly(self, easiest: float, hardest: float) -> torch.Tensor:
        """From easiest to hardest in proportion to the grade, give or take 0.15."""
        grade = (self._grade + self._draw.uniform(-0.15, 0.15, 1)).clamp(0, 1)
        return easiest + (hardest - easiest) * grade

    def late(self, easiest: float, hardest: float) -> torch.Tensor:
        """The same with the square of the grade: half of the clips stay within a quarter of the way."""
        grade = (self._grade + self._draw.uniform(-0.15, 0.15, 1)).clamp(0, 1)
        return easiest + (hardest - easiest) * grade.square()


def _spread(value: torch.Tensor, dimensions: int) -> torch.Tensor:
    """``(N, 1)`` as ``(N, 1, ..., 1)``."""
    return value.view(-1, *[1] * (dimensions - 1))


def render(
    look: int, motion: int, looks: int, frames: int, size: int, generator: torch.Generator, count: int
) -> torch.Tensor:
    """Render ``count`` forward clips uint8 ``(N, T, H, W, 3)``, a function of ``generator``.

    ``look`` of ``LOOKS`` moves as ``WAYS[motion]`` among things in the colours of the first ``looks``.
    """
    draw = Draw(count, generator)
    grades = _Grades(draw)
    hues = torch.tensor([one.hue for one in LOOKS[:looks]])
    time, x, y = plane(count, frames, size)

    def others() -> torch.Tensor:
        """A colour that is any look's, ``(N, 3)``."""
        return hues[torch.randint(0, looks, (count,), generator=generator)]

    course = draw.uniform(0, 2 * pi, 1)
    drift = (grades.evenly(0.0, 0.4) * torch.cat([course.cos(), course.sin()], 1))[:, None, :] * time[None, :, None]
    camera_x, camera_y = x + drift[..., 0, None, None], y + drift[..., 1, None, None]
    tint = grades.late(0.0, 0.5)
    ground = (tint * others())[:, None, None, None, :]
    picture = 0.6 * texture(draw, 2.0, 8.0)(camera_x, camera_y) + ground
    for _ in range(_DISTRACTORS):
        path = draw.uniform(-0.9, 0.9, 1, 2) + draw.uniform(-0.5, 0.5, 1, 2) * time[None, :, None]
        radius = _spread(draw.uniform(0.7, 1.3, 1) * grades.late(0.08, 0.2), 4)
        mask = disc(x, y, path, radius)
        colour = 0.7 * draw.uniform(-1, 1, 3) + 2 * tint * others()
        picture = over(picture, colour[:, None, None, None, :].expand_as(picture), mask)
    picture = _acted(picture, LOOKS[look], motion, draw, grades, (time, x, y))

    contrast, light = draw.uniform(35, 55, 1, 1, 1, 1), draw.uniform(100, 155, 1, 1, 1, 1)
    noise = _spread(grades.late(2.0, 70.0), 5) * torch.randn(picture.shape, generator=generator)
    return (light + contrast * picture + noise).round().clamp(0, 255).to(torch.uint8)


def _acted(
    picture: torch.Tensor,
    look: Look,
    motion: int,
    draw: Draw,
    grades: _Grades,
    at: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """``picture`` with the actor before it; ``at``: time ``(T,)``, the pixels' ``x`` and ``y`` ``(N, T, H, W)``."""
    time, x, y = at
    count, frames = x.shape[:2]
    rest = Pose(
        draw.uniform(-0.25, 0.25, 1, 2).expand(count, frames, 2),
        draw.uniform(0, 2 * pi, 1).expand(count, frames),
        grades.late(0.8, 0.3).expand(count, frames),
    )
    pose = WAYS[motion].motion(time, grades.evenly(1.1, 0.0), rest)
    u, v, mask = actor(x, y, pose, draw.uniform(2.0, 6.0, 1, 1, 1))
    hue = grades.late(0.6, 0.0) * torch.tensor(look.hue)
    woven = texture(draw, 2.0, 8.0, along=(torch.tensor(look.waves), grades.late(1.0, 0.2)))(u, v)
    return over(picture, woven + hue[:, None, None, None, :], mask)


class GradedRecipe(Strict):
    """The ``data:`` section for the built-in set that grades; every video is there backwards too."""

    name: Literal["graded"] = "graded"
    pairs: Annotated[int, Field(ge=1, le=len(WAYS))] = 3
    """motions; each is two classes, forwards and backwards"""
    scenes: Annotated[int, Field(ge=0, le=len(LOOKS) - 1)] = 4
    """classes that are told by their look alone"""
    clips: Annotated[int, Field(ge=1, le=MAX_CLIPS)] = 2000
    """training videos, at most: as many of each class as fit, evenly"""
    val_clips: Annotated[int, Field(ge=1, le=MAX_CLIPS)] = 600
    """validation videos, at most"""
    seed: int = 0
    """of the videos"""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        looks = self.pairs + self.scenes
        if looks > len(LOOKS):
            raise ValueError(
                f"pairs and scenes are at most {len(LOOKS)} together; given {self.pairs} and {self.scenes}"
            )
        least = 2 * self.pairs * (2 * self.pairs + self.scenes)
        for key, given in (("clips", self.clips), ("val_clips", self.val_clips)):
            if given < least:
                raise ValueError(
                    f"{key}: {self.pairs} pairs and {self.scenes} scenes take {least}; given {brief(given)}"
                )
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """Of each pair the motion, then its reversal; then the scenes."""
        pairs = (name for way in WAYS[: self.pairs] for name in (way.forward, way.backward))
        return (*pairs, *(look.name for look in LOOKS[self.pairs : self.pairs + self.scenes]))

    @property
    def opposite(self) -> tuple[int, ...]:
        """Of every class its reversal; a scene is its own."""
        return tuple(k ^ 1 if k < 2 * self.pairs else k for k in range(len(self.classes)))


def _split(recipe: GradedRecipe, videos: int, frames: int, size: int, generator: torch.Generator) -> VideoSet:
    """As many videos of every class; half of them are the other half backwards."""
    looks = recipe.pairs + recipe.scenes
    each = videos // len(recipe.classes)
    batches = [
        Batch(partial(render, k, k, looks, frames, size, generator), each, 2 * k, 2 * k + 1)
        for k in range(recipe.pairs)
    ]
    for number in range(recipe.scenes):
        label, look = 2 * recipe.pairs + number, recipe.pairs + number
        shares = [each // 2 // recipe.pairs + (k < each // 2 % recipe.pairs) for k in range(recipe.pairs)]
        batches += [
            Batch(partial(render, look, motion, looks, frames, size, generator), share, label, label)
            for motion, share in enumerate(shares)
        ]
    return reversed_too(batches, frames)


@dataclass(frozen=True)
class Graded:
    """The set that a recipe describes."""

    recipe: GradedRecipe

    @property
    def classes(self) -> tuple[str, ...]:
        """Each motion and its reversal, then the scenes."""
        return self.recipe.classes

    def load(self, frames: int, size: int, progress: Callable[[str, int, int], None]) -> ClipData:
        """Rendered clips of ``frames`` x ``size`` x ``size``, with room for crops."""
        recipe, canvas = self.recipe, padded(size)
        generator = torch.Generator().manual_seed(recipe.seed)
        train = _split(recipe, recipe.clips, frames, canvas, generator)
        splits = {"train": train, "val": _split(recipe, recipe.val_clips, frames, canvas, generator)}
        assert isinstance(train.frames, torch.Tensor)
        mean, std = channel_statistics(train.frames)
        key = repr((sorted(recipe.model_dump().items()), frames, size, RENDERING))
        return ClipData(
            name="graded",
            classes=recipe.classes,
            splits=splits,
            mean=mean,
            std=std,
            flip=False,
            opposite=recipe.opposite,
            fingerprint=hashlib.sha256(key.encode()).hexdigest()[:16],
        )
