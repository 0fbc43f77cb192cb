"""``stsearch pareto``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stsearch.cli.common import (
    OneOf,
    format_option,
    next_of,
    print_json,
    print_next,
    program,
    say_edits,
    storage_option,
)
from stsearch.errors import UserError

if TYPE_CHECKING:
    from stsearch.report.effects import Effects
    from stsearch.report.following import Step
    from stsearch.report.pareto import Pareto
    from stsearch.report.pick import Pick
    from stsearch.search.stored import StoredStudy


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
@click.option(
    "--table",
    metavar="TABLE",
    help="For `published`, or beside a study's --plot: kinetics, ucf101, hmdb51, ig65m or zoo.",
)
@click.option("--views", type=click.IntRange(1, 10_000), metavar="N", help="With --table: costs of N views of a video.")
@click.option("--effects", "with_effects", is_flag=True, help="What each kind is worth in each stage, with intervals.")
@click.option("--pick", metavar="RULE", help="One network, and why: knee, max-accuracy, 'gmacs<=20', 'latency_ms<=15'.")
@format_option("table", "json", "csv")
def pareto(
    study: str,
    storage: str | None,
    plots: Sequence[str],
    no_paper: bool,
    frames: str | None,
    table: str | None,
    views: int | None,
    with_effects: bool,
    pick: str | None,
    form: str,
) -> None:
    """Show the front of STUDY; `published` is the paper's own table over computed multiply-adds."""
    its_own = study == "published" and storage is None
    if views is not None and (table is None or not its_own):
        raise UserError("--views goes with --table of `stsearch pareto published`")
    if table is not None and its_own:
        if frames is not None or with_effects or no_paper or pick is not None:
            raise UserError("--table goes with --views, --plot and --format only")
        _literature(table, views or 1, plots, form)
        return
    if with_effects and form == "csv":
        raise UserError("--effects: CSV has the networks alone; use --format json or table")
    if pick is not None and form == "csv":
        raise UserError("--pick: CSV has the networks alone; use --format json or table")
    if no_paper and not plots:
        raise UserError("--no-paper goes with --plot")
    if table is not None and (no_paper or not plots):
        raise UserError("--table of a study's front goes with --plot, without --no-paper")
    stored, result, effects = _result(study, storage, frames, with_effects)
    chosen = _picked(result, pick)
    if plots:
        from stsearch.report.paper import PAPER, table_for
        from stsearch.report.plot import plot

        beside = PAPER if table is None else table_for(result, table)
        for file in plots:
            plot(result, Path(file), with_paper=not no_paper, table=beside)
    if form == "json":
        from stsearch.report.effects_text import effects_json

        more = {"effects": effects_json(effects)} if effects else {}
        more |= {"pick": {**chosen.as_dict(), "next": _next(study, chosen, storage)}} if chosen else {}
        print_json({**result.as_dict(), **more})
    elif form == "csv":
        from stsearch.report.tables import pareto_csv

        click.echo(pareto_csv(result), nl=False)
    else:
        steps = next_of(stored, result, study, storage) if stored is not None and chosen is None else []
        _print(None if chosen else result, effects, plots, [one.step for one in steps])
        if chosen:
            _print_pick(chosen, _next(study, chosen, storage))
        print_next([one.line for one in steps])


def _result(
    study: str, storage: str | None, frames: str | None, with_effects: bool
) -> tuple[StoredStudy | None, Pareto, Effects | None]:
    """A study as it is stored, unless it is the published table; its front; what each kind is worth, if asked for."""
    from stsearch.report.pareto import PUBLISHED_STUDY, pareto_of, published
    from stsearch.search.reading import read_study

    if study == PUBLISHED_STUDY and storage is None:
        result = published(int(frames or 16))
        if not with_effects:
            return None, result, None
        from stsearch.report.effects import published_effects

        return None, result, published_effects(int(frames or 16))
    if frames is not None:
        raise UserError("--frames goes with `stsearch pareto published` only; a study has its own target")
    stored = read_study(study, storage)
    say_edits(study, stored)
    result = pareto_of(stored)
    if not with_effects:
        return stored, result, None
    from stsearch.report.study_effects import study_effects

    return stored, result, study_effects(stored, result)


def _picked(pareto: Pareto, rule: str | None) -> Pick | None:
    if rule is None:
        return None
    from stsearch.report.pick import picked

    return picked(pareto, rule)


def _next(study: str, chosen: Pick, storage: str | None) -> str:
    """The command that trains what was picked."""
    from stsearch.report.pick import train_command
    from stsearch.search.place import shown

    place = ["--storage", shown(storage)] if storage is not None else []
    return train_command(program(), study, chosen.record, place)


def _print_pick(chosen: Pick, command: str) -> None:
    who = f"#{chosen.record.trial} " if chosen.record.trial is not None else ""
    click.echo(f"pick ({chosen.rule}): {who}{chosen.record.network}. {' '.join(chosen.why)}\n\nNext:\n  {command}")


def _literature(table: str, views: int, plots: Sequence[str], form: str) -> None:
    """A published table, and its plots."""
    from rich.console import Console

    from stsearch.report.literature import as_csv, as_dict, entries, plot_entries, print_entries

    found = entries(table, views)
    for file in plots:
        plot_entries(table, views, found, Path(file))
    if form == "json":
        print_json(as_dict(table, views, found))
    elif form == "csv":
        click.echo(as_csv(views, found), nl=False)
    else:
        print_entries(table, views, found, Console())
        for file in plots:
            click.echo(f"written: {file}")


def _print(result: Pareto | None, effects: Effects | None, files: Sequence[str], proposed: Sequence[Step]) -> None:
    """The tables, that of the front where ``result`` is given, and which files were written."""
    from rich.console import Console

    from stsearch.report.tables import print_pareto

    console = Console()
    if result is not None:
        print_pareto(result, console, proposed)
    if effects:
        from stsearch.report.effect_tables import print_effects

        console.print()
        print_effects(effects, console)
    for file in files:
        click.echo(f"written: {file}")
