"""What commands share: options, JSON on stdout, and networks by any name."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stsearch.errors import UserError, unknown

if TYPE_CHECKING:
    from stsearch.report.following import Next, Step
    from stsearch.report.pareto import Pareto
    from stsearch.search.asked_data import AskedData
    from stsearch.search.reading import StoredStudy
    from stsearch.space.architecture import Architecture
    from stsearch.space.blueprint import AnyNetwork

F = TypeVar("F", bound=Callable[..., Any])


class Group(click.Group):
    """Suggests a command for a misspelt one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            raise UserError(unknown("command", name, self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


class OneOf(click.Choice[str]):
    """One of some words; another is answered like any unknown name."""

    def __init__(self, what: str, *choices: str) -> None:
        super().__init__(choices)
        self.what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """``value`` if it is one of them; ``UserError`` otherwise."""
        if value not in self.choices:
            raise UserError(unknown(self.what, value, self.choices))
        return str(value)


def format_option(*choices: str) -> Callable[[F], F]:
    """``--format``: a table for people, the rest for programs."""
    return click.option(
        "--format",
        "form",
        type=OneOf("format", *choices),
        default="table",
        show_default=True,
        help="How results are printed on stdout.",
    )


def _storage(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """``--storage`` is a URL in every command, or the command is refused."""
    if value is not None:
        from stsearch.search.place import parse_url

        parse_url(value)
    return value


storage_option = click.option(
    "--storage", metavar="URL", callback=_storage, help="Database of the study; default sqlite:///studies/NAME.db."
)


def clip_options(function: F) -> F:
    """``--frames``, ``--size``, ``--channels`` and ``--classes`` of the clip that costs are counted on."""
    for option in (
        click.option("--classes", type=click.IntRange(1, 65_536), default=400, show_default=True, help="Classes."),
        click.option(
            "--channels", type=click.IntRange(1, 65_536), default=3, show_default=True, help="Channels of a frame."
        ),
        click.option(
            "--size", type=click.IntRange(1, 65_536), default=112, show_default=True, help="Height and width."
        ),
        click.option(
            "--frames", type=click.IntRange(1, 65_536), default=16, show_default=True, help="Frames of a clip."
        ),
    ):
        function = option(function)
    return function


def open_browser(address: str) -> None:
    """Show ``address`` in the browser if there is one; what looks for it says nothing here, and hears no Ctrl-C."""
    code = "import sys, click; click.launch(sys.argv[1])"
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-P", "-c", code, address]
    subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def program() -> str:
    """How the user can call this program again: by its path where it is not on the PATH."""
    called = sys.argv[0]
    return called if Path(called).name == "stsearch" and shutil.which("stsearch") is None else "stsearch"


def print_json(data: Any) -> None:
    """``data`` on stdout."""
    click.echo(json.dumps(data, indent=2))


def say_edits(study: str, stored: StoredStudy) -> None:
    """A note on stderr where STUDY is a file that says otherwise than its study was run, and where rows are damaged."""
    from stsearch.search.edited import edits

    if stored.spoiled:
        click.echo(f"note: {stored.spoiled}", err=True)
    if found := edits(study, stored):
        click.echo(f"note: the study was run with other settings than {study} has now: {'; '.join(found)}", err=True)


def next_of(
    stored: StoredStudy, pareto: Pareto, study: str, storage: str | None, after: Step | None = None
) -> list[Next]:
    """What to type after a command that read ``study``; a database's password is not repeated."""
    from stsearch.report.following import Calls, following
    from stsearch.resources import found_study
    from stsearch.search.place import shown

    place = ("--storage", shown(storage)) if storage is not None else ()
    file = found_study(study)
    run = (file,) if file is not None else None
    return following(stored, pareto, Calls(program(), commands(), study, place, run, run or ()), after)


def say_next(stored: StoredStudy, pareto: Pareto, study: str, storage: str | None, after: Step | None = None) -> None:
    """Print it."""
    print_next([one.line for one in next_of(stored, pareto, study, storage, after)])


def print_next(lines: Sequence[str]) -> None:
    """One or two lines of a shell, or nothing."""
    if lines:
        click.echo("\nNext:")
    for line in lines:
        click.echo(f"  {line}")


def commands() -> frozenset[str]:
    """Names of the commands that there are."""
    root = click.get_current_context().find_root().command
    return frozenset(root.commands) if isinstance(root, click.Group) else frozenset()


def asked_data(network: str, source: str | None, overrides: Sequence[str], storage: str | None) -> AskedData:
    """The data that are asked for, else those of the study that ``network`` is a trial of; ``UserError`` without."""
    from stsearch.search.asked_data import data_of, data_of_study
    from stsearch.search.reading import read_study

    if source is not None:
        return data_of(source, overrides)
    if "#" not in network:
        raise UserError(f"{network!r} is of no study: add --data SOURCE, a study, a folder, a list or built-in data")
    return data_of_study(read_study(network.rpartition("#")[0], storage), overrides)


def find_architecture(text: str, storage: str | None = None) -> Architecture:
    """A network by any of its names, ``STUDY#TRIAL`` included; ``UserError`` for one of the zoo."""
    from stsearch.space.published import find_network
    from stsearch.space.zoo import of_zoo

    if "#" in text:
        from stsearch.report.pareto import trial_architecture

        return trial_architecture(text, storage)
    if (known := of_zoo(text)) is not None:
        raise UserError(
            f"{known.name} is no network of a study, whose networks are built of kinds, as R3D-18 or STUDY#TRIAL; "
            f"it is trained by `stsearch train {known.name}` and seen by `profile`, `evaluate --weights` and `export`"
        )
    return find_network(text)


def find_any_network(text: str, storage: str | None = None) -> AnyNetwork:
    """A network of the zoo, or one that ``find_architecture`` finds."""
    from stsearch.space.zoo import find_any

    if "#" in text:
        return find_architecture(text, storage)
    try:
        return find_any(text)
    except UserError:
        if not (text.endswith((".yaml", ".yml")) or os.path.isfile(os.path.join("studies", f"{text}.db"))):
            raise
        raise UserError(
            f"{text} is a study; its networks are named by their trials, as in {shlex.quote(text + '#0')}, which "
            f"`stsearch pareto {shlex.quote(text)}` lists"
        ) from None
