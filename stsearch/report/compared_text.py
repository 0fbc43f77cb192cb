"""What is said of networks that a study is compared with, for the terminal, the page and the dashboard."""

from __future__ import annotations

from collections.abc import Sequence

from stsearch.report.compared import NOTE, Compared
from stsearch.report.confidence_text import shown_accuracy
from stsearch.report.learning import learnt_of
from stsearch.report.page import Report
from stsearch.report.pareto import Pareto
from stsearch.report.records import Cell, Column, Part, Row, Section, Table
from stsearch.report.words import counted
from stsearch.search.metrics import METRICS

HEAD = "compared with"


def stands(pareto: Pareto, one: Compared) -> str:
    """Where it is beside the front, in words."""
    record = one.record
    if record is None:
        return one.why
    by, over = pareto.dominated_by(record), pareto.dominates(record)
    if record.architecture in {own.architecture for own in pareto.front}:
        said = "on the front"
    elif by:
        said = f"dominated by {by[0]}" + (f" and {len(by) - 1} more" if len(by) > 1 else "")
    else:
        said = "not dominated"
    said += f", dominates {len(over)} of the {len(pareto.front)} on the front" if over else ""
    said += "; over the budget" if not record.feasible else ""
    return said + (f"; trial {record.trial}" if record.trial is not None else "; outside the space")


def cells(pareto: Pareto, one: Compared, columns: Sequence[str]) -> list[str]:
    """Its figures; empty where a metric of it is not known."""
    sure = pareto.certainty(one.record) if one.record else None
    return [shown_accuracy(name, one.metrics[name], sure) if name in one.metrics else "" for name in columns]


def section(report: Report) -> Section | None:
    """How networks stand that ``search.compare_with`` names."""
    compared = report.pareto.compared
    if not compared:
        return None
    rows = [
        Row(
            (
                Cell(one.name),
                *(Cell(text, one.metrics.get(name)) for text, name in _figures(report, one)),
                Cell(_fitted(report, one)),
                Cell(stands(report.pareto, one)),
                Cell(_printed(one), one.printed.top1 if one.printed else None),
            ),
            network=one.network.id,
        )
        for one in compared
    ]
    columns = [
        Column("network"),
        *(Column(METRICS[name].axis, number=True) for name in report.columns),
        Column("has fitted"),
        Column("beside the front"),
        Column("published"),
    ]
    table = Table("networks to compare with", tuple(columns), tuple(rows))
    parts: list[Part] = [_lead(report), table]
    if any(one.printed for one in compared):
        parts.append(f"{NOTE[0].upper()}{NOTE[1:]}.")
    return Section("compared", "How do networks that people compare with stand beside it?", tuple(parts))


def _lead(report: Report) -> str:
    compared, width = report.pareto.compared, report.resolved["proxy"]["width"]
    outside = [one for one in compared if one.record is not None and one.record.trial is None]
    share = "" if width == 1 else f", with a share of {width:g} of their channels"
    said = f"`search.compare_with` names {counted(len(compared), 'network')}."
    if outside:
        said += (
            f" {len(outside)} outside the space, trained as the study's own are: on the same clips, by the same recipe"
            f"{share}. So their accuracies are those of stand-ins too, of a recipe that was chosen for other networks. "
            "They are no trials, and count neither in the front nor in the hypervolume; on the plot those that are not "
            "the paper's are stars."
        )
    return said


def _figures(report: Report, one: Compared) -> list[tuple[str, str]]:
    return list(zip(cells(report.pareto, one, report.columns), report.columns, strict=True))


def _fitted(report: Report, one: Compared) -> str:
    """Whether it has learnt its training clips, where its record tells."""
    learning, details = report.pareto.learning, report.beside_details.get(one.network.id, {})
    if learning is None or one.record is None or not details.get("trainings"):
        return ""
    found = learnt_of(one.record, details, learning.baseline, own_curve=learning.own_curves)
    return "" if found.fitted is None else "yes" if found.fitted else "no"


def _printed(one: Compared) -> str:
    return f"{one.published} ({one.printed.source})" if one.printed else ""
