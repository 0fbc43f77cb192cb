"""What a training finds, as plain data: the points of its curve, its rungs, and the whole."""

from __future__ import annotations

from dataclasses import dataclass

ALWAYS = ("video_top1", "clip_top1")
"""Accuracies of the proxy that every training has, per cent."""
OF_PAIRS = ("order_top1", "frames_top1")
"""Those of data whose classes are pairs of a motion and its reversal: the right one of the pair; the right pair."""
ACCURACIES = (*ALWAYS, *OF_PAIRS)


@dataclass(frozen=True)
class Epoch:
    """One point of the learning curve."""

    epoch: int
    lr: float
    train_loss: float
    """mean cross-entropy in nats per clip"""
    clip_top1: float
    """validation, per cent"""
    seconds: float
    train_top1: float | None = None
    """of the clips as they were trained on, per cent; ``None`` in records of earlier versions, as the next two"""
    val_loss: float | None = None
    """mean cross-entropy of validation's centre clips, nats"""
    steps: int | None = None


@dataclass(frozen=True)
class Rung:
    """What a network had reached after so many epochs."""

    epoch: int
    clip_top1: float
    """per cent"""
    video_top1: float
    """per cent"""
    order_top1: float | None = None
    """per cent; ``None`` where classes are no pairs of a motion and its reversal, as the next one"""
    frames_top1: float | None = None


@dataclass(frozen=True)
class Training:
    """What one training found."""

    clip_top1: float
    """per cent"""
    video_top1: float
    """per cent"""
    video_top5: float
    """per cent; 100 where there are at most five classes"""
    per_class: tuple[float | None, ...]
    """video@1 of the videos of each class, per cent; ``None`` for a class without validation videos"""
    curve: tuple[Epoch, ...]
    loss_sum: float
    """sum over all steps of the mean loss of the batch (Ru et al., NeurIPS 2021)"""
    seconds: float
    clips_per_second: float
    """training clips per second of training time, evaluation left out"""
    micro_batch: int
    """clips per forward pass; smaller than the batch after running out of memory"""
    confusion: tuple[tuple[int, int, int], ...]
    """of video@1: ``(true class, predicted class, videos)`` where there are any"""
    residence: str
    """where the clips were, and why"""
    clips: int
    """training clips seen, over all epochs"""
    precision: str = ""
    """what it was computed in, and where in another; empty in records of earlier versions"""
    predictions: tuple[tuple[int, float], ...] = ()
    """of every validation video, in the data's order: the most probable class and its probability"""
    rungs: tuple[Rung, ...] = ()
    """results on the way, where the search asked for them"""
    order_top1: float | None = None
    """per cent of the videos whose class is more probable than the same motion run backwards; ``None`` where classes
    are no such pairs, and in records of earlier versions, as the next one"""
    frames_top1: float | None = None
    """per cent of the videos whose pair of classes is the most probable one"""
