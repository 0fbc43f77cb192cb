"""Whether the networks of a study have learnt what they were trained for, or are ranked by something else.

A short training may end before a network has learnt anything, or halfway; accuracies then order networks by luck, or by
how fast they learn. Learning curves tell, so it costs nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median, median_high
from typing import Any, Literal

import numpy as np

from stsearch.search.place import shown
from stsearch.search.reading import Record, Rows, StoredStudy
from stsearch.space.blueprint import ClipShape, sees_order

TAKEN_OFF = 0.9
"""Share of ln(classes) below which a training loss must stay for the network to know more than a guess"""
FITTED = 0.5
"""Share of ln(classes) that the loss of a network is at most, once it has fitted its clips"""
DIVERGED = 2.0
"""Share of ln(classes) above which a training loss is worse than that of any network that has only begun"""
LUCK = 1.645
"""Standard errors above the largest class's share within which 95 % of networks lie that only guess"""
LOOKED_AT = 100
"""Networks that a verdict is over, at most, evenly by trial; and of the front's, those whose figures are told"""

Verdict = Literal["learnt", "not learnt", "learning speed", "unknown"]
_NO_CURVE = ("nni-oneshot",)
"""Evaluators whose curves are not those of the networks"""


@dataclass(frozen=True)
class Baseline:
    """What a network that has learnt nothing gets."""

    classes: int
    """of the data"""
    videos: int
    """of the validation set; 0 where no record says it"""
    majority: float | None
    """share of the largest class of validation, per cent; ``None`` where no record says it"""

    @property
    def chance(self) -> float:
        """Accuracy of a guess among all classes, per cent."""
        return 100 / self.classes

    @property
    def loss(self) -> float:
        """Cross-entropy of a guess among all classes, nats: ln(classes)."""
        return math.log(self.classes)

    @property
    def luck(self) -> float | None:
        """Accuracy up to which 95 % of networks get by guessing, per cent; ``None`` where that cannot be said."""
        if self.majority is None or self.majority >= 100:
            return None
        return self.majority + LUCK * math.sqrt(self.majority * (100 - self.majority) / self.videos)


@dataclass(frozen=True)
class Learnt:
    """How far one network came: means over its trainings."""

    trial: int | None
    network: str
    video_top1: float | None
    """per cent"""
    train_loss: float | None
    """of the last epoch, nats; this and the next ones are ``None`` where no record says it, or it is not finite"""
    train_top1: float | None
    """of the last epoch's clips as they were trained on, per cent"""
    val_loss: float | None
    """of the centre clips after the last epoch, nats"""
    steps: int | None
    """of one training"""
    take_off_epoch: int | None
    """the first epoch from which on the training loss stays below ``TAKEN_OFF`` of ln(classes); ``None`` where there is
    none. Of several trainings the middle one, the later of two."""
    take_off_steps: int | None
    """steps until the end of that epoch"""
    learnt: bool | None
    """whether it knows more than a guess: accuracy beyond luck, loss below ``TAKEN_OFF`` of ln(classes)"""
    fitted: bool | None
    """whether its loss is at most ``FITTED`` of ln(classes); ``None`` where no loss of its own is known"""
    judged: bool = False
    """whether it is one of those that the verdict is over"""


