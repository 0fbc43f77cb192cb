"""``summarise``: what torch-tb-profiler says of traces, without its page.

The figures are those of the plugin's own parser, the same that answers TensorBoard; the stages
alone are read here, since the parser drops labels.
"""

from __future__ import annotations

import gzip
import html
import json
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stsearch.errors import UserError
from stsearch.space.architecture import GROUPS

STAGE_LABELS = (*GROUPS, "head")


@dataclass(frozen=True)
class Share:
    """A part of the mean step: kernels, operators on the CPU, or the rest."""

    name: str
    us: float
    percent: float


@dataclass(frozen=True)
class OperatorRow:
    """An operator over all recorded steps, in us."""

    name: str
    calls: int
    host_self_us: float
    host_total_us: float
    device_self_us: float | None
    """``None`` where nothing ran on a GPU"""
    device_total_us: float | None


@dataclass(frozen=True)
class KernelRow:
    """A GPU kernel over all recorded steps, in us."""

    name: str
    calls: int
    total_us: float
    mean_us: float
    tensor_cores: bool


@dataclass(frozen=True)
class StageRow:
    """A stage's forward pass by its label in the trace, mean over the steps."""

    name: str
    host_us: float
    device_us: float | None


@dataclass(frozen=True)
class Summary:
    """One recording: a run (folder), a worker and a span of it."""

    run: str
    worker: str
    span: str
    """``1``, ``2``, .. in the order of recording; ``default`` where the file name has no time"""
    device: str
    """``CPU`` or ``GPU``, as TensorBoard shows it"""
    views: tuple[str, ...]
    """that TensorBoard offers for it"""
    steps: int
    step_us: float
    """mean of a step, recording included"""
    parts: tuple[Share, ...]
    idle_percent: float
    """of the steps: no kernel on the GPU; on a CPU, no operator (Python and recording)"""
    gpu: tuple[tuple[str, str], ...]
    """the plugin's GPU summary, title and value"""
    stages: tuple[StageRow, ...]
    operators: tuple[OperatorRow, ...]
    """the longest by themselves first"""
    kernels: tuple[KernelRow, ...]
    """the longest first; empty without a GPU"""
    peak_bytes: tuple[tuple[str, int], ...]
    """per device, the highest that the allocator's total was while recording"""
    recommendations: tuple[str, ...]
    """plain text"""

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def summarise(folder: Path) -> list[Summary]:
    """Every trace below ``folder``, sorted by run, worker and span.

    Raises ``UserError`` where there is none, or where one cannot be read.
    """
    return [
        _summary(path, run, worker, span)
        for run, paths in traces_in(folder)
        for path, worker, span in recordings(paths)
    ]


def traces_in(folder: Path) -> list[tuple[str, list[Path]]]:
    """Runs below ``folder``, sorted, and the traces of each; ``UserError`` where there is none."""
    if not folder.is_dir():
        raise UserError(f"no such folder: {str(folder)!r}; `--trace` writes one")
    if not (found := list(_runs(folder))):
        raise UserError(f"no trace (*.pt.trace.json or .gz) below {str(folder)!r}; `--trace` writes one")
    return found


