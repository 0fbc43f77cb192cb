"""``stsearch calibrate``."""

from __future__ import annotations

import difflib
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stsearch.cli.common import format_option, print_json, storage_option
from stsearch.errors import UserError
from stsearch.hiding import safe
from stsearch.interrupt import flagged

if TYPE_CHECKING:
    from stsearch.report.calibration import Race, Tried
    from stsearch.search.calibration import Calibration

_NOT_WRITTEN = ("storage", "engine", "name")
"""Keys that say where this command works, and are no part of a proxy."""


@click.command()
@click.argument("study", default="quickstart")
@click.option(
    "--minutes",
    type=click.FloatRange(0, 1_000_000, min_open=True),
    default=30.0,
    show_default=True,
    help="Time for all trainings, those of earlier commands among them.",
)
@click.option("--networks", type=click.IntRange(10, 10_000), default=12, show_default=True, help="Networks to rank.")
@click.option("--rounds", type=click.IntRange(2, 100), default=3, show_default=True, help="Seeds of each, at most.")
@click.option(
    "--try",
    "asked",
    multiple=True,
    metavar="'KEY=VALUE ...'",
    help="A way to train, as in 'proxy.frames=4 evaluate.epochs=3', instead of those that are tried unasked. May be "
    "given often.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the study's YAML.")
@storage_option
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of all trainings.")
@click.option("--records", is_flag=True, help="Train nothing: what the records that are there say.")
@click.option("--write", "file", metavar="FILE", help="Write the study with the picked proxy as a new YAML file.")
@click.option("--in-place", is_flag=True, help="Put the picked proxy into the study's own file.")
@format_option("table", "json")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@flagged()
def calibrate(
    study: str,
    minutes: float,
    networks: int,
    rounds: int,
    asked: Sequence[str],
    overrides: Sequence[str],
    storage: str | None,
    seed: int,
    records: bool,
    file: str | None,
    in_place: bool,
    form: str,
    quiet: bool,
) -> None:
    """Find the cheapest proxy that ranks networks on STUDY's clips, within a budget of time.

    Tries fewer and more frames, pixels, channels, epochs and clips and other learning rates, with several seeds. What
    is trained is kept beside the study; the same command goes on after an interruption.
    """
    from rich.console import Console

    from stsearch.report.calibration_text import as_dict, print_calibration
    from stsearch.report.live import Reading
    from stsearch.search.calibration import calibration_of

    target = _target(study, file, in_place)
    chosen = calibration_of(study, overrides, storage, asked, networks, rounds, seed, Reading(quiet))
    race = _raced(chosen, 0.0 if records else 60 * minutes, quiet)
    picked = race.picked()
    if not records:
        _keep(race)
    text, changes, diff = _rewritten(study, overrides, picked, target)
    if form == "json":
        print_json(as_dict(race, picked, changes, diff))
    else:
        print_calibration(race, picked, Console())
        _show(diff, changes, target)
    if target is not None:
        if picked is None:
            raise UserError(f"nothing was picked, so nothing is written to {target}")
        _write(target, text, race, picked)


def _target(study: str, file: str | None, in_place: bool) -> Path | None:
    """The file to write; ``UserError`` before anything is trained."""
    from stsearch.report.write import write_text
    from stsearch.resources import find

    path = find("studies", study)
    if file is not None and in_place:
        raise UserError("--write and --in-place: give one of them")
    if in_place:
        if path.is_absolute() and not study.endswith((".yaml", ".yml")):
            raise UserError(f"--in-place: the study {study!r} ships with stsearch; --write FILE makes one of your own")
        return path
    if file is None:
        return None
    target = Path(file)
    if target.suffix not in (".yaml", ".yml"):
        raise UserError(f"--write: a study's file ends in .yaml or .yml; given {file!r}")
    if target.exists():
        raise UserError(f"--write: {target} is there already; another name, or --in-place for the study's own file")
    write_text(target, "")
    return target


