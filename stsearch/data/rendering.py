"""What rendered sets are made of: moving actors, textures, and pairs of a motion and its reversal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi, sin

import torch

from stsearch.data.videos import VideoSet

_CHUNK = 64
"""clips rendered at once; bounds memory and does not change the result"""
_WAVES = 4
Waves = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""A texture on the plane: ``x`` and ``y`` ``(N, ...)`` to colours ``(N, ..., 3)``"""


@dataclass(frozen=True)
class Pose:
    """Where the actor is: centre ``(N, T, 2)``, angle ``(N, T)`` in radians, scale ``(N, T)``.

    Coordinates run from -1 to 1 over the frame.
    """

    centre: torch.Tensor
    angle: torch.Tensor
    scale: torch.Tensor


Motion = Callable[[torch.Tensor, torch.Tensor, Pose], Pose]
"""``(time (T,) in -1..1, strength (N, 1) about 1, resting pose) -> moving pose``"""


def straight(angle: float) -> Motion:
    """Along a line, ``angle`` radians from right towards down."""

    def move(time: torch.Tensor, strength: torch.Tensor, rest: Pose) -> Pose:
        along = 0.5 * strength * time
        return Pose(rest.centre + torch.stack([cos(angle) * along, sin(angle) * along], -1), rest.angle, rest.scale)

    return move


def _right(time: torch.Tensor, strength: torch.Tensor, rest: Pose) -> Pose:
    shift = torch.stack([0.5 * strength * time, torch.zeros_like(strength * time)], -1)
    return Pose(rest.centre + shift, rest.angle, rest.scale)


def _clockwise(time: torch.Tensor, strength: torch.Tensor, rest: Pose) -> Pose:
    return Pose(rest.centre, rest.angle + 1.8 * strength * time, rest.scale)


def _approach(time: torch.Tensor, strength: torch.Tensor, rest: Pose) -> Pose:
    return Pose(rest.centre, rest.angle, rest.scale * (0.5 * strength * time).exp())


def _down(time: torch.Tensor, strength: torch.Tensor, rest: Pose) -> Pose:
    shift = torch.stack([torch.zeros_like(strength * time), 0.5 * strength * time], -1)
    return Pose(rest.centre + shift, rest.angle, rest.scale)


def _orbit(time: torch.Tensor, strength: torch.Tensor, rest: Pose) -> Pose:
    turn = rest.angle + 2.2 * strength * time
    circle = 0.3 * torch.stack([turn.cos(), turn.sin()], -1)
    return Pose(rest.centre + circle, rest.angle, rest.scale)


@dataclass(frozen=True)
class MotionPair:
    """A motion, its reversal, and the hue that their actors share."""

    forward: str
    backward: str
    motion: Motion
    hue: tuple[float, float, float]
    """added to red, green and blue; the texture's waves have amplitude up to 1"""


MOTIONS = (
    MotionPair("right", "left", _right, (0.7, -0.3, -0.3)),
    MotionPair("approach", "recede", _approach, (-0.3, -0.3, 0.7)),
    MotionPair("clockwise", "anticlockwise", _clockwise, (-0.3, 0.7, -0.3)),
    MotionPair("down", "up", _down, (0.55, 0.55, -0.55)),
    MotionPair("orbit_clockwise", "orbit_anticlockwise", _orbit, (-0.55, 0.55, 0.55)),
)


