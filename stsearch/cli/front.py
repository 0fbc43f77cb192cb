"""``stsearch pareto``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stsearch.cli.common import OneOf, format_option, print_json, say_edits, storage_option
from stsearch.errors import UserError

if TYPE_CHECKING:
    from stsearch.report.effects import Effects
    from stsearch.report.pareto import Pareto


@click.command()
@click.argument("study", default="quickstart")
@storage_option
@click.option("--plot", "plots", multiple=True, metavar="FILE", help="Draw the front: .png, .svg, .pdf or .html.")
@click.option("--no-paper", is_flag=True, help="In plots: leave out the paper's published front beside the study's.")
@click.option(
    "--frames",
    type=OneOf("number of frames", "8", "16"),
    help="For `published`: clips of 8 or 16 frames [default: 16].",
)
@click.option("--effects", "with_effects", is_flag=True, help="What each kind is worth in each stage, with intervals.")
@format_option("table", "json", "csv")
def pareto(
    study: str,
    storage: str | None,
    plots: Sequence[str],
    no_paper: bool,
    frames: str | None,
    with_effects: bool,
    form: str,
) -> None:
    """Show the front of STUDY; `published` is the paper's own table over computed multiply-adds."""
    from stsearch.report.pareto import PUBLISHED_STUDY, pareto_of, published
    from stsearch.search.reading import read_study

    if with_effects and form == "csv":
        raise UserError("--effects: CSV has the networks alone; use --format json or table")
    if no_paper and not plots:
        raise UserError("--no-paper goes with --plot")
    effects = None
    if study == PUBLISHED_STUDY and storage is None:
        result = published(int(frames or 16))
        if with_effects:
            from stsearch.report.effects import published_effects

            effects = published_effects(int(frames or 16))
    elif frames is not None:
        raise UserError("--frames goes with `stsearch pareto published` only; a study has its own target")
    else:
        stored = read_study(study, storage)
        say_edits(study, stored)
        result = pareto_of(stored)
        if with_effects:
            from stsearch.report.study_effects import study_effects

            effects = study_effects(stored, result)
    if plots:
        from stsearch.report.plot import plot

        for file in plots:
            plot(result, Path(file), with_paper=not no_paper)
    if form == "json":
        from stsearch.report.effects_text import effects_json

        print_json({**result.as_dict(), **({"effects": effects_json(effects)} if effects else {})})
    elif form == "csv":
        from stsearch.report.tables import pareto_csv

        click.echo(pareto_csv(result), nl=False)
    else:
        _print(result, effects, plots)


def _print(result: Pareto, effects: Effects | None, files: Sequence[str]) -> None:
    """The tables, and which files were written."""
    from rich.console import Console

    from stsearch.report.tables import print_pareto

    console = Console()
    print_pareto(result, console)
    if effects:
        from stsearch.report.effect_tables import print_effects

        console.print()
        print_effects(effects, console)
    for file in files:
        click.echo(f"written: {file}")
