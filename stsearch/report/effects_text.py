"""Effects in words. Nothing is called an effect here that the joint intervals do not support."""

from __future__ import annotations

from typing import Any

from stsearch.report.effect_answers_text import answers_in_words, points
from stsearch.report.effect_contrasts import Contrast, CostDifference
from stsearch.report.effect_words import ALONE, kind_label, listed, terms_in_words
from stsearch.report.effects import EarlyLate, Effects
from stsearch.search.metrics import METRICS
from stsearch.space.architecture import GROUPS

POINTS = 2.0
"""The effect for which the paragraph says how many networks would be needed."""
CLAUSES = 6
"""Effects that the paragraph spells out, at most."""
HOPELESS = 30.0
"""Points beyond which no plausible effect would show."""


def cost_unit(name: str) -> tuple[float, str]:
    """What a cost is divided by to be shown, and its unit: ``M parameters``, ``ms``."""
    if name not in METRICS:
        return 1, name
    metric = METRICS[name]
    return metric.scale, f"M {metric.title}" if metric.unit == "M" else metric.unit


def cost_words(cost: CostDifference, name: str) -> str:
    """``+0.90 GMACs (0.35 to 1.60)``: mean and range over the contexts."""
    scale, unit = cost_unit(name)
    text = f"{cost.mean / scale:+.2f} {unit}"
    if cost.low is None or cost.high is None:
        return f"about {text}"
    if cost.high - cost.low < 0.005 * scale:
        return text
    return f"{text} ({cost.low / scale:.2f} to {cost.high / scale:.2f})"


def swap_words(contrast: Contrast) -> str:
    """What is held against what: ``seeing time``, ``3D instead of 2D``."""
    if contrast.kind == "time":
        return "seeing time"
    return f"{kind_label(contrast.kind)} instead of {kind_label(contrast.against)}"


def percent(level: float) -> str:
    """``99.9 %``"""
    return f"{100 * level:g} %"


def parts(effects: Effects) -> list[tuple[str, str]]:
    """What the study says, what it does not, what has no estimate, and the caveats: heads and texts.

    Claims nothing that the joint intervals do not support.
    """
    if effects.networks < 2 or not effects.contrasts:
        return [("What came out", _nothing(effects))]
    answered = effects.asked is not None and bool(effects.asked.answers)
    found = [
        *_order(effects),
        *(answers_in_words(effects.asked, _metric(effects)) if effects.asked else []),
        *_found(effects),
        _early_late(effects),
    ]
    told = (
        ("What came out", found),
        ("What it would take", [*([] if answered else _not_shown(effects)), *_needed(effects)]),
        ("What has no estimate", _no_estimate(effects)),
        ("How it was counted", _caveats(effects)),
    )
    return [(head, " ".join(sentences)) for head, sentences in told if sentences]


def paragraph(effects: Effects) -> str:
    """All of ``parts`` without their heads."""
    return " ".join(text for _, text in parts(effects))


def effects_json(effects: Effects) -> dict[str, Any]:
    """Plain data with stable keys, the paragraph among them."""
    return {**effects.as_dict(), "paragraph": paragraph(effects)}


def _nothing(effects: Effects) -> str:
    if effects.networks > 1:
        have = f"The {effects.networks} networks have the same kinds in every group"
    else:
        have = "One network has been trained" if effects.networks else "No network has been trained yet"
    return (
        f"{have}, so nothing can be said about where time matters: that takes networks that differ in their kinds, "
        "at least twice as many as all groups together have kinds."
    )


def _order(effects: Effects) -> list[str]:
    """What networks lack that treat frames one by one, and that they are left out of the rest."""
    blind = effects.blind
    if blind is None:
        return []
    one = blind.networks == 1
    who = "One network treats" if one else f"{blind.networks} networks treat"
    has = f"has {blind.mean:.1f} %" if one else f"have {blind.mean:.1f} % on average"
    rest = (
        f"{'It is' if one else 'They are'} left out of what follows, which is about networks that see order somewhere."
    )
    if blind.estimate is None or not blind.claimed:
        return [f"{who} frames one by one and {has}, the others {blind.others:.1f} %. {rest}"]
    mean, interval = points(blind.estimate)
    return [
        f"Seeing the order of frames anywhere is worth {mean} points of {_metric(effects)} (95 % interval {interval}): "
        f"{who[0].lower()}{who[1:]} frames one by one and {has}, the others {blind.others:.1f} %. {rest}"
    ]


