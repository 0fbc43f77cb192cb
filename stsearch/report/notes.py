"""What the dashboard says of a study and of a trial, in Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stsearch.report.compared import NOTE
from stsearch.report.compared_text import HEAD, cells, stands
from stsearch.report.confidence_text import about, shown_accuracy, shown_chance, shown_volume
from stsearch.report.pareto import Pareto
from stsearch.report.words import plain, seconds, storage_option, table
from stsearch.search.attributes import ARCHITECTURE, CONTINUES, NETWORK, REASON, TRACE
from stsearch.search.metrics import ACCURACIES, METRICS
from stsearch.search.place import shown
from stsearch.search.reading import Record, StoredStudy
from stsearch.search.state import State
from stsearch.space.architecture import parse_placement
from stsearch.space.cost import NetworkCost, network_cost

_ENDINGS = {
    State.FAILED: "Failed",
    State.INTERRUPTED: "Interrupted",
    State.STOPPED: "Stopped early",
    State.SCREENED: "Screened out",
    State.OVER: "Pruned",
}
_TRAINED = {"seconds", "clips_per_second", "flops_counted", "seed"}
_SHOWN = 100
"""Networks of the front in a study's note, at most."""


def metric(name: str, value: float) -> str:
    """``multiply-adds 43.29 GMACs``, ``video top-1 61.0 %``, ``parameters 11.70 M``."""
    return f"{METRICS[name].title} {METRICS[name].amount(value)}"


