"""``stsearch evaluate``: networks trained and evaluated as a study does it, alone or fused."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stsearch.cli.common import (
    OneOf,
    asked_data,
    find_any_network,
    find_architecture,
    format_option,
    print_json,
    print_next,
    program,
    storage_option,
)
from stsearch.errors import UserError
from stsearch.interrupt import flagged

if TYPE_CHECKING:
    from stsearch.search.evaluation import Protocol, Stream


@click.command()
@click.argument("networks", nargs=-1, metavar="NETWORK...")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Train nothing: of `train`, or published ones.",
)
@click.option(
    "--data", "source", metavar="SOURCE", help="With --weights: a study, a folder, a list, graded or motions."
)
@click.option("--views", default=None, metavar="CLIPSxCROPS", help="With --weights: 1x1, 10x1 or 10x3 [default: 10x1].")
@click.option(
    "--logits", type=click.Path(path_type=Path), metavar="FILE", help="With --weights: of every video, as CSV."
)
@click.option("--batch", type=click.IntRange(1, 65_536), help="With --weights: clips at once [default: 16].")
@click.option(
    "--frames", type=click.IntRange(1, 65_536), help="Of a clip, for a published checkpoint [default: usual]."
)
@click.option("--size", type=click.IntRange(1, 65_536), help="Its side, for a published checkpoint [default: usual].")
@click.option("--study", metavar="STUDY", help="Whose data and recipe: a study's name or file; not for STUDY#TRIAL.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the data, as in data.span=2."
)
@click.option("--fuse", is_flag=True, help="Also the mean of the networks' softmax: RGB and optical flow.")
@click.option("--split", type=OneOf("split", "train", "val", "test"), default="val", show_default=True, help="Which.")
@click.option("--per-class", is_flag=True, help="Print video@1 of every class too.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@storage_option
@format_option("table", "json")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@flagged()
def evaluate(networks: Sequence[str], **asked: Any) -> None:
    """Evaluate NETWORK on the videos of a split: with --weights as it was trained, else trained as a study does.

    NETWORK is STUDY#TRIAL or, with --weights and --data or with --study, any name that `stsearch profile`
    takes; there is one --weights for each. With --fuse the networks vote together, as one of an RGB study
    and one of a flow study; with --study the first NETWORK sees RGB and the second optical flow (one
    NETWORK is trained on each).
    """
    if not networks:
        raise UserError("name a NETWORK, such as quickstart#12, or R3D-18 with --study quickstart")
    if asked["weights"]:
        _judge(networks, asked)
        return
    given = [
        f"--{name}" for name in ("source", "views", "logits", "batch", "frames", "size") if asked[name] is not None
    ]
    if given:
        raise UserError(f"{given[0].replace('source', 'data')} goes with --weights FILE, which `stsearch train` writes")
    if asked["split"] == "train":
        raise UserError("--split train goes with --weights; a study evaluates on val or test")
    _train(networks, asked)


def _judge(networks: Sequence[str], asked: dict[str, Any]) -> None:
    """Networks with the weights of their trainings."""
    from rich.console import Console

    from stsearch.data.sources import open_data
    from stsearch.evaluate.judge import parse_views
    from stsearch.evaluate.published import weights_for
    from stsearch.profiling.device import choose_device
    from stsearch.report.evaluation_table import print_judgement
    from stsearch.report.live import Reading
    from stsearch.search.judging import check_logits, judged, write_logits

    if asked["study"] is not None:
        raise UserError("--study trains networks as it does; the data for --weights are named by --data")
    if len(networks) != len(asked["weights"]):
        raise UserError(f"there is one --weights for each NETWORK; given {len(networks)} and {len(asked['weights'])}")
    if asked["fuse"] and len(networks) < 2:
        raise UserError("--fuse takes two networks or more")
    if asked["logits"] is not None and len(networks) > 1:
        raise UserError("--logits is of one NETWORK")
    views = parse_views(asked["views"] or "10x1")
    device = choose_device(asked["device"])
    data = asked_data(networks[0], asked["source"], asked["overrides"], asked["storage"])
    found = [find_any_network(text, asked["storage"]) for text in networks]
    weights = [
        weights_for(
            path,
            network,
            lambda: open_data(data.recipe).classes,
            partial(data.clip_for, network, asked["frames"], asked["size"]),
        )
        for path, network in zip(asked["weights"], found, strict=True)
    ]
    if asked["logits"] is not None:
        check_logits(asked["logits"])
    result = judged(
        weights,
        data,
        views,
        device,
        split=asked["split"],
        batch=asked["batch"] or 16,
        fuse=asked["fuse"],
        progress=Reading(asked["quiet"]),
    )
    if asked["form"] == "json":
        print_json(result.as_dict())
    else:
        print_judgement(result, Console(), per_class=asked["per_class"])
        _say_next(networks[0], asked)
    if asked["logits"] is not None:  # last, so that a disk that is full costs no evaluation
        write_logits(asked["logits"], result)


def _say_next(network: str, asked: dict[str, Any]) -> None:
    """What to type once a network is known to be good enough."""
    from stsearch.search.place import shown

    place = ["--storage", shown(asked["storage"])] if asked["storage"] else []
    weights = str(asked["weights"][0])
    print_next(
        [shlex.join([program(), "export", network, *place, "--weights", weights, "--to", "onnx", "-o", "network.onnx"])]
    )


def _train(networks: Sequence[str], asked: dict[str, Any]) -> None:
    """Networks trained from scratch as a study does."""
    from rich.console import Console

    from stsearch.profiling.device import choose_device
    from stsearch.report.evaluation_table import print_evaluated
    from stsearch.report.live import Reading
    from stsearch.search.evaluation import evaluate as evaluate_streams

    fuse, split = asked["fuse"], asked["split"]
    streams = _streams(networks, asked["study"], asked["overrides"], asked["storage"], fuse)
    device, progress = choose_device(asked["device"]), Reading(asked["quiet"])
    found = evaluate_streams(streams, device, split=split, fuse=fuse, progress=progress)
    if asked["form"] == "json":
        print_json(found.as_dict())
    else:
        print_evaluated(found, Console(), per_class=asked["per_class"])


def _streams(
    networks: Sequence[str], study: str | None, overrides: Sequence[str], storage: str | None, fuse: bool
) -> list[Stream]:
    """Every network with the protocol that it is evaluated by."""
    from stsearch.search.evaluation import Stream, stored_protocol
    from stsearch.search.reading import read_study
    from stsearch.space.published import name_of

    asked = [(text, find_architecture(text, storage)) for text in networks]
    known: list[tuple[float | None, int]] = []
    if study is None:
        strangers = [text for text in networks if "#" not in text]
        if strangers:
            raise UserError(f"{strangers[0]!r} is of no study: add --study STUDY, whose data and recipe are used")
        if overrides:
            raise UserError("--set overrides values of --study; a trial is evaluated as its study did it")
        of = [(read_study(text.rpartition("#")[0], storage), int(text.rpartition("#")[2])) for text in networks]
        protocols = [stored_protocol(stored) for stored, _ in of]
        known = [stored.video_top1(number) for stored, number in of]
    else:
        protocol = _protocol(study, overrides)
        if fuse:
            if len(asked) > 2:
                raise UserError(f"--fuse with --study takes one NETWORK or two, for RGB and flow; given {len(asked)}")
            asked = [asked[0], asked[-1]]
            protocols = [protocol.of_modality(modality) for modality in ("rgb", "flow")]
        else:
            protocols = [protocol] * len(asked)
    if fuse and len(asked) < 2:
        raise UserError("--fuse takes two networks or more, or one NETWORK with --study")
    return [
        Stream(name_of(architecture), architecture, protocol, *mean)
        for (_, architecture), protocol, mean in zip(asked, protocols, known or [(None, 0)] * len(asked), strict=True)
    ]


def _protocol(study: str, overrides: Sequence[str]) -> Protocol:
    from stsearch.search.evaluation import protocol_of
    from stsearch.search.spec import load_study

    return protocol_of(load_study(study, overrides))
