"""An audit as JSON, and in words that claim no more than its intervals do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from stsearch.report.audit import Audited, AuditReport, Ranking, Signal
from stsearch.report.confidence_text import about_noise, about_pairing, settles
from stsearch.report.words import counted
from stsearch.search.metrics import ACCURACIES, METRICS
from stsearch.stats.accuracy import TOLD
from stsearch.stats.agreement import Pair
from stsearch.stats.ranks import LEAST_FOR_INTERVAL, Correlation

_NAMED = 6
"""pairs that are named"""


def shown(correlation: Correlation) -> str:
    """``0.71 (0.52 to 0.85)``, without the interval where there is none."""
    if correlation.value is None:
        return "-"
    text = f"{correlation.value:.2f}"
    return text if correlation.low is None else f"{text} ({correlation.low:.2f} to {correlation.high:.2f})"


def named(signal: str) -> str:
    """A signal's name as people read it."""
    for metric in ACCURACIES:
        signal = signal.replace(metric, METRICS[metric].head)
    return signal


def search_signal(report: AuditReport) -> Signal | None:
    """What the search itself went by: its accuracy, or its score."""
    names = (report.metric, "score of the study")
    return next((signal for signal in report.signals if signal.name in names), None)


def words(report: AuditReport) -> list[str]:
    """What follows from the figures, a sentence or two per matter."""
    if not report.networks:
        others = [f"{counted(n, 'network')} with {how}" for n, how in report.others if n]
        there = f" Audited otherwise: {'; '.join(others)}." if others else ""
        return [f"Nothing has been trained in this audit yet.{there}"]
    parts = [_sample(report), _proxy(report), _cheaper(report), _noise(report), _near(report), _paper(report)]
    return [part for part in parts if part]


def _sample(report: AuditReport) -> str:
    n = len(report.networks)
    kinds = [
        (report.count("front"), "of the front"),
        (report.count("paper"), "of the paper"),
        (report.count("drawn"), "drawn over cost and accuracy"),
    ]
    reasons = ", ".join(f"{count} {text}" for count, text in kinds if count)
    text = f"{n} of {counted(report.trained, 'network')} were trained anew with other seeds ({reasons})."
    if n < report.trained:
        text += " The front is always among them, so the good ones are more than their share."
    if report.missing:
        text += f" {counted(report.missing, 'network')} of the sample {'is' if report.missing == 1 else 'are'} missing."
    return text


def _proxy(report: AuditReport) -> str:
    signal = search_signal(report)
    if signal is None or signal.kendall.value is None:
        return "The search's figures do not vary, so there is no order to compare."
    what = f"The search's {named(signal.name)} orders them as the audit's {METRICS[report.metric].head} does"
    tau = signal.kendall
    text = f"{what} with Kendall's tau {tau.value:.2f}"
    if tau.low is None or tau.high is None:
        why = (
            f"fewer than {LEAST_FOR_INTERVAL} networks give no interval"
            if signal.n < LEAST_FOR_INTERVAL
            else "in so regular an order, or with so many ties, a bootstrap sees too little variation"
        )
        return f"{text}; how far that would hold for other networks is not known: {why}."
    text += f" (95 % interval {tau.low:.2f} to {tau.high:.2f}): "
    if tau.low > 0:
        share = 50 * (1 + (tau.value or 0))
        return f"{text}better than chance; it puts about {share:.0f} of 100 pairs in the audit's order."
    if tau.high < 0:
        return f"{text}it orders them the wrong way round."
    return f"{text}that it is better than chance is not shown."


def _cheaper(report: AuditReport) -> str:
    """Signals that cost less than the search's and are shown to be worse or better, or are not."""
    own = search_signal(report)
    if own is None or own.kendall.low is None or own.name != report.metric:
        return ""
    cheaper = [s for s in report.signals if s.clips < own.clips]
    less = [s for s in cheaper if s.against_search.low is not None]
    unknown = [s.name for s in cheaper if s.against_search.low is None]
    worse = [s.name for s in less if (s.against_search.high or 0) < 0]
    better = [s.name for s in less if (s.against_search.low or 0) > 0]
    rest = [s.name for s in less if s.name not in (*worse, *better)]
    parts = [
        f"{verdict}: {_listed(names)}"
        for names, verdict in (
            (better, "better than it"),
            (worse, "worse than it"),
            (rest, "not shown to be worse or better"),
            (unknown, "without an interval, as they vary too little"),
        )
        if names
    ]
    if not less:
        return ""
    return f"Of the signals that cost less training ({len(cheaper)}, jointly at 95 %): {'; '.join(parts)}."


def _listed(names: Sequence[str]) -> str:
    """Names, with ``epoch 2, epoch 3, epoch 4`` as ``epochs 2 to 4``."""
    epochs = [int(name.removeprefix("epoch ")) for name in names if name.startswith("epoch ")]
    runs: list[list[int]] = []
    for epoch in epochs:
        if runs and epoch == runs[-1][-1] + 1:
            runs[-1].append(epoch)
        else:
            runs.append([epoch])
    said = ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
    rest = [named(name) for name in names if not name.startswith("epoch ")]
    return ", ".join([*([f"{'epoch' if len(epochs) == 1 else 'epochs'} {said}"] if said else []), *rest])


def _noise(report: AuditReport) -> str:
    if report.noise is None:
        return ""
    how = " ".join(line for line in (about_noise(report.noise), about_pairing(report.noise), _power(report)) if line)
    if report.retest is not None and report.retest[0].value is not None:
        how += f" Two such trainings order the networks alike with tau {shown(report.retest[0])}."
    told, rest = report.told_apart, [pair for pair in report.pairs if not pair.told_apart]
    pairs = counted(len(report.pairs), "pair")
    if not told:
        return f"{how} So the search tells none of {pairs} apart{_agreed(rest)}."
    return (
        f"{how} So the search tells {len(told)} of {pairs} apart, each with a probability of {100 * TOLD:g} % or more"
        f"{_agreed(told)}; the other {len(rest)} it does not{_agreed(rest)}."
    )


