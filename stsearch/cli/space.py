"""``stsearch space``: what may be built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from stsearch.cli.common import OneOf, clip_options, format_option, print_json
from stsearch.errors import UserError, WorldError

if TYPE_CHECKING:
    from stsearch.nni.profile import Count
    from stsearch.profiling.against import Disagreement
    from stsearch.profiling.device import Setting
    from stsearch.space.blueprint import ClipShape
    from stsearch.space.search_space import SearchSpace


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


@click.command()
@click.argument("space")
@click.option("--max-gmacs", type=click.FloatRange(0, min_open=True), help="Count the networks up to so many GMACs.")
@click.option("--measure", type=click.IntRange(3, 10_000), metavar="N", help="Time N networks: do FLOPs tell latency?")
@click.option(
    "--check",
    type=OneOf("export", "nni"),
    help="Count multiply-adds three ways: closed form, torch, and NNI's profiler.",
)
@click.option(
    "--networks", type=click.IntRange(1, 100_000), default=200, show_default=True, help="For --check: how many."
)
@click.option("--device", default="auto", show_default=True, help="For --measure: auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=int, help="For --measure: torch threads on a CPU.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="For --measure and --check: which.")
@clip_options
@format_option("table", "json")
def space(
    space: str,
    max_gmacs: float | None,
    measure: int | None,
    check: str | None,
    networks: int,
    device: str,
    threads: int | None,
    seed: int,
    frames: int,
    size: int,
    channels: int,
    classes: int,
    form: str,
) -> None:
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
    counts = _counted(found, clip, classes, networks, seed) if check is not None else None
    against = None
    if measure is not None:
        from stsearch.profiling.device import Setting, choose_device

        setting = Setting(choose_device(device, "--device"), threads=threads)
        against = _flops_against_latency(found, clip, classes, setting, measure, seed)
    if form == "json":
        measured = {"flops_against_latency": against.as_dict()} if against is not None else {}
        checked = {"check": _check_facts(counts)} if counts is not None else {}
        print_json({**facts, "input": list(clip.sizes), "classes": classes, **checked, **measured})
    else:
        _print(facts, clip, classes, against, counts)
    if differing := [count for count in counts or () if not count.agree]:
        raise WorldError(f"the three counts differ on {len(differing)} of {len(counts or ())} networks")


def _print(
    facts: dict[str, Any],
    clip: ClipShape,
    classes: int,
    against: Disagreement | None,
    counts: Sequence[Count] | None,
) -> None:
    from rich.console import Console

    from stsearch.report.tables import print_space

    print_space(facts, str(clip), classes, Console())
    if against is not None:
        from stsearch.report.profile_tables import print_disagreement

        print_disagreement(against, Console())
    if counts is not None:
        agree = sum(count.agree for count in counts)
        click.echo(f"MACs: NNI's profiler = closed form = FlopCounterMode / 2 on {agree} of {len(counts)} networks")
        for count in counts:
            if not count.agree:
                click.echo(f"  {count.network}: {count.nni:,}, {count.closed_form:,}, {count.flop_counter:,}")


def _counted(found: SearchSpace, clip: ClipShape, classes: int, networks: int, seed: int) -> list[Count]:
    from rich.console import Console
    from rich.progress import track

    import stsearch.nni  # noqa: F401 - says how to install it before anything is counted
    from stsearch.nni.profile import three_counts

    total = min(networks, found.size)
    counts = three_counts(found, clip, classes, networks, seed)
    return list(track(counts, description="counting networks", total=total, console=Console(stderr=True)))


def _check_facts(counts: Sequence[Count]) -> dict[str, Any]:
    agree = sum(count.agree for count in counts)
    return {"networks": len(counts), "agree": agree, "counts": [count.as_dict() for count in counts]}


def _flops_against_latency(
    found: SearchSpace, clip: ClipShape, classes: int, setting: Setting, count: int, seed: int
) -> Disagreement:
    """Time ``count`` networks of a space, drawn evenly; their order by MACs against that by latency."""
    import random

    from rich.console import Console
    from rich.progress import track

    from stsearch.profiling.against import disagreement
    from stsearch.profiling.measure import quick
    from stsearch.space.cost import network_cost
    from stsearch.space.published import name_of

    drawn = random.Random(seed).sample(range(found.size), min(count, found.size))  # noqa: S311 - no secret
    networks = []
    for index in track(drawn, description="timing networks", console=Console(stderr=True)):
        architecture = found.architecture(index)
        gmacs = network_cost(architecture, clip, classes).total.macs / 1e9
        latency = quick(architecture, clip, classes, setting)["latency_ms"]
        networks.append((name_of(architecture), gmacs, latency))
    return disagreement(networks, seed)
