"""Memory that is kept from step to step changes no result, and is switched by one variable."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from stsearch.errors import UserError
from stsearch.profiling.allocator import VARIABLE, keep_memory

CPU = torch.device("cpu")
_TRAINING = """
import hashlib, resource, torch
from torch.nn import functional
from stsearch.nets.build import build
from stsearch.profiling.allocator import keep_memory
from stsearch.space.blueprint import ClipShape
from stsearch.space.published import NETWORKS

torch.set_num_threads(1)
kept = keep_memory(torch.device("cpu"))
generator = torch.Generator().manual_seed(0)
network = build(NETWORKS["R(2+1)D-18"].scaled(0.125), ClipShape(3, 4, 32, 32), 2, generator=generator)
optimiser = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
for step in range(6):
    if step == 3:  # what the first steps took is there now
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    optimiser.zero_grad()
    logits = network(torch.randn(8, 3, 4, 32, 32, generator=generator))
    functional.cross_entropy(logits, torch.arange(8) % 2).backward()
    optimiser.step()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
weights = b"".join(value.numpy().tobytes() for value in network.state_dict().values())
print(kept, faults, hashlib.sha256(weights).hexdigest())
"""


def trained(monkeypatch: pytest.MonkeyPatch, memory: str) -> tuple[bool, int, str]:
    """Whether memory was kept, page faults of three steps, and a digest of the weights."""
    monkeypatch.setenv(VARIABLE, memory)
    done = subprocess.run([sys.executable, "-c", _TRAINING], capture_output=True, text=True, check=True)
    kept, faults, weights = done.stdout.split()
    return kept == "True", int(faults), weights


def test_kept_memory_gives_the_same_weights_and_fewer_page_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    returned, kept = trained(monkeypatch, "returned"), trained(monkeypatch, "kept")
    assert not returned[0]
    assert kept[2] == returned[2]
    if kept[0]:  # else this system has no glibc
        assert kept[1] < returned[1] / 2


def test_it_is_off_where_asked_on_a_gpu_and_beside_another_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not keep_memory(torch.device("cuda"))
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    assert not keep_memory(CPU)
    monkeypatch.delenv("LD_PRELOAD")
    monkeypatch.setenv(VARIABLE, "returned")
    assert not keep_memory(CPU)
    monkeypatch.setenv(VARIABLE, "keep")
    with pytest.raises(UserError, match=r"STSEARCH_MEMORY 'keep'\. Did you mean 'kept'\?"):
        keep_memory(CPU)
