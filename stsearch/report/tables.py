"""Tables for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stsearch.report.calibrated_text import about_proxy
from stsearch.report.compared import NOTE
from stsearch.report.compared_text import HEAD, cells, stands
from stsearch.report.confidence import Confidence
from stsearch.report.confidence_text import about, shown_accuracy, shown_chance, shown_volume
from stsearch.report.learning_text import warnings
from stsearch.report.pareto import Pareto
from stsearch.report.words import counted
from stsearch.search.metrics import METRICS
from stsearch.search.reading import Record
from stsearch.space.cost import NetworkCost

_FAILURES, _REASON = 10, 200
"""Failed networks that are listed, and characters of their reasons, at most"""
_KINDS = 8
"""Characters of the kinds of a stage's blocks that leave room for what they cost"""
_LIKELY = 8
"""Networks beside the front that are listed, at most"""


def _table(title: str | None = None) -> Table:
    """A plain table that fits 80 columns."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _columns(pareto: Pareto, *, brief: bool) -> list[str]:
    """Objectives first, then what else is known of every network; ``brief`` for the terminal."""
    more = ("video_top1", "gmacs", "params") if brief else METRICS
    known = [name for name in more if all(name in r.metrics for r in (*pareto.front, *pareto.references))]
    return list(dict.fromkeys([*pareto.objectives, *known]))


def print_pareto(pareto: Pareto, console: Console, proposed: Collection[str] = ()) -> None:
    """The front, the paper's networks beside it, and those to compare with.

    What is ``proposed`` afterwards as a command is not said before.
    """
    columns = _columns(pareto, brief=True)
    console.print(
        f"[bold]{pareto.study}[/bold]: {counted(pareto.trained, 'network')} trained"
        + (f", {pareto.failed} failed" if pareto.failed else "")
        + (f", {pareto.pruned} pruned" if pareto.pruned else "")
        + pareto.spared,
        highlight=False,
    )
    if pareto.halved and pareto.halved.agreement:
        console.print(f"{pareto.halved.agreement}.", highlight=False)
    console.print(f"cost: {pareto.cost_of} (C x T x H x W)\naccuracy: {pareto.accuracy_of}", highlight=False)
    if pareto.calibrated:
        console.print(f"proxy: {about_proxy(pareto.calibrated)}", highlight=False, soft_wrap=True)
    if not pareto.front:
        console.print("no network has finished within the budget; the front is empty")
    else:
        console.print(_front_table("front", pareto, pareto.front, columns))
    if pareto.confidence:
        _print_likely(pareto, pareto.confidence, columns, console)
    _print_words(pareto, console, proposed)
    if pareto.references or any(waiting.paper for waiting in pareto.waiting):
        console.print(_reference_table(pareto, columns))
    _print_compared(pareto, columns, console)
    _print_failures(pareto, console, proposed)
    corner = pareto.reference_point.items()
    point = ", ".join(f"{METRICS[name].head} {METRICS[name].shown(value)}" for name, value in corner)
    console.print(f"hypervolume {shown_volume(pareto)} up to the reference point {point}", highlight=False)
    if said := warnings(pareto.learning, proposed):
        console.print(f"\nwarning: {' '.join(said)}", style="bold", highlight=False, markup=False)


def _print_compared(pareto: Pareto, columns: Sequence[str], console: Console) -> None:
    """Networks that ``search.compare_with`` names; what others published of them in words alone."""
    if not pareto.compared:
        return
    table = _table(HEAD)
    for name in ("network", *(METRICS[name].column for name in columns), "beside the front"):
        left = name in ("network", "beside the front")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for one in pareto.compared:
        table.add_row(one.name, *cells(pareto, one, columns), escape(stands(pareto, one)))
    console.print(table)
    if said := [f"{one.name} {one.published}" for one in pareto.compared if one.printed]:
        console.print(f"{'; '.join(said)}\n({NOTE})", highlight=False, markup=False)


def _print_failures(pareto: Pareto, console: Console, proposed: Collection[str]) -> None:
    """Networks that failed by themselves, the last ones, and how they are tried again."""
    if not pareto.failures:
        return
    table = _table("failed")
    for name in ("trial", "network", "reason"):
        table.add_column(name, justify="right" if name == "trial" else "left", overflow="fold")
    for one in pareto.failures[-_FAILURES:]:
        table.add_row(str(one.trial), escape(one.network), escape(one.reason[:_REASON]))
    console.print(table)
    left = len(pareto.failures) - _FAILURES
    said = [f"{left} more failed before these."] if left > 0 else []
    said += [] if "retry" in proposed else ["`stsearch run` with --retry-failed tries them again."]
    if said:
        console.print(" ".join(said), highlight=False, markup=False)


def _front_table(title: str, pareto: Pareto, records: Sequence[Record], columns: Sequence[str]) -> Table:
    table = _table(title)
    sure = {record.architecture: pareto.certainty(record) for record in records}
    chance = ["p(front)"] if pareto.confidence else []
    for name in ("trial", "network", *(METRICS[name].column for name in columns), *chance):
        table.add_column(name, justify="left" if name == "network" else "right", overflow="fold")
    for record in records:
        found = sure[record.architecture]
        cells = [shown_accuracy(name, record.metrics[name], found) for name in columns]
        table.add_row(_trial(record), record.network, *cells, *([shown_chance(found)] if chance else []))
    return table


def _print_likely(pareto: Pareto, confidence: Confidence, columns: Sequence[str], console: Console) -> None:
    """Networks that may belong on the front."""
    if confidence.likely:
        some = sorted(confidence.likely, key=lambda record: -confidence.probability(record))[:_LIKELY]
        left = len(confidence.likely) - len(some)
        title = "not on the front as measured, but may well be" + (f" (the likeliest, {left} more)" if left else "")
        console.print(_front_table(title, pareto, [r for r in confidence.likely if r in some], columns))


def _print_words(pareto: Pareto, console: Console, proposed: Collection[str]) -> None:
    """What is to be said of the front beside its figures."""
    if lines := about(pareto, proposed):
        console.print(*lines, "", sep="\n", highlight=False, markup=False)


def _reference_table(pareto: Pareto, columns: Sequence[str]) -> Table:
    table = _table("the paper's networks beside it")
    for name in ("network", *(METRICS[name].column for name in columns), "dominated by"):
        table.add_column(name, justify="left" if name in ("network", "dominated by") else "right", overflow="fold")
    front = {record.architecture for record in pareto.front}
    for record in pareto.references:
        by = pareto.dominated_by(record)
        if record.architecture in front:
            place = "- (on the front)"
        elif by:
            place = by[0] + (f" and {len(by) - 1} more" if len(by) > 1 else "")
        else:
            place = "-" if record.trial is not None or not record.feasible else "- (outside the space)"
        if over := pareto.dominates(record):
            place += f", dominates {len(over)} of the {len(pareto.front)} on the front"
        if not record.feasible:
            place += " (over budget)"
        sure = pareto.certainty(record)
        table.add_row(record.network, *(shown_accuracy(name, record.metrics[name], sure) for name in columns), place)
    for waiting in pareto.waiting:
        if waiting.paper:
            known = waiting.record.metrics
            figures = (METRICS[name].shown(known[name]) if name in known else "" for name in columns)
            table.add_row(waiting.record.network, *figures, f"- (stopped early, after epoch {waiting.epoch})")
    return table


def _trial(record: Record) -> str:
    return "" if record.trial is None else str(record.trial)


def pareto_csv(pareto: Pareto) -> str:
    """All trained networks as CSV: the front, the dominated, references outside the space, those to compare with."""
    out = io.StringIO()
    columns = _columns(pareto, brief=False)
    writer = csv.writer(out, lineterminator="\n")
    sure = _sure_columns(pareto)
    writer.writerow(["trial", "network", "architecture", *columns, *sure, "place"])
    inside = {record.architecture for record in (*pareto.front, *pareto.dominated)}
    outside = [record for record in pareto.references if record.architecture not in inside]
    inside |= {record.architecture for record in outside}
    beside = [r for one in pareto.compared if (r := one.record) is not None and r.architecture not in inside]
    places = (("front", pareto.front), ("dominated", pareto.dominated), ("reference", outside), (HEAD, beside))
    for place, records in places:
        for record in records:
            name = place if record.feasible else "over budget"
            found = pareto.certainty(record)
            known = found.as_dict() if found else {}
            writer.writerow(
                [
                    _trial(record),
                    record.network,
                    record.architecture,
                    *(record.metrics.get(column, "") for column in columns),
                    *(known.get(column, "") for column in sure),
                    name,
                ]
            )
    return out.getvalue()


def _sure_columns(pareto: Pareto) -> list[str]:
    """Columns of what is known of errors and places; none where nothing is."""
    found = next((sure for record in pareto.front if (sure := pareto.certainty(record))), None)
    return list(found.as_dict()) if found else []


def _brief_kinds(kinds: str) -> str:
    """``2d.3d.2d`` as it is, a longer row of them as what is in it: ``2d/3d``."""
    return kinds if len(kinds) <= _KINDS else "/".join(dict.fromkeys(kinds.split(".")))


def print_cost(network: str, cost: NetworkCost, console: Console, views: int | None = None) -> None:
    """The cost table of one network; of ``views`` clips of a video too."""
    total = cost.total
    console.print(
        f"[bold]{escape(network)}[/bold] on a clip of {cost.clip} (C x T x H x W), {cost.classes} classes, one view",
        highlight=False,
    )
    table = _table()
    for name in ("group", "kind", "C,T,H,W out", "params", "MACs", "share", "acts (M)"):
        table.add_column(name, justify="left" if name in ("group", "kind") else "right", no_wrap=True)
    for stage in cost.stages:
        table.add_row(
            stage.name,
            f"{_brief_kinds(stage.kind)} x{stage.blocks}",
            ",".join(map(str, stage.output)),
            f"{stage.cost.params:,}",
            f"{stage.cost.macs:,}",
            f"{stage.cost.macs / total.macs:.0%}",
            f"{stage.cost.activations / 1e6:.2f}",
        )
    table.add_row(
        "head",
        "linear",
        str(cost.classes),
        f"{cost.head.params:,}",
        f"{cost.head.macs:,}",
        f"{cost.head.macs / total.macs:.0%}",
        f"{cost.head.activations / 1e6:.2f}",
        end_section=True,
    )
    table.add_row("whole", "", "", f"{total.params:,}", f"{total.macs:,}", "100%", f"{total.activations / 1e6:.2f}")
    console.print(table)
    console.print(
        f"{total.macs / 1e9:.3f} GMACs = {2 * total.macs / 1e9:.3f} GFLOPs\n{total.params:,} parameters, "
        f"{total.params_without_norm:,} without BatchNorm; {total.activations:,} activations",
        highlight=False,
    )
    if views is not None:
        macs = views * total.macs
        console.print(f"{views} views: {macs / 1e12:.3f} TMACs per video (published as TFLOPs)", highlight=False)


def print_space(facts: dict[str, Any], clip: str, classes: int, console: Console) -> None:
    """What a search space holds."""
    gmacs = facts["gmacs"]
    console.print(
        f"[bold]{escape(facts['name'])}[/bold]: {facts['size']:,} networks; on a clip of {clip} (C x T x H x W), "
        f"{classes} classes",
        highlight=False,
    )
    about = "" if facts["exact"] else " (estimated from a sample)"
    console.print(
        f"GMACs: min {gmacs['min']:.2f}, median {gmacs['median']:.2f}, max {gmacs['max']:.2f}{about}", highlight=False
    )
    if facts["max_gmacs"] is not None:
        console.print(
            f"{facts['feasible']:,} networks have at most {facts['max_gmacs']:g} GMACs{about}", highlight=False
        )
    console.print(f"cheapest {facts['cheapest']}, dearest {facts['dearest']}", highlight=False)

    bars = _table()
    bars.add_column("GMACs", justify="right")
    bars.add_column("networks", justify="right")
    bars.add_column("")
    most = max(count for _, _, count in facts["histogram"])
    for low, high, count in facts["histogram"]:
        bars.add_row(f"{low:.1f} - {high:.1f}", f"{count:,}", "#" * round(40 * count / most))
    console.print(bars)
