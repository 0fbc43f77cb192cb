"""What a network costs, measured: figures against other counts, traces against TensorBoard itself."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from stsearch.errors import StsearchError, UserError, WorldError
from stsearch.nets.build import build
from stsearch.profiling.against import disagreement
from stsearch.profiling.ceilings import BOUND_SHARE, bound, measure_ceilings, work
from stsearch.profiling.device import comparable, device_facts, fingerprint, refusing, with_threads
from stsearch.profiling.measure import Setting, busy, measure, quick, slow_alone
from stsearch.profiling.memory import peak_bytes
from stsearch.profiling.subject import Subject
from stsearch.profiling.summary import plain_text, summarise
from stsearch.profiling.timing import repeat
from stsearch.profiling.trace import safe_name, write_trace
from stsearch.report.profile_tables import print_disagreement, print_measurement, print_summary
from stsearch.space.architecture import GROUPS
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.published import find_network

CPU = torch.device("cpu")
BRIEF = Setting(CPU, batches=(1, 2), min_run_s=0.02, max_run_s=0.1)
CLIP = ClipShape(3, 4, 32, 32)
R3D = find_network("R3D-18").scaled(0.125)
PARTS = [*GROUPS, "head"]


def shown(width: int = 80) -> Console:
    return Console(file=io.StringIO(), width=width)


def lines_of(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


# The setting and the device


def test_what_cannot_be_measured_is_refused() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"precision": "bf-16"}, "Did you mean 'bf16'"),
        ({"device": torch.device("meta")}, "cpu, cuda or cuda:N; given 'meta'"),
        ({"device": torch.device("cuda", 63)}, "is not there; torch sees"),
        ({"batches": (1, 0)}, "a batch has 1 to 65,536 clips; given 0"),
        ({"batches": ()}, "at least one batch size"),
        ({"threads": 0}, "threads is 1 to 1024; given 0"),
        ({"min_run_s": 2.0, "max_run_s": 1.0}, "given 2 and 1"),
        ({"min_run_s": math.nan}, "given nan"),
    ]
    for changes, message in cases:
        with pytest.raises(UserError) as caught:
            Setting(**{"device": CPU, **changes})
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_figures_are_comparable_where_all_that_matters_is_equal() -> None:
    base = Setting(CPU, threads=1)
    assert fingerprint(base) == fingerprint(Setting(CPU, "fp32", (3,), None, 0.5))  # one thread here already
    assert fingerprint(base) != fingerprint(replace(base, threads=2))
    assert fingerprint(base) != fingerprint(replace(base, precision="bf16"))
    assert comparable(base)["memory_format"] == "channels_last_3d"
    facts = device_facts(CPU)
    assert facts["torch"] == torch.__version__
    assert facts["name"] == facts["cpu"] != ""


def test_out_of_memory_is_one_line_and_not_a_wrong_figure() -> None:
    # torch itself runs out: no machine has 2**60 bytes
    with (
        pytest.raises(WorldError, match="out of memory on cpu in a test; measure fewer") as caught,
        refusing(BRIEF, "a test"),
    ):
        torch.empty(2**60, dtype=torch.uint8)
    assert "\n" not in str(caught.value)
    with pytest.raises(WorldError, match=r"65536 clips of 3x64x1024x1024 need at least .* GB, the machine has"):
        measure(R3D, ClipShape(3, 64, 1024, 1024), 10, replace(BRIEF, batches=(65536,)))
    with pytest.raises(StsearchError, match="a test failed on cpu: ") as other, refusing(BRIEF, "a test"):
        torch.ones(2) @ torch.ones(3)
    assert not isinstance(other.value, WorldError)


# Latency


def test_latency_agrees_with_torch_utils_benchmark() -> None:
    """Side by side, in turns; their middle halves overlap, and those of another load do not."""
    setting = replace(BRIEF, min_run_s=0.1, max_run_s=0.5)
    subject = Subject(R3D, CLIP, 10, setting)
    subject.prepare(training=False)
    subject.load(2)
    timer = Timer("run()", globals={"run": subject.forward}, num_threads=1)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(6):
        ours += (turn := repeat(subject.forward, setting))
        theirs += [1e3 * timer.timeit(1).median for _ in turn]
    subject.load(32)
    other = np.median(repeat(subject.forward, setting))
    low, high = (np.percentile(samples, (25, 75)) for samples in (ours, theirs))
    assert max(low[0], high[0]) <= min(low[1], high[1])
    assert other > 2 * np.median(ours)


def test_repetitions_keep_the_minimum_of_time_and_number() -> None:
    def pause() -> None:
        time.sleep(0.02)

    assert len(repeat(pause, replace(BRIEF, min_run_s=0.01, max_run_s=10))) == 10
    assert len(repeat(pause, replace(BRIEF, min_run_s=0.01, max_run_s=0.03))) == 3
    samples = repeat(pause, replace(BRIEF, min_run_s=0.4, max_run_s=10))
    assert sum(samples) >= 390
    assert min(samples) >= 20


# Memory


class _Chain(nn.Module):
    """Two layers whose memory can be counted by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(256, 1024, bias=False), nn.Linear(1024, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(self.first(x))
        return out


def test_peak_memory_of_a_network_counted_by_hand() -> None:
    subject = Subject(R3D, CLIP, 8, BRIEF)
    subject.network = _Chain()  # type: ignore[assignment]
    subject.clips, subject.labels = torch.randn(64, 256), torch.zeros(64, dtype=torch.long)
    weights, clips = 4 * (256 * 1024 + 1024 * 8), 4 * 64 * 256
    hidden, logits = 4 * 64 * 1024, 4 * 64 * 8
    subject.prepare(training=False)
    assert peak_bytes(subject, subject.forward) == weights + clips + hidden + logits
    subject.prepare(training=True)
    # in SGD: weights, momentum, gradients; of the first layer also those with weight decay and with Nesterov's step
    expected = 3 * weights + 2 * 4 * 256 * 1024 + clips + 8 * 64 + logits
    assert abs(peak_bytes(subject, subject.step) - expected) <= 64


@pytest.mark.parametrize(("name", "most"), [("R3D-18", 8), ("f-R2D-18", 8), ("R(2+1)D-18", 16)])
def test_peak_memory_is_the_same_each_time_and_within_bounds(name: str, most: int) -> None:
    architecture = find_network(name).scaled(0.125)
    subject = Subject(architecture, ClipShape(3, 8, 56, 56), 10, BRIEF)
    subject.load(4)
    subject.prepare(training=False)
    forward = [peak_bytes(subject, subject.forward) for _ in range(3)]
    assert len(set(forward)) == 1
    total = subject.cost.total
    widest = max(math.prod(stage.output) for stage in subject.cost.stages)
    held = subject.held_bytes
    assert held >= 4 * total.params + subject.clips.nbytes
    # in the last block of conv2_x: its input, the stage's input, a convolution's output and BatchNorm's
    assert held + 4 * 4 * 4 * widest <= forward[0] <= held + 4 * 4 * most * widest
    subject.prepare(training=True)
    training = [peak_bytes(subject, subject.step) for _ in range(3)]
    assert len(set(training)) == 1
    # backward needs what convolutions (and BatchNorm after them) put out
    assert training[0] >= subject.held_bytes + 4 * 4 * total.activations


# The whole measurement


def test_measurement_is_whole_and_says_who_says_what(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    found = measure(R3D, CLIP, 10, BRIEF, said.append)
    assert [(p.mode, p.batch) for p in found.passes] == [
        ("forward", 1), ("forward", 2), ("training", 1), ("training", 2),
    ]  # fmt: skip
    assert "training step of 2 clips, for 0.02 s or more" in said
    total = network_cost(R3D, CLIP, 10).total
    assert found.counted_flops == 2 * total.macs
    for measured in found.passes:
        assert [stage.name for stage in measured.stages] == PARTS
        assert sum(stage.share for stage in measured.stages) == pytest.approx(1)
        assert all(stage.latency.n == measured.latency.n >= 3 for stage in measured.stages)
        assert measured.stage_ratio is not None
        assert 0 < measured.stage_ratio <= 1.001  # parts of the same passes
        assert measured.peak_bytes > 4 * total.params
    forward = found.passes[1]
    assert sum(stage.flops for stage in forward.stages) == 2 * 2 * total.macs
    stage = forward.stages[1]
    assert stage.matmul_share == pytest.approx(stage.flops_per_s / found.ceilings.flops_per_s)
    assert max(stage.matmul_share for measured in found.passes for stage in measured.stages) <= 1
    data = json.loads(json.dumps(found.as_dict()))
    assert (data["cost"]["source"], data["flops"]["source"]) == ("closed form", "counted")
    assert data["ceilings"]["source"] == data["passes"][0]["latency"]["source"] == "measured"
    assert data["passes"][0]["stages"][0]["reached"]["source"] == "closed form / measured"
    assert capsys.readouterr().err == ""
    console = shown()
    print_measurement("R(2+1)D-18 [dim]", found, console)
    printed = "\n".join(lines_of(console))
    assert max(map(len, lines_of(console))) <= 80
    assert "R(2+1)D-18 [dim]" in printed
    assert all(name in printed for name in (*PARTS, "fingerprint", found.fingerprint))


def test_one_value_per_channel_cannot_be_trained_on_and_is_said() -> None:
    smallest = ClipShape(3, 4, 16, 16)
    found = measure(R3D, smallest, 10, BRIEF)
    assert [(p.mode, p.batch) for p in found.passes] == [("forward", 1), ("forward", 2), ("training", 2)]
    assert found.notes[0] == "no training step of 1 clip: BatchNorm needs more than one value per channel"
    assert all("torch takes its slow path" in note for note in found.notes[1:])
    with pytest.raises(UserError, match="more than one value"):
        write_trace(R3D, smallest, 10, BRIEF, Path("x"), name="x", training=True, batch=1)


def test_bf16_and_threads_are_those_asked_for() -> None:
    before = torch.get_num_threads()
    two = replace(BRIEF, threads=2)
    with with_threads(two):
        assert device_facts(CPU)["threads"] == comparable(two)["threads"] == 2
    assert torch.get_num_threads() == before
    found = measure(R3D, CLIP, 10, replace(BRIEF, precision="bf16", batches=(2,)))
    assert found.comparable["precision"] == found.as_dict()["setting"]["precision"] == "bf16"
    stem = work(R3D, CLIP, 10)[0]
    assert found.passes[0].stages[0].bytes == stem.bytes(2, "bf16", training=False)


def test_quick_is_part_of_the_same_figures() -> None:
    begun = time.perf_counter()
    figures = quick(R3D, CLIP, 10, BRIEF)
    assert set(figures) == {"latency_ms", "latency_iqr_ms", "latency_n", "peak_memory_mb"}
    assert figures["latency_n"] >= 3
    assert 1e3 * (time.perf_counter() - begun) > figures["latency_ms"] > 0
    subject = Subject(R3D, CLIP, 10, BRIEF)
    subject.load(1)
    subject.prepare(training=False)
    assert figures["peak_memory_mb"] == peak_bytes(subject, subject.forward) / 1e6


# Limits


@pytest.mark.parametrize("name", ["R3D-18", "MC3-18", "R(2+1)D-34", "R2D-18"])
def test_work_in_training_is_what_torch_counts(name: str) -> None:
    architecture = find_network(name).scaled(0.125)
    with torch.device("meta"):
        network = build(architecture, CLIP, 10)
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(2, *CLIP.sizes)).sum().backward()
    works = work(architecture, CLIP, 10)
    assert sum(part.flops(2, training=True) for part in works) == counter.get_total_flops()
    cost = network_cost(architecture, CLIP, 10)
    assert [part.macs for part in works] == [*(stage.cost.macs for stage in cost.stages), cost.head.macs]


def test_least_traffic_of_the_stem_and_the_head_by_hand() -> None:
    stem, *_, head = work(find_network("R3D-18"), ClipShape(), 400)  # 3x7x7, stride 1x2x2
    clip, out, weights = 3 * 16 * 112 * 112, 64 * 16 * 56 * 56, 3 * 64 * 3 * 7 * 7
    assert stem.bytes(8, "fp32", training=False) == 4 * (8 * (clip + out) + weights)
    assert stem.bytes(8, "bf16", training=True) == 2 * 2 * (8 * (clip + out) + weights)  # no gradient of the clip
    assert head.bytes(8, "fp32", training=True) == 3 * 4 * (8 * (512 + 400) + 512 * 400 + 400)


def test_the_larger_share_binds_from_the_threshold_on() -> None:
    assert bound(BOUND_SHARE, 0.1) == "compute"
    assert bound(0.1, BOUND_SHARE) == "memory"
    assert bound(BOUND_SHARE - 0.01, BOUND_SHARE - 0.02) == "neither"
    ceilings = measure_ceilings(BRIEF)
    assert ceilings.matmul_flops_per_s > 1e8
    assert ceilings.copy_bytes_per_s > 1e7
    assert ceilings.convolution_flops_per_s > 1e8
    assert ceilings.flops_per_s == max(ceilings.matmul_flops_per_s, ceilings.convolution_flops_per_s)
    faster = replace(ceilings, matmul_flops_per_s=1e20, matmul_size=7)
    assert ceilings.or_better(faster) == faster
    assert faster.flops_per_s == 1e20
    assert ceilings.or_better(replace(ceilings, convolution_flops_per_s=2e20)).flops_per_s == 2e20
    assert faster.reached(1e19) == faster
    assert faster.reached(1e21).flops_per_s == 1e21


@pytest.mark.parametrize(("one", "two", "said"), [(268, 99, True), (50, 99, False), (99, 99, False)])
def test_torchs_slow_path_of_one_clip_is_said_where_two_take_less(one: float, two: float, said: bool) -> None:
    notes = slow_alone(one, two)
    assert bool(notes) == said
    assert not said or "1 clip takes 268 ms and of 2 clips 99 ms" in notes[0]


def test_a_stage_that_passes_every_ceiling_is_the_ceiling() -> None:
    found = measure(R3D, CLIP, 10, BRIEF)
    fastest = max(stage.flops_per_s for measured in found.passes for stage in measured.stages)
    assert found.ceilings.flops_per_s >= fastest * (1 - 1e-9)
    console = shown()
    print_measurement("R3D-18", replace(found, ceilings=found.ceilings.reached(1e15)), console)
    printed = "\n".join(lines_of(console))
    assert "fastest stage 1,000,000 GFLOP/s" in printed
    assert max(map(len, lines_of(console))) <= 80


@pytest.mark.parametrize(
    ("cpu", "wall", "share"), [(10.0, 10.0, ""), (8.6, 10.0, ""), (6.2, 10.0, "62%"), (0.0, 10.0, "0%"), (0.0, 0.0, "")]
)
def test_a_busy_machine_is_told_by_processor_against_wall_time(cpu: float, wall: float, share: str) -> None:
    said = busy(cpu, wall)
    assert bool(said) == bool(share)
    assert f"had its processor for {share} of the time" in said or not share


def test_a_busy_machine_and_shares_past_a_ceiling_are_said() -> None:
    found = measure(R3D, CLIP, 10, BRIEF)
    (first, *others), slow = found.passes, replace(found.ceilings, copy_bytes_per_s=1.0)
    stages = tuple(replace(stage, copy_share=stage.bytes_per_s / slow.copy_bytes_per_s) for stage in first.stages)
    past = replace(found, passes=(replace(first, stages=stages, stage_ratio=1.04), *others), busy=busy(5, 10))
    console = shown()
    print_measurement("R3D-18", past, console)
    printed = " ".join(" ".join(lines_of(console)).split())
    assert not [one for one in re.findall(r"(\d[\d,]*)%", printed) if int(one.replace(",", "")) > 100]
    assert "shown as 100%, since they were faster than the ceiling: conv1 (copy, forward, 1 clip)" in printed
    assert "warning: the machine was busy" in printed
    assert past.as_dict()["busy"] == past.busy


# Traces


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of a training step and one of the forward pass."""
    folder = tmp_path_factory.mktemp("traces")
    for training in (True, True, False):
        write_trace(R3D, CLIP, 10, BRIEF, folder, name="R(2+1)D/18 ü", training=training, batch=2, steps=2)
    return folder


def test_a_trace_has_steps_stages_and_memory(traces: Path) -> None:
    runs = sorted(path.name for path in traces.iterdir())
    assert runs == ["R-2-1-D-18_forward_batch2", "R-2-1-D-18_training_batch2"]
    files = sorted((traces / runs[1]).iterdir())
    assert [file.name.split(".")[0] for file in files] == ["cpu_0", "cpu_0"]
    events = json.loads(gzip.decompress(files[0].read_bytes()))["traceEvents"]
    names = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert [names.count(name) for name in PARTS] == [2] * 6
    assert {"ProfilerStep#1", "ProfilerStep#2"} <= set(names)
    assert any(event["name"] == "[memory]" for event in events)


def test_summaries_come_from_the_parser_of_the_plugin(traces: Path) -> None:
    forward, first, second = summarise(traces)
    assert (first.span, second.span) == ("1", "2")
    assert first.views == ("Overview", "Operator", "Trace", "Memory")
    assert (first.device, first.steps, first.kernels) == ("CPU", 2, ())
    assert sum(part.us for part in first.parts) == pytest.approx(first.step_us, abs=len(first.parts))
    assert [stage.name for stage in forward.stages] == PARTS
    assert sum(stage.host_us for stage in forward.stages) <= forward.step_us
    convolutions = {row.name: row.calls for row in forward.operators}
    assert convolutions["aten::conv3d"] == 2 * 20
    subject = Subject(R3D, CLIP, 10, BRIEF)
    subject.load(2)
    subject.prepare(training=False)
    assert dict(forward.peak_bytes)["CPU"] == pytest.approx(
        peak_bytes(subject, subject.forward) - subject.held_bytes, rel=0.1
    )
    console = shown()
    print_summary(forward, console)
    assert max(map(len, lines_of(console))) <= 80
    assert json.loads(json.dumps(forward.as_dict()))["operators"][0]["calls"] > 0


def test_names_become_safe_file_names() -> None:
    assert safe_name("R(2+1)D-18") == "R-2-1-D-18"
    assert safe_name("../..") == "network"
    long = safe_name("2d." * 200)
    assert len(long) < 100
    assert long != safe_name("2d." * 201)


def test_a_folder_that_cannot_be_written_or_read_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(UserError, match=r"cannot write into the folder .*: Not a directory"):
        write_trace(R3D, CLIP, 10, BRIEF, file / "x", name="x", training=False, batch=1)
    with pytest.raises(UserError, match="no such folder"):
        summarise(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no trace"):
        summarise(tmp_path)
    for content in (b"", b"{", b"[]", b'{"traceEvents": []}', b'{"traceEvents": [{"ph": "X"}]}'):
        (tmp_path / "w.1.pt.trace.json").write_bytes(content)
        with pytest.raises(UserError, match="cannot read the trace") as caught:
            summarise(tmp_path)
        assert "\n" not in str(caught.value)


def gpu_trace() -> dict[str, Any]:
    """Two steps of one convolution of 400 us on a GPU, as torch 2 writes them."""
    events: list[dict[str, Any]] = []

    def event(cat: str, name: str, ts: float, dur: int, args: dict[str, Any]) -> None:
        place = {"pid": 0, "tid": 7} if cat in ("kernel", "gpu_user_annotation") else {"pid": 1, "tid": 1}
        events.append({"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "args": args, **place})

    for step in range(2):
        at = 1000.0 * step
        ids = {"External id": 10 + step, "correlation": 20 + step}
        shape = {"device": 0, "stream": 7, "grid": [1, 1, 1], "block": [128, 1, 1], "blocks per SM": 1.0}
        use = {"registers per thread": 32, "shared memory": 0, "est. achieved occupancy %": 50}
        event("user_annotation", f"ProfilerStep#{step}", at, 1000, {"External id": 90 + step})
        event("user_annotation", "conv1", at + 5, 90, {"External id": 80 + step})
        event("cpu_op", "aten::conv3d", at + 10, 80, {"External id": 10 + step})
        event("cuda_runtime", "cudaLaunchKernel", at + 20, 10, ids)
        event("kernel", "sm90_fprop", at + 100, 400, {**ids, **shape, **use})
        event("gpu_user_annotation", "conv1", at + 100, 400, {"External id": 80 + step})
    return {"schemaVersion": 1, "deviceProperties": [], "traceEvents": events}


def test_a_gpu_trace_gives_kernels_and_device_time_to_operators(tmp_path: Path) -> None:
    from stsearch.profiling.trace import _for_tensorboard

    raw = tmp_path / "cuda_0.1.pt.trace.json"
    raw.write_text(json.dumps(gpu_trace()))
    (tmp_path / "run").mkdir()
    assert _for_tensorboard(raw, tmp_path / "run").name == "cuda_0.1.pt.trace.json.gz"
    (found,) = summarise(tmp_path / "run")
    assert (found.run, found.device, found.idle_percent) == ("run", "GPU", 60.0)
    (kernel,) = found.kernels
    assert (kernel.name, kernel.calls, kernel.total_us, kernel.mean_us) == ("sm90_fprop", 2, 800, 400)
    (operator,) = found.operators
    assert (operator.name, operator.device_total_us) == ("aten::conv3d", 800)
    assert [(stage.name, stage.device_us) for stage in found.stages] == [("conv1", 400.0)]
    assert found.recommendations == (
        "GPU 0 has low utilization. You could try to increase batch size to improve. Note: Increasing batch size "
        "may affect the speed and stability of model convergence.",
    )
    console = shown()
    print_summary(found, console)
    assert max(map(len, lines_of(console))) <= 80


def test_recommendations_lose_their_tags() -> None:
    assert plain_text("<ul><li>N/A</li></ul>") == ()
    assert plain_text('<ul><li>Use <a href="x" target="_blank">AMP</a> &amp; rest.</li><li>B</li></ul>') == (
        "Use AMP & rest.",
        "B",
    )


@contextmanager
def _tensorboard(folder: Path) -> Iterator[str]:
    """A real TensorBoard on a free port, as the user starts it; the address of the plugin's answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--port", str(port), "--load_fast=false"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}/data/plugin/pytorch_profiler"
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _ask(address: str, route: str, **arguments: str) -> Any:
    url = f"{address}/{route}?{urllib.parse.urlencode(arguments)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        body = answer.read()
        return json.loads(gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body)


def _wait_for_runs(address: str, count: int) -> list[str]:
    """The runs once all are there: the plugin finds and loads them one after the other."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            answer = _ask(address, "runs")
        except OSError:
            answer = {"runs": [], "loading": True}
        if len(answer["runs"]) >= count and not answer["loading"]:
            runs: list[str] = answer["runs"]
            return runs
        time.sleep(0.5)
    raise AssertionError("TensorBoard did not load the runs within two minutes")


ROUTES = {
    "Overview": ("overview",),
    "Operator": ("operation", "operation/table"),
    "Kernel": ("kernel", "kernel/table", "kernel/tc_pie"),
    "Trace": ("trace", "tree"),
    "Memory": ("memory", "memory_curve", "memory_events"),
    "Module": ("module",),
}
"""The plugin's routes by the view of its page that asks them."""


@pytest.mark.slow
def test_tensorboard_answers_every_view_and_the_summaries_agree(traces: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with _tensorboard(traces) as address:
        found = summarise(traces)
        runs = _wait_for_runs(address, len({summary.run for summary in found}))
        assert runs == sorted({summary.run for summary in found})
        for summary in found:
            assert tuple(_ask(address, "views", run=summary.run)) == summary.views
            assert summary.worker in _ask(address, "workers", run=summary.run, view="Overview")
            assert summary.span in _ask(address, "spans", run=summary.run, worker=summary.worker)
            place = {"run": summary.run, "worker": summary.worker, "span": summary.span}
            answers = {route: _ask(address, route, **place) for view in summary.views for route in ROUTES[view]}
            assert all(answers.values())
            step = answers["overview"]["performance"][0]
            assert summary.step_us == step["value"]
            assert [(part.name, part.us, part.percent) for part in summary.parts] == [
                (child["name"], child["value"], child["extra"]) for child in step["children"]
            ]
            assert [(row.name, row.calls, row.host_self_us, row.host_total_us) for row in summary.operators] == [
                (row["name"], row["calls"], row["host_self_duration"], row["host_total_duration"])
                for row in answers["operation/table"]["data"]
            ]
            peak = answers["memory_curve"]["metadata"]["peaks"]["CPU"]
            assert peak == f"Peak Memory Usage: {dict(summary.peak_bytes)['CPU'] / 2**20:.1f}MB"
            assert plain_text(answers["overview"]["recommendations"]) == summary.recommendations
            assert len(answers["trace"]["traceEvents"]) > 100
        one, other = (s for s in found if s.run == runs[1])
        pair = {"run": one.run, "worker": one.worker, "span": one.span}
        pair |= {"exp_run": other.run, "exp_worker": other.worker, "exp_span": other.span}
        assert _ask(address, "diff", **pair)


# FLOPs against latency


def test_disagreement_of_an_order_known_by_hand() -> None:
    networks = [("a", 1.0, 1.0), ("b", 2.0, 9.0), ("c", 3.0, 3.0), ("d", 4.0, 4.0)]
    found = disagreement(networks)
    assert found.spearman.value == pytest.approx(1 - 6 * (4 + 1 + 1) / (4 * 15))
    assert found.kendall.value == pytest.approx((4 - 2) / 6)
    assert (found.wrong_pairs, found.pairs) == (2, 6)
    assert found.pair is not None
    assert (found.pair.fewer, found.pair.more, found.pair.latency_ratio) == ("b", "c", 3.0)
    assert found.pair.gmacs_ratio == pytest.approx(2 / 3)
    assert [(row.network, row.difference) for row in found.misled] == [("b", 2.0), ("c", -1.0), ("d", -1.0)]
    assert found.spearman.low is None
    assert found.notes == ("4 networks are too few for an interval; it takes 10",)


def test_intervals_follow_the_seed_and_hold_the_value() -> None:
    rng = np.random.default_rng(3)
    gmacs = rng.uniform(1, 40, 30)
    networks = [(f"n{i}", float(g), float(g * rng.uniform(0.5, 2))) for i, g in enumerate(gmacs)]
    found = disagreement(networks, seed=1)
    assert found == disagreement(networks, seed=1)
    for correlation in (found.spearman, found.kendall):
        assert correlation.value is not None
        assert correlation.low is not None
        assert correlation.high is not None
        assert 0 < correlation.low < correlation.value < correlation.high < 1
    assert found.spearman.low != disagreement(networks, seed=2).spearman.low
    console = shown()
    print_disagreement(found, console)
    assert max(map(len, lines_of(console))) <= 80


def test_too_few_or_equal_networks_have_no_order() -> None:
    for networks, note in (
        ([], "0 networks: a rank correlation needs at least 3"),
        ([("a", 1.0, 2.0)], "1 network: a rank correlation needs at least 3"),
        ([("a", 1.0, 2.0), ("b", 1.0, 3.0), ("c", 1.0, 4.0)], "all networks have the same GMACs"),
    ):
        found = disagreement(networks)
        assert found.spearman.value is None
        assert found.pair is None
        assert found.notes[0].startswith(note)
        print_disagreement(found, shown())
    with pytest.raises(UserError, match=r"a: GMACs and latency are numbers above 0; given 1\.0 and nan"):
        disagreement([("a", 1.0, math.nan)])


# On a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_everything_on_a_gpu(tmp_path: Path) -> None:
    setting = Setting(torch.device("cuda"), batches=(2,), min_run_s=0.1, max_run_s=1.0)
    architecture, clip = find_network("R3D-18"), ClipShape(3, 8, 56, 56)
    found = measure(architecture, clip, 10, setting)
    assert found.comparable["device"] == "cuda"
    for measured in found.passes:
        assert measured.peak_bytes > 4 * found.cost.total.params
        assert measured.stage_ratio is not None
        assert 0.5 < measured.stage_ratio <= 1.1
    assert quick(architecture, clip, 10, setting)["peak_memory_mb"] > 0
    write_trace(architecture, clip, 10, setting, tmp_path, name="R3D-18", training=True, batch=2)
    (summary,) = summarise(tmp_path)
    assert summary.device == "GPU"
    assert "Kernel" in summary.views
    assert any((row.device_total_us or 0) > 0 for row in summary.operators if row.name == "aten::conv3d")
    with pytest.raises(WorldError, match="out of memory"):
        measure(architecture, ClipShape(3, 512, 512, 512), 10, replace(setting, batches=(4096,)))