def _metric(effects: Effects) -> str:
    return METRICS[effects.accuracy].title if effects.accuracy in METRICS else effects.accuracy


def _asked(effects: Effects) -> dict[str, list[Contrast]]:
    """For every group what is asked of time: all its kinds together, or one by one where they are shown to differ."""
    differ = {c.group for c in effects.claims if c.between_kinds}
    asked: dict[str, list[Contrast]] = {}
    for group in GROUPS:
        time = [c for c in effects.contrasts if c.group == group and c.about_time]
        pooled = [c for c in time if c.kind == "time"]
        kinds = [c for c in time if c.kind != "time"]
        asked[group] = pooled if pooled and group not in differ else kinds
    return asked


def _told(effects: Effects) -> list[Contrast]:
    """Claims worth a clause: what seeing time is worth, then what the choice of kind is."""
    claims, told = effects.claims, []
    for group, asked in _asked(effects).items():
        kinds = [c for c in claims if c.about_time and c.group == group and c.kind != "time"]
        told += [c for c in asked if c.claimed] or kinds
    told.sort(key=claims.index)
    return [*told, *(c for c in claims if not c.about_time)]


def _found(effects: Effects) -> list[str]:
    told = _told(effects)
    if not told and effects.asked and effects.asked.answers:
        return ["No other difference between two kinds in one group can be claimed."]
    if not told:
        return [
            f"From these {effects.networks} networks no effect of a kind on {_metric(effects)} can be claimed, "
            "in any group."
        ]
    clauses = [_clause(effects, contrast) for contrast in told[:CLAUSES]]
    more = f"; {len(told) - CLAUSES} more are in the table" if len(told) > CLAUSES else ""
    return [f"On these data (points of {_metric(effects)}): {'; '.join(clauses)}{more}.", *_where(effects)]


def _clause(effects: Effects, contrast: Contrast) -> str:
    estimate = contrast.estimate
    assert estimate is not None, "only estimates are claimed"
    mean, interval = points(estimate)
    worth = f"is worth {mean}" if estimate.mean > 0 else f"loses {mean.lstrip('-')}"
    cost = f" for {cost_words(contrast.cost, effects.cost)}" if contrast.cost else ""
    return f"{swap_words(contrast)} in {contrast.group} {worth} points (95 % interval {interval}){cost}"


def _where(effects: Effects) -> list[str]:
    """Early, late or everywhere, as far as claimed."""
    signs = {
        group: {c.estimate.mean > 0 if c.claimed and c.estimate else None for c in asked}
        for group, asked in _asked(effects).items()
    }
    helps = tuple(group for group, found in signs.items() if found == {True})
    hurts = tuple(group for group, found in signs.items() if found == {False})
    places: dict[tuple[str, ...], str] = {GROUPS: ", everywhere"}
    places |= {GROUPS[:n]: ", that is early" for n in (1, 2)} | {GROUPS[-n:]: ", that is late" for n in (1, 2)}
    said = [f"So seeing time is shown to help in {listed(helps)}{places.get(helps, '')}."] if helps else []
    return [*said, f"Seeing time is shown to hurt in {listed(hurts)}."] if hurts else said


def _open(effects: Effects) -> list[Contrast]:
    """What is asked of time in the groups where nothing about it is claimed."""
    claimed = {c.group for c in effects.claims if c.about_time}
    return [c for group, asked in _asked(effects).items() if group not in claimed for c in asked]


def _not_shown(effects: Effects) -> list[str]:
    """Groups in which nothing about time is claimed, and how large an effect would have shown."""
    found = [(c.group, c.estimate) for c in _open(effects) if c.estimate is not None]
    if not found:
        return []
    limit = max(effects.detectable(estimate) for _, estimate in found)
    if limit > HOPELESS:
        reach = "there are too few networks to show any plausible effect"
    else:
        reach = f"with these networks effects below about {limit:.1f} points would often be missed"
    groups = listed(dict.fromkeys(group for group, _ in found))
    return [f"Whether time matters in {groups} is not shown, which is not the same as no effect: {reach}."]


