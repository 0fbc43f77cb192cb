"""A trained network on the videos of a split: what it says of every video, seen as often as is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from stsearch.data.augment import View, evaluation_views, view_cuts
from stsearch.data.loader import batches, resident
from stsearch.data.videos import ClipData, VideoSet
from stsearch.errors import UserError, brief, quoted
from stsearch.evaluate.runner import Runner
from stsearch.evaluate.weights import About
from stsearch.evaluate.whole import WholeRecipe
from stsearch.interrupt import check


@dataclass(frozen=True)
class Views:
    """How often a video is seen."""

    clips: int
    """evenly spread over the video"""
    crops: Literal[1, 3]
    """of each: the middle, or three along the longer side"""

    def __str__(self) -> str:
        return f"{self.clips}x{self.crops}"


def parse_views(text: str) -> Views:
    """``10x3``: ten clips at three crops each; ``UserError`` for anything else."""
    found = re.fullmatch(r"([1-9]\d{0,2})x([13])", text)
    if found is None:
        raise UserError(f"--views is CLIPSxCROPS with 1 or 3 crops, as in 1x1, 10x1 or 10x3; given {brief(text)}")
    return Views(int(found[1]), 3 if found[2] == "3" else 1)


@dataclass(frozen=True)
class Judged:
    """What a network says of ``V`` videos; all on the CPU."""

    labels: torch.Tensor
    """int64 ``(V,)``, numbers of the network's classes"""
    logits: torch.Tensor
    """float32 ``(V, classes)``, means over the views"""
    probabilities: torch.Tensor
    """float32 ``(V, classes)``, means over the views of the softmax"""
    of_clip: torch.Tensor
    """float32 ``(V, classes)``, softmax of the centre clip"""


def as_trained(data: ClipData, about: About, split: str) -> ClipData:
    """``data`` as the network of ``about`` was trained to see it: normalised like that, with its numbers of classes.

    Raises ``UserError`` where the split or a class is not among those that are known.
    """
    if split not in data.splits:
        raise UserError(f"--split {split}: the data have {quoted(data.splits)}")
    refuse_strangers(data.classes, about)
    number = torch.tensor([about.classes.index(name) for name in data.classes])
    videos = {name: replace(found, labels=number[found.labels]) for name, found in data.splits.items()}
    opposite = data.opposite if data.classes == about.classes else ()
    return replace(data, splits=videos, classes=about.classes, mean=about.mean, std=about.std, opposite=opposite)


def refuse_strangers(classes: Sequence[str], about: About) -> None:
    """``UserError`` where one of ``classes`` is none of those that the network of ``about`` knows."""
    if strangers := [name for name in classes if name not in about.classes]:
        others = f"it knows {len(about.classes)}: {quoted(about.classes[:20])}"
        raise UserError(f"the network was not trained on the class {brief(strangers[0])}; {others}")


def judge(
    network: nn.Module,
    data: ClipData,
    about: About,
    views: Views,
    *,
    device: torch.device,
    split: str,
    batch: int,
    progress: Callable[[int, int], None],
) -> Judged:
    """What ``network`` says in fp32 of the videos of a split of ``data``, which are as ``as_trained`` gives them."""
    recipe = WholeRecipe(micro_batch=batch, precision="fp32")
    data = resident(data, device, recipe.resident_share)
    runner, videos = Runner(network, data, recipe, device), data.splits[split]
    runner.network.eval()
    asked = evaluation_views(videos, about.frames, views.clips, views.crops)
    centre = evaluation_views(videos, about.frames, 1)[0]
    parts: list[torch.Tensor] = []
    of_centre: torch.Tensor | None = None
    for number, view in enumerate(asked):
        progress(number, len(asked))
        parts.append(_logits(runner, videos, view, about.size))
        if view.side == centre.side and torch.equal(view.positions, centre.positions):
            of_centre = parts[-1]
    if of_centre is None:
        of_centre = _logits(runner, videos, centre, about.size)
    progress(len(asked), len(asked))
    softmax = sum((part.softmax(1) for part in parts[1:]), parts[0].softmax(1)) / len(parts)
    return Judged(videos.labels.cpu(), torch.stack(parts).mean(0), softmax, of_centre.softmax(1))


def _logits(runner: Runner, videos: VideoSet, view: View, size: int) -> torch.Tensor:
    """``(V, classes)`` of one clip per video, on the CPU."""
    cuts = view_cuts(videos, view, size)

    def work(micro: int) -> torch.Tensor:
        parts = []
        for batch in batches(videos, cuts, micro, runner.device):
            check()
            parts.append(runner.logits(batch.clips))
        return torch.cat(parts).cpu()

    with torch.inference_mode():
        return runner.shrinking(work)
