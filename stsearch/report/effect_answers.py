"""Answers to questions that were asked before a study was trained: what its first networks were chosen for.

A study with ``search.start_with: balanced`` asks where time pays, and a short list of questions is all that it asks:
so they are judged together at 95 %, where comparisons of every kind with every other, picked from a table, are held
to 99.95 %. Networks that see time nowhere, in one group alone, and in several are three sorts: the first group is worth
far more than any further one, so one regression with a term per group would call most of that noise. They are the cells
of a regression of their own, with depth and the share of each kind beside them; what time is worth in a group where
others see it too, and early against late, come from the regression on networks that see time somewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stsearch.report.effect_contrasts import TIME, pooled_over_kinds
from stsearch.report.effect_design import Design, Floats
from stsearch.report.effect_estimates import MIN_DF, Estimate, Fit, terms_of
from stsearch.space.architecture import GROUPS

ASKED_LEVEL = 0.95
"""Joint level of the answers of one study (Bonferroni over those that its networks can give)."""
FEWEST_NOWHERE, FEWEST_SEVERAL = 2, 4
_NULL = 1e-9


@dataclass(frozen=True)
class Answer:
    """One question that was asked beforehand."""

    question: str
    """``alone``: time in one group against nowhere; ``several``: in several groups against one; ``beside``: in a group
    where others see it too; ``kind``: one kind against another wherever time is seen; ``early``: in the first two
    groups against the last two"""
    group: str
    """of ``alone`` and ``beside``, else empty"""
    kind: str
    against: str
    """of ``kind``, else empty"""
    estimate: Estimate
    claimed: bool = False
    """whether the joint interval of all answers leaves out zero"""


@dataclass(frozen=True)
class Asked:
    """All answers of a study."""

    answers: tuple[Answer, ...]
    level: float = ASKED_LEVEL

    @property
    def each(self) -> float:
        """Level of each interval that makes all hold at once with probability ``level``."""
        return 1 - (1 - self.level) / max(1, len(self.answers))

    @property
    def claims(self) -> tuple[Answer, ...]:
        """Those that are claimed."""
        return tuple(one for one in self.answers if one.claimed)

    def as_dict(self) -> dict[str, Any]:
        """Plain data with stable keys."""
        return {"level": self.level, "questions": len(self.answers), "answers": [self._shown(a) for a in self.answers]}

    def _shown(self, answer: Answer) -> dict[str, Any]:
        (low, high), (joint_low, joint_high) = answer.estimate.interval(), answer.estimate.interval(self.each)
        found = {key: value for key, value in vars(answer).items() if key != "estimate"}
        bounds = {"low": low, "high": high, "joint_low": joint_low, "joint_high": joint_high}
        return {**found, **vars(answer.estimate), **bounds}


def answers_of(design: Design, accuracies: Floats) -> Asked:
    """What distinct networks ``design`` of ``accuracies`` ``(N,)``, per cent, say to each question they can answer."""
    kept = np.flatnonzero(design.share(0, "collapse") == 0)  # frames collapsed by the stem are no time in conv1
    design, accuracies = design.take(kept), accuracies[kept]
    found = [*_of_cells(design, accuracies), *_of_groups(design, accuracies)]
    asked = Asked(tuple(found))
    return replace(
        asked, answers=tuple(replace(one, claimed=one.estimate.excludes_zero(asked.each)) for one in asked.answers)
    )


def _of_cells(design: Design, accuracies: Floats) -> list[Answer]:
    """``alone``, ``several`` and ``kind``."""
    places = design.seen.sum(1)
    cells: dict[str, Floats] = {}
    if (places == 0).sum() >= FEWEST_NOWHERE:
        cells["nowhere"] = places == 0
    for group, name in enumerate(GROUPS):
        if ((places == 1) & design.seen[:, group]).any():
            cells[name] = (places == 1) & design.seen[:, group]
    if (places > 1).sum() >= FEWEST_SEVERAL:
        cells["several"] = places > 1
    rows = np.flatnonzero(np.any(list(cells.values()), axis=0)) if cells else np.zeros(0, dtype=np.int64)
    kinds = _shares(design)
    first = "3d" if "3d" in kinds else next(iter(kinds), "")
    covariates = {kind: share for kind, share in kinds.items() if kind != first}
    depth = sum((design.depth(group) for group in range(1, 5)), start=np.zeros(len(design))).astype(float)
    columns = [*cells.values(), *covariates.values(), *([depth - depth.mean()] if np.ptp(depth) else [])]
    if len(rows) < MIN_DF:
        return []
    x, names = np.stack(columns, axis=1).astype(float)[rows], [*cells, *covariates]
    alone = [name for name in GROUPS if name in cells]
    wanted: list[tuple[Answer, dict[str, float]]] = []
    blank = Estimate(0.0, 0.0, 1.0, 0)
    if "nowhere" in cells:
        wanted += [(Answer("alone", name, "", "", blank), {name: 1.0, "nowhere": -1.0}) for name in alone]
    if "several" in cells and len(alone) > 1:
        weights = {"several": 1.0, **{name: -1 / len(alone) for name in alone}}
        wanted.append((Answer("several", "", "", "", blank), weights))
    wanted += [(Answer("kind", "", kind, first, blank), {kind: 1.0}) for kind in covariates]
    found = [
        (answer, _estimate(x, accuracies[rows], np.array([weights.get(name, 0.0) for name in names])))
        for answer, weights in wanted
    ]
    return [replace(answer, estimate=estimate) for answer, estimate in found if estimate is not None]


def _shares(design: Design) -> dict[str, Floats]:
    """Of the groups that see time in each network, the share ``(N,)`` of each kind that does, commonest first."""
    seen = np.maximum(design.seen.sum(1), 1)
    kinds = dict.fromkeys(kind for found in design.kinds for kind in found if kind != "2d")
    shares = {
        kind: np.sum([design.share(group, kind) for group in range(len(GROUPS))], axis=0) / seen for kind in kinds
    }
    return dict(sorted(shares.items(), key=lambda item: -float(item[1].sum())))


def _estimate(x: Floats, y: Floats, weights: Floats) -> Estimate | None:
    """Least squares with one variance for all, since a cell of one network shows none; ``None`` if confounded."""
    weights = np.append(weights, np.zeros(x.shape[1] - len(weights)))
    inverse = np.linalg.pinv(x.T @ x, rcond=_NULL, hermitian=True)
    df = len(y) - int(np.linalg.matrix_rank(x))
    if df < MIN_DF or np.abs(x.T @ x @ inverse @ weights - weights).max() > 1e-6:
        return None
    coefficients = inverse @ (x.T @ y)
    variance = float(np.square(y - x @ coefficients).sum()) / df
    return Estimate(float(weights @ coefficients), float(variance * (weights @ inverse @ weights)) ** 0.5, df, len(y))


def _of_groups(design: Design, accuracies: Floats) -> list[Answer]:
    """``beside`` and ``early``, among networks that see time in more than one group."""
    rows = np.flatnonzero(design.seen.sum(1) > 1)
    among = pooled_over_kinds(design.take(rows))
    terms = terms_of(among)
    if len(rows) < MIN_DF or Fit(terms, accuracies[rows]).df < MIN_DF:
        return []
    fit = Fit(terms, accuracies[rows])
    effects = {
        group: terms.contrast((group, TIME, "2d"))
        for group, kinds in enumerate(among.kinds)
        if {TIME, "2d"} <= {*kinds}
    }
    found = [Answer("beside", GROUPS[g], "", "", e) for g, w in effects.items() if (e := _of_fit(fit, w)) is not None]
    if {0, 1, 3, 4} <= set(effects):
        weights = (effects[0] + effects[1] - effects[3] - effects[4]) / 2
        if (estimate := _of_fit(fit, weights)) is not None:
            found.append(Answer("early", "", "", "", estimate))
    return found


def _of_fit(fit: Fit, weights: Floats) -> Estimate | None:
    return None if fit.confounded(weights) is not None else fit.estimate(weights)
