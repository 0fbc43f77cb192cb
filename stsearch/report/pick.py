"""One network of a front, by a rule that the user names, and why it is that one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stsearch.errors import UserError, brief, quoted, unknown
from stsearch.report.learning_text import luck
from stsearch.report.pareto import Pareto
from stsearch.search.metrics import MEANT, METRICS, QUALITIES, objectives
from stsearch.search.reading import Record
from stsearch.stats.front import minimised

RULES = ("knee", "max-accuracy", "COST<=NUMBER")
SURE = 0.5
"""Networks whose probability of being on the front is lower were lucky: they are not picked where others remain."""
_CAP = re.compile(r"\s*(?P<name>\w+)\s*<=\s*(?P<cap>\d+(\.\d*)?([eE][+-]?\d+)?)\s*")


@dataclass(frozen=True)
class Pick:
    """The network that a rule chooses."""

    rule: str
    record: Record
    why: tuple[str, ...]
    """sentences"""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        one = self.record
        named = {"trial": one.trial, "network": one.network, "architecture": one.architecture}
        return {"rule": self.rule, **named, **one.metrics, "why": list(self.why)}


def picked(pareto: Pareto, rule: str) -> Pick:
    """The network of ``pareto`` that ``rule`` chooses; ``UserError`` for no such rule, and where there is none.

    ``knee``: every objective scaled to 0 at its best and 1 at its worst on the front, the smallest sum, which for two
    objectives is the point furthest from the line between the ends. ``max-accuracy``, and that among networks within a
    cap on a cost: the highest accuracy to expect, which is the mean without the luck of having been picked.
    """
    cap = _CAP.fullmatch(rule)
    if rule not in RULES[:2] and cap is None:
        raise UserError(f"--pick is {', '.join(RULES[:2])} or {RULES[2]}, as in 'gmacs<=20'; given {brief(rule)}")
    if not pareto.front:
        raise UserError(f"--pick: the front of {pareto.study} is empty")
    quality = next((name for name in pareto.objectives if name in QUALITIES), None)
    if quality is None and rule != "knee":
        raise UserError(f"--pick {rule}: no accuracy is an objective; there are {quoted(pareto.objectives)}")
    candidates, left_out = _candidates(pareto)
    if rule == "knee":
        found, why = _knee(pareto, candidates)
    else:
        assert quality is not None
        why = []
        if cap is not None:
            candidates = _within(pareto, candidates, cap["name"], float(cap["cap"]))
            why.append(f"{_within_text(cap['name'], float(cap['cap']), candidates)}.")
        found = max(candidates, key=lambda one: _expected(pareto, one, quality))
        only = len(candidates) == 1
        why.append(
            "It is the only one."
            if only
            else f"Of {_counted(candidates)} it has the highest {_accuracy_text(pareto, quality)}."
        )
    if left_out:
        why.append(f"{_counted(left_out)} of the front with p(front) below {SURE:g} did not count.")
    unsure = luck(pareto.learning)
    warned = [f"Warning: {unsure}"] if unsure else []
    return Pick(rule.strip(), found, (*why, *_doubts(pareto, found), *_outdone(pareto, found), *warned))


def _candidates(pareto: Pareto) -> tuple[list[Record], list[Record]]:
    """Networks of the front, without those that were lucky where repeats tell; and these."""
    sure = pareto.confidence
    if sure is None or not sure.noise.networks:
        return list(pareto.front), []
    kept = [one for one in pareto.front if sure.probability(one) >= SURE]
    return (kept, [one for one in pareto.front if one not in kept]) if kept else (list(pareto.front), [])


def _expected(pareto: Pareto, record: Record, name: str) -> float:
    sure = pareto.certainty(record)
    return sure.expected.get(name, record.metrics[name]) if sure else record.metrics[name]


def _knee(pareto: Pareto, candidates: Sequence[Record]) -> tuple[Record, list[str]]:
    if len(candidates) < 3:
        qualities = [name for name in pareto.objectives if name in QUALITIES]
        found = max(candidates, key=lambda one: [_expected(pareto, one, name) for name in qualities])
        return found, [
            f"{_counted(candidates)} make{'s' * (len(candidates) == 1)} no knee: it is the most accurate one."
        ]
    rows = [[_expected(pareto, one, name) for name in pareto.objectives] for one in candidates]
    values = minimised(rows, pareto.objectives.values())
    low, high = values.min(0), values.max(0)
    scaled = (values - low) / (high - low).clip(1e-12)
    best = int(scaled.sum(1).argmin())
    return candidates[best], [
        f"Of {_counted(candidates)} it is the one from which on more {quoted(_costs(pareto))} buys least accuracy: "
        f"the furthest from the line between the ends of the front."
    ]


def _costs(pareto: Pareto) -> list[str]:
    return [name for name in pareto.objectives if name not in QUALITIES]


def _within(pareto: Pareto, candidates: Sequence[Record], name: str, cap: float) -> list[Record]:
    costs = [cost for cost in objectives() if cost not in QUALITIES]
    if name not in costs:
        raise UserError(f"--pick: {unknown('cost', name, costs, MEANT)}")
    if any(name not in one.metrics for one in candidates):
        raise UserError(f"--pick: {name} of these networks was not measured; there is {quoted(candidates[0].metrics)}")
    kept = [one for one in candidates if one.metrics[name] <= cap]
    if not kept:
        least = min(one.metrics[name] for one in candidates)
        cheaper = [one for one in pareto.outside if one.metrics.get(name, least) <= cap]
        beside = "".join(f". {one.network}, outside the space, has {one.metrics[name]:.4g}" for one in cheaper)
        raise UserError(f"--pick: no network of the front has {name} <= {cap:g}; the least is {least:g}{beside}")
    return kept


def _within_text(name: str, cap: float, kept: Sequence[Record]) -> str:
    return f"{_counted(kept)} of the front {'has' if len(kept) == 1 else 'have'} {name} <= {cap:g}"


def _accuracy_text(pareto: Pareto, quality: str) -> str:
    return f"{quality} to expect" if pareto.confidence else quality


def _counted(records: Sequence[Record]) -> str:
    return f"{len(records)} network{'s' * (len(records) != 1)}"


def _outdone(pareto: Pareto, found: Record) -> list[str]:
    """Networks outside the space that dominate it; a rule picks among those of the space."""
    return [
        f"But {one.network}, which is outside the space, was measured nowhere worse and somewhere better: "
        + ", ".join(METRICS[name].amount(one.metrics[name]) for name in pareto.objectives)
        + f"; `train {one.network}` trains that one."
        for one in pareto.outdone_by(found)
    ]


def _doubts(pareto: Pareto, found: Record) -> list[str]:
    """How sure the choice is, and a cheaper network that cannot be told apart from it."""
    sure = pareto.confidence
    if sure is None:
        return []
    guess = "" if sure.noise.networks else ", a guess as long as nothing is trained again"
    words = [f"p(front) {sure.probability(found):.2f}{guess}."]
    open_to = [(pair.first, pair.probability) for pair in sure.pairs if pair.second.trial == found.trial]
    costs = _costs(pareto)
    if open_to and costs:
        name = costs[0]
        other, chance = min(open_to, key=lambda one: one[0].metrics[name])
        words.append(
            f"{other.network} ({METRICS[name].amount(other.metrics[name])}) costs less and cannot be told "
            f"apart from it: it is the more accurate one with probability {chance:.2f}."
        )
    return words


def train_command(program: str, study: str, record: Record, place: Sequence[str] = ()) -> str:
    """What to type to train ``record``; data are to be named where it is no trial of a study."""
    if record.trial is None:
        what = [record.network, "--data", "SOURCE"]
        folder = record.network
    else:
        what, folder = [f"{study}#{record.trial}"], f"{Path(study).stem}-{record.trial}"
    return shlex.join([program, "train", *what, *place, "--out", folder])
