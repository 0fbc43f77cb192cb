"""The command line. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stsearch import __version__
from stsearch.errors import StsearchError, UserError, did_you_mean

if TYPE_CHECKING:
    from stsearch.search.spec import Study
    from stsearch.space.architecture import Architecture
    from stsearch.space.search_space import SearchSpace

F = TypeVar("F", bound=Callable[..., Any])


class _Group(click.Group):
    """Suggests a command for a misspelt one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = self.list_commands(ctx)
            ctx.fail(f"no such command {name!r}.{did_you_mean(name, known)} Allowed: {', '.join(known)}.")
        return super().resolve_command(ctx, args)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Search for where in a video network convolutions should see time.

    \b
    stsearch run quickstart        train networks, find the front (resumes if it was begun)
    stsearch pareto quickstart     show the front; --plot front.png draws it
    stsearch pareto published      the front of Tran et al. (CVPR 2018)
    stsearch space r18             what a search space holds and costs
    stsearch profile MC3-18        exact cost of a network, stage by stage
    """


def _format(*choices: str) -> Callable[[F], F]:
    return click.option(
        "--format",
        "form",
        type=click.Choice(choices),
        default="table",
        show_default=True,
        help="How results are printed on stdout.",
    )


_storage = click.option("--storage", metavar="URL", help="Database of the study; default sqlite:///studies/NAME.db.")


def _clip_options(function: F) -> F:
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


def _json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2))


def find_architecture(text: str, storage: str | None = None) -> Architecture:
    """A network by any of its names, ``STUDY#TRIAL`` included."""
    from stsearch.space.published import find_network

    if "#" in text:
        from stsearch.report.pareto import trial_architecture

        return trial_architecture(text, storage)
    return find_network(text)