def _runs(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """Folders that hold traces, named as TensorBoard names them: relative to ``folder``."""
    for root, folders, files in os.walk(folder):
        folders.sort()
        paths = [Path(root) / file for file in sorted(files) if _worker_pattern().match(file)]
        if paths:
            name = os.path.relpath(root, folder)
            yield (folder.resolve().name if name == "." else name), paths


def _worker_pattern() -> re.Pattern[str]:
    try:
        from torch_tb_profiler.consts import WORKER_PATTERN
    except ImportError as error:
        raise UserError(f"traces need {error.name}: pip install torch-tb-profiler") from None
    pattern: re.Pattern[str] = WORKER_PATTERN
    return pattern


def recordings(paths: list[Path]) -> list[tuple[Path, str, int | None]]:
    """Path, worker and number of the span, spans counted per worker in the order of their time."""
    split = []
    for path in paths:
        match = _worker_pattern().match(path.name)
        assert match is not None
        split.append((match.group(1), match.group(2), path))
    numbers: dict[str, int] = {}
    found: list[tuple[Path, str, int | None]] = []
    for worker, span, path in sorted(split, key=lambda item: (item[0], item[1] or "")):
        if span is not None:
            numbers[worker] = numbers.get(worker, 0) + 1
        found.append((path, worker, None if span is None else numbers[worker]))
    return found


def _summary(path: Path, run: str, worker: str, span: int | None) -> Summary:
    from torch_tb_profiler.profiler.data import RunProfileData
    from torch_tb_profiler.profiler.run_generator import RunGenerator

    try:
        with tempfile.TemporaryDirectory() as cache, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, at the parser
            data = RunProfileData.parse(worker, span, str(path), cache)
            if not data.op_list_groupby_name:
                raise ValueError("no operator was recorded")
            profile = RunGenerator(worker, span, data).generate_run_profile()
        stages = _stages(path, len(data.steps_names))
    except Exception as error:  # a foreign parser on a foreign file raises anything
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"cannot read the trace {str(path)!r}: {type(error).__name__}: {reason}") from None
    overview = profile.overview["performance"][0]
    parts = tuple(Share(p["name"], float(p["value"]), float(p["extra"])) for p in overview["children"])
    on_gpu = profile.has_runtime or profile.has_kernel or profile.has_memcpy_or_memset
    gpu = tuple((line["title"], line["value"]) for line in profile.gpu_summary or () if line["value"])
    return Summary(
        run=run,
        worker=worker,
        span="default" if span is None else str(span),
        device="GPU" if on_gpu else "CPU",
        views=tuple(view.display_name for view in sorted(profile.views, key=lambda view: view.id)),
        steps=len(profile.overview["steps"]["rows"]),
        step_us=float(overview["value"]),
        parts=parts,
        idle_percent=_idle(parts, gpu),
        gpu=gpu,
        stages=stages,
        operators=tuple(_operator(row) for row in profile.operation_table_by_name["data"]),
        kernels=_kernels(profile),
        peak_bytes=_peaks(profile),
        recommendations=plain_text(profile.overview["recommendations"]),
    )


def _idle(parts: tuple[Share, ...], gpu: tuple[tuple[str, str], ...]) -> float:
    """Of a GPU what its utilisation leaves (the first GPU's), of a CPU the part ``Other``."""
    for title, value in gpu:
        if title == "GPU Utilization":
            return round(100 - float(value.rstrip(" %")), 2)
    return next((part.percent for part in parts if part.name == "Other"), 0.0)


def _operator(row: dict[str, Any]) -> OperatorRow:
    return OperatorRow(
        row["name"],
        row["calls"],
        row["host_self_duration"],
        row["host_total_duration"],
        row.get("device_self_duration"),
        row.get("device_total_duration"),
    )


def _kernels(profile: Any) -> tuple[KernelRow, ...]:
    if not profile.has_kernel:
        return ()
    rows = sorted(profile.kernel_table["data"]["rows"], key=lambda row: -row[3])
    return tuple(KernelRow(row[0], row[2], row[3], row[4], row[1] == "Yes") for row in rows)


def _peaks(profile: Any) -> tuple[tuple[str, int], ...]:
    if profile.memory_snapshot is None:
        return ()
    peaks: dict[str, int] = {}
    for record in profile.memory_snapshot.memory_records:
        if record.addr is not None and record.total_allocated == record.total_allocated:  # not a NaN
            peaks[record.device_name] = max(peaks.get(record.device_name, 0), int(record.total_allocated))
    return tuple(sorted(peaks.items()))


def _stages(path: Path, steps: int) -> tuple[StageRow, ...]:
    data = path.read_bytes()
    events = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)["traceEvents"]
    spent: dict[tuple[str, str], float] = {}
    for event in events:
        if event.get("name") in STAGE_LABELS and event.get("cat") in ("user_annotation", "gpu_user_annotation"):
            key = event["cat"], event["name"]
            spent[key] = spent.get(key, 0.0) + event["dur"] / steps
    return tuple(
        StageRow(name, spent["user_annotation", name], spent.get(("gpu_user_annotation", name)))
        for name in STAGE_LABELS
        if ("user_annotation", name) in spent
    )


def plain_text(recommendations: str) -> tuple[str, ...]:
    """The items of the plugin's HTML list without tags; none where it says N/A."""
    items = re.findall(r"<li>(.*?)</li>", recommendations, flags=re.DOTALL)
    texts = (" ".join(html.unescape(re.sub(r"<[^>]+>", "", item)).split()) for item in items)
    return tuple(text for text in texts if text not in ("", "N/A"))
