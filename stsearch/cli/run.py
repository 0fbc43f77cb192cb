"""``stsearch run``."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from stsearch.cli.common import format_option, print_json, program, storage_option
from stsearch.errors import StsearchError
from stsearch.hiding import safe
from stsearch.interrupt import flagged, number_of

if TYPE_CHECKING:
    from rich.console import Console

    from stsearch.report.pareto import Pareto
    from stsearch.search.session import Session
    from stsearch.search.spec import Study


@click.command()
@click.argument("study", default="quickstart")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a value of the YAML, as in evaluate.epochs=8. May be given often.",
)
@storage_option
@format_option("table", "json")
@click.option("--retry-failed", is_flag=True, help="Try networks again that failed by themselves.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@flagged()
def run(study: str, overrides: Sequence[str], storage: str | None, form: str, retry_failed: bool, quiet: bool) -> None:
    """Run STUDY, or go on with it: a name of a study or the path of its YAML file."""
    from rich.console import Console

    from stsearch.report.live import Display, Reading
    from stsearch.report.pareto import pareto_of, whole
    from stsearch.report.tables import print_pareto
    from stsearch.search.engine import run as run_engine
    from stsearch.search.engine import worker_count
    from stsearch.search.patience import reopened
    from stsearch.search.place import shown
    from stsearch.search.reading import read_study
    from stsearch.search.session import open_session
    from stsearch.search.spec import load_study
    from stsearch.search.storage import still_there
    from stsearch.search.workers import at_work

    chosen = load_study(study, overrides, storage)
    place = chosen.storage_url
    session = reopened(place, lambda: open_session(chosen, Reading(quiet), retry_failed=retry_failed))
    workers = worker_count(chosen)
    notes = Console(stderr=True, quiet=quiet)
    for note in session.data.notes:
        _note(notes, note)
    notes.print(
        f"study {chosen.name}: space {chosen.space.name} ({chosen.space.size:,} networks), sampler "
        f"{session.sampler.name}, {workers} worker{'s' * (workers > 1)} on {session.device}, "
        f"storage {shown(chosen.storage_url)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if session.sampler.feasible is not None and session.sampler.feasible < chosen.spec.search.trials:
        trained = "no others are trained" if chosen.spec.search.screen else "all of them are trained"
        _note(notes, f"only {session.sampler.feasible} networks keep the budget; {trained}")
    if others := at_work(session.trials()):
        _note(notes, f"{', '.join(others)} train networks of this study too; all count together")
    if said := _proxy(study, overrides, session):
        _note(notes, said)
    display = reopened(place, lambda: Display(session, workers, quiet=quiet))
    with stoppable(partial(still_there, session.storage)), display:
        run_engine(chosen, session, display.emit)
    result = reopened(place, lambda: whole(pareto_of(read_study(chosen.name, place))))
    if form == "json":
        print_json(result.as_dict())
        return
    print_pareto(result, Console())
    _say_next(study, overrides, chosen, result)


def _note(console: Console, text: str) -> None:
    console.print(f"note: {text}", highlight=False, markup=False, soft_wrap=True)


def _proxy(study: str, overrides: Sequence[str], session: Session) -> str:
    """How well the proxy is known to rank, or how that is measured; empty where nothing is trained."""
    from stsearch.evaluate.halving import HalvingRecipe
    from stsearch.evaluate.recipe import TrainRecipe
    from stsearch.report.calibrated_text import about_proxy
    from stsearch.search.calibrated import calibration_in
    from stsearch.search.place import shown

    spec, url = session.study.spec, session.study.storage_url
    if not isinstance(spec.evaluate, TrainRecipe | HalvingRecipe):
        return ""
    identity = {**session.study.identity(), "data_fingerprint": session.data.fingerprint}
    place = ["--storage", shown(url)] if spec.storage is not None else []
    kept = [text for text in overrides if text.partition("=")[0].strip() not in ("storage", "search.trials")]
    sets = [f"--set={safe(text)}" for text in kept]
    return about_proxy(calibration_in(url, identity), shlex.join([program(), "calibrate", study, *sets, *place]))


def _say_next(study: str, overrides: Sequence[str], chosen: Study, result: Pareto) -> None:
    """What to type after a run; a database's password is not repeated."""
    from stsearch.report.audit_plan import LEAST
    from stsearch.report.learning_text import remedy
    from stsearch.report.pick import picked, train_command
    from stsearch.search.place import shown

    trial = result.front[-1].trial if result.front else None
    pick = picked(result, "knee") if result.front else None

    place = ["--storage", shown(chosen.storage_url)] if chosen.spec.storage is not None else []
    kept = [(text.partition("=")[0].strip(), f"--set={safe(text)}") for text in overrides]
    sets = [text for key, text in kept if key not in ("storage", "search.trials")]
    alike = [text for key, text in kept if key not in ("storage", "name")]
    more = f"--set=search.trials={2 * chosen.spec.search.trials}"
    better = remedy(result.learning) if result.learning else []
    lines = [
        [program(), "pareto", chosen.name, *place, "--plot", "front.png"],
        [program(), "report", chosen.name, *place],
        *([shlex.split(train_command(program(), chosen.name, pick.record, place))] if pick else []),
        *([[program(), "profile", f"{chosen.name}#{trial}", *place, "--measure"]] if trial is not None else []),
        *([[program(), "audit", chosen.name, *place]] if result.trained >= LEAST else []),
        *([[program(), "run", study, *alike, *place, *(f"--set={one}" for one in better)]] if better else []),
        [program(), "run", study, *sets, *place, more],
    ]
    click.echo("\nNext:")
    for line in lines:
        click.echo(f"  {shlex.join(line)}")


class Stopped(StsearchError):
    """Ctrl-C or SIGTERM."""

    def __init__(self, error: KeyboardInterrupt) -> None:
        super().__init__(f"stopped. Nothing trained is lost; the same command goes on: {again()}")
        self.exit_code = 128 + number_of(error)


@contextlib.contextmanager
def stoppable(kept: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Ctrl-C and SIGTERM within end in order, with what to type to go on; ``kept`` raises where something was lost."""
    try:
        yield
    except KeyboardInterrupt as error:
        kept()
        raise Stopped(error) from None


def again() -> str:
    """The command that was given, to go on with; without a database's password."""
    from stsearch.search.place import shown

    words, before = [], ""
    for word in sys.argv[1:]:
        head, place = _before_url(word, before)
        words.append(f"{head}{shown(place)}" if place is not None else safe(word))
        before = word
    return shlex.join([program(), *words])


def _before_url(word: str, before: str) -> tuple[str, str | None]:
    """An argument as ``(what comes before the URL of the storage, that URL)``; ``None`` where it has none."""
    if before == "--storage":
        return "", word
    found = re.match(r"--storage=|--set=\s*storage\s*=|\s*storage\s*=", word)
    return (found[0], word[found.end() :]) if found else ("", None)
