"""``stsearch evaluate``: networks trained and evaluated as a study does it, alone or fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from stsearch.cli.common import OneOf, find_architecture, format_option, print_json, storage_option
from stsearch.errors import UserError
from stsearch.interrupt import flagged

if TYPE_CHECKING:
    from stsearch.search.evaluation import Protocol, Stream


@click.command()
@click.argument("networks", nargs=-1, metavar="NETWORK...")
@click.option("--study", metavar="STUDY", help="Whose data and recipe: a study's name or file; not for STUDY#TRIAL.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of --study, as in data.span=2."
)
@click.option("--fuse", is_flag=True, help="Also the mean of the networks' softmax: RGB and optical flow.")
@click.option("--split", type=OneOf("split", "val", "test"), default="val", show_default=True)
@click.option("--per-class", is_flag=True, help="Print video@1 of every class too.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@storage_option
@format_option("table", "json")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@flagged()
def evaluate(
    networks: Sequence[str],
    study: str | None,
    overrides: Sequence[str],
    fuse: bool,
    split: str,
    per_class: bool,
    device: str,
    storage: str | None,
    form: str,
    quiet: bool,
) -> None:
    """Train NETWORK from scratch as a study does, and evaluate it on the videos of a split.

    NETWORK is STUDY#TRIAL, or with --study any name that `stsearch profile` takes. With --fuse a
    network of an RGB study and one of a flow study vote together; with --study the first NETWORK sees
    RGB and the second optical flow (one NETWORK is trained on each).
    """
    from rich.console import Console

    from stsearch.profiling.device import choose_device
    from stsearch.report.evaluation_table import print_evaluated
    from stsearch.report.live import Reading
    from stsearch.search.evaluation import evaluate as evaluate_streams

    if not networks:
        raise UserError("name a NETWORK, such as quickstart#12, or R3D-18 with --study quickstart")
    streams = _streams(networks, study, overrides, storage, fuse)
    found = evaluate_streams(streams, choose_device(device), split=split, fuse=fuse, progress=Reading(quiet))
    if form == "json":
        print_json(found.as_dict())
    else:
        print_evaluated(found, Console(), per_class=per_class)


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
