"""``stsearch export``: a trained network as a file that other programs run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stsearch.cli.common import OneOf, asked_data, find_any_network, format_option, print_json, storage_option
from stsearch.errors import UserError
from stsearch.interrupt import flagged

if TYPE_CHECKING:
    from stsearch.data.videos import ClipData
    from stsearch.evaluate.weights import Weights
    from stsearch.search.asked_data import AskedData


@click.command()
@click.argument("network", metavar="NETWORK")
@click.option("--weights", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Of `stsearch train`.")
@click.option(
    "--to", required=True, type=OneOf("format", "state-dict", "torch-export", "onnx"), help="What file it is."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="What is written.")
@click.option("--opset", type=int, default=20, show_default=True, help="Of ONNX; 18 to the newest.")
@click.option("--int8", is_flag=True, help="With --to onnx: also FILE.int8.onnx, where that is faster here.")
@click.option(
    "--data", "source", metavar="SOURCE", help="With --int8: clips to calibrate on [default: those of STUDY#TRIAL]."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="With --int8: as in data.span=2.")
@click.option("--licence", default="", metavar="TEXT", help="Of the weights, to be kept in the file.")
@storage_option
@format_option("table", "json")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@flagged()
def export(
    network: str,
    weights: Path,
    to: str,
    output: Path,
    opset: int,
    int8: bool,
    source: str | None,
    overrides: Sequence[str],
    licence: str,
    storage: str | None,
    form: str,
    quiet: bool,
) -> None:
    """Write NETWORK with trained weights as a state dict, a torch.export program or ONNX.

    The file is compared with the network on clips of three shapes before it is kept. It takes normalised
    float32 clips (N, C, T, H, W) and gives logits; classes, mean and std, the clip and its rate are in it.
    With --int8 a second ONNX file has 8-bit weights and activations, calibrated on training clips; its loss of
    accuracy on the validation videos and its latency are measured beside the other's, and it is kept if faster.
    """
    from stsearch.evaluate.weights import read_weights_of
    from stsearch.export.exporting import export as export_file
    from stsearch.export.formats import FORMATS
    from stsearch.export.int8 import check_place, drop_older, quantised
    from stsearch.interrupt import check
    from stsearch.space.published import name_of

    def say(text: str) -> None:
        check()
        if not quiet:
            click.echo(text, err=True)

    if (source is not None or overrides) and not int8:
        raise UserError("--data and --set go with --int8, which is calibrated on clips")
    if int8 and to != "onnx":
        raise UserError(f"--int8 goes with --to onnx; given --to {to}")
    if int8:
        check_place(output)
    architecture = find_any_network(network, storage)
    found = read_weights_of(weights, architecture, name_of(architecture))
    FORMATS[to].check(to)
    data = _clips(found, asked_data(network, source, overrides, storage), quiet) if int8 else None
    done = export_file(found, to, output, opset=opset, licence=licence, say=say)
    if to == "onnx" and (dropped := drop_older(output, asked=int8)):
        click.echo(dropped, err=True)
    small = quantised(done, found.about, data, say=say) if data else None
    if form == "json":
        beside = {"file": str(small.path) if small.kept else None, **small.as_dict()} if small else None
        print_json({**done.as_dict(), "int8": beside})
        return
    for one in done.parity:
        click.echo(f"clips {'x'.join(map(str, one.shape))}: within {one.difference:.1e} of the network")
    click.echo(f"written: {output} ({output.stat().st_size / 1e6:.1f} MB)")
    for line in small.lines if small else ():
        click.echo(line)


def _clips(weights: Weights, data: AskedData, quiet: bool) -> ClipData:
    """What int8 is calibrated on and judged by, as the network was trained to see it; before anything is written."""
    from stsearch.export.int8 import check_clips
    from stsearch.report.live import Reading
    from stsearch.search.judging import seen_by

    seen = seen_by(weights, data, "val", Reading(quiet))
    check_clips(seen)
    return seen
