"""The processes that ``torchrun`` started, joined; and one line where one of them ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import TCPStore  # type: ignore[attr-defined]

from stsearch.errors import UserError, WorldError, brief
from stsearch.evaluate.world import ALONE, World

_ASKED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_PATIENCE = timedelta(hours=12)
"""The first process may decode videos for hours while the others wait; one that died is known at once."""
_SIGNS = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "peer")
"""One of these is in what torch says where another process is gone."""


def started_together() -> bool:
    """Whether this process is one of several of a training."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and "RANK" in os.environ


def is_first() -> bool:
    """Whether this process speaks for all."""
    return not started_together() or os.environ["RANK"] == "0"


def own_device(device: str) -> str:
    """``device`` as ``--device`` has it, for this process: with several, ``auto`` and ``cuda`` are a GPU for each."""
    if not started_together():
        return device
    if device == "auto" and not torch.cuda.is_available():
        return "cpu"
    if device in ("auto", "cuda"):
        here = os.environ.get("LOCAL_RANK", "0")
        if int(here) >= torch.cuda.device_count():
            raise UserError(f"process {here} of this machine has no GPU: it has {torch.cuda.device_count()}")
        return f"cuda:{here}"
    if device != "cpu":
        raise UserError(f"several processes train on --device cpu, or on a GPU each (auto); given {brief(device)}")
    return device


@contextmanager
def together(device: torch.device) -> Iterator[World]:
    """The world of this process; within, the first one that fails says why, and the others end without a word.

    Without ``torchrun`` that is this process alone.
    """
    if not started_together():
        yield ALONE
        return
    if missing := [name for name in _ASKED if name not in os.environ]:
        raise UserError(f"WORLD_SIZE is set, but not {', '.join(missing)}: start the processes with torchrun")
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        store = _store(rank, size)
        shared = PrefixStore("stsearch", store)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=shared, rank=rank, world_size=size, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise WorldError(f"the {size} processes of this training do not find each other: {_first(error)}") from None
    try:
        yield World(rank, size, str(device))
    except BaseException as error:  # whatever ends one process ends them all, and one of them says why
        if not _says_it(shared):
            raise SystemExit(1) from None
        if isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS):
            raise WorldError(
                f"another of the {size} processes of this training has ended, so this one ends too; the same command "
                "goes on from the last whole epoch"
            ) from None
        raise
    dist.destroy_process_group()


def _store(rank: int, size: int) -> Store:
    """Where the processes meet: torchrun's, else the first process's."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return TCPStore(host, port, size, is_master=rank == 0 and not kept, timeout=timedelta(minutes=5))


def _says_it(store: Store) -> bool:
    """Whether this process is the first one that fails; where nobody can be asked, it is."""
    try:
        return bool(store.add("failed", 1) == 1)
    except RuntimeError:
        return True


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
