"""Peak memory of one pass, in bytes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from stsearch.profiling.device import quiet_profiler
from stsearch.profiling.subject import Subject


def peak_bytes(subject: Subject, call: Callable[[], None]) -> int:
    """The most that tensors held at once while ``call`` ran: weights, buffers, clips and momentum included.

    On a GPU it is what torch's allocator gave out, workspaces of cuDNN included; what other
    tensors of this process held before the network was built is not counted, nor is the CUDA
    context. On a CPU it is counted from every allocation and release of torch's allocator, so it
    is the same each time with as many threads (torch chooses convolutions by threads and clips:
    with one of each, those that unfold their input into a buffer). What oneDNN and the operating
    system take for themselves (reordered weights, scratch space, libraries) is not in it.
    """
    device = subject.setting.device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - subject.held_before
    return subject.held_bytes + _risen(call)


def _risen(call: Callable[[], None]) -> int:
    """By how much the CPU allocator's total rose at most above where it was."""
    quiet_profiler()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0]
    now = top = 0
    for change in sorted(changes, key=lambda event: float(event["ts"])):
        now += change["args"]["Bytes"]
        top = max(top, now)
    return top
