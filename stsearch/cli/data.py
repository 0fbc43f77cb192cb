"""``stsearch data``: the clip caches, and what a video file holds."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from stsearch.cli.common import Group, format_option, print_json, print_next, program
from stsearch.errors import UserError, WorldError
from stsearch.interrupt import flagged

if TYPE_CHECKING:
    from stsearch.data.cache import CacheFacts
    from stsearch.data.sources import Opened

_DAY_S = 86_400


@click.group(cls=Group)
def data() -> None:
    """Build, list, verify and prune the caches of decoded clips; look into video files."""


@data.command()
@click.argument("source")
@click.option("--frames", type=click.IntRange(1, 65_536), help="Frames of a clip [default: the study's, or 16].")
@click.option("--size", type=click.IntRange(1, 65_536), help="Pixels of a clip's side [default: the study's, or 112].")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value, as in data.span=2. Repeatable."
)
@click.option("--estimate", is_flag=True, help="Only say how large the cache will be.")
@format_option("table", "json")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@flagged()
def build(
    source: str, frames: int | None, size: int | None, overrides: Sequence[str], estimate: bool, form: str, quiet: bool
) -> None:
    """Decode the videos of SOURCE into the cache: a study, a folder of class folders, or a list (CSV or text).

    A run does the same when it begins. A build that was stopped goes on where it was.
    """
    from stsearch.data.build import estimate as estimated
    from stsearch.data.cache import cache_folder
    from stsearch.data.durations import durations, lengths, mismatch
    from stsearch.data.journal import read_rows
    from stsearch.data.sources import Videos
    from stsearch.report.live import Reading

    opened, its_frames, its_size = _opened(source, overrides)
    frames, size = frames or its_frames, size or its_size
    if not isinstance(opened, Videos):
        raise UserError(f"the data of {source!r} are rendered, not decoded: they need no cache")
    if estimate:
        found = estimated(opened.listing, opened.recipe, frames, size)
        notes = mismatch(found.seconds, opened.recipe.span)
        said = (
            f"about {_amount(found.nbytes)} for {found.videos:,} videos, {found.frames:.0f} frames each "
            f"({found.sampled} were looked at)"
        )
        lines = [*(f"note: {note}" for note in notes), *filter(None, [lengths(found.seconds)]), said]
        _say(form, {**asdict(found), **_seconds(found.seconds), "notes": notes}, "\n".join(lines))
        return
    written = replace(opened, recipe=opened.recipe.model_copy(update={"stream": False}))  # here a cache is asked for
    built = written.load(frames, size, Reading(quiet))
    videos = {split: len(chosen) for split, chosen in built.splits.items()}
    size_on_disk = sum(chosen.nbytes for chosen in built.splits.values())
    facts: dict[str, Any] = {"key": built.fingerprint, "classes": len(built.classes), **videos, "nbytes": size_on_disk}
    counts = ", ".join(f"{count:,} {split}" for split, count in videos.items())
    seconds = durations(read_rows(cache_folder() / built.fingerprint))
    notes = [*built.notes, *mismatch(seconds, opened.recipe.span)]
    lines = [*(f"note: {note}" for note in notes), *filter(None, [lengths(seconds)])]
    lines.append(f"{built.fingerprint}: {counts} videos of {len(built.classes)} classes, {_amount(size_on_disk)}")
    _say(form, {**facts, **_seconds(seconds), "notes": notes}, "\n".join(lines))
    if form == "table" and source.endswith((".yaml", ".yml")):
        sets = [f"--set={text}" for text in overrides]
        print_next([shlex.join([program(), "run", source, *sets])])


def _seconds(found: Sequence[float]) -> dict[str, Any]:
    """What JSON says of how long videos are."""
    return {"seconds": {"min": min(found), "median": median(found), "max": max(found)}} if found else {}


def _opened(source: str, overrides: Sequence[str]) -> tuple[Opened, int, int]:
    """The data of a study, or of a folder or list without one; frames and size of its clips."""
    from stsearch.data.sources import open_data
    from stsearch.search.asked_data import data_of

    asked = data_of(source, overrides)
    return open_data(asked.recipe), *asked.proxy


@data.command("list")
@format_option("table", "json")
def list_(form: str) -> None:
    """List the caches, the one used last first."""
    from stsearch.data.cache import cache_folder, list_caches

    found = list_caches()
    if form == "json":
        print_json([_plain(facts) for facts in found])
        return
    if not found:
        click.echo(f"no caches in {cache_folder()}")
        return
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("key", "source", "clip", "videos", "size", "used", "state"):
        right = name in ("videos", "size")
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=name in ("key", "size"))
    for facts in found:
        table.add_row(
            facts.key[:12],
            escape(facts.source.get("path", "?")),
            _clip(facts),
            f"{facts.videos:,}",
            _amount(facts.nbytes),
            _when(facts.used),
            escape(_state(facts)),
        )
    Console().print(table)
    click.echo(f"{_amount(sum(facts.nbytes for facts in found))} in {cache_folder()}")


@data.command()
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def verify(keys: Sequence[str], quiet: bool) -> None:
    """Compare every cached video with its checksum; all caches by default. Exit code 1 where something is damaged."""
    from stsearch.data.cache import list_caches
    from stsearch.data.cache import verify as verify_one
    from stsearch.report.live import Reading

    damaged = 0
    for key in keys or [facts.key for facts in list_caches() if facts.whole]:
        faults = verify_one(key, Reading(quiet))
        for fault in faults:
            click.echo(f"{key}: {fault}")
        if not faults:
            click.echo(f"{key}: whole")
        damaged += bool(faults)
    if damaged:
        raise WorldError(f"{damaged} of the caches are damaged; the next run decodes those videos again")


@data.command()
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--unused", type=click.FloatRange(0), metavar="DAYS", help="Those that nobody used for so many days.")
@click.option("--partial", is_flag=True, help="Those that are not whole.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
def prune(keys: Sequence[str], unused: float | None, partial: bool, everything: bool) -> None:
    """Remove caches; one that is being built, or that a run, an audit or an evaluation reads, stays."""
    from stsearch.data.cache import prune as prune_caches

    if not (keys or unused is not None or partial or everything):
        raise UserError("say what to remove: KEY, --unused DAYS, --partial or --all; `stsearch data list` shows them")
    seconds = None if unused is None else unused * _DAY_S
    removed, left = prune_caches(keys, unused_s=seconds, partial=partial, everything=everything)
    for facts in removed:
        click.echo(f"removed {facts.key}: {_amount(facts.nbytes)} of {facts.source.get('path', '?')}")
    for facts, why in left:
        click.echo(f"left {facts.key}: {why}")
    if not removed and not left:
        click.echo("nothing to remove")


@data.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--decode", is_flag=True, help="Decode it whole as well: count the frames, name damage.")
@format_option("table", "json")
def show(files: Sequence[Path], decode: bool, form: str) -> None:
    """Say what video FILES hold and whether they can be decoded. Exit code 1 if one cannot."""
    from stsearch.data.decode import NotAVideo, UnreadableVideo, probe

    results: list[dict[str, Any]] = []
    for file in files:
        try:
            facts = {"file": str(file), **probe(file).as_dict()}
            if decode:
                facts |= _decoded(file)
        except (NotAVideo, UnreadableVideo) as error:
            facts = {"file": str(file), "unreadable": str(error)}
        results.append(facts)
        if form == "table":
            known = (_fact(name, value) for name, value in facts.items() if name != "file" and value is not None)
            click.echo(f"{file}: {', '.join(known)}")
    if form == "json":
        print_json(results)
    if unreadable := sum("unreadable" in facts for facts in results):
        raise WorldError(f"{unreadable} of {len(results)} files cannot be read")


def _decoded(file: Path) -> dict[str, Any]:
    """How many frames decode, and what a build will say of the file."""
    import numpy

    from stsearch.data.decode import MAX_FRAMES, decode

    times: list[int] = []

    def choose(found: Any) -> Any:
        times.append(len(found))
        return numpy.arange(min(len(found), MAX_FRAMES))

    video = decode(file, height=16, width=16, choose=choose)
    return {"decoded": times[-1], "damage": video.damage}


def _fact(name: str, value: Any) -> str:
    shown = f"{value:.6g}" if isinstance(value, float) else value
    return f"{name.replace('_', ' ')}{':' if name in ('unreadable', 'damage') else ''} {shown}"


def _plain(facts: CacheFacts) -> dict[str, Any]:
    return {**asdict(facts), "folder": str(facts.folder), "state": _state(facts)}


def _state(facts: CacheFacts) -> str:
    if facts.damage:
        return f"damaged: {facts.damage}"
    unreadable = f", {facts.unreadable} unreadable" if facts.unreadable else ""
    return ("whole" if facts.whole else f"{facts.done:,} of {facts.videos:,} done") + unreadable


def _clip(facts: CacheFacts) -> str:
    """Frames of a clip and the cached height and width, as in 8x37x49."""
    sizes = "x".join(str(facts.clip.get(name, "?")) for name in ("frames", "height", "width"))
    return f"{sizes} flow" if facts.clip.get("modality") == "flow" else sizes


def _when(seconds: float) -> str:
    from datetime import datetime

    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"


def _amount(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB" if count < 1000 else f"{count / 1000:.1f} TB"


def _say(form: str, facts: dict[str, Any], text: str) -> None:
    if form == "json":
        print_json(facts)
    else:
        click.echo(text)
