"""On what and how something is measured: the device, the setting, and what makes two figures comparable."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stsearch.errors import StsearchError, UserError, WorldError, unknown

PRECISIONS = ("auto", "fp32", "bf16")
MEMORY_FORMAT = torch.channels_last_3d
"""Of weights and clips, as in training."""
DEFAULT_BATCHES = {"cpu": (1, 4), "cuda": (1, 8)}
MAX_BATCH = 65_536


@dataclass(frozen=True)
class Setting:
    """How a network is measured. Raises ``UserError`` for what cannot be measured on this machine."""

    device: torch.device
    precision: str = "auto"
    """``fp32``, ``bf16`` (autocast), or ``auto``: bf16 on a GPU that has it, else fp32"""
    batches: tuple[int, ...] | None = None
    """clips at once; by default 1 and 4 on a CPU, 1 and 8 on a GPU"""
    threads: int | None = None
    """of torch on the CPU; by default as many as torch has now"""
    min_run_s: float = 1.0
    """a figure's passes are repeated for at least so long, and at least 10 times ..."""
    max_run_s: float = 10.0
    """... unless they already took so long: then 3 are enough"""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UserError(unknown("precision", self.precision, PRECISIONS))
        if self.device.type not in DEFAULT_BATCHES:
            raise UserError(f"networks are measured on cpu, cuda or cuda:N; given {str(self.device)!r}")
        if self.device.type == "cuda" and (self.device.index or 0) >= torch.cuda.device_count():
            raise UserError(f"{str(self.device)!r} is not there; torch sees {torch.cuda.device_count()} GPUs")
        if self.batches is not None and not self.batches:
            raise UserError("give at least one batch size, or none for the default")
        for batch in self.batches or ():
            if not 1 <= batch <= MAX_BATCH:
                raise UserError(f"a batch has 1 to {MAX_BATCH:,} clips; given {batch}")
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise UserError(f"threads is 1 to 1024; given {self.threads}")
        if not (math.isfinite(self.max_run_s) and 0 < self.min_run_s <= self.max_run_s):
            raise UserError(
                f"a figure takes 0 < min_run_s <= max_run_s seconds; given {self.min_run_s:g} and {self.max_run_s:g}"
            )

    @property
    def clips_at_once(self) -> tuple[int, ...]:
        """The batch sizes, each once, in ascending order."""
        return tuple(sorted(set(self.batches or DEFAULT_BATCHES[self.device.type])))

    @property
    def dtype(self) -> str:
        """``fp32`` or ``bf16``: what ``auto`` comes to on this device."""
        if self.precision != "auto":
            return self.precision
        return "bf16" if self.device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"

    @property
    def thread_count(self) -> int:
        """Threads that torch will use on the CPU."""
        return self.threads or torch.get_num_threads()

    def autocast(self) -> AbstractContextManager[Any]:
        """Inside it, torch computes in ``dtype``."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.dtype == "bf16" else nullcontext()

    def synchronise(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def choose_device(name: str, what: str = "device") -> torch.device:
    """``auto`` is the first GPU if there is one; ``UserError`` for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"{what}: given {name!r}; allowed are auto, cpu, cuda and cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"{what}: given {name!r}; allowed are auto, cpu, cuda and cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"{what}: {name!r} is not there; torch sees {torch.cuda.device_count()} GPUs")
    return device


@contextmanager
def with_threads(setting: Setting) -> Iterator[None]:
    """torch on ``setting.threads`` threads, and afterwards on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(setting.thread_count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cpu_name() -> str:
    """The processor's model as the kernel gives it, else the machine's architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def device_facts(device: torch.device) -> dict[str, str | int]:
    """What is known of the machine; ``cuda`` and ``cudnn`` are ``none`` where torch has none."""
    on_gpu = device.type == "cuda"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "device": device.type,
        "name": torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
        "cpu": cpu_name(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda or "none",
        "cudnn": torch.backends.cudnn.version() or "none",  # type: ignore[no-untyped-call]
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def tf32(setting: Setting) -> bool:
    """Whether convolutions in fp32 may use TensorFloat-32 (torch allows it by default on a GPU)."""
    return setting.device.type == "cuda" and setting.dtype == "fp32" and bool(torch.backends.cudnn.allow_tf32)


_COMPARED = ("device", "name", "cpu", "cores", "instructions", "torch", "cuda", "cudnn")


def comparable(setting: Setting) -> dict[str, str | int]:
    """The facts that must be equal for two figures to be compared."""
    facts = device_facts(setting.device)
    return {
        **{name: facts[name] for name in _COMPARED},
        "threads": setting.thread_count,
        "precision": setting.dtype + (" (TF32)" if tf32(setting) else ""),
        "memory_format": str(MEMORY_FORMAT).removeprefix("torch."),
    }


def fingerprint(setting: Setting) -> str:
    """12 hexadecimal digits of ``comparable``: figures with different ones are not to be mixed."""
    text = json.dumps(comparable(setting), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# How torch's allocator and oneDNN say on a CPU that memory ran out.
_CPU_OUT_OF_MEMORY = ("can't allocate memory", "could not create a primitive", "could not create a memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is how torch says that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CPU_OUT_OF_MEMORY)


@contextmanager
def refusing(setting: Setting, what: str) -> Iterator[None]:
    """What torch raises while it does ``what``, as one line: ``WorldError`` if memory ran out."""
    try:
        yield
    except (RuntimeError, MemoryError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if not out_of_memory(error):
            raise StsearchError(f"{what} failed on {setting.device}: {reason}") from error
        if setting.device.type == "cuda":
            torch.cuda.empty_cache()
        raise WorldError(
            f"out of memory on {setting.device} in {what}; measure fewer clips at once ({reason})"
        ) from None


def quiet_profiler() -> None:
    """Keep torch's profiler from writing a line to stderr at every start and stop (torch 2.13)."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
