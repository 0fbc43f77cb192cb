"""How a report's figures came about: what the search took, what was lost, how to go on, what all was made with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import yaml

from stsearch.report.effort import Effort, duration
from stsearch.report.page import Report
from stsearch.report.records import Bullets, Code, Column, Fold, Pairs, Part, Section, Table, table_of
from stsearch.report.words import counted
from stsearch.search.reading import Ended
from stsearch.stats.agreement import LEAST

_FIGURES = re.compile(r"\d+([.,]\d+)*(e[+-]?\d+)?")
_REASONS = 20
"""Kinds of reasons that are listed"""
LISTED = 200
"""Failed networks that are listed one by one"""


def took(report: Report) -> Section:
    """What the search took."""
    title = "What did the search take?"
    if not report.effort.trainings:
        return Section("cost", title, ("No training has finished yet.",))
    lead = (
        "Finished networks, those outside the space included; seconds are those of training and evaluation, summed "
        "over workers."
    )
    return Section("cost", title, (lead, Pairs(tuple(_took(report)))))


def _took(report: Report) -> Iterable[tuple[str, str]]:
    effort = report.effort
    yield "trainings", f"{effort.trainings:,}" + (", repeats of one network counted once" if report.repeated else "")
    if effort.repeats:
        yield "repeats after the search", f"{effort.repeats:,}, {duration(effort.repeats_seconds)}"
    if effort.stopped_seconds:
        said = f"{duration(effort.stopped_seconds)}, those taken up again among them"
        yield "trainings that halving stopped", said
    yield "training time", _time(effort)
    if effort.clips_per_second is not None:
        yield "speed", f"{effort.clips_per_second:,.0f} clips/s (median)"
    yield "wall clock", f"{duration(effort.span)}, {effort.when}; pauses between runs count"
    yield "workers", f"{counted(effort.workers, 'process', 'processes')} on {counted(effort.hosts, 'machine')}"
    for what, value, count in report.versions:
        if what in ("device", "torch device"):
            yield what, f"{value} ({counted(count, 'network')})"


def _time(effort: Effort) -> str:
    each = f", {duration(effort.mean)} each" if effort.mean is not None else ""
    noted = f" (of the {effort.timed} that noted it)" if effort.timed < effort.trainings else ""
    return (duration(effort.total) if effort.timed else "unknown") + each + noted


def lost(report: Report) -> Section:
    """Failed, pruned, stopped, screened out."""
    loss, pareto = report.loss, report.pareto
    parts: list[Part] = []
    if loss.failed:
        failed = counted(len(loss.failed), "network")
        parts.append(
            f"{failed} failed for a reason of their own; `stsearch run` with `--retry-failed` tries them again."
        )
        parts += _ended(loss.failed)
    else:
        parts.append("No network failed.")
    if loss.interrupted:
        cut = counted(loss.interrupted, "training")
        parts.append(f"{cut} ended because the worker was stopped; the networks are tried again.")
    parts += _pruned(report)
    if pareto.halved:
        agreement = f" {pareto.halved.agreement}." if pareto.halved.agreement else ""
        parts.append(
            f"Successive halving: {pareto.halved.said}. At a rung a network is compared with those that cost no more; "
            f"a stopped one is below the others in accuracy, not over the budget.{agreement}"
        )
        parts += _ended(loss.stopped)
    if pareto.screened:
        parts.append(
            f"Not trained: {pareto.screened.said}. A score before any training compared them with networks that cost "
            "no more; whether it orders networks on this data at all is what an audit measures."
        )
        parts += _ended(loss.screened)
    return Section("lost", "What failed, was pruned or stopped?", tuple(parts))


def _pruned(report: Report) -> list[Part]:
    loss = report.loss
    if not report.pareto.pruned:
        return ["No network was pruned."]
    said = (
        f"{counted(report.pareto.pruned, 'network')} pruned, that is not trained, or not to the end; "
        f"{duration(loss.pruned_seconds)} went into finding that out."
    )
    if loss.saved is not None:
        said += (
            f" At the mean of the finished trainings this saved about {duration(loss.saved)}: an estimate, since "
            "nobody trained them."
        )
    return [said, *_ended(loss.pruned)]


def _ended(trials: Sequence[Ended]) -> list[Part]:
    if not trials:
        return []
    reasons = _reasons(trials)
    lines = [
        f"{reason} ({counted(count, 'network')}{', with other figures' if differ else ''})"
        for reason, count, differ in reasons[:_REASONS]
    ]
    if len(reasons) > _REASONS:
        lines.append(f"{len(reasons) - _REASONS} further reasons")
    rows = [[str(one.trial), one.network, one.reason] for one in trials[:LISTED]]
    columns = [Column("trial", number=True), Column("network"), Column("reason")]
    title = f"the first {LISTED}" if len(trials) > LISTED else "one by one"
    return [Bullets(tuple(lines)), Fold(title, (table_of("trials one by one", columns, rows, sorts=False),))]


def _reasons(ended: Sequence[Ended]) -> list[tuple[str, int, bool]]:
    """A reason, how many are alike but for their figures, and whether these differ; the most frequent first."""
    alike: dict[str, list[str]] = {}
    for trial in ended:
        alike.setdefault(_FIGURES.sub("0", trial.reason), []).append(trial.reason)
    found = ((reasons[0], len(reasons), len(set(reasons)) > 1) for reasons in alike.values())
    return sorted(found, key=lambda one: -one[1])


def onward(report: Report) -> Section:
    """How to go on."""
    parts: list[Part] = []
    for network in report.front:
        lines = "\n".join(f"{command}  # {what}" for what, command in report.steps(network))
        parts += [f"{network.record.network}:", Code(lines)]
    known = counted(len(report.front), "network")
    said: list[Part] = ["There is no network to go on with yet."]
    if parts:
        said = ["For each network of the front, the commands that say more about it.",
                Fold(f"Commands for {known}", tuple(parts))]  # fmt: skip
    if report.complete >= LEAST:
        said.append(
            f"`{report.audit}` trains networks of the study longer and with other seeds, and says how far its ranking "
            "holds."
        )
    if report.complete < report.wanted or len(report.growth) > 1:
        said.append(
            f"`{report.look}` opens this page while the study runs, and optuna-dashboard behind it. The `stsearch run` "
            "command that began the study goes on with it; `--set search.trials=N` gives it more networks."
        )
    return Section("next", "How to go on from here", tuple(said))


def provenance(report: Report) -> Section:
    """What the figures were made with."""
    lead = (
        "What these figures were made with; versions and devices are those of the "
        f"{counted(len(report.networks), 'network')} in the table."
    )
    parts: list[Part] = [lead, Pairs(tuple(facts(report)))]
    if seeds := _seeds(report):
        parts.append(Fold("Seeds of the trainings", (seeds,)))
    spec = yaml.safe_dump(dict(report.resolved), sort_keys=False, allow_unicode=True)
    parts.append(Fold("The specification, all defaults filled in", (Code(spec),)))
    return Section("provenance", "What was this made with?", tuple(parts))


def facts(report: Report) -> Iterable[tuple[str, str]]:
    """Name and value of all that the figures were made with."""
    yield "cost", f"{report.pareto.cost_of} (C x T x H x W), {counted(report.classes, 'class', 'classes')}, one view"
    yield "accuracy", report.pareto.accuracy_of
    for what, value, count in report.versions:
        some = f" ({counted(count, 'network')})" if count < len(report.networks) else ""
        yield what, value + some
    if report.measured_on:
        said = ", ".join(f"{what} {value}" for what, value in report.measured_on.items())
        yield "latency and memory measured on", said
    if report.composed:
        yield "latency is", report.composed
    for note in report.notes:
        yield "note on the data", note
    for what, value in report.fingerprints.items():
        if value:
            yield f"fingerprint of the {what}", value
    yield "seed of the study", str(report.resolved["seed"])
    yield "storage", report.place
    yield "written by", f"stsearch {report.version}, {report.written} UTC"
    if report.command:
        yield "command", report.command


def _seeds(report: Report) -> Table | None:
    rows = []
    for network in report.networks:
        if network.details:
            seeds = ", ".join(map(str, network.details.get("seeds") or []))
            each = ", ".join(f"{value:.1f}" for value in network.repeats)
            rows.append([network.record.network, seeds, each, f"{network.details.get('seconds') or 0:.1f}"])
    columns = [Column("network"), Column("seeds"), Column("video top-1 of each (%)"), Column("seconds", number=True)]
    return table_of("seeds", columns, rows, sorts=False) if rows else None
