"""``stsearch profile``: what a network costs, in closed form and measured."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from stsearch.cli.common import (
    OneOf,
    clip_options,
    find_any_network,
    format_option,
    open_browser,
    print_json,
    print_next,
    program,
    storage_option,
)
from stsearch.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from stsearch.profiling.device import Setting
    from stsearch.space.blueprint import AnyNetwork, ClipShape
    from stsearch.space.cost import NetworkCost


@dataclass(frozen=True)
class _Network:
    """What a user asked for by name."""

    name: str
    architecture: AnyNetwork
    cost: NetworkCost

    @property
    def clip(self) -> ClipShape:
        return self.cost.clip


@click.command()
@click.argument("networks", nargs=-1, metavar="NETWORK...")
@click.option(
    "--draw",
    "drawn",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw it: .svg, .png or .pdf. May be given often.",
)
@click.option("--measure", is_flag=True, help="Time it, whole and stage by stage, forward and in training.")
@click.option(
    "--trace", type=click.Path(path_type=Path), metavar="DIR", help="Write a trace of torch's profiler into DIR."
)
@click.option("--summary", type=click.Path(path_type=Path), metavar="DIR", help="Read the traces in DIR; no NETWORK.")
@click.option(
    "--open",
    "opened",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Show the traces in DIR in the browser, offline; no NETWORK.",
)
@click.option("--port", type=click.IntRange(0, 65_535), help="Port on 127.0.0.1 for --open [default: any free one].")
@click.option("--mode", type=OneOf("mode", "forward", "training"), default="training", help="What --trace records.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", default="auto", show_default=True, help="auto, fp32 or bf16.")
@click.option("--batch", "batches", type=int, multiple=True, help="Clips at once; may be given often.")
@click.option("--threads", type=int, help="torch threads on a CPU.")
@click.option("--plugin", "plugins", multiple=True, metavar="MODULE", help="Import a module that registers kinds.")
@click.option("--views", type=click.IntRange(1, 10_000), metavar="N", help="Also what N clips of a video cost.")
@storage_option
@clip_options
@format_option("table", "json")
@click.pass_context
def profile(ctx: click.Context, /, networks: Sequence[str], plugins: Sequence[str], form: str, **asked: Any) -> None:
    """Exact cost of NETWORK, stage by stage; drawn, measured or traced where asked for.

    NETWORK is a name of the paper (MC3-18, rMC2-34, "R(2+1)D-18" or r2plus1d-18), a placement,
    stem first (3d-3d-2d-2plus1d-2d@18), an architecture id, a JSON file, or STUDY#TRIAL, then on
    the study's target clip. It may be one of the literature too (I3D, SlowFast-R50-8x8, X3D-S; see
    docs/zoo.md), then on the clip it usually sees. Several are drawn side by side.
    """
    from rich.console import Console

    if asked["summary"] is not None or asked["opened"] is not None or asked["port"] is not None:
        _look(networks, form, Console(), **{name: asked[name] for name in ("summary", "opened", "port")})
        return
    if not networks:
        raise UserError("name a NETWORK, such as MC3-18 (or --summary DIR, or --open DIR)")
    if plugins:
        from stsearch.space.search_space import load_plugins

        load_plugins(list(plugins), ".", "--plugin")
    found = [_find(ctx, text, asked) for text in networks]
    setting = _setting(asked) if asked["measure"] or asked["trace"] else None
    _draw(found, asked["drawn"])
    results = [_results(network, setting, asked, form, Console()) for network in found]
    if form == "json":
        print_json(results[0] if len(results) == 1 else results)
    else:
        for path in asked["drawn"]:
            click.echo(f"written: {path}")


def _find(ctx: click.Context, text: str, asked: dict[str, Any]) -> _Network:
    """A network on the clip that was asked for; else a trial on its study's target, one of the zoo on its usual one."""
    from stsearch.space.blueprint import ClipShape, Definition
    from stsearch.space.cost import network_cost
    from stsearch.space.published import name_of

    architecture = find_any_network(text, asked["storage"])
    shape = {name: asked[name] for name in ("channels", "frames", "size", "classes")}
    usual: dict[str, int] = {}
    if "#" in text:
        from stsearch.search.reading import read_study

        stored = read_study(text.rpartition("#")[0], asked["storage"])
        usual = {**stored.identity["target"], "channels": stored.target_clip.channels, "classes": stored.classes}
    elif isinstance(architecture, Definition):
        usual = {"frames": architecture.clip.frames, "size": architecture.clip.height}
    for name, value in usual.items():
        if name in shape and ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
            shape[name] = value
    clip = ClipShape(shape["channels"], shape["frames"], shape["size"], shape["size"])
    return _Network(name_of(architecture), architecture, network_cost(architecture, clip, shape["classes"]))


