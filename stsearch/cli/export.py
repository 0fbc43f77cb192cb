"""``stsearch export``: a trained network as a file that other programs run."""

from __future__ import annotations

from pathlib import Path

import click

from stsearch.cli.common import OneOf, find_any_network, format_option, print_json, storage_option
from stsearch.interrupt import flagged


@click.command()
@click.argument("network", metavar="NETWORK")
@click.option("--weights", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Of `stsearch train`.")
@click.option(
    "--to", required=True, type=OneOf("format", "state-dict", "torch-export", "onnx"), help="What file it is."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="What is written.")
@click.option("--opset", type=int, default=20, show_default=True, help="Of ONNX; 18 or more.")
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
    licence: str,
    storage: str | None,
    form: str,
    quiet: bool,
) -> None:
    """Write NETWORK with trained weights as a state dict, a torch.export program or ONNX.

    The file is compared with the network on clips of three shapes before it is kept. It takes normalised
    float32 clips (N, C, T, H, W) and gives logits; classes, mean and std, the clip and its rate are in it.
    """
    from stsearch.evaluate.weights import read_weights_of
    from stsearch.export.exporting import export as export_file
    from stsearch.interrupt import check
    from stsearch.space.published import name_of

    def say(text: str) -> None:
        check()
        if not quiet:
            click.echo(text, err=True)

    architecture = find_any_network(network, storage)
    found = read_weights_of(weights, architecture, name_of(architecture))
    done = export_file(found, to, output, opset=opset, licence=licence, say=say)
    if form == "json":
        print_json(done.as_dict())
        return
    for one in done.parity:
        click.echo(f"clips {'x'.join(map(str, one.shape))}: within {one.difference:.1e} of the network")
    click.echo(f"written: {output} ({output.stat().st_size / 1e6:.1f} MB)")
