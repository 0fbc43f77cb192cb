"""``stsearch audit``: how far a study's proxy orders networks as more training does, from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stsearch.report.audit_plan import Sample, Why
from stsearch.report.confidence import Noise, noise_of
from stsearch.report.pareto import pareto_of
from stsearch.report.pool import pool_of
from stsearch.search.audit import AUDIT, RETEST, Found, Plan
from stsearch.search.metrics import ACCURACIES
from stsearch.search.reading import Record, StoredStudy
from stsearch.space.published import PUBLISHED
from stsearch.stats.accuracy import fit
from stsearch.stats.agreement import Difference, Pair, pairs_of, tau_difference
from stsearch.stats.ranks import Correlation, Floats, kendall, spearman

COSTS = ("gmacs", "params")
"""Of the target: known without any training, so the least that a signal must beat."""
_SHORT = 8
"""Frames up to which the paper's table of 8 frames is the nearer one; its other one is of 16."""


@dataclass(frozen=True)
class Audited:
    """One network, as the search and as the audit saw it."""

    record: Record
    """as the search left it"""
    why: Why
    trainings: Sequence[Mapping[str, Any]]
    """of the search, its repeats among them"""
    audit: Mapping[str, Any]
    """record of the audit's training"""
    retest: Mapping[str, Any] | None
    published: float | None
    """the paper's video top-1, per cent"""


@dataclass(frozen=True)
class Pooled:
    """An accuracy over all trainings of a network at the search's fidelity, those of the audit among them."""

    mean: float
    """per cent"""
    error: float
    """standard error of it, per cent"""
    trainings: int


@dataclass(frozen=True)
class Signal:
    """Something that orders networks, and how far as the audit does."""

    name: str
    kind: str
    """``training`` (cost in clips), ``score`` or ``cost`` (no training)"""
    values: tuple[float | None, ...]
    """by network; larger promises more"""
    n: int
    kendall: Correlation
    spearman: Correlation
    against_search: Difference
    """its tau less that of the search's own accuracy, on the same networks"""
    clips: float
    """training clips per network"""
    seconds: float
    """per network, mean"""


@dataclass(frozen=True)
class Ranking:
    """A ranking of the paper's networks against the published one."""

    name: str
    n: int
    kendall: Correlation
    spearman: Correlation


@dataclass(frozen=True)
class AuditReport:
    """What an audit found. Accuracies are per cent."""

    study: str
    metric: str
    searched: dict[str, Any]
    audited: dict[str, Any]
    """fidelities"""
    trained: int
    """networks of the study"""
    networks: tuple[Audited, ...]
    missing: int
    """networks of the sample whose audit has not ended, or failed"""
    failed: tuple[tuple[str, str], ...]
    """``(network, reason)``"""
    others: tuple[tuple[int, str], ...]
    """audits of this study at other fidelities: their networks, and in what they differ from this one"""
    signals: tuple[Signal, ...]
    pooled: tuple[Pooled, ...]
    """by network: all its trainings at the search's fidelity; empty for a study without training"""
    noise: Noise | None
    """of these trainings"""
    pairs: tuple[Pair, ...]
    retest: tuple[Correlation, Correlation] | None
    """Kendall and Spearman of the search's accuracies and those of the same fidelity with another seed"""
    paper: tuple[Ranking, ...]
    paper_missing: tuple[str, ...]
    """networks of the paper that were searched and that the audit has no figure of: its own ranking is without them"""
    paper_frames: int
    audit_seconds: float
    """of all trainings of the audit"""
    audit_clips: float
    """training clips per network of the audit's own fidelity"""
    seed: int

    def count(self, why: Why) -> int:
        """Networks that were audited for a reason."""
        return sum(network.why == why for network in self.networks)

    @property
    def told_apart(self) -> tuple[Pair, ...]:
        """Pairs that the search's accuracies tell apart."""
        return tuple(pair for pair in self.pairs if pair.told_apart)


