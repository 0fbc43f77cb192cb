"""What ``stsearch evaluate`` found, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stsearch.report.words import counted
from stsearch.search.evaluation import Evaluated, Result
from stsearch.search.judging import Judgement, Scores


def print_evaluated(found: Evaluated, console: Console, *, per_class: bool) -> None:
    """A row per network and one for what they say together; with ``per_class`` a row per class too."""
    protocol = found.streams[0].protocol
    recipe = protocol.recipe
    views = f"{recipe.views} views" if recipe.views == 30 else f"{recipe.video_clips} clips a video"
    names = [f"{stream.network} ({stream.protocol.modality})" for stream in found.streams]
    results = [*found.results, *([found.fused] if found.fused else [])]
    labels = [*names, *(["fused"] if found.fused else [])]
    console.print(
        f"{found.videos:,} videos of {len(found.classes)} classes ({found.split}), {views}; networks at width "
        f"x{protocol.width:g} on clips {protocol.clip.frames}x{protocol.clip.height}x{protocol.clip.width}, trained "
        f"{recipe.epochs} epochs" + (f", {recipe.repeats} trainings each" if recipe.repeats > 1 else ""),
        highlight=False,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    paired = ["order@1 (%)", "frames@1 (%)"] if results[0].order_top1 is not None else []
    for head in ("network", "video@1 (%)", "video@5 (%)", *paired, *(["each"] if recipe.repeats > 1 else [])):
        table.add_column(head, justify="left" if head in ("network", "each") else "right", overflow="fold")
    for label, result in zip(labels, results, strict=True):
        table.add_row(escape(label), *_cells(result, recipe.repeats > 1))
    console.print(table)
    for stream, result in zip(found.streams, found.results, strict=True):
        if stream.study_mean is not None and stream.study_n > len(result.each):
            console.print(
                f"{stream.network}: the mean of {counted(len(result.each), 'training')}; `stsearch pareto` shows "
                f"that of all {stream.study_n} in {stream.protocol.study}, {stream.study_mean:.1f} %.",
                highlight=False,
            )
    if per_class:
        console.print(_classes(found.classes, labels, results))


def _cells(result: Result, each: bool) -> list[str]:
    figures = (result.video_top1, result.video_top5, result.order_top1, result.frames_top1)
    cells = [f"{figure:.1f}" for figure in figures if figure is not None]
    return [*cells, ", ".join(f"{value:.1f}" for value in result.each)] if each else cells


def print_judgement(found: Judgement, console: Console, *, per_class: bool) -> None:
    """The same of networks that were trained already, with intervals for other videos like these."""
    about = found.networks[0].about
    console.print(
        f"{found.videos:,} videos of {len(found.classes)} classes ({found.split}), {found.views} views (clips x crops) "
        f"of {about.frames}x{about.size}x{about.size}",
        highlight=False,
    )
    labels = [f"{one.about.network} ({one.about.modality})" for one in found.networks]
    rows = [*found.scores, *([found.fused] if found.fused else [])]
    labels += ["fused"] if found.fused else []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("network", "clip@1 (%)", "video@1 (%, 95 %)", "video@5 (%, 95 %)"):
        table.add_column(head, justify="left" if head == "network" else "right", overflow="fold")
    for label, row in zip(labels, rows, strict=True):
        clip = "-" if row.clip_top1 is None else f"{row.clip_top1:.1f}"
        both = ((row.video_top1, row.video_top1_interval), (row.video_top5, row.video_top5_interval))
        cells = [f"{share:.1f} ({low:.1f} to {high:.1f})" for share, (low, high) in both]
        table.add_row(escape(label), clip, *cells)
    console.print(table)
    if per_class:
        console.print(_classes(found.classes, labels, rows))


def _classes(classes: Sequence[str], labels: list[str], results: Sequence[Result | Scores]) -> Table:
    table = Table(title="video@1 (%) of each class", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class", overflow="fold")
    for label in labels:
        table.add_column(escape(label), justify="right", overflow="fold")
    for number, name in enumerate(classes):
        values = [result.per_class[number] for result in results]
        table.add_row(escape(name), *("-" if value is None else f"{value:.1f}" for value in values))
    return table
