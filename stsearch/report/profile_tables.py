"""Tables of what was measured, for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stsearch.profiling.against import Disagreement
from stsearch.profiling.ceilings import BOUND_SHARE
from stsearch.profiling.measure import Measurement, Pass
from stsearch.profiling.summary import Summary
from stsearch.profiling.timing import Timing
from stsearch.stats.ranks import COVERAGE, Correlation

_ROWS = 10
"""Operators and kernels that are shown."""
_NAMES = {"forward": "forward pass", "training": "training step"}


def _table(first: str, *figures: str) -> Table:
    """A plain table that fits 80 columns: names, then figures."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False)


def _ms(value: float) -> str:
    """Milliseconds with three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _us(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _percent(share: float) -> str:
    """At most 100 %: what stays in a cache may pass a copy's bandwidth (a line says that)."""
    return f"{min(share, 1.0):.0%}" if share >= 0.095 else f"{share:.1%}"


def _spread(timing: Timing) -> str:
    return f"{_ms(timing.median_ms)} +- {_ms(timing.iqr_ms)}"


def print_measurement(network: str, measurement: Measurement, console: Console) -> None:
    """Latency, peak memory and limits of one network."""
    cost, facts, compared = measurement.cost, measurement.facts, measurement.comparable
    console.print(
        f"[bold]{escape(network)}[/bold] on clips of {cost.clip} (C x T x H x W), {cost.classes} classes, one view",
        highlight=False,
    )
    best = measurement.ceilings
    for line in (
        f"{facts['name']}; CPU cores {facts['cores']}, threads {facts['threads']}, {facts['instructions']}",
        f"torch {facts['torch']}, CUDA {facts['cuda']}, cuDNN {facts['cudnn']}; "
        f"{compared['precision']}, {compared['memory_format']}",
        f"fingerprint {measurement.fingerprint}: figures with another one are not comparable",
        f"closed form: {cost.total.macs / 1e9:.3f} GMACs a clip, {cost.total.params:,} parameters",
        f"counted by torch: {measurement.counted_flops / 2e9:.3f} GMACs a clip",
        f"measured ceilings: matrix product {best.matmul_flops_per_s / 1e9:,.0f} GFLOP/s "
        f"({best.matmul_size} x {best.matmul_size}), convolution {best.convolution_flops_per_s / 1e9:,.0f} GFLOP/s,",
        *([f"fastest stage {best.stage_flops_per_s / 1e9:,.0f} GFLOP/s,"] if best.stage_flops_per_s else []),
        f"copy {best.copy_bytes_per_s / 1e9:,.1f} GB/s",
        "",
        "measured; ms: median +- interquartile range of n passes;",
        "MB: peak of what tensors hold, 1 MB = 1e6 bytes",
    ):
        _say(console, line)
    console.print(_whole(measurement))
    for measured in measurement.passes:
        if measured.stage_ratio is None:
            continue
        _say(
            console,
            f"{_NAMES[measured.mode]}, {measured.batch} clip{'s' * (measured.batch > 1)}: "
            f"the stages are {_percent(measured.stage_ratio)} of it",
        )
        console.print(_stages(measured))
    for line in (
        "GFLOP/s: 2 x MACs (closed form) over time; peak: its share of the best of these.",
        "GB/s: least traffic (closed form) over time; copy: its share of the copy's.",
        f"bound: by the larger of the two shares, where it is {BOUND_SHARE:.0%} or more.",
    ):
        _say(console, line)
    if past := _past(measurement):
        _say(console, f"note: shown as 100%, since they were faster than the ceiling: {past}")
    for note in measurement.notes:
        _say(console, f"note: {note}")
    if measurement.busy:
        _say(console, f"warning: {measurement.busy}")


def _past(measurement: Measurement) -> str:
    """Stages that reached more than a measured ceiling, as ``conv2_x (copy, forward, 1 clip)``."""
    found = []
    for measured in measurement.passes:
        clips = f"{measured.batch} clip{'s' * (measured.batch > 1)}"
        for stage in measured.stages:
            found += [f"{stage.name} (copy, {measured.mode}, {clips})"] if stage.copy_share > 1 else []
    return ", ".join(found)


def _whole(measurement: Measurement) -> Table:
    table = _table("pass", "clips", "ms", "n", "clips/s", "MB")
    for measured in measurement.passes:
        table.add_row(
            measured.mode,
            str(measured.batch),
            _spread(measured.latency),
            str(measured.latency.n),
            f"{measured.clips_per_s:,.1f}",
            f"{measured.peak_bytes / 1e6:,.1f}",
        )
    return table


def _stages(measured: Pass) -> Table:
    table = _table("stage", "ms", "share", "GFLOP/s", "peak", "GB/s", "copy", "bound")
    for stage in measured.stages:
        table.add_row(
            stage.name,
            _spread(stage.latency),
            _percent(stage.share),
            f"{stage.flops_per_s / 1e9:,.1f}",
            _percent(stage.matmul_share),
            f"{stage.bytes_per_s / 1e9:,.1f}",
            _percent(stage.copy_share),
            stage.bound,
        )
    return table