def _no_estimate(effects: Effects) -> list[str]:
    """What cannot be estimated, one sentence per reason."""
    together: dict[str, None] = {}
    said: dict[tuple[str, str], list[str]] = {}
    asked = _open(effects)
    for contrast in effects.contrasts:
        if contrast.confounded:
            together[terms_in_words(contrast.confounded)] = None
        elif contrast.method == "none" and (contrast in asked or contrast.why_not == ALONE):
            said.setdefault((swap_words(contrast), contrast.why_not), []).append(contrast.group)
    sentences = [f"No estimate for {what} in {listed(groups)}: {why}." for (what, why), groups in said.items()]
    sentences += [
        f"In these networks {terms} come together, and their effects cannot be told apart." for terms in together
    ]
    more = f"Further reasons: {len(sentences) - CLAUSES}." if len(sentences) > CLAUSES else ""
    return [*sentences[:CLAUSES], *([more] if more else [])]


def _early_late(effects: Effects) -> str:
    both: EarlyLate = effects.early_late
    if both.estimate is None:
        return f"Early against late at equal cost: {both.why_not}."
    mean, interval = points(both.estimate)
    how = f"{both.pairs} pairs within {percent(both.caliper)} of {cost_unit(effects.cost)[1]}"
    if not both.claimed:
        low, high = both.estimate.interval(effects.claim_level)
        return (
            f"Whether time is better spent early or late at equal cost is not settled: early minus late is {mean} "
            f"points, and the joint interval, {low:.1f} to {high:.1f}, holds zero ({how})."
        )
    better = ("early", "late") if both.estimate.mean > 0 else ("late", "early")
    return (
        f"At equal cost networks that see time {better[0]} are more accurate than those that see it {better[1]}: early "
        f"minus late is {mean} points (95 % interval {interval}, {how})."
    )


def _needed(effects: Effects) -> list[str]:
    needed = effects.networks_needed(POINTS) if _open(effects) else None
    if needed is None or needed <= effects.networks or effects.noise is None:
        return []
    times = -(-needed // effects.networks) * effects.trainings
    of = f" of the mean of {effects.trainings}" if effects.trainings > 1 else ""
    noise = f"{effects.noise:.1f} points, standard deviation{of}"
    return [
        f"To show an effect of {POINTS:g} points, about {needed:,} such networks in all would be needed, or about "
        f"{times} trainings of each of these, if the noise ({noise}) is that of training."
    ]


def _caveats(effects: Effects) -> list[str]:
    whose = f" ({effects.accuracy_of})" if effects.accuracy_of else ""
    if effects.results > effects.networks:
        trained = "results of one network are averaged"
    elif effects.most_trainings > effects.trainings:
        trained = f"that of a network is the mean of its {effects.trainings} to {effects.most_trainings} trainings"
    elif effects.trainings > 1:
        trained = f"that of a network is the mean of its {effects.trainings} trainings"
    else:
        trained = "every network counts with one training"
    rule = (
        f"An effect is stated only where its interval, at {percent(effects.family_level)} jointly over "
        f"{effects.comparisons} comparisons, excludes zero."
    )
    return [
        *([rule] if effects.comparisons else []),
        f"Accuracy is that of the networks as they were trained{whose}, the proxy's where a proxy was trained; "
        f"{trained}; networks that an adaptive sampler chose are no random sample, and intervals only a guide then.",
    ]


def headline(effects: Effects) -> str:
    """Where time pays in one sentence, claiming no more than ``paragraph``; empty where nothing can be said at all."""
    if effects.networks < 2 or not effects.contrasts:
        return ""
    if where := _where(effects):
        return where[0]
    if told := _told(effects):
        return f"On these data {_clause(effects, told[0])}."
    if effects.blind is not None and effects.blind.claimed:
        return f"{_order(effects)[0].partition(':')[0]}; where it pays is not shown."
    return f"Where time pays is not known from these {effects.networks} networks."
