"""``stsearch train``: the chosen network, trained to the end."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stsearch import __version__
from stsearch.cli.common import (
    OneOf,
    asked_data,
    find_any_network,
    format_option,
    print_json,
    print_next,
    program,
    storage_option,
)
from stsearch.cli.run import stoppable
from stsearch.errors import UserError
from stsearch.hiding import safe
from stsearch.interrupt import flagged

if TYPE_CHECKING:
    import torch

    from stsearch.evaluate.finish import Finished
    from stsearch.evaluate.warm import Start
    from stsearch.evaluate.world import World
    from stsearch.search.finishing import Finishing


@click.command()
@click.argument("network", metavar="NETWORK")
@click.option("--data", "source", metavar="SOURCE", help="A study, a folder, a list, graded or motions.")
@click.option("--recipe", default="quick", show_default=True, metavar="RECIPE", help="paper, quick or a YAML file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder of the result.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As in evaluate.epochs=8 or data.span=2. Repeatable."
)
@click.option(
    "--frames", type=click.IntRange(1, 65_536), help="Frames of a clip [default: the target's, or usual ones]."
)
@click.option("--size", type=click.IntRange(1, 65_536), help="Pixels of a clip's side [default: the same].")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Begin with weights.pt, or a published checkpoint.",
)
@click.option("--inflate-from", type=click.Path(path_type=Path), metavar="FILE", help="Begin with 2D weights.")
@click.option(
    "--inflate", type=OneOf("way to inflate", "centre", "repeat"), help="Their place in time [default: centre]."
)
@click.option("--licence", default="", metavar="TEXT", help="Of the weights, to be kept with them.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of the training.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1, 1024), help="torch threads on a CPU [default: one per core].")
@storage_option
@format_option("table", "json")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@flagged()
def train(network: str, **asked: Any) -> None:
    """Train NETWORK on the videos of SOURCE into DIR, or go on with that.

    NETWORK is STUDY#TRIAL, whose data and target are taken where nothing else is said, or any name that
    `stsearch profile` takes; those of the literature, as X3D-S, are trained on the clip that they usually see.
    DIR gets weights.pt, record.json and curves for TensorBoard. In several processes, each on its share of
    every batch: torchrun --nproc-per-node 2 -m stsearch train NETWORK ...
    """
    import torch

    from stsearch.evaluate.finish import Heard, check_folder, train_whole
    from stsearch.evaluate.processes import is_first, together
    from stsearch.report.finishing import Course, print_finished
    from stsearch.report.live import Reading

    if asked["threads"] is not None:
        torch.set_num_threads(asked["threads"])
    quiet = asked["quiet"] or not is_first()
    check_folder(asked["out"])
    with together(_device(asked["device"])) as world, stoppable():
        finishing = _finishing(network, asked, world)
        course = Course(finishing.chosen.recipe, quiet)
        prepared = finishing.prepared(partial(_start, finishing, asked), Reading(quiet))
        for note in prepared.task.data.notes:
            course.note(note)
        course.began(prepared)
        heard = Heard(course.step, course.epoch, course.note)
        found = train_whole(prepared.task, asked["out"], prepared.about, prepared.start, heard)
    if not world.first:
        return
    if asked["form"] == "json":
        print_json({**found.about.as_dict(), "out": str(asked["out"]), "trained": found.fresh})
    else:
        print_finished(found)
        _say_next(found, network, asked)


def _device(asked: str) -> torch.device:
    """The device of this process."""
    from stsearch.evaluate.processes import own_device
    from stsearch.profiling.device import choose_device

    return choose_device(own_device(asked))


def _finishing(network: str, asked: dict[str, Any], world: World) -> Finishing:
    """What was asked for, checked as far as that goes without data."""
    from stsearch.search.finishing import OF_RECIPE, Finishing, recipe_of

    if asked["weights"] is not None and asked["inflate_from"] is not None:
        raise UserError("a training begins with --weights or with --inflate-from; given both")
    if asked["inflate"] is not None and asked["inflate_from"] is None:
        raise UserError("--inflate goes with --inflate-from FILE")
    architecture = find_any_network(network, asked["storage"])
    of_recipe = [text for text in asked["overrides"] if text.strip().startswith(OF_RECIPE)]
    others = [text for text in asked["overrides"] if text not in of_recipe]
    if wrong := [text for text in others if not text.strip().startswith("data.")]:
        key = wrong[0].partition("=")[0].strip()
        raise UserError(f"--set {safe(wrong[0])}: train takes evaluate.KEY and data.KEY, as in evaluate.{key}")
    return Finishing(
        architecture,
        asked_data(network, asked["source"], others, asked["storage"]),
        recipe_of(asked["recipe"], of_recipe),
        asked["seed"],
        _device(asked["device"]),
        asked["frames"],
        asked["size"],
        asked["licence"],
        __version__,
        world,
    )


def _start(finishing: Finishing, asked: dict[str, Any], classes: tuple[str, ...]) -> Start | None:
    """The weights to begin with, if any are named."""
    from stsearch.evaluate.warm import from_2d, from_weights
    from stsearch.space.published import name_of

    architecture, name = finishing.architecture, name_of(finishing.architecture)
    if asked["inflate_from"] is not None:
        return from_2d(asked["inflate_from"], architecture, name, classes, finishing.clip, asked["inflate"] or "centre")
    if asked["weights"] is None:
        return None
    return from_weights(asked["weights"], architecture, name, classes, finishing.clip)


def _say_next(found: Finished, network: str, asked: dict[str, Any]) -> None:
    """What to type after a training."""
    from stsearch.search.place import shown

    weights = str(asked["out"] / "weights.pt")
    place = ["--storage", shown(asked["storage"])] if asked["storage"] else []
    data = ["--data", asked["source"]] if asked["source"] else []
    sets = [f"--set={text}" for text in asked["overrides"] if text.startswith("data.")]
    lines = [
        [program(), "evaluate", network, *place, "--weights", weights, *data, *sets, "--views", "10x3"],
        [program(), "export", network, *place, "--weights", weights, "--to", "onnx", "-o", "network.onnx"],
    ]
    print_next([shlex.join(line) for line in lines])