def print_summary(summary: Summary, console: Console) -> None:
    """What torch-tb-profiler says of one trace."""
    console.print(
        f"[bold]{escape(summary.run)}[/bold], worker {escape(summary.worker)}, span {escape(summary.span)}",
        highlight=False,
    )
    _say(
        console,
        f"{summary.steps} steps of {_ms(summary.step_us / 1e3)} ms on {summary.device}, recording included",
    )
    _say(console, "step: " + ", ".join(f"{part.name} {part.percent:g} %" for part in summary.parts))
    idle = "no kernel on the GPU" if summary.device == "GPU" else "no operator on the CPU"
    _say(console, f"idle ({idle}): {summary.idle_percent:g} %")
    for title, value in summary.gpu:
        _say(console, f"{title}: {value}")
    if summary.peak_bytes:
        peaks = (f"{device} {peak / 1e6:,.1f} MB" for device, peak in summary.peak_bytes)
        _say(console, f"highest total of the allocator while recording: {', '.join(peaks)}")
    if summary.stages:
        _say(console, "\nstages forward, us a step")
        console.print(_summary_stages(summary))
    _say(console, f"operators, us over the steps; {min(_ROWS, len(summary.operators))} of {len(summary.operators)}")
    console.print(_operators(summary))
    if summary.kernels:
        _say(console, f"GPU kernels, us over the steps; {min(_ROWS, len(summary.kernels))} of {len(summary.kernels)}")
        console.print(_kernels(summary))
    if summary.recommendations:
        _say(console, "recommendations:")
        for text in summary.recommendations:
            _say(console, f"- {text}")
    else:
        _say(console, "recommendations: none")


def _summary_stages(summary: Summary) -> Table:
    on_gpu = any(stage.device_us is not None for stage in summary.stages)
    table = _table("stage", "host", *(["device"] if on_gpu else []))
    for stage in summary.stages:
        table.add_row(stage.name, _us(stage.host_us), *([_us(stage.device_us)] if on_gpu else []))
    return table


def _operators(summary: Summary) -> Table:
    on_gpu = any(row.device_self_us is not None for row in summary.operators)
    table = _table("operator", "calls", "host self", "host total", *(["device self", "total"] if on_gpu else []))
    for row in summary.operators[:_ROWS]:
        cells = [_us(row.device_self_us), _us(row.device_total_us)] if on_gpu else []
        table.add_row(escape(row.name), f"{row.calls:,}", _us(row.host_self_us), _us(row.host_total_us), *cells)
    return table


def _kernels(summary: Summary) -> Table:
    table = _table("kernel", "calls", "total", "mean", "tensor cores")
    for row in summary.kernels[:_ROWS]:
        name = row.name if len(row.name) <= 60 else f"{row.name[:57]}..."
        table.add_row(
            escape(name), f"{row.calls:,}", _us(row.total_us), _us(row.mean_us), "yes" if row.tensor_cores else "no"
        )
    return table


def print_disagreement(found: Disagreement, console: Console) -> None:
    """GMACs against measured latency."""
    console.print(f"[bold]GMACs against latency[/bold], {found.n} networks", highlight=False)
    for correlation in (found.spearman, found.kendall):
        if correlation.value is not None:
            _say(console, _correlation(correlation))
    if found.pairs:
        _say(
            console,
            f"{found.wrong_pairs:,} of {found.pairs:,} pairs ({found.wrong_pairs / found.pairs:.0%}) "
            "are ordered wrongly by their GMACs",
        )
    if found.pair is not None:
        pair = found.pair
        _say(
            console,
            f"the worst pair: {pair.fewer} has {pair.gmacs_ratio:.2f} times the GMACs of {pair.more} "
            f"and takes {pair.latency_ratio:.2f} times as long",
        )
    if found.misled:
        _say(console, "\nnetworks that GMACs misplace most (place 1: fewest GMACs, fastest)")
        table = _table("network", "GMACs", "ms", "by GMACs", "by ms", "off by")
        for row in found.misled:
            table.add_row(
                escape(row.network),
                f"{row.gmacs:.2f}",
                _ms(row.latency_ms),
                f"{row.gmacs_rank:g}",
                f"{row.latency_rank:g}",
                f"{row.difference:+g}",
            )
        console.print(table)
    for note in found.notes:
        _say(console, f"note: {note}")


def _correlation(correlation: Correlation) -> str:
    text = f"{correlation.name}'s rank correlation {correlation.value:.2f}"
    if correlation.low is None or correlation.high is None:
        return text
    return f"{text}, {COVERAGE} % bootstrap interval {correlation.low:.2f} to {correlation.high:.2f}"
