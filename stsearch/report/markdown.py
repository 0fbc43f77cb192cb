"""The report in short, as Markdown for a README or a pull request; no HTML in it."""

from __future__ import annotations

from collections.abc import Iterable

from stsearch.report.page import Report
from stsearch.report.records import Bullets, Pairs, Part, Section, Table
from stsearch.report.sections import sections
from stsearch.report.words import plain, table

_SHOWN = ("table", "compared", "effects", "lost", "provenance")
"""Sections that are in it"""


def markdown(report: Report) -> str:
    """The whole text."""
    first, *others = report.answer
    parts = [
        f"# {plain(report.pareto.study)}",
        plain(report.about),
        f"**{plain(first)}** {plain(' '.join(others))}".strip(),
    ]
    for section in sections(report):
        if section.key in _SHOWN:
            parts += _section(section)
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> Iterable[str]:
    yield f"## {plain(section.title)}"
    for part in section.parts:
        if text := _part(part):
            yield text


def _part(part: Part) -> str:
    """Empty for what is only seen, and for what folds out."""
    match part:
        case str():
            return plain(part.replace("`", ""))
        case Table():
            return _table(part)
        case Pairs():
            return "\n".join(f"- {plain(what)}: {plain(value)}" for what, value in part.rows)
        case Bullets():
            return "\n".join(f"- {plain(line)}" for line in part.lines)
    return ""


def _table(shown: Table) -> str:
    """Without the columns that are drawn."""
    drawn = {at for row in shown.rows for at, cell in enumerate(row.cells) if cell.strip}
    kept = [at for at in range(len(shown.columns)) if at not in drawn]
    rows = [[row.cells[at].text for at in kept] for row in shown.rows]
    columns = [shown.columns[at] for at in kept]
    return table([c.head for c in columns], rows, [at for at, c in enumerate(columns) if c.number])