def _setting(asked: dict[str, Any]) -> Setting:
    from stsearch.profiling.device import Setting, choose_device

    return Setting(choose_device(asked["device"]), asked["precision"], asked["batches"] or None, asked["threads"])


def _draw(found: Sequence[_Network], paths: Sequence[Path]) -> None:
    if not paths:
        return
    from stsearch.report.canvas import save
    from stsearch.report.draw import drawing

    first = found[0].cost
    if any(network.cost.clip != first.clip or network.cost.classes != first.classes for network in found):
        raise UserError("networks are drawn on one clip; give it with --frames, --size and --classes")
    architectures = [network.architecture for network in found]
    picture = drawing(architectures, first.clip, first.classes, [network.name for network in found])
    for path in paths:
        save(picture, path)


def _results(
    network: _Network, setting: Setting | None, asked: dict[str, Any], form: str, console: Console
) -> dict[str, Any]:
    """Print one network's cost, and what was measured of it; the same as plain data."""
    from stsearch.report.tables import print_cost

    if form == "table":
        print_cost(network.name, network.cost, console, asked["views"])
    results = {"network": network.name, "architecture": network.architecture.id, **network.cost.as_dict()}
    if asked["views"] is not None:
        results |= {"views": asked["views"], "macs_per_video": asked["views"] * network.cost.total.macs}
    if setting is not None and asked["measure"]:
        from stsearch.profiling.measure import measure
        from stsearch.report.profile_tables import print_measurement

        measured = measure(
            network.architecture, network.clip, network.cost.classes, setting, lambda text: click.echo(text, err=True)
        )
        results["measured"] = measured.as_dict()
        if form == "table":
            print_measurement(network.name, measured, console)
    if setting is not None and asked["trace"] is not None:
        results["trace"] = str(_trace(network, setting, asked))
        if form == "table":
            click.echo(f"written: {results['trace']}")
            print_next(
                [shlex.join([program(), "profile", option, str(asked["trace"])]) for option in ("--open", "--summary")]
            )
    return results


def _trace(network: _Network, setting: Setting, asked: dict[str, Any]) -> Path:
    from stsearch.profiling.trace import write_trace

    training = asked["mode"] == "training"
    return write_trace(
        network.architecture,
        network.clip,
        network.cost.classes,
        setting,
        asked["trace"],
        name=network.name,
        training=training,
        batch=setting.clips_at_once[-1],
    )


def _look(
    networks: Sequence[str], form: str, console: Console, summary: Path | None, opened: Path | None, port: int | None
) -> None:
    """What reads a folder of traces, and no network."""
    option = "--summary" if summary is not None else "--open"
    if summary is not None and opened is not None:
        raise UserError("--summary prints what --open shows: give one of them")
    if opened is None and port is not None:
        raise UserError("--port is where --open DIR listens; there is no --open")
    if networks:
        raise UserError(f"{option} reads a folder of traces and takes no NETWORK; given {', '.join(networks)}")
    if summary is not None:
        _summarise(summary, form, console)
    elif opened is not None:
        _open(opened, port or 0)


def _open(folder: Path, port: int) -> None:
    from stsearch.interrupt import raised
    from stsearch.report.profiler import end_loading, serve_traces

    with raised():
        server, address = serve_traces(folder, port, lambda text: click.echo(f"note: {text}", err=True))
        try:
            with server:
                click.echo(f"traces in {folder}: {address}  (Ctrl-C ends it)")
                open_browser(address)
                server.serve_forever()
        except KeyboardInterrupt:
            click.echo("views closed", err=True)
        finally:
            end_loading()


def _summarise(folder: Path, form: str, console: Console) -> None:
    from stsearch.profiling.summary import summarise
    from stsearch.report.profile_tables import print_summary

    found = summarise(folder)
    if form == "json":
        print_json([summary.as_dict() for summary in found])
        return
    for summary in found:
        print_summary(summary, console)
