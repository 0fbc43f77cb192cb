"""Effects as a table for the terminal, and as Markdown for a README or a pull request."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stsearch.report.effect_answers_text import points
from stsearch.report.effect_contrasts import Contrast
from stsearch.report.effect_words import kind_label
from stsearch.report.effects import Effects
from stsearch.report.effects_text import cost_unit, cost_words, parts
from stsearch.report.words import counted, plain, table
from stsearch.space.architecture import GROUPS

HEADS = ("group", "kind", "against", "points", "95 % interval", "claimed", "from")
FIGURES = frozenset({"points", "95 % interval", "cost"})
WIDE = 96
"""Columns from which the ranges of costs are shown."""


def print_effects(effects: Effects, console: Console) -> None:
    """One table of all groups, early against late, importances, then what they say; fits 80 columns."""
    console.print(escape(_title(effects)), highlight=False)
    if shown := estimated(effects):
        console.print(_table(effects, shown, ranges=console.width >= WIDE))
    for line in (*_notes(effects), _importance(effects)):
        console.print(escape(line), highlight=False)
    for head, text in parts(effects):
        console.print()
        console.print(f"[bold]{head}.[/bold] {escape(text)}", highlight=False)


def effects_markdown(effects: Effects) -> str:
    """The same as Markdown, without the words."""
    rows = [effect_row(effects, contrast) for contrast in estimated(effects)]
    figures = [number for number, name in enumerate([*HEADS, "cost"]) if name in FIGURES]
    parts = [
        plain(_title(effects)),
        table([*HEADS, _cost_head(effects)], rows, figures) if rows else "",
        "\n".join(f"- {plain(line)}" for line in (*_notes(effects), _importance(effects))),
    ]
    return "\n\n".join(part for part in parts if part)


def estimated(effects: Effects) -> list[Contrast]:
    """The contrasts that have an estimate, group by group."""
    found = [contrast for contrast in effects.contrasts if contrast.estimate is not None]
    return sorted(found, key=lambda contrast: GROUPS.index(contrast.group))


def effect_row(effects: Effects, contrast: Contrast) -> list[str]:
    """Cells of one estimate under ``HEADS`` and the cost."""
    assert contrast.estimate is not None, "only estimates have a row"
    mean, interval = points(contrast.estimate)
    source = counted(contrast.pairs, "pair") if contrast.method == "matched pairs" else contrast.method
    cost = (
        cost_words(contrast.cost, effects.cost).replace(f" {cost_unit(effects.cost)[1]}", "") if contrast.cost else ""
    )
    kinds = kind_label(contrast.kind), kind_label(contrast.against)
    return [contrast.group, *kinds, mean, interval, "yes" if contrast.claimed else "no", source, cost]


def _title(effects: Effects) -> str:
    count = f"{effects.networks:,} network{'' if effects.networks == 1 else 's'}"
    repeats = f" ({effects.results:,} results)" if effects.results > effects.networks else ""
    left_out = f"; {effects.skipped:,} without {effects.accuracy} or {effects.cost} left out" if effects.skipped else ""
    return f"effects of kinds on {effects.accuracy}: {count}{repeats}{left_out}"


def _cost_head(effects: Effects) -> str:
    return f"{cost_unit(effects.cost)[1]}, mean (range)"


def _table(effects: Effects, shown: list[Contrast], *, ranges: bool) -> Table:
    """One row per estimate, a gap between groups; the ranges of costs where there is room."""
    rows = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in HEADS:
        rows.add_column(name, justify="right" if name in FIGURES else "left", no_wrap=True)
    rows.add_column(_cost_head(effects) if ranges else cost_unit(effects.cost)[1], justify="right")
    for contrast, after in zip(shown, [*shown[1:], None], strict=True):
        ends = after is not None and after.group != contrast.group
        *cells, cost = map(escape, effect_row(effects, contrast))
        rows.add_row(*cells, cost if ranges else cost.partition(" (")[0], end_section=ends)
    return rows


def _notes(effects: Effects) -> list[str]:
    """Early against late, and how many comparisons have no estimate."""
    both = effects.early_late
    if both.estimate is None:
        line = both.why_not
    else:
        mean, interval = points(both.estimate)
        claimed = "claimed" if both.claimed else "not claimed"
        line = f"{mean} points (95 % interval {interval}), {both.pairs:,} pairs, {claimed}"
    lines = [f"time early minus late at equal cost: {line}"]
    if missing := sum(contrast.estimate is None for contrast in effects.contrasts):
        lines.append(f"comparisons without an estimate: {missing} of {len(effects.contrasts)} (why: below)")
    return lines


def _importance(effects: Effects) -> str:
    importance = effects.importance
    if importance.why_not:
        return f"importance (PED-ANOVA): none, {importance.why_not}"
    ranked = sorted(importance.shares.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name} {share:.2f}" for name, share in ranked)
    return f"importance (PED-ANOVA, shares of 1, {importance.networks:,} networks; ranks, claims nothing): {shares}"
