"""``stsearch run``."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from stsearch.cli.common import commands, format_option, print_json, print_next, program, storage_option
from stsearch.errors import StsearchError
from stsearch.hiding import safe
from stsearch.interrupt import flagged, number_of

if TYPE_CHECKING:
    from rich.console import Console

    from stsearch.report.following import Next
    from stsearch.report.pareto import Pareto
    from stsearch.search.session import Session
    from stsearch.search.spec import Study
    from stsearch.search.stored import StoredStudy


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

    from stsearch.report.pareto import pareto_of, whole
    from stsearch.report.tables import print_pareto
    from stsearch.search.patience import reopened
    from stsearch.search.reading import read_study
    from stsearch.search.spec import load_study

    chosen = load_study(study, overrides, storage)
    place = chosen.storage_url
    worked(chosen, (study, overrides), retry_failed=retry_failed, quiet=quiet)
    stored = reopened(place, lambda: read_study(chosen.name, place))
    result = reopened(place, lambda: whole(pareto_of(stored)))
    if form == "json":
        print_json(result.as_dict())
        return
    steps = _next(study, overrides, chosen, stored, result)
    print_pareto(result, Console(), [one.step for one in steps])
    print_next([one.line for one in steps])


def worked(
    chosen: Study, asked: tuple[str, Sequence[str]] | None, *, retry_failed: bool = False, quiet: bool = False
) -> None:
    """Bring a study, ``asked`` for by file and ``--set`` if it was, to its networks, with its progress on stderr."""
    from rich.console import Console

    from stsearch.report.live import Display, Reading
    from stsearch.report.planned import what_it_settles
    from stsearch.search.clusters import cluster_of
    from stsearch.search.composed import composed_of
    from stsearch.search.engine import run as run_engine
    from stsearch.search.engine import worker_count
    from stsearch.search.left import left_over
    from stsearch.search.patience import persist, reopened
    from stsearch.search.place import shown
    from stsearch.search.session import open_session
    from stsearch.search.storage import still_there
    from stsearch.search.workers import at_work

    place = chosen.storage_url
    cluster = cluster_of(chosen)
    session = reopened(place, lambda: open_session(chosen, Reading(quiet), retry_failed=retry_failed))
    workers = cluster.count(chosen) if cluster else worker_count(chosen)
    where = cluster.title if cluster else session.device
    notes = Console(stderr=True, quiet=quiet)
    session.note = partial(_note, notes)
    for note in (*session.data.notes, *_of_span(session)):
        _note(notes, note)
    notes.print(
        f"study {chosen.name}: space {chosen.space.name} ({chosen.space.size:,} networks), sampler "
        f"{session.sampler.name}, {workers} worker{'s' * (workers != 1)} on {where}, "
        f"storage {shown(place)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if session.sampler.feasible is not None and session.sampler.feasible < chosen.spec.search.trials:
        trained = "no others are trained" if chosen.spec.search.screen else "all of them are trained"
        _note(notes, f"only {session.sampler.feasible} networks keep the budget; {trained}")
    if composed := composed_of(session.optuna_study.user_attrs):
        _note(notes, f"latency_ms is {composed.said}")
    if others := persist(session, lambda: at_work(session.trials())):  # the server has answered: it is waited for
        _note(notes, f"{', '.join(others)} train networks of this study too; all count together")
    for lacking in left_over(chosen):
        notes.print(f"warning: {lacking}.", highlight=False, markup=False, soft_wrap=True)
    if power := persist(session, lambda: what_it_settles(session)):
        notes.print(power, highlight=False, markup=False, soft_wrap=True)
    if asked is not None and (said := _proxy(*asked, session)):
        _note(notes, said)
    display = persist(session, lambda: Display(session, workers, quiet=quiet))
    with stoppable(partial(still_there, session.storage)), display:
        (cluster.run if cluster else run_engine)(chosen, session, display.emit)


def _of_span(session: Session) -> list[str]:
    """A word where clips cut or stretch the videos of a study."""
    from stsearch.data.cache import cache_folder
    from stsearch.data.durations import durations, mismatch
    from stsearch.data.journal import read_rows
    from stsearch.data.recipe import VideoRecipe

    recipe = session.study.spec.data
    if not isinstance(recipe, VideoRecipe):
        return []
    return mismatch(durations(read_rows(cache_folder() / session.data.fingerprint)), recipe.span)


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


def _next(study: str, overrides: Sequence[str], chosen: Study, stored: StoredStudy, result: Pareto) -> list[Next]:
    """What to type after a run; a database's password is not repeated."""
    from stsearch.report.following import Calls, following
    from stsearch.search.place import shown

    place = ("--storage", shown(chosen.storage_url)) if chosen.spec.storage is not None else ()
    kept = [(text.partition("=")[0].strip(), f"--set={safe(text)}") for text in overrides]
    sets = [text for key, text in kept if key not in ("storage", "search.repeats")]
    alike = [text for key, text in kept if key not in ("storage", "name")]
    calls = Calls(program(), commands(), chosen.name, place, (study, *sets), (study, *alike))
    return following(stored, result, calls)


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
    return shlex.join([*_launcher(), *words])


def _launcher() -> list[str]:
    """How this program was started: by ``torchrun`` where it is one of several processes."""
    count = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if count == "1" or "TORCHELASTIC_RUN_ID" not in os.environ:
        return [program()]
    return ["torchrun", "--nproc-per-node", count, "-m", "stsearch"]


def _before_url(word: str, before: str) -> tuple[str, str | None]:
    """An argument as ``(what comes before the URL of the storage, that URL)``; ``None`` where it has none."""
    if before == "--storage":
        return "", word
    found = re.match(r"--storage=|--set=\s*storage\s*=|\s*storage\s*=", word)
    return (found[0], word[found.end() :]) if found else ("", None)
