"""Accuracies from probabilities ``(V, classes)`` and labels ``(V,)``; all of them per cent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from stsearch.stats.proportions import wilson


def video_accuracies(probabilities: torch.Tensor, labels: torch.Tensor, opposite: Sequence[int] = ()) -> dict[str, Any]:
    """What a training remembers of its videos: ``video_top1``, ``video_top5``, ``per_class`` and ``confusion``.

    With ``opposite`` (for every class the one that is it run backwards) also ``order_top1`` and ``frames_top1``.
    """
    paired = {"order_top1": order_top1, "frames_top1": frames_top1} if opposite else {}
    return {
        **{name: measure(probabilities, labels, opposite) for name, measure in paired.items()},
        "video_top1": accuracy(probabilities, labels),
        "video_top5": accuracy(probabilities, labels, 5),
        "per_class": per_class(probabilities, labels),
        "confusion": confusion(probabilities, labels),
    }


def accuracy(probabilities: torch.Tensor, labels: torch.Tensor, best: int = 1) -> float:
    """Share of the videos whose class is among the ``best`` most probable ones."""
    if best == 1:
        right = probabilities.argmax(1) == labels
    else:
        right = (probabilities.topk(min(best, probabilities.shape[1]), 1).indices == labels[:, None]).any(1)
    return 100.0 * float(right.double().mean())


def interval(share: float, videos: int) -> tuple[float, float]:
    """95 % interval, per cent, of the accuracy that ``share`` (per cent) of so many videos stands for (Wilson, 1927).

    It says how far other videos like these may differ, not another training.
    """
    low, high = wilson(share / 100, videos)
    return 100 * low, 100 * high


def order_top1(probabilities: torch.Tensor, labels: torch.Tensor, opposite: Sequence[int]) -> float:
    """Share of the videos of pairs whose class is more probable than its ``opposite``; equal ones are not right.

    A network that gives a video and its reversal the same probabilities is right about one of the two at most, so
    it has at most 50 where every video is there both ways.
    """
    paired = torch.tensor(opposite, device=labels.device)[labels] != labels
    probabilities, labels = probabilities[paired], labels[paired]
    other = torch.tensor(opposite, device=labels.device)[labels]
    own, against = (probabilities.gather(1, classes[:, None])[:, 0] for classes in (labels, other))
    return 100.0 * float((own > against).double().mean())


def frames_top1(probabilities: torch.Tensor, labels: torch.Tensor, opposite: Sequence[int]) -> float:
    """Share of the videos of which the right pair of classes, or class of no pair, is the most probable one.

    What can be told without the order of frames, as both classes of a pair hold the same ones.
    """
    others = torch.tensor(opposite, device=labels.device)
    alone = others == torch.arange(len(others), device=labels.device)
    best = torch.where(alone, probabilities, probabilities + probabilities[:, others]).argmax(1)
    return 100.0 * float(((best == labels) | (best == others[labels])).double().mean())


def per_class(probabilities: torch.Tensor, labels: torch.Tensor) -> tuple[float | None, ...]:
    """Top-1 of the videos of each class; ``None`` for a class without videos."""
    right = (probabilities.argmax(1) == labels).double()
    classes = probabilities.shape[1]
    videos = torch.bincount(labels, minlength=classes).tolist()
    found = torch.bincount(labels, weights=right, minlength=classes).tolist()
    return tuple(100.0 * some / every if every else None for some, every in zip(found, videos, strict=True))


def confusion(probabilities: torch.Tensor, labels: torch.Tensor) -> tuple[tuple[int, int, int], ...]:
    """``(true class, predicted class, videos)`` where there are any."""
    pairs = torch.stack([labels, probabilities.argmax(1)], 1)
    found, counts = pairs.unique(dim=0, return_counts=True)  # type: ignore[no-untyped-call]
    rows = torch.cat([found, counts[:, None]], 1).tolist()
    return tuple((true, predicted, videos) for true, predicted, videos in rows)


def cross_entropy(probabilities: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean over the videos of minus the logarithm of the probability of the right class, nats."""
    right = probabilities.gather(1, labels[:, None].to(probabilities.device)).double()
    return float(-right.clamp_min(torch.finfo(torch.float32).tiny).log().mean())


def predictions(probabilities: torch.Tensor) -> tuple[tuple[int, float], ...]:
    """Of every video the most probable class, and its probability to four digits."""
    values, classes = probabilities.max(1)
    return tuple(zip(classes.tolist(), (round(value, 4) for value in values.tolist()), strict=True))
