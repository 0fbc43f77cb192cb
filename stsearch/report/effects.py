"""What a kind of convolution is worth in each placement group, and what it costs: the answer of a study.

Two estimators of the effect on accuracy. *Matched pairs*: networks that are alike but for the
kind of one group; every network is in at most one pair, so the differences are independent and
their t interval holds. It is read where nearly every network has its twin. *Regression* over all
networks, read elsewhere: main effects of kinds, with depth and width beside them. The choice
between them looks at the design alone, never at accuracies.
Costs are exact, so their differences have a mean and a range over contexts and no interval.
Why these methods, and how their intervals cover: docs/results/effects.md.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from stsearch.errors import UserError, unknown
from stsearch.report.axes import placement_class
from stsearch.report.effect_answers import Asked, answers_of
from stsearch.report.effect_contrasts import Contrast, CostOf, Regression, kind_contrasts, time_contrasts
from stsearch.report.effect_design import Design, Floats, Ints, design_of, design_of_ids, merged
from stsearch.report.effect_estimates import (
    MIN_DF,
    Estimate,
    Fit,
    cost_matched,
    of_differences,
    of_groups,
    terms_of,
)
from stsearch.report.effect_importance import Importance, importance_of
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.published import NETWORKS, PUBLISHED

FAMILY = 0.9995
"""Joint level of the intervals that decide what is claimed (Bonferroni over all comparisons of a study)."""
CALIPER = 0.05
"""Costs that differ by at most this share of the larger count as equal."""
MIN_EQUAL_COST = 6
"""Pairs of equal cost below which early is not held against late."""
POWER = 0.8
MOST_NETWORKS = 1_000_000
_EARLY, _LATE = "time early (MC-like)", "time late (rMC-like)"


@dataclass(frozen=True)
class EarlyLate:
    """Networks that see time early against those that see it late, in pairs of equal cost."""

    early: int
    late: int
    pairs: int
    estimate: Estimate | None
    """early minus late, points"""
    why_not: str
    caliper: float = CALIPER
    """share of the larger cost by which costs that count as equal may differ"""
    claimed: bool = False


@dataclass(frozen=True)
class Blind:
    """Networks that treat frames one by one, apart from those that see their order somewhere.

    What these lack no single group gives: it is told as one difference, and the effects of kinds are those among
    networks that see order.
    """

    networks: int
    mean: float
    """their accuracy, per cent"""
    others: float
    """the accuracy of those that see order, per cent"""
    estimate: Estimate | None
    """what seeing order anywhere is worth, points; ``None`` for a single network"""
    claimed: bool = False


@dataclass(frozen=True)
class Effects:
    """What a study says about placement."""

    accuracy: str
    cost: str
    accuracy_of: str
    """whose accuracy, in words; may be empty"""
    results: int
    networks: int
    """distinct networks with both metrics; results of one network are averaged"""
    skipped: int
    """results without one of the metrics"""
    contrasts: tuple[Contrast, ...]
    early_late: EarlyLate
    importance: Importance
    parameters: int
    """of the regression, that these networks can tell apart"""
    noise: float | None
    """residual standard deviation of the regression, points; interactions are in it"""
    family_level: float = FAMILY
    """joint level of the intervals that decide what is claimed"""
    trainings: int = 1
    """of a network, whose mean one result is; the fewest, where some were trained again"""
    most_trainings: int = 1
    """of a network"""
    blind: Blind | None = None
    """``None`` where no network is, all are, or too few would be left"""
    asked: Asked | None = None
    """answers to what was asked before the networks were trained; ``None`` where nothing was"""

    @property
    def comparisons(self) -> int:
        """How many effects were estimated, early against late and order against none included."""
        others = [self.early_late.estimate, self.blind.estimate if self.blind else None]
        return sum(estimate is not None for estimate in (*(c.estimate for c in self.contrasts), *others))

    @property
    def claim_level(self) -> float:
        """Level of each interval that makes all of them hold at once with probability ``family_level``."""
        return 1 - (1 - self.family_level) / max(1, self.comparisons)

    @property
    def claims(self) -> tuple[Contrast, ...]:
        """The contrasts that are claimed, largest first."""
        return tuple(sorted((c for c in self.contrasts if c.claimed), key=_size))

    def detectable(self, estimate: Estimate) -> float:
        """The effect in points that would be claimed with probability ``POWER`` at this error."""
        low, high = Estimate(0.0, estimate.error, estimate.df, estimate.n).interval(self.claim_level)
        return (high - low) / 2 + float(ndtri(POWER)) * estimate.error

    def networks_needed(self, points: float) -> int | None:
        """About how many networks would let an effect of ``points`` be claimed with probability ``POWER``."""
        known = sorted(
            (e for c in self.contrasts if c.about_time and (e := c.estimate) is not None), key=lambda e: e.error
        )
        free = self.networks - self.parameters
        if not known or free <= 0:
            return None
        typical = known[len(known) // 2]

        def shown(networks: int) -> bool:
            """Whether errors and degrees of freedom, as they grow with networks, are enough."""
            times = (networks - self.parameters) / free
            return self.detectable(replace(typical, error=typical.error / times**0.5, df=typical.df * times)) <= points

        most = self.parameters + MIN_DF
        while not shown(most) and most < MOST_NETWORKS:
            most *= 2
        return bisect.bisect_left(range(most), True, self.parameters + MIN_DF, key=shown)

    def as_dict(self) -> dict[str, Any]:
        """Plain data with stable keys."""
        both = self.early_late
        return {
            "accuracy": self.accuracy,
            "cost": self.cost,
            "accuracy_of": self.accuracy_of,
            "results": self.results,
            "trainings": self.trainings,
            "most_trainings": self.most_trainings,
            "networks": self.networks,
            "skipped": self.skipped,
            "family_level": self.family_level,
            "comparisons": self.comparisons,
            "noise": self.noise,
            "effects": [
                {
                    "group": c.group,
                    "kind": c.kind,
                    "against": c.against,
                    "method": c.method,
                    "why_not": c.why_not,
                    "confounded": [list(term) for term in c.confounded],
                    "pairs": c.pairs,
                    "claimed": c.claimed,
                    "matched": self._shown(c.matched),
                    "regression": self._shown(c.regression),
                    "cost": None if c.cost is None else dict(vars(c.cost)),
                }
                for c in self.contrasts
            ],
            "early_late": {
                "early": both.early,
                "late": both.late,
                "pairs": both.pairs,
                "caliper": both.caliper,
                "claimed": both.claimed,
                "why_not": both.why_not,
                "estimate": self._shown(both.estimate),
            },
            "blind": None if self.blind is None else {**vars(self.blind), "estimate": self._shown(self.blind.estimate)},
            "asked": self.asked.as_dict() if self.asked else None,
            "importance": dict(vars(self.importance)),
        }

    def _shown(self, estimate: Estimate | None) -> dict[str, float] | None:
        if estimate is None:
            return None
        (low, high), (joint_low, joint_high) = estimate.interval(), estimate.interval(self.claim_level)
        joint = {"joint_low": joint_low, "joint_high": joint_high}
        return {**vars(estimate), "low": low, "high": high, **joint}


def placement_effects(
    networks: Sequence[tuple[Architecture, Mapping[str, float]]],
    accuracy: str = "video_top1",
    cost: str = "gmacs",
    *,
    cost_of: CostOf | None = None,
    importance: bool = True,
    accuracy_of: str = "",
) -> Effects:
    """Effects of kinds per group on ``accuracy`` (per cent) and ``cost``, both keys of the metrics.

    ``cost_of`` gives a network's cost in closed form; with it a swap's cost is computed in the
    study's networks, without it it is read off trained pairs or fitted. Networks without one
    of the metrics are left out and counted; ``UserError`` where no network has it.
    """
    for name in (accuracy, cost):
        if networks and not any(name in metrics for _, metrics in networks):
            known = sorted({key for _, metrics in networks for key in metrics})
            raise UserError(unknown("metric", name, known))
    nan = float("nan")
    values = np.array([[m.get(accuracy, nan), m.get(cost, nan)] for _, m in networks], dtype=float).reshape(-1, 2)
    design = design_of(architecture for architecture, _ in networks)
    return _effects(design, values, (accuracy, cost), cost_of, importance, accuracy_of)


def placement_effects_of_ids(
    ids: Iterable[str],
    accuracy: npt.ArrayLike,
    cost: npt.ArrayLike,
    *,
    names: tuple[str, str] = ("video_top1", "gmacs"),
    cost_of: CostOf | None = None,
    importance: bool = True,
    accuracy_of: str = "",
    asked: bool = False,
) -> Effects:
    """``placement_effects`` of architecture ids with their accuracies and costs ``(N,)``; the fast way in.

    ``asked`` for networks that were chosen, before they were trained, to answer where time pays.
    """
    design = design_of_ids(ids)
    columns = [np.asarray(column, dtype=float).reshape(-1) for column in (accuracy, cost)]
    if {len(column) for column in columns} != {len(design)}:
        given = " and ".join(str(len(column)) for column in columns)
        raise UserError(f"every id has one accuracy and one cost; given {len(design)} ids, {given} values")
    values = np.stack(columns, axis=1)
    found = _effects(design, values, names, cost_of, importance, accuracy_of)
    if not asked:
        return found
    whole = np.flatnonzero(np.isfinite(values).all(1))
    distinct, means = merged(design.take(whole), values[whole])
    return replace(found, asked=answers_of(distinct, means[:, 0]))


def published_effects(frames: int) -> Effects:
    """The paper's own twelve networks at 8 or 16 frames: what they can and cannot say."""
    rows = [row for row in PUBLISHED if row.frames == frames]
    if not rows:
        allowed = sorted({row.frames for row in PUBLISHED})
        raise UserError(unknown("number of frames", str(frames), map(str, allowed)))
    clip = ClipShape(3, frames, 112, 112)

    def gmacs(architecture: Architecture) -> float:
        return network_cost(architecture, clip, 400).total.macs / 1e9

    networks = [(NETWORKS[row.network], {"video_top1": row.video_top1}) for row in rows]
    return placement_effects(
        [(architecture, {**metrics, "gmacs": gmacs(architecture)}) for architecture, metrics in networks],
        cost_of=gmacs,
        accuracy_of=f"clip {clip}, Kinetics-400 validation, as published (Tran et al., CVPR 2018)",
    )