@main.command()
@click.argument("study", default="quickstart")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a value of the YAML, as in evaluate.epochs=8. May be given often.",
)
@_storage
@_format("table", "json")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def run(study: str, overrides: Sequence[str], storage: str | None, form: str, quiet: bool) -> None:
    """Run STUDY, or go on with it: a name of a study or the path of its YAML file."""
    from rich.console import Console

    from stsearch.report.live import Display, Reading
    from stsearch.report.pareto import pareto_of
    from stsearch.report.tables import print_pareto
    from stsearch.search.engine import run as run_engine
    from stsearch.search.engine import worker_count
    from stsearch.search.session import open_session
    from stsearch.search.spec import load_study

    extra = [f"storage={storage}"] if storage is not None else []
    chosen = load_study(study, [*overrides, *extra])
    session = open_session(chosen, Reading(quiet))
    workers = worker_count(chosen)
    notes = Console(stderr=True, quiet=quiet)
    for note in session.data.notes:
        notes.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    notes.print(
        f"study {chosen.name}: space {chosen.space.name} ({chosen.space.size:,} networks), sampler "
        f"{session.sampler.name}, {workers} worker{'s' * (workers > 1)} on {session.device}, "
        f"storage {chosen.storage_url if '@' not in chosen.storage_url else '(server)'}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if session.sampler.feasible is not None and session.sampler.feasible < chosen.spec.search.trials:
        notes.print(f"note: only {session.sampler.feasible} networks keep the budget; all of them are trained")
    try:
        with Display(session, workers, quiet=quiet) as display:
            run_engine(chosen, session, display.emit)
    except KeyboardInterrupt:
        raise Stopped(f"stopped. Nothing trained is lost; the same command goes on: {_again()}") from None
    result = pareto_of(session.optuna_study)
    if form == "json":
        _json(result.as_dict())
        return
    print_pareto(result, Console())
    _say_next(study, overrides, storage, chosen, result.front[-1].trial if result.front else None)


def _say_next(study: str, overrides: Sequence[str], storage: str | None, chosen: Study, trial: int | None) -> None:
    """What to type after a run; nothing where it would print a database's password."""
    if "@" in chosen.storage_url:
        return
    place = ["--storage", chosen.storage_url] if chosen.spec.storage is not None else []
    sets = [f"--set={text}" for text in overrides if not text.startswith(("storage=", "search.trials="))]
    more = f"--set=search.trials={2 * chosen.spec.search.trials}"
    lines = [
        [_program(), "pareto", chosen.name, *place, "--plot", "front.png"],
        *([[_program(), "profile", f"{chosen.name}#{trial}", *place]] if trial is not None else []),
        [_program(), "run", study, *sets, *place, more],
    ]
    click.echo("\nNext:")
    for line in lines:
        click.echo(f"  {shlex.join(line)}")


def _program() -> str:
    """How the user can call this program again: by its path where it is not on the PATH."""
    called = sys.argv[0]
    return called if Path(called).name == "stsearch" and shutil.which("stsearch") is None else "stsearch"


class Stopped(StsearchError):
    """Ctrl-C."""

    exit_code = 130


def _again() -> str:
    return shlex.join([_program(), *("..." if "@" in word else word for word in sys.argv[1:])])


@main.command()
@click.argument("study", default="quickstart")
@_storage
@click.option("--plot", "plots", multiple=True, metavar="FILE", help="Draw the front: .png, .svg, .pdf or .html.")
@click.option(
    "--frames", type=click.Choice(["8", "16"]), help="For `published`: clips of 8 or 16 frames [default: 16]."
)
@_format("table", "json", "csv")
def pareto(study: str, storage: str | None, plots: Sequence[str], frames: str | None, form: str) -> None:
    """Show the front of STUDY; `published` is the paper's own table over computed multiply-adds."""
    from stsearch.report.pareto import PUBLISHED_STUDY, open_study, pareto_of, published

    if study == PUBLISHED_STUDY and storage is None:
        result = published(int(frames or 16))
    elif frames is not None:
        raise UserError("--frames goes with `stsearch pareto published` only; a study has its own target")
    else:
        result = pareto_of(open_study(study, storage))
    if plots:
        from stsearch.report.plot import plot

        for file in plots:
            plot(result, Path(file))
    if form == "json":
        _json(result.as_dict())
    elif form == "csv":
        from stsearch.report.tables import pareto_csv

        click.echo(pareto_csv(result), nl=False)
    else:
        from rich.console import Console

        from stsearch.report.tables import print_pareto

        print_pareto(result, Console())
        for file in plots:
            click.echo(f"written: {file}")


def _space_facts(found: SearchSpace, table: Any, max_gmacs: float | None) -> dict[str, Any]:
    import numpy as np

    digits, whole = table.population()
    gmacs = table.costs(digits)["macs"] / 1e9
    scale = found.size / len(digits)
    cheapest, dearest = table.extreme("gmacs"), table.extreme("gmacs", largest=True)
    low, high = table.cost_of(cheapest)["gmacs"], table.cost_of(dearest)["gmacs"]
    counts, edges = np.histogram(gmacs, bins=12, range=(low, high))
    return {
        "name": found.name,
        "size": found.size,
        "feasible": found.size if max_gmacs is None else round(int((gmacs <= max_gmacs).sum()) * scale),
        "max_gmacs": max_gmacs,
        "gmacs": {"min": low, "median": float(np.median(gmacs)), "max": high},
        "exact": whole,
        "cheapest": cheapest.id,
        "dearest": dearest.id,
        "histogram": [
            [float(a), float(b), round(int(n) * scale)] for a, b, n in zip(edges, edges[1:], counts, strict=False)
        ],
    }


@main.command()
@click.argument("space")
@click.option("--max-gmacs", type=click.FloatRange(0, min_open=True), help="Count the networks up to so many GMACs.")
@_clip_options
@_format("table", "json")
def space(space: str, max_gmacs: float | None, frames: int, size: int, channels: int, classes: int, form: str) -> None:
    """Size and cost distribution of SPACE: the name of a search space or the path of its YAML file."""
    from stsearch.resources import find
    from stsearch.space.blueprint import ClipShape
    from stsearch.space.search_space import load_space
    from stsearch.space.table import CostTable

    if max_gmacs is not None and not math.isfinite(max_gmacs):
        raise UserError(f"--max-gmacs is a number above 0; given {max_gmacs}")
    found = load_space(find("search_spaces", space))
    clip = ClipShape(channels, frames, size, size)
    facts = _space_facts(found, CostTable(found, clip, classes), max_gmacs)
    if form == "json":
        _json({**facts, "input": list(clip.sizes), "classes": classes})
        return
    from rich.console import Console

    from stsearch.report.tables import print_space

    print_space(facts, str(clip), classes, Console())


@main.command()
@click.argument("network")
@click.option("--plugin", "plugins", multiple=True, metavar="MODULE", help="Import a module that registers kinds.")
@_storage
@_clip_options
@_format("table", "json")
def profile(
    network: str,
    plugins: Sequence[str],
    storage: str | None,
    frames: int,
    size: int,
    channels: int,
    classes: int,
    form: str,
) -> None:
    """Exact cost of NETWORK, stage by stage.

    NETWORK is a name of the paper (MC3-18, rMC2-34, "R(2+1)D-18" or r2plus1d-18), a placement,
    stem first (3d-3d-2d-2plus1d-2d@18), an architecture id, a JSON file, or STUDY#TRIAL.
    """
    from stsearch.space.blueprint import ClipShape
    from stsearch.space.cost import network_cost
    from stsearch.space.published import name_of

    if plugins:
        from stsearch.space.search_space import load_plugins

        load_plugins(list(plugins), ".", "--plugin")
    architecture = find_architecture(network, storage)
    cost = network_cost(architecture, ClipShape(channels, frames, size, size), classes)
    if form == "json":
        _json({"network": name_of(architecture), "architecture": architecture.id, **cost.as_dict()})
        return
    from rich.console import Console

    from stsearch.report.tables import print_cost

    print_cost(name_of(architecture), cost, Console())


def entry() -> None:
    """The console script: one line for every expected error, and its exit code."""
    try:
        main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except StsearchError as error:
        click.echo(f"stsearch: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        click.echo(f"stsearch: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    entry()
