"""PED-ANOVA importance of every decision, from the networks of a study (Watanabe et al., IJCAI 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from stsearch.report.effect_design import Design, Floats
from stsearch.space.architecture import GROUPS

MIN_NETWORKS = 20
CAP = 2_000
"""Networks that importances are computed from, at most; a fixed sample of more."""
BEST = 0.1
"""Share of networks that count as good, but at least ``MIN_BEST`` of them."""
MIN_BEST = 5


@dataclass(frozen=True)
class Importance:
    """How much each decision matters for being among the best in accuracy."""

    shares: dict[str, float]
    """``conv1`` .. ``conv5_x`` (kinds) and ``conv2_x depth``, ``width`` where they vary; they sum to 1"""
    networks: int
    why_not: str
    """why there are none, else empty"""


def importance_of(design: Design, accuracies: Floats) -> Importance:
    """Importances for accuracy alone, whatever the objectives of the study were.

    They are shares, of noise too where nothing matters: they rank decisions and claim nothing.
    """
    n = len(accuracies)
    if n < MIN_NETWORKS:
        return Importance({}, n, f"too few networks: {n} of at least {MIN_NETWORKS}")
    if n > CAP:
        rows = np.sort(np.random.default_rng(0).choice(n, CAP, replace=False))
        design, accuracies, n = design.take(rows), accuracies[rows], CAP
    best = max(BEST, MIN_BEST / n)
    if np.sort(accuracies)[-int(np.ceil(best * n))] <= accuracies.min():
        return Importance({}, n, "too many networks have the same accuracy")
    decisions = _decisions(design)
    if not decisions:
        return Importance({}, n, "the networks differ in nothing")
    shares = _shares(decisions, accuracies, best)
    return Importance({name: shares[name] for name in decisions}, n, "")


def _decisions(design: Design) -> dict[str, list[str]]:
    """Name to the value of every network, for what varies."""
    found: dict[str, list[str]] = {}
    for group, name in enumerate(GROUPS):
        words = [form[0] if len(set(form)) == 1 else ".".join(form) for form in design.forms[group]]
        found[name] = [words[code] for code in design.codes[:, group]]
    for group, name in enumerate(GROUPS):
        found[f"{name} depth"] = [str(depth) for depth in design.depth(group)]
    found["width"] = [repr(design.frames[code][1]) for code in design.frame]
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def _shares(decisions: dict[str, list[str]], accuracies: Floats, best: float) -> dict[str, float]:
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(sorted(set(values))) for name, values in decisions.items()
    }
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            optuna.trial.create_trial(
                params=dict(zip(decisions, row, strict=True)), distributions=distributions, value=float(accuracy)
            )
            for *row, accuracy in zip(*decisions.values(), accuracies, strict=True)
        )
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=best))
    finally:
        optuna.logging.set_verbosity(verbosity)