def _effects(
    design: Design,
    values: Floats,
    names: tuple[str, str],
    cost_of: CostOf | None,
    importance: bool,
    accuracy_of: str,
) -> Effects:
    whole = np.isfinite(values[:, 0]) & np.isfinite(values[:, 1])
    results = int(whole.sum())
    if results:
        design, values = merged(design.take(np.flatnonzero(whole)), values[whole])
    accuracies, costs = values.T if results else values[:0].T
    n = len(accuracies)
    blind, rows = _blind(design, accuracies)
    seeing, among, their_costs = design.take(rows), accuracies[rows], costs[rows]
    regression = Regression(seeing, among, their_costs) if len(rows) > 1 and seeing.pairs else None
    contrasts: list[Contrast] = []
    if regression:
        contrasts = kind_contrasts(seeing, among, their_costs, cost_of, regression)
        contrasts = [*time_contrasts(seeing, among, their_costs, contrasts), *contrasts]
    effects = Effects(
        accuracy=names[0],
        cost=names[1],
        accuracy_of=accuracy_of,
        results=results,
        networks=n,
        skipped=whole.size - results,
        contrasts=tuple(contrasts),
        early_late=_early_late(design, accuracies, costs) if n else EarlyLate(0, 0, 0, None, "no networks"),
        importance=importance_of(design, accuracies) if importance else Importance({}, 0, "not asked for"),
        parameters=regression.fit.rank if regression else 0,
        noise=regression.fit.variance**0.5 if regression and regression.fit.df >= MIN_DF else None,
        blind=blind,
    )
    return _with_claims(effects)


