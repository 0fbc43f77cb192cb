"""Sets whose pairs ask for time in different places: ``python -m tests.benchmarks.pairs 6 --seeds 2 --out FILE.json``.

6 is the sixth of docs/results/variance.md, whose videos were drawn in another order; 7 is 6 with finer cells, and was
not tried. They are no part of the product: ``graded`` draws them in this process alone, and what is trained and
printed is that of ``tests.benchmarks.variance``, with its options after the number of the set.

A pair is of one of three kinds. *whole*: the actor moves to the right. *fine*: its outline stands still, and cells of
random brightness drift to the right within it. *sequence*: a black disc and then a white one, at unrelated places.
Every clip is there backwards under its pair's other class.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from math import pi
from typing import Any

import torch
from torch.nn import functional

from stsearch.data import graded
from stsearch.data.graded import LOOKS, WAYS
from stsearch.data.rendering import Draw, Pose, actor, disc, over, plane, texture
from stsearch.search.spec import Study
from stsearch.space.architecture import Architecture, uniform
from tests.benchmarks import variance

NETWORKS = {
    "f-R2D": "2d 2d 2d 2d 2d",
    "stem": "3d 2d 2d 2d 2d",
    "conv2": "2d 3d 2d 2d 2d",
    "conv3": "2d 2d 3d 2d 2d",
    "conv4": "2d 2d 2d 3d 2d",
    "conv5": "2d 2d 2d 2d 3d",
    "late two": "2d 2d 2d 3d 3d",
    "R3D": "3d 3d 3d 3d 3d",
    "R(2+1)D": "2plus1d 2plus1d 2plus1d 2plus1d 2plus1d",
}
KINDS = ("whole", "fine", "sequence")
At = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Time ``(T,)`` from -1 to 1, and where the pixels are, ``(N, T, H, W)`` each, from -1 to 1"""


@dataclass(frozen=True)
class Set:
    """What its pictures are drawn with; lengths are those of a frame that is 2 wide."""

    cells: int
    """of the fine texture, as many as fit half a frame"""
    shift: float
    """of it, from the middle of a clip to its end"""
    grain: float
    """its contrast, in the easiest clips"""
    still: float
    """what is left of the actor's own texture beneath it"""
    hue: tuple[float, float]
    """of looks, in the easiest clips and in the hardest"""


SIX = Set(cells=8, shift=0.4, grain=1.7, still=0.4, hue=(0.8, 0.15))
SETS = {"6": SIX, "7": replace(SIX, cells=12, shift=0.29)}


def render(
    like: Set, look: int, motion: int, looks: int, frames: int, size: int, generator: torch.Generator, count: int
) -> torch.Tensor:
    """As ``graded.render``: forward clips uint8 ``(N, T, H, W, 3)`` in which a pair's kind is that of its number."""
    draw, kind = Draw(count, generator), KINDS[motion]
    grades = graded._Grades(draw)
    hues = torch.tensor([one.hue for one in LOOKS[:looks]])
    time, x, y = plane(count, frames, size)

    def others() -> torch.Tensor:
        return hues[torch.randint(0, looks, (count,), generator=generator)]

    course = draw.uniform(0, 2 * pi, 1)
    drift = (grades.evenly(0.0, 0.4) * torch.cat([course.cos(), course.sin()], 1))[:, None, :] * time[None, :, None]
    tint = grades.late(0.0, 0.5)
    ground = (tint * others())[:, None, None, None, :]
    picture = 0.6 * texture(draw, 2.0, 8.0)(x + drift[..., 0, None, None], y + drift[..., 1, None, None]) + ground
    for _ in range(3):
        path = draw.uniform(-0.9, 0.9, 1, 2) + draw.uniform(-0.5, 0.5, 1, 2) * time[None, :, None]
        radius = (draw.uniform(0.7, 1.3, 1) * grades.late(0.08, 0.2)).view(-1, 1, 1, 1)
        colour = 0.7 * draw.uniform(-1, 1, 3) + 2 * tint * others()
        picture = over(picture, colour[:, None, None, None, :].expand_as(picture), disc(x, y, path, radius))
    picture = acted(like, kind, LOOKS[look], picture, draw, grades, (time, x, y))
    if kind == "sequence":
        picture = flashed(picture, draw, grades, (time, x, y))
    contrast, light = draw.uniform(35, 55, 1, 1, 1, 1), draw.uniform(100, 155, 1, 1, 1, 1)
    noise = grades.late(2.0, 70.0).view(-1, 1, 1, 1, 1) * torch.randn(picture.shape, generator=generator)
    return (light + contrast * picture + noise).round().clamp(0, 255).to(torch.uint8)