class Draw:
    """Random parameters of ``count`` clips."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(self.count, *shape, generator=self.generator)


def texture(
    draw: Draw, slowest: float, fastest: float, along: tuple[torch.Tensor, torch.Tensor] | None = None
) -> Waves:
    """A coloured texture on the plane: plane waves, from slow to fast. Maps ``(N, ...)`` to ``(N, ..., 3)``.

    Fast waves show motion to a network that sees time early, at full resolution; slow ones also
    to one that sees it late. ``along`` is a colour ``(3,)`` and the share ``(N, 1)`` in which waves change it, in place
    of colours drawn for each wave.
    """
    angle = draw.uniform(0, 2 * pi, _WAVES)
    step = (fastest - slowest) / _WAVES
    frequency = slowest + step * (torch.arange(_WAVES) + draw.uniform(0, 1, _WAVES))
    wave = torch.stack([frequency * angle.cos(), frequency * angle.sin(), draw.uniform(0, 2 * pi, _WAVES)], -1)
    colour = draw.uniform(-1, 1, _WAVES, 3)
    if along is not None:
        direction, share = along[0], along[1][..., None]
        colour = (1 - share) * colour + share * direction * draw.uniform(0.6, 1.2, _WAVES, 1)
    base = draw.uniform(-0.6, 0.6, 3)

    def paint(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        flat_x, flat_y = x.flatten(1), y.flatten(1)
        a, b, c = wave[..., None].unbind(2)
        waves = (a * flat_x[:, None] + b * flat_y[:, None] + c).sin()
        painted = base[:, None] + torch.einsum("nwp,nwc->npc", waves, colour)
        return painted.view(*x.shape, 3)

    return paint


def over(picture: torch.Tensor, layer: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``layer`` before ``picture``, both ``(N, T, H, W, 3)``, where ``mask`` ``(N, T, H, W)`` is 1."""
    return picture + mask[..., None] * (layer - picture)


def plane(count: int, frames: int, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Time ``(T,)``, and ``x`` and ``y`` of every pixel ``(N, T, H, W)``; all from -1 to 1."""
    time = torch.linspace(-1, 1, frames) if frames > 1 else torch.zeros(1)
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = (grid[None, None].expand(count, frames, size, size) for grid in torch.meshgrid(axis, axis, indexing="ij"))
    return time, x, y


def disc(x: torch.Tensor, y: torch.Tensor, centre: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """The mask ``(N, T, H, W)`` of a disc about ``centre`` ``(N, T, 2)``; ``radius`` ``(N, 1, 1, 1)``."""
    distance = ((x - centre[..., 0, None, None]) ** 2 + (y - centre[..., 1, None, None]) ** 2).sqrt()
    return ((radius - distance) * x.shape[-1] / 2 + 0.5).clamp(0, 1)


def actor(
    x: torch.Tensor, y: torch.Tensor, pose: Pose, power: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coordinates ``(N, T, H, W)`` on an actor, and its mask.

    ``power`` ``(N, 1, 1, 1)`` is its shape: 2 a disc, 6 nearly a square.
    """
    cos, sin = pose.angle.cos()[..., None, None], pose.angle.sin()[..., None, None]
    scale = pose.scale[..., None, None]
    dx = (x - pose.centre[..., 0, None, None]) / scale
    dy = (y - pose.centre[..., 1, None, None]) / scale
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    distance = (u.abs().clamp_min(1e-4) ** power + v.abs().clamp_min(1e-4) ** power) ** (1 / power)
    return u, v, ((1 - distance) * scale * x.shape[-1] / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class Batch:
    """Videos to render, and their classes."""

    render: Callable[..., torch.Tensor]
    """``count=N`` of them, uint8 ``(N, T, H, W, 3)``"""
    count: int
    forward: int
    """class of the videos"""
    backward: int
    """class of the same run backwards"""


def reversed_too(batches: Sequence[Batch], frames: int) -> VideoSet:
    """All videos of ``batches``, and each of them backwards."""
    parts: list[torch.Tensor] = []
    labels: list[int] = []
    for batch in batches:
        for begin in range(0, batch.count, _CHUNK):
            some = min(_CHUNK, batch.count - begin)
            forward = batch.render(count=some)
            parts += [forward, forward.flip(1)]
            labels += [batch.forward] * some + [batch.backward] * some
    total = len(labels)
    return VideoSet(
        frames=torch.cat(parts).flatten(0, 1),
        starts=torch.arange(total) * frames,
        lengths=torch.full((total,), frames),
        windows=torch.full((total,), float(frames)),
        labels=torch.tensor(labels),
    )
