"""Published tables for the terminal, as JSON, CSV and a plot: accuracies as printed, costs by our rule beside them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stsearch.errors import UserError, unknown
from stsearch.space.literature import TABLES, Published, main_dataset, published
from stsearch.stats.front import minimised, non_dominated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stsearch.report.labels import Label, Point

SUFFIXES = (".png", ".svg", ".pdf")
_NAMED = 24
"""Networks named in a plot at most"""


@dataclass(frozen=True)
class Entry:
    """A published result and where it stands."""

    row: Published
    macs: int | None
    """by our rule, of all views asked for; ``None`` where the network is none of ours"""
    on_front: bool
    """no other of the table's main data set is as accurate at no more cost"""

    def as_dict(self, views: int) -> dict[str, Any]:
        """Plain data; costs are of ``views`` views."""
        r = self.row
        printed = None if r.printed_gmacs is None else r.printed_gmacs * views
        return {
            "network": r.network, "pretrain": r.pretrain, "dataset": r.dataset, "top1": r.top1, "top5": r.top5,
            "tested_views": r.views, "input": r.input, "gmacs": None if self.macs is None else self.macs / 1e9,
            "printed_gmacs": printed, "printed_params_m": r.printed_params_m, "differs": r.differs,
            "front": self.on_front, "source": r.source, "note": r.note,
        }  # fmt: skip


def entries(table: str, views: int = 1) -> tuple[Entry, ...]:
    """The rows of a published table with the costs of ``views`` views, in the table's order."""
    rows = published(table)
    macs = [row.macs for row in rows]
    front = _front(rows, macs, main_dataset(table))
    return tuple(
        Entry(row, None if cost is None else cost * views, index in front)
        for index, (row, cost) in enumerate(zip(rows, macs, strict=True))
    )


def _front(rows: tuple[Published, ...], macs: list[int | None], dataset: str) -> set[int]:
    among = [
        (index, row.top1, cost)
        for index, (row, cost) in enumerate(zip(rows, macs, strict=True))
        if cost is not None and row.top1 is not None and row.dataset.startswith(dataset)
    ]
    if not among:
        return set()
    front = set(front_of([(float(cost), top1) for _, top1, cost in among]))
    return {index for index, top1, cost in among if (cost, top1) in front}


def front_of(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of points ``(cost, accuracy)`` those that no other is better than in both, by cost."""
    kept = non_dominated(minimised([[top1, cost] for cost, top1 in points], ["maximize", "minimize"]))
    return sorted(point for point, keep in zip(points, kept, strict=True) if keep)


def as_dict(table: str, views: int, found: tuple[Entry, ...]) -> dict[str, Any]:
    """The JSON of ``stsearch pareto published --table``."""
    return {
        "table": table, "about": TABLES[table], "views": views, "rule": RULE,
        "rows": [entry.as_dict(views) for entry in found],
    }  # fmt: skip


RULE = "multiply-adds of convolutions and linear layers"


def as_csv(views: int, found: tuple[Entry, ...]) -> str:
    """The rows as CSV."""
    out = io.StringIO()
    rows = [entry.as_dict(views) for entry in found]
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def print_entries(table: str, views: int, found: tuple[Entry, ...], console: Console) -> None:
    """The table, then a word for every cost that is printed otherwise."""
    of = "one view" if views == 1 else f"{views} views of a video"
    console.print(f"[bold]published: {escape(TABLES[table])}[/bold]", highlight=False)
    console.print(f"GMACs of {of}: ours ({RULE}) and as printed; * on the front\n", highlight=False)
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    heads = ("", "network", "pre-training", "top-1", "top-5", "GMACs", "printed", "")
    for number, name in enumerate(heads):
        shown.add_column(name, justify="left" if number in (0, 1, 2, 7) else "right", overflow="fold")
    notes: list[str] = []
    for entry in found:
        row = entry.row
        said = _note(entry.row, notes, main_dataset(table))
        name = row.network if not row.input else f"{row.network}, {row.input}"
        shown.add_row(
            "*" if entry.on_front else "", escape(name), escape(row.pretrain), _figure(row.top1), _figure(row.top5),
            "-" if entry.macs is None else f"{entry.macs / 1e9:,.2f}",
            "-" if row.printed_gmacs is None else f"{row.printed_gmacs * views:,.2f}", said,
        )  # fmt: skip
    console.print(shown)
    for number, note in enumerate(notes, 1):
        console.print(f"{number}: {note}", highlight=False, markup=False)
    sources = dict.fromkeys(entry.row.source for entry in found)
    console.print(f"sources: {'; '.join(sources)}", highlight=False, markup=False)


def _note(row: Published, notes: list[str], dataset: str) -> str:
    """The number of the word that is said of ``row``; rows of which the same is said share it."""
    words = [row.dataset] if not row.dataset.startswith(dataset) else []
    words += [row.differs.partition(": ")[2]] if row.differs else []
    if not words:
        return ""
    text = "; ".join(words)
    if text not in notes:
        notes.append(text)
    by = row.differs.partition(":")[0].removeprefix("printed ")
    return f"{by} ({notes.index(text) + 1})" if by else f"({notes.index(text) + 1})"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def plot_entries(table: str, views: int, found: tuple[Entry, ...], path: Path) -> None:
    """Accuracy over our cost, the front as a staircase; ``UserError`` for a suffix or place that is none."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--plot {path}: {unknown('suffix', path.suffix, SUFFIXES)}")
    figure, _ = drawn(table, views, found)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def drawn(table: str, views: int, found: tuple[Entry, ...]) -> tuple[Figure, list[Label]]:
    """What ``plot_entries`` writes, and where the names of networks are in it."""
    from matplotlib.figure import Figure

    from stsearch.report.axes import logarithmic, steps_of
    from stsearch.report.labels import place_labels

    dataset = main_dataset(table)
    points = [
        (entry, (entry.macs / 1e9, entry.row.top1))
        for entry in found
        if entry.macs is not None and entry.row.top1 is not None and entry.row.dataset.startswith(dataset)
    ]
    figure = Figure(figsize=(8.2, 5.4), layout="constrained")
    ax = figure.add_subplot()
    for front, face in ((False, "none"), (True, "#0072B2")):
        some = [point for entry, point in points if entry.on_front is front]
        ax.scatter([x for x, _ in some], [y for _, y in some], s=30, edgecolor="#0072B2", facecolor=face, zorder=3)
    line = sorted(point for entry, point in points if entry.on_front)
    ax.step([x for x, _ in line], [y for _, y in line], where="post", color="#333333", linewidth=1.1, zorder=2)
    of = "one view" if views == 1 else f"{views} views of a video"
    ax.set_xlabel(f"GMACs of {of}, by our count")
    ax.set_ylabel(f"top-1 on {dataset}, published (%)")
    about = "Filled: on the front of the networks whose cost is counted here. Each is named once, at its best"
    ax.set_title(f"{TABLES[table]}\n{about}", fontsize=8.5, loc="left")
    ax.grid(color="#dddddd", linewidth=0.5, zorder=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.08, y=0.10)
    logarithmic(ax)
    labels = place_labels(figure, ax, _names(points), [point for _, point in points], steps_of(line))
    return figure, labels


def _names(points: list[tuple[Entry, Point]]) -> list[tuple[str, Point]]:
    """What is written beside points: every network once, at its place on the front or its best."""
    found: dict[str, Point] = {}
    for entry, point in sorted(points, key=lambda one: (not one[0].on_front, -one[1][1])):
        found.setdefault(entry.row.network.partition(" (BatchNorm")[0], point)
    return list(found.items())[:_NAMED]