def acted(
    like: Set, kind: str, look: graded.Look, picture: torch.Tensor, draw: Draw, grades: graded._Grades, at: At
) -> torch.Tensor:
    """``picture`` with the actor before it."""
    time, x, y = at
    count, frames = x.shape[:2]
    scale = grades.late(0.8, 0.3)
    place, angle = draw.uniform(-0.25, 0.25, 1, 2).expand(count, frames, 2), draw.uniform(0, 2 * pi, 1)
    pose = Pose(place, angle.expand(count, frames), scale.expand(count, frames))
    if kind == "whole":
        pose = WAYS[0].motion(time, grades.evenly(1.1, 0.0), pose)
    elif kind == "fine":  # large enough to hold some cells
        pose = Pose(pose.centre, pose.angle, pose.scale.clamp_min(0.45))
    u, v, mask = actor(x, y, pose, draw.uniform(2.0, 6.0, 1, 1, 1))
    hue = grades.late(*like.hue) * torch.tensor(look.hue)
    layer = texture(draw, 2.0, 8.0, along=(torch.tensor(look.waves), grades.late(1.0, 0.2)))(u, v)
    layer = layer + hue[:, None, None, None, :]
    if kind == "fine":
        along = (like.shift * time).expand(count, frames)
        contrast = like.grain * grades.evenly(1.0, 0.25)
        layer = layer * like.still + (drifting(like.cells, along, draw, x, y) * contrast[..., None, None])[..., None]
    return over(picture, layer, mask)


def drifting(cells: int, along: torch.Tensor, draw: Draw, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cells of random brightness ``(N, T, H, W)`` that are moved to the right by ``along`` ``(N, T)``."""
    count, frames, height, width = x.shape
    side = cells + 16  # more than ever comes into sight
    field = torch.randn(count, 1, side, side, generator=draw.generator)
    grid = torch.stack([x - along[..., None, None], y], -1) * cells / side
    grid = grid.view(count, frames * height, width, 2)
    found = functional.grid_sample(field, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return found.view(count, frames, height, width)


def flashed(picture: torch.Tensor, draw: Draw, grades: graded._Grades, at: At) -> torch.Tensor:
    """``picture`` with a black disc before its middle and a white one after it, at unrelated places."""
    time, x, y = at
    count, frames = x.shape[:2]
    jitter, strength = draw.uniform(-0.1, 0.1, 1), grades.evenly(2.5, 0.5)
    for sign in (-1, 1):
        where = draw.uniform(-0.6, 0.6, 1, 2).expand(count, frames, 2)
        seen = ((0.2 - (time[None] - sign * 0.43 - jitter).abs()) / 0.05 + 0.5).clamp(0, 1)
        mask = disc(x, y, where, draw.uniform(0.3, 0.4, 1).view(-1, 1, 1, 1)) * seen[..., None, None]
        picture = picture + mask[..., None] * (sign * strength)[:, :, None, None, None]
    return picture


def by_pair(rows: list[dict[str, Any]]) -> None:
    """Print of each kind how many videos, of those whose look is right, have the right class of the pair, per cent."""
    labels, pairs = variance.DATA.splits["val"].labels, len(KINDS)
    for row in rows:
        said, found = torch.tensor(row["predicted"]), []
        for number in range(pairs):
            seen = (labels // 2 == number) & (said // 2 == number)
            right = float((said[seen] == labels[seen]).float().mean()) if seen.any() else float("nan")
            found.append(f"{KINDS[number]} {100 * right:.0f} of {int(seen.sum())}")
        print(f"{row['network']} seed {row['seed']}: {', '.join(found)}")


def main() -> None:
    """Train and print."""
    which = sys.argv.pop(1)
    graded.render = partial(render, SETS[which])
    graded.RENDERING = f"pairs {which}"
    of_study, printed, own = variance.chosen, variance.table, "--networks" not in sys.argv

    def chosen(study: Study, asked: str, drawn_with: int) -> dict[str, Architecture]:
        if not own:
            return of_study(study, asked, drawn_with)
        return {name: uniform(tuple(kinds.split()), 18) for name, kinds in NETWORKS.items()}

    def table(rows: list[dict[str, Any]]) -> Any:
        by_pair(rows)
        return printed(rows)

    variance.chosen, variance.table = chosen, table
    sys.argv[1:] = ["studies/quickstart.yaml", "--set", "data.scenes=2", *sys.argv[1:]]
    variance.main()


if __name__ == "__main__":
    main()