def _blind(design: Design, accuracies: Floats) -> tuple[Blind | None, Ints]:
    """What networks blind to order have and lack, and the rows of the others.

    ``None`` and all rows where there is one sort only, or where a regression on the others would have too few.
    """
    here, there = np.flatnonzero(design.blind), np.flatnonzero(~design.blind)
    if not len(here) or not len(there) or Fit(terms_of(design.take(there)), accuracies[there]).df < MIN_DF:
        return None, np.arange(len(design))
    some, others = accuracies[there], accuracies[here]
    return Blind(len(here), float(others.mean()), float(some.mean()), of_groups(some, others)), there


def _with_claims(effects: Effects) -> Effects:
    def claimed(estimate: Estimate | None) -> bool:
        return estimate is not None and estimate.excludes_zero(effects.claim_level)

    return replace(
        effects,
        contrasts=tuple(replace(c, claimed=claimed(c.estimate)) for c in effects.contrasts),
        early_late=replace(effects.early_late, claimed=claimed(effects.early_late.estimate)),
        blind=effects.blind and replace(effects.blind, claimed=claimed(effects.blind.estimate)),
    )


def _early_late(design: Design, accuracies: Floats, costs: Floats) -> EarlyLate:
    early, late = _classes(design)
    here, there = cost_matched(costs[early], costs[late], CALIPER)
    estimate = None
    if len(here) >= MIN_EQUAL_COST:
        estimate, why_not = of_differences(accuracies[early[here]] - accuracies[late[there]]), ""
    else:
        why_not = (
            f"too few networks ({len(early)} see time early, {len(late)} late; pairs of equal cost: {len(here)} of the "
            f"{MIN_EQUAL_COST} needed)"
        )
    return EarlyLate(len(early), len(late), len(here), estimate, why_not)


def _classes(design: Design) -> tuple[Ints, Ints]:
    """Rows of the networks that see time early, and of those that see it late; each pattern is classed once."""
    sees = [np.array([any(kind != "2d" for kind in form) for form in forms], dtype=int) for forms in design.forms]
    pattern: Ints = np.stack([design.codes[:, 0], *(sees[g][design.codes[:, g]] for g in range(1, 5))], axis=1)
    _, first, which = np.unique(pattern, axis=0, return_index=True, return_inverse=True)
    classes = np.array([placement_class(design.architecture(row)) for row in first])[which.reshape(-1)]
    return np.flatnonzero(classes == _EARLY), np.flatnonzero(classes == _LATE)


def _size(contrast: Contrast) -> float:
    """Largest effects first."""
    assert contrast.estimate is not None, "only estimates are claimed"
    return -abs(contrast.estimate.mean)