@dataclass(frozen=True)
class Learning:
    """Of a study."""

    networks: tuple[Learnt, ...]
    """whose records were read: those that are judged, and networks of the front, by trial"""
    baseline: Baseline
    trained: int
    """networks of the study"""
    evaluate: Mapping[str, Any]
    """how they were trained"""
    clips: int | None
    """training videos; ``None`` where no record says it"""
    study: str
    place: str
    """URL of its storage without the password"""

    @property
    def judged(self) -> tuple[Learnt, ...]:
        """Networks that the verdict is over."""
        return tuple(network for network in self.networks if network.judged)

    @property
    def own_curves(self) -> bool:
        """Whether the learning curves of its records are those of its networks."""
        return _has_own_curves(self.evaluate)

    @property
    def not_learnt(self) -> int:
        """Of those judged."""
        return sum(network.learnt is False for network in self.judged)

    @property
    def not_fitted(self) -> int:
        """Of those judged."""
        return sum(network.fitted is False for network in self.judged)

    @property
    def verdict(self) -> Verdict:
        """``not learnt`` or ``learning speed`` where that holds for most of the networks that are judged."""
        known = [network for network in self.judged if network.learnt is not None]
        if not known:
            return "unknown"
        if 2 * self.not_learnt > len(known):
            return "not learnt"
        return "learning speed" if 2 * self.not_fitted > len(known) else "learnt"

    def middle(self, name: str) -> float | None:
        """Median of a figure over the networks that are judged; ``None`` where none has it."""
        found = [value for network in self.judged if (value := getattr(network, name)) is not None]
        return float(median(found)) if found else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the verdict, medians of the networks that are judged, and every network that was looked at."""
        base = self.baseline
        figures = ("video_top1", "train_loss", "train_top1", "val_loss", "steps", "take_off_steps")
        return {
            "verdict": self.verdict,
            "judged": len(self.judged),
            "not_learnt": self.not_learnt,
            "not_fitted": self.not_fitted,
            "classes": base.classes,
            "videos": base.videos,
            "chance": base.chance,
            "majority": base.majority,
            "luck": base.luck,
            "guess_loss": base.loss,
            "median": {name: self.middle(name) for name in figures},
            "networks": [asdict(network) for network in self.networks],
        }


def take_off(losses: Sequence[float], level: float) -> int | None:
    """The first epoch, from 1, from which on all ``losses`` (one per epoch) are below ``level``."""
    above = [epoch for epoch, loss in enumerate(losses, 1) if not loss < level]
    first = above[-1] + 1 if above else 1
    return first if first <= len(losses) else None


def learnt_of(record: Record, details: Mapping[str, Any], baseline: Baseline, *, own_curve: bool = True) -> Learnt:
    """How far a network came, by the full record of its trainings (``details``, also empty or of an earlier version).

    Without ``own_curve`` the losses of the record are not the network's, and its accuracy alone tells.
    """
    trainings = [training for training in details.get("trainings", ()) if training.get("curve")]
    curves: list[Sequence[Mapping[str, Any]]] = [training["curve"] for training in trainings] if own_curve else []
    last = [curve[-1] for curve in curves]
    train_loss, val_loss = (_mean([epoch.get(name) for epoch in last]) for name in ("train_loss", "val_loss"))
    loss = _least(train_loss, val_loss) if curves else None
    top1 = _mean([training.get("video_top1") for training in trainings])
    epoch, steps = _middle_take_off(curves, TAKEN_OFF * baseline.loss)
    return Learnt(
        trial=record.trial,
        network=record.network,
        video_top1=top1,
        train_loss=train_loss,
        train_top1=_mean([found.get("train_top1") for found in last]),
        val_loss=val_loss,
        steps=_steps(curves[0]) if curves else None,
        take_off_epoch=epoch,
        take_off_steps=steps,
        learnt=_has_learnt(top1, loss, baseline),
        fitted=None if loss is None else loss <= FITTED * baseline.loss,
    )


def _has_learnt(top1: float | None, loss: float | None, baseline: Baseline) -> bool | None:
    """By as much of accuracy and loss as is known; ``None`` where neither is."""
    beyond_luck = None if top1 is None or baseline.luck is None else top1 > baseline.luck
    below_guess = None if loss is None else loss < TAKEN_OFF * baseline.loss
    known = [told for told in (beyond_luck, below_guess) if told is not None]
    return all(known) if known else None


def _least(*losses: float | None) -> float:
    """The training loss is a mean over an epoch in which the network got better: what validation says may be less.

    Infinite where none is finite, as after a training that diverged.
    """
    return min((loss for loss in losses if loss is not None), default=math.inf)


def _mean(values: Sequence[float | None]) -> float | None:
    """``None`` where one is missing or not finite."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _steps(epochs: Sequence[Mapping[str, Any]]) -> int | None:
    counts = [epoch.get("steps") for epoch in epochs]
    return sum(count for count in counts if count is not None) if counts and None not in counts else None


