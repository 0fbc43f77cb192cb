"""Trained networks evaluated on videos, alone or fused: the protocol of the paper, or any number of views."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from stsearch.data.cache import Progress
from stsearch.data.sources import open_data
from stsearch.data.videos import ClipData
from stsearch.errors import UserError, WorldError, brief
from stsearch.evaluate.accuracy import accuracy, interval, per_class
from stsearch.evaluate.judge import Judged, Views, as_trained, judge, refuse_strangers
from stsearch.evaluate.weights import Weights, write_whole
from stsearch.schema import Strict
from stsearch.search.asked_data import AskedData

_TRAVEL = ("span", "windows", "fps", "fit", "decoder", "flow", "short_side")
"""Keys of ``data`` that weights bring with them, where nobody says otherwise."""


@dataclass(frozen=True)
class Scores:
    """Accuracies on one split, per cent, with 95 % intervals for other videos like these."""

    video_top1: float
    video_top1_interval: tuple[float, float]
    video_top5: float
    video_top5_interval: tuple[float, float]
    clip_top1: float | None
    """of the centre clip; ``None`` of networks that are fused"""
    per_class: tuple[float | None, ...]
    """video@1 of the videos of each class; ``None`` for a class without videos"""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        intervals = {name: list(getattr(self, name)) for name in ("video_top1_interval", "video_top5_interval")}
        return {**vars(self), **intervals, "per_class": list(self.per_class)}


@dataclass(frozen=True)
class Judgement:
    """What trained networks say of the same videos, and what they say together."""

    split: str
    views: Views
    videos: int
    classes: tuple[str, ...]
    networks: tuple[Weights, ...]
    scores: tuple[Scores, ...]
    """one for each network"""
    fused: Scores | None
    names: tuple[str, ...]
    """of the videos' files; empty where they are rendered"""
    labels: tuple[int, ...]
    logits: torch.Tensor
    """float32 ``(V, classes)`` of the first network, means over the views"""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        rows = zip(self.networks, self.scores, strict=True)
        return {
            "split": self.split,
            "views": str(self.views),
            "videos": self.videos,
            "classes": list(self.classes),
            "networks": [
                {
                    "network": weights.about.network,
                    "architecture": weights.about.architecture,
                    "modality": weights.about.modality,
                    **scores.as_dict(),
                }
                for weights, scores in rows
            ],
            "fused": self.fused.as_dict() if self.fused else None,
        }


def judged(
    networks: Sequence[Weights],
    data: AskedData,
    views: Views,
    device: torch.device,
    *,
    split: str,
    batch: int,
    fuse: bool,
    progress: Progress,
) -> Judgement:
    """Evaluate trained ``networks`` on the videos of ``data``; with ``fuse`` also the mean of their softmax.

    Raises ``UserError`` where videos and networks do not fit together.
    """
    found: list[Judged] = []
    names: tuple[str, ...] = ()
    for number, weights in enumerate(networks):
        about = weights.about
        seen = seen_by(weights, data, split, progress)
        label = f"{about.network}, network {number + 1} of {len(networks)}, views"
        told = partial(progress, label)
        found.append(
            judge(weights.network(), seen, about, views, device=device, split=split, batch=batch, progress=told)
        )
        names = seen.splits[split].names
    classes = networks[0].about.classes
    if fuse:
        _refuse_unlike(networks, found)
    fused = torch.stack([one.probabilities for one in found]).mean(0) if fuse else None
    return Judgement(
        split,
        views,
        len(found[0].labels),
        classes,
        tuple(networks),
        tuple(_scores(one.probabilities, one.labels, one.of_clip) for one in found),
        _scores(fused, found[0].labels, None) if fused is not None else None,
        names,
        tuple(found[0].labels.tolist()),
        found[0].logits,
    )


def seen_by(weights: Weights, data: AskedData, split: str, progress: Progress) -> ClipData:
    """The videos of ``data`` as the network of ``weights`` was trained to see them; ``UserError`` for strange ones."""
    about, opened = weights.about, open_data(_recipe(data, weights))
    refuse_strangers(opened.classes, about)  # before hours of decoding
    return as_trained(opened.load(about.frames, about.size, progress), about, split)


def _recipe(data: AskedData, weights: Weights) -> Strict:
    """The data as the network sees them: its modality, and its clips' rate unless somebody said another one."""
    about, known = weights.about, type(data.recipe).model_fields
    given = {key: about.sampling[key] for key in _TRAVEL if key in about.sampling and key not in data.said}
    if "modality" in known:
        given["modality"] = about.modality
    elif about.modality != "rgb":
        name = getattr(data.recipe, "name")
        raise UserError(f"{about.network} was trained on optical flow; the data {name!r} are rendered and have none")
    changes = {key: value for key, value in given.items() if key in known}
    return data.recipe.model_copy(update=changes)


def _refuse_unlike(networks: Sequence[Weights], found: Sequence[Judged]) -> None:
    """Networks are fused over the same classes and the same videos."""
    if any(one.about.classes != networks[0].about.classes for one in networks):
        raise UserError("--fuse: the networks were trained on different classes")
    if any(not torch.equal(one.labels, found[0].labels) for one in found):
        raise UserError("--fuse: the networks do not see the same videos (some are unreadable in one modality)")


def _scores(probabilities: torch.Tensor, labels: torch.Tensor, of_clip: torch.Tensor | None) -> Scores:
    videos, top1, top5 = len(labels), accuracy(probabilities, labels), accuracy(probabilities, labels, 5)
    return Scores(
        top1,
        interval(top1, videos),
        top5,
        interval(top5, videos),
        accuracy(of_clip, labels) if of_clip is not None else None,
        per_class(probabilities, labels),
    )


def write_logits(path: Path, found: Judgement) -> None:
    """A CSV with a row for each video: its file, its class, and the logit of every class of the first network."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["video", "class", *found.classes])
    names = found.names or [str(number) for number in range(found.videos)]
    for name, label, values in zip(names, found.labels, found.logits.tolist(), strict=True):
        rows.writerow([name, found.classes[label], *(f"{value:.9g}" for value in values)])
    with _writing_logits(path):
        write_whole(path, memoryview(text.getvalue().encode(errors="surrogateescape")))


@contextmanager
def _writing_logits(path: Path) -> Iterator[None]:
    """Errors of the place that ``--logits`` names, in one line."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise UserError(f"--logits {brief(str(path))}: {error.strerror}; expected a file's name") from None
    except OSError as error:
        raise WorldError(f"cannot write {path}: {error.strerror or error}; nothing is left of it") from None


def check_logits(path: Path) -> None:
    """Refuse a place where ``write_logits`` can write nothing, before anything is computed."""
    with _writing_logits(path):
        folder = next(place for place in path.absolute().parents if place.exists())
        wrong = errno.EISDIR if path.is_dir() else errno.ENOTDIR if not folder.is_dir() else 0
        if not wrong and not os.access(folder, os.W_OK):
            wrong = errno.EACCES
        if wrong:
            raise OSError(wrong, os.strerror(wrong))
