"""``write_trace``: a recording of torch's profiler that ``stsearch profile --open FOLDER`` shows."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function, schedule, tensorboard_trace_handler

from stsearch.errors import StsearchError, UserError
from stsearch.profiling.device import Setting, quiet_profiler, refusing, with_threads
from stsearch.profiling.subject import Subject, parts
from stsearch.profiling.timing import warm_up
from stsearch.space.blueprint import AnyNetwork, ClipShape

_LONGEST = 80
_CATEGORIES = {"cuda_runtime": "runtime", "cuda_driver": "runtime"}
"""What torch 2 calls events, to what torch-tb-profiler 0.4.3 calls them: without, no operator has device time."""


def safe_name(name: str) -> str:
    """``name`` as a file name: letters, digits, ``.``, ``_`` and ``-``; cut with a hash where it is long."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "network"
    if len(safe) <= _LONGEST:
        return safe
    return f"{safe[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def write_trace(
    architecture: AnyNetwork,
    clip: ClipShape,
    classes: int,
    setting: Setting,
    folder: Path,
    *,
    name: str,
    training: bool,
    batch: int,
    steps: int = 3,
) -> Path:
    """Record ``steps`` passes after warm-up and return the file, ``FOLDER/<run>/<worker>.<time>.pt.trace.json.gz``.

    A run is a network, a mode and a batch size; a second recording of it is a further span of the
    run. Stages are labelled forward with their names (the backward pass of an operator is linked
    to its forward one by the profiler). Recording slows a pass down: for latency use ``measure``.
    Raises ``UserError`` where the folder cannot be written.
    """
    if not 1 <= steps <= 1000:
        raise UserError(f"a trace has 1 to 1000 steps; given {steps}")
    mode = "training" if training else "forward"
    run = folder / f"{safe_name(name)}_{mode}_batch{batch}"
    _writable(run)
    quiet_profiler()
    with with_threads(setting):
        subject = Subject(architecture, clip, classes, setting)
        if training and not subject.trainable(batch):
            raise UserError("no training step of 1 clip: BatchNorm needs more than one value per channel")
        subject.load(batch)
        subject.prepare(training=training)
        call: Callable[[], None] = subject.step if training else subject.forward
        with refusing(setting, f"tracing {mode} of {architecture.id}"), _labelled(subject):
            warm_up(call, setting)
            try:
                return _record(call, setting, run, steps)
            except OSError as error:
                raise UserError(f"cannot write the trace into {str(run)!r}: {error.strerror or error}") from None


def _writable(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=run):
            pass
    except OSError as error:
        raise UserError(f"cannot write into the folder {str(run)!r}: {error.strerror or error}") from None


def _record(call: Callable[[], None], setting: Setting, run: Path, steps: int) -> Path:
    activities = [ProfilerActivity.CPU]
    if setting.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with tempfile.TemporaryDirectory() as folder:
        with profile(
            activities=activities,
            schedule=schedule(wait=0, warmup=1, active=steps, repeat=1),
            on_trace_ready=tensorboard_trace_handler(folder, f"{setting.device.type}_0"),
            record_shapes=True,
            profile_memory=True,
        ) as profiler:
            for _ in range(1 + steps):
                call()
                setting.synchronise()
                profiler.step()
        found = list(Path(folder).iterdir())
        if len(found) != 1:
            raise StsearchError(f"torch's profiler wrote {len(found)} traces instead of one")
        return _for_tensorboard(found[0], run)


def _for_tensorboard(trace: Path, run: Path) -> Path:
    """Compress ``trace`` into ``run``, its events under the categories that torch-tb-profiler knows."""
    data = json.loads(trace.read_text(encoding="utf-8"))
    for event in data["traceEvents"]:
        if event.get("cat") in _CATEGORIES:
            event["cat"] = _CATEGORIES[event["cat"]]
    unseen = run / f".{trace.name}.part"
    with gzip.open(unseen, "wt", encoding="utf-8") as out:
        json.dump(data, out, separators=(",", ":"))
    return unseen.replace(run / f"{trace.name}.gz")


@contextmanager
def _labelled(subject: Subject) -> Iterator[None]:
    """Every stage's forward pass in a ``record_function`` of its name."""
    open_labels: list[Any] = []
    handles: list[Any] = []

    def begin(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            open_labels.append(record_function(name))
            open_labels[-1].__enter__()

        return hook

    def end(module: nn.Module, inputs: Any, output: Any) -> None:
        open_labels.pop().__exit__(None, None, None)

    for name, module in parts(subject.network):
        handles += [module.register_forward_pre_hook(begin(name)), module.register_forward_hook(end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
