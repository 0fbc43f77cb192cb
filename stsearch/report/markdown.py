"""The report in short, as Markdown for a README or a pull request; no HTML in it."""

from __future__ import annotations

from collections.abc import Iterable

from stsearch.report.confidence_text import about, shown_accuracy, shown_chance, shown_volume
from stsearch.report.effect_tables import effects_markdown
from stsearch.report.effects_text import paragraph
from stsearch.report.html import head
from stsearch.report.learning_text import figures
from stsearch.report.page import Network, Report, duration
from stsearch.report.words import counted, plain, table


def markdown(report: Report) -> str:
    """The whole text."""
    parts = [
        f"# {plain(report.pareto.study)}",
        plain(_about(report)),
        f"**{plain(report.result)}** {plain(report.beside)}".rstrip(),
        plain(report.standing),
        f"**{plain(report.unlearnt)}**" if report.unlearnt else "",
        plain(paragraph(report.effects) if report.effects else report.why_no_effects),
        *_front(report),
        *(["## Placement effects", effects_markdown(report.effects)] if report.contrasts and report.effects else []),
        *_lost(report),
        "## Provenance",
        "\n".join(f"- {plain(what)}: {plain(value)}" for what, value in _provenance(report)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(report: Report) -> str:
    when = f", {report.effort.when}" if report.effort.when else ""
    return (
        f"Space {report.space}, data {report.data}{when}. Cost: {report.pareto.cost_of} (C x T x H x W), "
        f"{counted(report.classes, 'class', 'classes')}, one view. Accuracy: {report.pareto.accuracy_of}."
    )


def _front(report: Report) -> list[str]:
    if not report.networks:
        return []
    chance = ["p(front)"] if report.pareto.confidence else []
    heads = ["trial", "network", *map(head, report.columns), *chance, "place"]
    rows = [_row(report, network) for network in report.networks]
    words = " ".join(line for line in (figures(report.pareto.learning), *about(report.pareto)) if line)
    front = table(heads, rows, [0, *range(2, len(heads) - 1)])
    return ["## The front and the paper's networks", front, plain(words)]


def _row(report: Report, network: Network) -> list[str]:
    record = network.record
    sure = report.pareto.certainty(record)
    figures = [shown_accuracy(name, record.metrics[name], sure) for name in report.columns]
    figures += [shown_chance(sure)] if report.pareto.confidence else []
    return ["" if record.trial is None else str(record.trial), record.network, *figures, network.place]


def _lost(report: Report) -> list[str]:
    loss = report.loss
    said = []
    if loss.failed:
        said.append(f"{counted(len(loss.failed), 'network')} failed, the last: {loss.failed[-1].reason}.")
    if report.pareto.pruned:
        saved = f", which saved about {duration(loss.saved)} (an estimate)" if loss.saved is not None else ""
        said.append(f"{counted(report.pareto.pruned, 'network')} pruned{saved}.")
    if report.pareto.halved:
        said.append(f"Successive halving: {report.pareto.halved.said}.")
        said += [f"{report.pareto.halved.agreement}."] if report.pareto.halved.agreement else []
    if report.pareto.screened:
        said.append(f"Not trained: {report.pareto.screened.said}.")
    return ["## Failed, pruned and stopped", plain(" ".join(said))] if said else []


def _provenance(report: Report) -> Iterable[tuple[str, str]]:
    effort = report.effort
    yield "hypervolume", f"{shown_volume(report.pareto)} up to {report.corner}"
    repeats = f" and {counted(effort.repeats, 'repeat')}" if effort.repeats else ""
    yield "trainings", f"{effort.trainings:,}{repeats}, {duration(effort.total)} in all"
    if effort.clips_per_second is not None:
        yield "speed", f"{effort.clips_per_second:,.0f} clips/s (median)"
    for what, value, count in report.versions:
        yield what, value if count == len(report.networks) else f"{value} ({counted(count, 'network')})"
    yield "seed of the study", str(report.resolved["seed"])
    if report.measured_on:
        yield "measured on", ", ".join(f"{what} {value}" for what, value in report.measured_on.items())
    for note in report.notes:
        yield "note on the data", note
    for what, value in report.fingerprints.items():
        if value:
            yield f"fingerprint of the {what}", value
    yield "written by", f"stsearch {report.version}, {report.written} UTC"
    if report.command:
        yield "command", report.command