def _middle_take_off(curves: Sequence[Sequence[Mapping[str, Any]]], level: float) -> tuple[int | None, int | None]:
    """Epoch and steps of the middle one of several trainings."""
    found = [take_off([epoch["train_loss"] for epoch in curve], level) for curve in curves]
    middle = median_high([math.inf if epoch is None else epoch for epoch in found]) if found else math.inf
    if middle == math.inf:
        return None, None
    epoch = int(middle)
    return epoch, _steps(curves[found.index(epoch)][:epoch])


def baseline_of(classes: int, details: Sequence[Mapping[str, Any]]) -> Baseline:
    """By the confusion matrices of the records ``details``: that of the most validation videos."""
    videos: dict[int, int] = {}
    for record in details:
        for training in record.get("trainings", ()):
            counts: dict[int, int] = {}
            for true, _, count in training.get("confusion") or ():
                counts[true] = counts.get(true, 0) + count
            if sum(counts.values()) > sum(videos.values()):
                videos = counts
    total = sum(videos.values())
    return Baseline(classes, total, 100 * max(videos.values()) / total if total else None)


def learning_of(stored: StoredStudy, front: Rows) -> Learning | None:
    """Of a study as it stands, ``front`` being rows of its front; ``None`` where nothing was trained.

    Reads the records of at most ``LOOKED_AT`` networks and as many of the front.
    """
    sample = _evenly(stored.complete)
    rows = np.union1d(sample, _evenly(front))
    found = [(row, kept) for row, kept in zip(rows.tolist(), stored.details(rows), strict=True) if _trained(kept)]
    if not found:
        return None
    baseline = baseline_of(len(stored.class_names), [kept for _, kept in found])
    records = stored.records(np.array([row for row, _ in found], dtype=np.int64))
    drawn = set(stored.numbers[sample].tolist())
    judged = _judged([record for record in records if record.trial in drawn], stored.proxy_clip)
    evaluate = stored.resolved["evaluate"]
    own_curve = _has_own_curves(evaluate)
    return Learning(
        networks=tuple(
            replace(learnt_of(record, kept, baseline, own_curve=own_curve), judged=record.trial in judged)
            for record, (_, kept) in zip(records, found, strict=True)
        ),
        baseline=baseline,
        trained=len(stored.complete),
        evaluate=evaluate,
        clips=next((clips for _, kept in found if (clips := _clips(kept))), None),
        study=stored.name,
        place=shown(stored.url),
    )


def learning_of_records(
    records: Sequence[Record],
    details: Sequence[Mapping[str, Any]],
    classes: int,
    clip: ClipShape,
    evaluate: Mapping[str, Any],
) -> Learning:
    """Of networks that were trained outside any study: ``records`` numbered by trial, and what training found."""
    baseline, judged = baseline_of(classes, details), _judged(records, clip)
    found = zip(records, details, strict=True)
    networks = (replace(learnt_of(r, kept, baseline), judged=r.trial in judged) for r, kept in found)
    return Learning(tuple(networks), baseline, len(records), evaluate, None, "", "")


def _clips(record: Mapping[str, Any]) -> int | None:
    """Training videos: the clips of an epoch."""
    training = record["trainings"][0]
    return training["clips"] // len(training["curve"]) if training.get("clips") and training.get("curve") else None


def _has_own_curves(evaluate: Mapping[str, Any]) -> bool:
    return evaluate.get("name") not in _NO_CURVE


def _evenly(rows: Rows) -> Rows:
    return rows[:: -(-len(rows) // LOOKED_AT) or 1]


def _trained(record: Mapping[str, Any]) -> bool:
    return any(training.get("curve") for training in record.get("trainings", ()))


def _judged(records: Sequence[Record], clip: ClipShape) -> set[int | None]:
    """Trials of the networks that see the order of frames.

    Those blind to it may sit at a ceiling of their own: they are judged only where there are several, and no others.
    """
    seeing = {record.trial for record in records if sees_order(record.parsed(), clip)}
    return seeing or ({record.trial for record in records} if len(records) > 1 else set())
