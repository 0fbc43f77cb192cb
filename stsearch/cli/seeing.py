"""``stsearch dashboard`` and ``stsearch report``: look into a study while it runs or after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stsearch.cli.common import OneOf, open_browser, say_edits, say_next, storage_option
from stsearch.errors import writable

if TYPE_CHECKING:
    from stsearch.search.stored import StoredStudy

beside_option = click.option(
    "--table",
    metavar="TABLE",
    help="Beside the front: paper, kinetics, ucf101, hmdb51, ig65m or zoo [default: paper].",
)


def _table(stored: StoredStudy, asked: str | None) -> str:
    """The published table to hold beside the front of ``stored``; ``UserError`` where that cannot be."""
    from stsearch.report.paper import PAPER, table_for
    from stsearch.report.pareto import pareto_of

    return PAPER if asked is None else table_for(pareto_of(stored), asked)


@click.command()
@click.argument("study", default="quickstart")
@storage_option
@beside_option
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port on 127.0.0.1 [default: any free one].")
@click.option("--open", "browse", is_flag=True, help="Open it in the browser.")
def dashboard(study: str, storage: str | None, table: str | None, port: int, browse: bool) -> None:
    """Look into STUDY in the browser, also while it runs; only this machine can see it."""
    from stsearch.report.dashboard import serve
    from stsearch.search.reading import read_study

    stored = read_study(study, storage)
    server, address = serve(stored, port, _table(stored, table))
    click.echo(f"dashboard of {study}: {address}  (Ctrl-C ends it)")
    if browse:
        open_browser(address)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("dashboard closed", err=True)


@click.command()
@click.argument("study", default="quickstart")
@storage_option
@beside_option
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to [default: STUDY.html].")
@click.option("--format", "form", type=OneOf("format", "html", "md"), help="[default: what FILE ends in, else html]")
def report(study: str, storage: str | None, table: str | None, output: Path | None, form: str | None) -> None:
    """Write one page about STUDY that needs no network: where time pays, the front, what was made how."""
    from stsearch.report.pareto import pareto_of
    from stsearch.report.write import render, write_report
    from stsearch.search.reading import read_study

    stored = read_study(study, storage)
    say_edits(study, stored)
    beside = _table(stored, table)
    if form == "md" and output is None:
        click.echo(writable(render(stored, form, table=beside)), nl=False)
        return
    path = output or Path(f"{stored.name}.html")
    write_report(stored, path, form, beside)
    click.echo(f"written: {path}")
    say_next(stored, pareto_of(stored), study, storage, after="report")