def report_of(stored: StoredStudy, chosen: Sample, plan: Plan, found: Found) -> AuditReport:
    """Everything that can be said from the records there are."""
    metric = next((name for name in stored.objectives if name in ACCURACIES), "video_top1")
    networks = _audited(stored.as_searched, chosen, found, plan)
    reference = np.array([n.audit["evaluation"][metric] for n in networks], dtype=np.float64)
    signals = _signals(networks, metric, reference, plan)
    pooled, noise, pairs = _pooled(stored, networks, metric, reference)
    names = {c.record.architecture: c.record.network for c in chosen.networks}
    evaluation = stored.identity["evaluate"]
    frames = _paper_frames(stored)
    return AuditReport(
        study=stored.name,
        metric=metric,
        searched={"evaluate": evaluation, "clip": list(stored.proxy_clip.sizes), "width": _width(stored)},
        audited=plan.fidelities[AUDIT].as_dict(),
        trained=chosen.trained,
        networks=networks,
        missing=len(chosen.networks) - len(networks),
        failed=tuple((names[a], reason) for (_, a), reason in found.failed.items() if a in names),
        others=found.others,
        signals=signals,
        pooled=pooled,
        noise=noise,
        pairs=pairs,
        retest=_retest(networks, metric, plan.seed) if noise is not None else None,
        paper=_paper(chosen, networks, metric, frames, plan.seed),
        paper_missing=_paper_missing(chosen, networks, frames),
        paper_frames=frames,
        audit_seconds=sum(
            record["evaluation"]["seconds"]
            for (_, architecture), record in found.records.items()
            if architecture in names
        ),
        audit_clips=_clips(networks, plan),
        seed=plan.seed,
    )


def _paper_frames(stored: StoredStudy) -> int:
    """Which of the paper's two tables is the nearer one."""
    return 8 if stored.target_clip.frames <= _SHORT else 16


def _width(stored: StoredStudy) -> float:
    width: float = stored.identity["proxy"]["width"]
    return width


def _clips(networks: Sequence[Audited], plan: Plan) -> float:
    recipe = plan.fidelities[AUDIT].recipe
    return float(networks[0].audit["train_clips"] * recipe.epochs * recipe.repeats) if networks else 0.0


def _audited(stored: StoredStudy, chosen: Sample, found: Found, plan: Plan) -> tuple[Audited, ...]:
    """The networks of the sample that the audit has trained."""
    done = [c for c in chosen.networks if (AUDIT, c.record.architecture) in found.records]
    numbers = [c.record.trial for c in done if c.record.trial is not None]
    rows = np.flatnonzero(np.isin(stored.numbers, numbers))
    details = dict(zip(stored.numbers[rows].tolist(), stored.details(rows), strict=True))
    outside = stored.reference_details()
    published = _published(_paper_frames(stored))
    return tuple(
        Audited(
            record=c.record,
            why=c.why,
            trainings=(details[c.record.trial] if c.record.trial is not None else outside[c.record.architecture]).get(
                "trainings", ()
            ),
            audit=found.records[AUDIT, c.record.architecture],
            retest=found.records.get((RETEST, c.record.architecture)),
            published=published.get(c.record.network),
        )
        for c in done
    )


@dataclass(frozen=True)
class _Values:
    """A signal before it is compared."""

    name: str
    kind: str
    values: list[float | None]
    clips: float = 0.0
    seconds: float = 0.0


def _signals(networks: Sequence[Audited], metric: str, reference: Floats, plan: Plan) -> tuple[Signal, ...]:
    if not networks:
        return ()
    own = [n.record.metrics.get(metric) for n in networks]
    raw = [*_of_trainings(networks, metric), *_of_retest(networks, metric, plan), *_of_scores(networks)]
    raw += [_Values(name, "cost", [n.record.metrics[name] for n in networks]) for name in COSTS]
    return tuple(_compared(one, own, reference, plan.seed, len(raw) - 1) for one in raw)


