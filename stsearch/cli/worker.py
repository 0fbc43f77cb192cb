"""``stsearch worker``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from stsearch.cli.common import program, storage_option
from stsearch.cli.run import worked
from stsearch.interrupt import flagged


@click.command()
@click.argument("study")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Of engine, as engine.workers=2, or where the videos lie, as data.path=/mnt/clips. May be given often.",
)
@storage_option
@click.option("--quiet", is_flag=True, help="Show no progress.")
@flagged()
def worker(study: str, overrides: Sequence[str], storage: str | None, quiet: bool) -> None:
    """Work for STUDY, which was begun by `stsearch run`, and leave when it is complete.

    The study is read from its storage: no file of it is needed here. Its videos are, and must be the same.
    """
    from stsearch.search.joining import joined
    from stsearch.search.place import shown
    from stsearch.search.reading import read_study

    stored = read_study(study, storage)
    chosen = joined(stored, overrides)
    worked(chosen, None, quiet=quiet)
    place = ["--storage", shown(stored.url)] if storage is not None else []
    click.echo(f"the study {stored.name!r} is complete\n\nNext:")
    click.echo(f"  {shlex.join([program(), 'pareto', stored.name, *place])}")