def _raced(calibration: Calibration, seconds: float, quiet: bool) -> Race:
    """Train within so many seconds, or until nothing is wanted any more; the race as it stands then."""
    from stsearch.cli.run import stoppable
    from stsearch.report.calibration import Race
    from stsearch.report.calibration_text import CalibrationProgress
    from stsearch.report.live import Reading
    from stsearch.search.audit import load_clips
    from stsearch.search.calibration import found_of
    from stsearch.search.engine import run_audit, workers_for
    from stsearch.search.engines import Engine

    race = Race(calibration, found_of(calibration))
    if not seconds:
        return race
    engine = calibration.own.spec.engine
    if not engine.here:  # a calibration works where it is started, as an audit does
        engine = Engine(threads=engine.threads, device=engine.device, checkpoint_s=engine.checkpoint_s)
    workers = workers_for(engine, len(calibration.networks))
    until = time.time() + seconds - race.spent / workers
    progress = CalibrationProgress(race, seconds / 60, race.spent / workers, quiet=quiet)
    with stoppable():
        while (left := until - time.time()) > 0:
            if not (heats := race.next_heats(left * workers, seconds * workers)):
                break
            progress.heats(race, heats)
            plan = calibration.plan(heats, until)
            clips = load_clips(plan, Reading(quiet))
            run_audit(plan, engine, sum(map(race.missing, heats)), progress.emit, clips)
            race = Race(calibration, found_of(calibration))
    return race


def _keep(race: Race) -> None:
    """Keep what was found of each way beside its trainings."""
    from stsearch.search.calibration import keep

    companions = {}
    for one in race.tried():
        if (kept := _kept(race, one)) is not None:
            companions[race.calibration.plan([(one.way, 0)]).companion(one.way.part(0))] = kept
    keep(race.calibration.own.storage_url, companions)


def _kept(race: Race, one: Tried) -> dict[str, object] | None:
    from stsearch.report.calibration import calibrated
    from stsearch.search.calibrated import kept

    found = calibrated(one, time.strftime("%Y-%m-%d"))
    if found is None:
        return None
    return kept(found, {**one.way.fidelity.as_dict(), "data": race.fingerprint(one.way)})


def _rewritten(
    study: str, overrides: Sequence[str], picked: Tried | None, target: Path | None
) -> tuple[str, list[str], str]:
    """The study's YAML with the picked proxy, what changes in it, and the difference as a diff."""
    from stsearch.resources import find
    from stsearch.search.rewritten import rewritten
    from stsearch.texts import read_text

    path = find("studies", study)
    before = read_text(path)
    kept = [text for text in overrides if re.split(r"[.=]", text.strip(), maxsplit=1)[0] not in _NOT_WRITTEN]
    changes = [*kept, *(picked.way.changes if picked else ())]
    after, commented = rewritten(before, changes) if picked else (before, True)
    if not commented:
        click.echo("note: the file is written anew, so its comments are lost", err=True)
    names = str(path), str(target or path)
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="")
    return after, [safe(text) for text in changes] if picked else [], safe("\n".join(lines))


def _show(diff: str, changes: Sequence[str], target: Path | None) -> None:
    if not diff:
        return
    click.echo(f"\n{diff}")
    if target is None:
        sets = shlex.join(word for change in changes for word in ("--set", change))
        click.echo(f"\nNothing is written: --write FILE or --in-place does, or `stsearch run` with {sets}")


def _write(target: Path, text: str, race: Race, picked: Tried) -> None:
    """Write the study's file, and keep what was found where a study of it will look."""
    from stsearch.report.write import write_text
    from stsearch.schema import parse_yaml
    from stsearch.search.calibration import keep
    from stsearch.search.spec import study_from_data

    made = study_from_data(parse_yaml(text, str(target)), str(target), target.stem, target.parent)
    write_text(target, text)
    kept = _kept(race, picked)
    if kept is not None and made.storage_url != race.calibration.own.storage_url:
        companion = race.calibration.plan([(picked.way, 0)]).companion(picked.way.part(0))
        keep(made.storage_url, {f"{made.name}/{companion.partition('/')[2]}": kept})
    click.echo(f"written: {target}", err=True)