def _compared(one: _Values, own: Sequence[float | None], reference: Floats, seed: int, comparisons: int) -> Signal:
    known = np.array([value is not None for value in one.values])
    both = known & np.array([value is not None for value in own])
    x, y = (
        np.array([row for row, keep in zip(rows, known, strict=True) if keep], dtype=np.float64)
        for rows in (one.values, reference)
    )
    a, b, c = (
        np.array([row for row, keep in zip(rows, both, strict=True) if keep], dtype=np.float64)
        for rows in (one.values, own, reference)
    )
    return Signal(
        name=one.name,
        kind=one.kind,
        values=tuple(one.values),
        n=int(known.sum()),
        kendall=kendall(x, y, seed),
        spearman=spearman(x, y, seed),
        against_search=tau_difference(a, b, c, seed, comparisons),
        clips=one.clips,
        seconds=one.seconds,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _of_trainings(networks: Sequence[Audited], metric: str) -> list[_Values]:
    """Accuracy after every epoch, the final one, and the sum of losses, of the search's own trainings."""
    epochs = max((len(t["curve"]) for n in networks for t in n.trainings), default=0)
    clips = networks[0].audit["train_clips"]
    found = []
    for epoch in range(1, epochs + 1):
        reached = [[t for t in n.trainings if len(t["curve"]) >= epoch] for n in networks]
        values = [_mean([t["curve"][epoch - 1]["clip_top1"] for t in group]) for group in reached]
        seconds = [sum(e["seconds"] for t in group for e in t["curve"][:epoch]) for group in reached if group]
        times = float(np.mean([len(group) for group in reached if group]))
        found.append(_Values(f"epoch {epoch}", "training", values, epoch * clips * times, float(np.mean(seconds))))
    if not epochs:
        return []
    trained = [n.trainings for n in networks if n.trainings]
    cost = float(np.mean([sum(len(t["curve"]) for t in group) for group in trained])) * clips
    seconds_all = float(np.mean([sum(t["seconds"] for t in group) for group in trained]))
    losses = [None if (m := _mean([t["loss_sum"] for t in n.trainings])) is None else -m for n in networks]
    own = [n.record.metrics.get(metric) for n in networks]
    return [
        *found,
        _Values("loss_sum", "training", losses, cost, seconds_all),
        _Values(metric, "training", own, cost, seconds_all),
    ]


def _of_retest(networks: Sequence[Audited], metric: str, plan: Plan) -> list[_Values]:
    """The search's own fidelity with another seed."""
    known = [n.retest for n in networks if n.retest is not None]
    if not known:
        return []
    values = [None if n.retest is None else n.retest["evaluation"][metric] for n in networks]
    clips = float(known[0]["train_clips"] * plan.fidelities[RETEST].recipe.epochs)
    seconds = float(np.mean([record["evaluation"]["seconds"] for record in known]))
    return [_Values(f"{metric}, other seed", "training", values, clips, seconds)]


def _of_scores(networks: Sequence[Audited]) -> list[_Values]:
    """Training-free scores, and the study's own where it is one of scores."""
    names = dict.fromkeys(name for n in networks for name in n.audit["scores"])
    found = []
    for name in names:
        known = [n.audit["scores"].get(name, {}) for n in networks]
        seconds = [score["seconds"] for score in known if score]
        found.append(_Values(name, "score", [s.get("value") for s in known], 0.0, float(np.mean(seconds))))
    own = [n.record.metrics.get("score") for n in networks]
    if any(value is not None for value in own):
        found.append(_Values("score of the study", "score", own))
    return found


def _pooled(
    stored: StoredStudy, networks: Sequence[Audited], metric: str, reference: Floats
) -> tuple[tuple[Pooled, ...], Noise | None, tuple[Pair, ...]]:
    """What all trainings at the search's fidelity say, as ``pareto`` has it: figures, their noise, pairs."""
    confidence = pareto_of(stored).confidence
    pool = confidence.pool if confidence else pool_of(stored, [metric])
    places = [pool.place(n.record) for n in networks] if pool else []
    if pool is None or not places or None in places:
        return (), None, ()
    posterior = confidence.posteriors[metric] if confidence else fit(pool.measured[metric])
    noise = confidence.noise if confidence else noise_of(pool, metric, np.arange(len(pool.counts)))
    at, data, errors = np.array(places, dtype=np.int64), posterior.measured, posterior.measured.errors()
    pooled = tuple(Pooled(float(data.means[p]), float(errors[p]), int(data.counts[p])) for p in at)
    return pooled, noise, pairs_of(posterior, at, reference)


def _retest(networks: Sequence[Audited], metric: str, seed: int) -> tuple[Correlation, Correlation] | None:
    both = [(n.record.metrics[metric], n.retest["evaluation"][metric]) for n in networks if n.retest is not None]
    if not both:
        return None
    figures, again = np.array(both, dtype=np.float64).T
    return kendall(figures, again, seed), spearman(figures, again, seed)


def _paper(chosen: Sample, networks: Sequence[Audited], metric: str, frames: int, seed: int) -> tuple[Ranking, ...]:
    """The published ranking against the search's and the audit's.

    Each on all of the paper's networks that have its figure: one whose audit failed or has not ended still has the
    search's, and to leave it out would flatter the search where failures are no accident.
    """
    published = _published(frames)
    searched = {c.record.network: c.record.metrics.get(metric) for c in chosen.networks}
    audited = {n.record.network: n.audit["evaluation"][metric] for n in networks}
    rankings = []
    for name, figures in (("search", searched), ("audit", audited)):
        both = [(figure, published[n]) for n, figure in figures.items() if figure is not None and n in published]
        if both:
            ours, theirs = np.array(both, dtype=np.float64).T
            rankings.append(Ranking(name, len(both), kendall(ours, theirs, seed), spearman(ours, theirs, seed)))
    return tuple(rankings)


def _paper_missing(chosen: Sample, networks: Sequence[Audited], frames: int) -> tuple[str, ...]:
    audited, published = {n.record.network for n in networks}, _published(frames)
    return tuple(n for c in chosen.networks if (n := c.record.network) in published and n not in audited)


def _published(frames: int) -> dict[str, float]:
    """The paper's video top-1 by network, per cent."""
    return {row.network: row.video_top1 for row in PUBLISHED if row.frames == frames}