def cost_table(cost: NetworkCost) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the exact cost, stage by stage."""
    total = cost.total
    rows = [
        [
            stage.name,
            f"{stage.kind} x{stage.blocks}",
            "x".join(map(str, stage.output[1:])),
            f"{stage.cost.params:,}",
            f"{stage.cost.macs:,}",
            f"{stage.cost.macs / total.macs:.1%}",
        ]
        for stage in cost.stages
    ]
    head = ["head", "linear", "", f"{cost.head.params:,}", f"{cost.head.macs:,}", f"{cost.head.macs / total.macs:.1%}"]
    whole = ["whole", "", "", f"{total.params:,}", f"{total.macs:,}", "100.0%"]
    return ["stage", "kind", "T x H x W out", "params", "MACs", "share"], [*rows, head, whole]


def trial_note(
    stored: StoredStudy, number: int, state: State, attributes: Mapping[str, Any], excess: Mapping[str, float]
) -> str:
    """What a trial is: its network, how it ended, its cost, and where to look further."""
    if ARCHITECTURE not in attributes:
        if not state.ended:
            return "Its network is being chosen."
        return "This trial has no network: its worker was stopped before one was chosen."
    cost = network_cost(parse_placement(attributes[ARCHITECTURE]), stored.target_clip, stored.classes)
    known = ", ".join(metric(name, attributes[name]) for name in METRICS if name in attributes)
    parts = [
        f"### {plain(str(attributes.get(NETWORK, attributes[ARCHITECTURE])))}",
        _ending(state, attributes, excess),
        f"`{attributes[ARCHITECTURE]}`: {plain(known)}",
        f"Exact cost on a clip of {stored.target_clip} (C x T x H x W), {stored.classes} classes:",
        table(*cost_table(cost)),
    ]
    if attributes.keys() >= _TRAINED:  # they are written one by one, and a worker may be killed in between
        parts.append(
            f"Trained in {seconds(attributes['seconds'])} s at {attributes['clips_per_second']:.0f} clips/s, seed "
            f"{attributes['seed']}. MACs: closed form. FLOPs: counted by torch, "
            f"{attributes['flops_counted']:,}. Accuracy and times: measured on the proxy."
        )
    if number in stored.repeats:
        means = {
            n: stored.mean(number, n, attributes[n]) for n in stored.objectives if n in ACCURACIES and n in attributes
        }
        said = ", ".join(metric(name, value) for name, value in means.items())
        parts.append(
            f"These are the figures of its own evaluation. Over all {stored.count(number)} trainings of the network, "
            f"whose mean tables and plots of the front show: {said}."
        )
    elif stored.trainings > 1 and state is State.COMPLETE:
        parts.append(f"Its accuracies are means over {stored.trainings} trainings.")
    if CONTINUES in attributes:
        parts.append(f"Takes up the training of trial {attributes[CONTINUES]}, which is part of these figures.")
    if TRACE in attributes:
        parts.append(
            f"Trace: `{shlex.join(['stsearch', 'profile', '--open', str(Path(attributes[TRACE]).parents[1])])}`"
        )
    where = shlex.join(["stsearch", "profile", f"{stored.name}#{number}"])
    place = storage_option(stored.name, shown(stored.url))
    parts.append(f"Latency, memory and a trace: `{where}{place} --measure` and `--trace DIR`")
    return "\n\n".join(part for part in parts if part)


def _ending(state: State, attributes: Mapping[str, Any], excess: Mapping[str, float]) -> str:
    if state in _ENDINGS:
        return f"**{_ENDINGS[state]}**: {plain(str(attributes.get(REASON, 'unknown')))}"
    over = [metric(name, value) for name, value in excess.items() if name in METRICS and value > 0]
    return f"**Over the budget** by {', '.join(over)}" if over else ""


def _chance_head(pareto: Pareto) -> list[str]:
    return ["p(front)"] if pareto.confidence else []


def _figures(pareto: Pareto, record: Record) -> list[str]:
    """Objectives of a network of the front and its probability of being there."""
    sure = pareto.certainty(record)
    values = [shown_accuracy(name, record.metrics[name], sure) for name in pareto.objectives]
    return [*values, *([shown_chance(sure)] if pareto.confidence else [])]


def study_note(stored: StoredStudy, pareto: Pareto) -> str:
    """What a study is, and its front as it stands."""
    budget = ", ".join(_cap(*pair) for pair in pareto.budget.items())
    more = len(pareto.front) - _SHOWN
    parts = [
        f"## {plain(stored.name)}",
        f"{pareto.trained} networks trained, {pareto.failed} failed, {pareto.pruned} pruned{pareto.spared}. "
        f"Space {plain(stored.identity['space']['name'])}. " + (f"Budget: {budget}." if budget else "No budget."),
        f"Cost: {plain(pareto.cost_of)}. Accuracy: {plain(pareto.accuracy_of)}.",
        plain(stored.spoiled),
        "### Front",
        table(
            [
                "network",
                "trial",
                *(f"{METRICS[name].title} ({METRICS[name].unit})" for name in pareto.objectives),
                *_chance_head(pareto),
            ],
            ([r.network, str(r.trial), *_figures(pareto, r)] for r in pareto.front[:_SHOWN]),
        )
        if pareto.front
        else "No finished network keeps the budget yet.",
        f"and {more} more" if more > 0 else "",
        "Accuracies here are means over all (n) trainings of a network, values of a trial those of its own evaluation."
        if stored.repeats
        else "",
        *_compared(pareto),
        *(plain(line) for line in about(pareto)),
        f"Hypervolume {shown_volume(pareto)} up to "
        + ", ".join(metric(name, value) for name, value in pareto.reference_point.items())
        + ".",
        f"Where time pays in this study: `{shlex.join(['stsearch', 'report', stored.name])}"
        f"{storage_option(stored.name, shown(stored.url))}`",
    ]
    return "\n\n".join(part for part in parts if part)


def _compared(pareto: Pareto) -> list[str]:
    """Networks that ``search.compare_with`` names, and how they stand."""
    if not pareto.compared:
        return []
    metrics = [METRICS[name] for name in pareto.objectives]
    heads = ["network", *(f"{metric.title} ({metric.unit})" for metric in metrics), "beside the front", "published"]
    rows = [
        [one.name, *cells(pareto, one, list(pareto.objectives)), stands(pareto, one), one.published]
        for one in pareto.compared
    ]
    return [f"### {HEAD.capitalize()}", table(heads, rows), f"{NOTE[0].upper()}{NOTE[1:]}."]


def _cap(name: str, cap: float) -> str:
    """A cap as the specification has it: parameters and activations are counted one by one."""
    metric = METRICS[name]
    return f"{metric.title} <= {cap:g} {'' if metric.scale != 1 else metric.unit}".rstrip()