def _power(report: AuditReport) -> str:
    """What differences the search's trainings of these networks can settle."""
    if report.noise is None or report.noise.settled is None or not report.pooled:
        return ""
    counts = [one.trainings for one in report.pooled]
    why = "by the study's own noise" if report.noise.measured is not None else "what seeds add is a guess"
    return settles(len(counts), min(counts), max(counts), report.noise.settled, why)


def _agreed(pairs: Sequence[Pair]) -> str:
    ordered = [pair for pair in pairs if pair.agrees is not None]
    if not ordered:
        return ""
    return f", and the audit puts {sum(bool(p.agrees) for p in ordered)} of {len(ordered)} in the same order"


def _near(report: AuditReport) -> str:
    """Neighbours of the front that are not told apart: the trade-off between them is not shown."""
    front = [number for number, network in enumerate(report.networks) if network.why == "front"]
    apart = {(pair.one, pair.other): pair.told_apart for pair in report.pairs}
    steps = [(a, b) for a, b in pairwise(front) if (a, b) in apart]
    if not steps:
        return ""
    near = [f"{_name(report, a)} and {_name(report, b)}" for a, b in steps if not apart[a, b]]
    if not near:
        return f"All {len(steps)} steps along the front, from a cheaper network to the next, are told apart."
    said = "; ".join(near[:_NAMED]) + (f"; and {len(near) - _NAMED} more" if len(near) > _NAMED else "")
    verb = "is" if len(near) == 1 else "are"
    return f"{len(near)} of {counted(len(steps), 'step')} along the front {verb} not told apart: {said}."


def _name(report: AuditReport, number: int) -> str:
    return report.networks[number].record.network


def _paper(report: AuditReport) -> str:
    known = [ranking for ranking in report.paper if ranking.kendall.value is not None]
    if not known:
        return ""
    same = len({ranking.n for ranking in known}) == 1
    said = " and ".join(
        f"the {ranking.name}'s{'' if same else f' on {ranking.n} of them'} with tau {shown(ranking.kendall)}"
        for ranking in known
    )
    on = f"On {known[0].n} networks of the paper the" if same else "Of the networks of the paper the"
    text = f"{on} published order (Kinetics-400, {report.paper_frames} frames) goes with {said}."
    if report.paper_missing:
        failed = {network for network, _ in report.failed}
        left = [f"{n} ({'failed' if n in failed else 'not trained yet'})" for n in report.paper_missing]
        text += f" The audit has no figure of {', '.join(left)}, so its own tau leaves {_them(left)} out."
    return f"{text} Other data may well order them otherwise."


def _them(left: Sequence[str]) -> str:
    return "it" if len(left) == 1 else f"these {len(left)}"


def as_dict(report: AuditReport) -> dict[str, Any]:
    """The JSON of ``stsearch audit``."""
    names = [n.record.network for n in report.networks]
    noise, retest = report.noise, report.retest
    return {
        "study": report.study,
        "metric": report.metric,
        "searched": report.searched,
        "audited": report.audited,
        "networks_trained": report.trained,
        "missing": report.missing,
        "failed": [{"network": network, "reason": reason} for network, reason in report.failed],
        "seed": report.seed,
        "audit_clips": report.audit_clips,
        "audit_seconds": report.audit_seconds,
        "networks": [_network(report, number, network) for number, network in enumerate(report.networks)],
        "signals": [_signal(signal) for signal in report.signals],
        "again": {**_flat("kendall", retest[0]), **_flat("spearman", retest[1])} if retest else None,
        "noise": {"between_trainings": noise.measured, "degrees": noise.degrees, **noise.as_dict()} if noise else None,
        "pairs": [{**asdict(pair), "one": names[pair.one], "other": names[pair.other]} for pair in report.pairs],
        "paper": {"frames": report.paper_frames, "rankings": [_ranking(ranking) for ranking in report.paper]},
        "words": " ".join(words(report)),
    }


def _network(report: AuditReport, number: int, network: Audited) -> dict[str, Any]:
    record, metric = network.record, report.metric
    pooled = report.pooled[number] if report.pooled else None
    return {
        "network": record.network,
        "architecture": record.architecture,
        "trial": record.trial,
        "why": network.why,
        "gmacs": record.metrics["gmacs"],
        "params": record.metrics["params"],
        "searched": pooled.mean if pooled else record.metrics.get(metric),
        "audited": network.audit["evaluation"][metric],
        "again": None if network.retest is None else network.retest["evaluation"][metric],
        "published": network.published,
        "standard_error": pooled.error if pooled else None,
        "n": pooled.trainings if pooled else None,
    }


def _signal(signal: Signal) -> dict[str, Any]:
    return {
        "signal": signal.name,
        "kind": signal.kind,
        "n": signal.n,
        **_flat("kendall", signal.kendall),
        **_flat("spearman", signal.spearman),
        "kendall_less_search": asdict(signal.against_search),
        "clips": signal.clips,
        "seconds": signal.seconds,
        "values": list(signal.values),
    }


def _ranking(ranking: Ranking) -> dict[str, Any]:
    return {
        "of": ranking.name,
        "n": ranking.n,
        **_flat("kendall", ranking.kendall),
        **_flat("spearman", ranking.spearman),
    }


def _flat(name: str, correlation: Correlation) -> dict[str, float | None]:
    return {name: correlation.value, f"{name}_low": correlation.low, f"{name}_high": correlation.high}
