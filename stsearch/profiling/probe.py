"""Whether a convolution is computed right in a precision: output and both gradients against float64.

A library's wrong code may write outside its memory, so nothing is tried in a process that trains: ``probe`` starts
``python -m stsearch.profiling.probe``, which tries every shape in a process of its own. One that dies is wrong.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

Triple = tuple[int, int, int]
PRECISIONS = ("fp32", "bf16")
"""In the order in which they are tried: what crashes comes last."""
_TILE = 16
"""Channels that vector code takes at once; what is left over of them is kept when channels are left out."""
_ENOUGH = 10_000_000
"""Multiply-adds of one forward pass, up to which clips of the batch are taken."""
_TIMES = 6
"""Wrong code reads what lies beside its memory, so that it may come out right once: the worst of so many counts."""
_DIRT = "165"
"""Of glibc's ``MALLOC_PERTURB_``: memory that nobody wrote is no zeros"""
_LONGEST_S = 900.0
"""A probe that takes longer hangs; what it has not answered is not known."""
_POLL_S = 0.1


@dataclass(frozen=True)
class Shape:
    """A convolution, and what enters it."""

    c_in: int
    c_out: int
    groups: int
    kernel: Triple
    stride: Triple
    padding: Triple
    entering: tuple[int, int, int, int]
    """``(N, T, H, W)``"""

    @property
    def macs(self) -> int:
        """Of one clip, forward, as if no padding were."""
        out = math.prod(-(-size // step) for size, step in zip(self.entering[1:], self.stride, strict=True))
        return out * self.c_out * self.c_in // self.groups * math.prod(self.kernel)

    @property
    def tried(self) -> Shape:
        """What is tried in its place: fewer channels and clips, and the same in space and time."""
        if self.groups == self.c_in:
            groups = _few(self.groups)
            fewer = replace(self, c_in=groups, c_out=groups * (self.c_out // self.groups), groups=groups)
        else:
            groups = min(2, self.groups)
            c_in, c_out = (groups * _few(count // self.groups) for count in (self.c_in, self.c_out))
            fewer = replace(self, c_in=c_in, c_out=c_out, groups=groups)
        clips = min(self.entering[0], max(2, _ENOUGH // max(1, fewer.macs)))
        return replace(fewer, entering=(clips, *self.entering[1:]))

    @property
    def key(self) -> str:
        """As it is written down, such as ``3>16/1 3x3x3 1x1x1 1x1x1 8x4x16x16``."""
        sizes = (self.kernel, self.stride, self.padding, self.entering)
        return " ".join([f"{self.c_in}>{self.c_out}/{self.groups}", *("x".join(map(str, one)) for one in sizes)])


Errors = Mapping[str, float | None]
"""By precision: the largest error of output and gradients over the norm of the reference; ``None``: not finite, or
the process died"""


def _few(channels: int) -> int:
    return channels if channels < 2 * _TILE else _TILE + channels % _TILE


def shapes_of(network: nn.Module, sizes: tuple[int, int, int, int], batch: int) -> dict[str, Shape]:
    """The convolutions of ``network`` by name, on ``batch`` clips of ``sizes``, ``(C, T, H, W)``."""
    found: dict[str, Shape] = {}

    def hook(name: str) -> Callable[[nn.Module, Any], None]:
        def look(module: nn.Module, inputs: Any) -> None:
            assert isinstance(module, nn.Conv3d)
            n, _, *entering = inputs[0].shape
            paddings = module.padding
            assert not isinstance(paddings, str)
            found[name] = Shape(
                module.in_channels, module.out_channels, module.groups, _triple(module.kernel_size),
                _triple(module.stride), _triple(paddings), (n, *_triple(entering)),
            )  # fmt: skip

        return look

    convolutions = {name: one for name, one in network.named_modules() if isinstance(one, nn.Conv3d)}
    handles = [one.register_forward_pre_hook(hook(name)) for name, one in convolutions.items()]
    state = {name: value.to("meta") for name, value in network.state_dict(keep_vars=False).items()}
    training = network.training
    network.eval()  # so that no statistics are asked of one value
    try:
        with torch.no_grad():
            functional_call(network, state, (torch.empty(batch, *sizes, device="meta"),))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return found


def _triple(values: Sequence[int]) -> Triple:
    first, second, third = values
    return first, second, third


def probe(
    shapes: Sequence[Shape], precisions: Sequence[str], threads: int, waiting: Callable[[], None]
) -> dict[Shape, Errors]:
    """What came out for each of ``shapes`` on the CPU with so many threads; one that could not be tried is missing.

    ``waiting`` is called now and then; what it raises ends the probe.
    """
    if not shapes or not hasattr(os, "fork"):
        return {}
    asked = json.dumps({"threads": threads, "precisions": list(precisions), "shapes": [asdict(s) for s in shapes]})
    places = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": str(threads), "MALLOC_PERTURB_": _DIRT}
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "stsearch.profiling.probe"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=environment, text=True, start_new_session=True,
        )  # fmt: skip
    except OSError:
        return {}
    begun, left, said = time.monotonic(), asked, ""
    try:
        while True:
            try:
                said = child.communicate(left or None, timeout=_POLL_S)[0]
                break
            except subprocess.TimeoutExpired:
                left = ""
                waiting()
                if time.monotonic() - begun > _LONGEST_S:
                    _kill(child)
    finally:
        _kill(child)
        with suppress(OSError):
            child.__exit__(None, None, None)  # closes its pipes and waits for it
    answers = (json.loads(line) for line in said.splitlines() if line.endswith("]"))
    return {shapes[number]: errors for number, errors in answers}


def _kill(child: subprocess.Popen[str]) -> None:
    """With the process that it tries a shape in."""
    with suppress(ProcessLookupError):
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)


def error_of(shape: Shape, precision: str, exact: Sequence[torch.Tensor]) -> float:
    """The largest of three errors over the norm of what is right: of output, gradient of the input and of the weights.

    ``exact`` is what ``computed`` finds in float64. The operands are numbers of bf16, so all that rounding does is done
    to what comes out: 0.2 % in bf16.
    """
    found = computed(shape, torch.float32, low=precision == "bf16")
    return max(float((one.double() - right).norm() / right.norm()) for one, right in zip(found, exact, strict=True))


def computed(shape: Shape, dtype: torch.dtype, *, low: bool = False) -> list[torch.Tensor]:
    """Output, gradient of the input and gradient of the weights; ``low``: under autocast to bf16."""
    n, *entering = shape.entering
    x = _random((n, shape.c_in, *entering), 0, dtype).requires_grad_()
    weight = _random((shape.c_out, shape.c_in // shape.groups, *shape.kernel), 1, dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
        out = functional.conv3d(x, weight, None, shape.stride, shape.padding, 1, shape.groups)
    gradients = torch.autograd.grad(out, (x, weight), _random(tuple(out.shape), 2, out.dtype))
    return [out.detach(), *gradients]


def _random(sizes: tuple[int, ...], seed: int, dtype: torch.dtype) -> torch.Tensor:
    values = torch.randn(sizes, generator=torch.Generator().manual_seed(seed)).to(torch.bfloat16)
    return values.to(dtype).contiguous(memory_format=torch.channels_last_3d)


def _answered(shape: Shape, precisions: Sequence[str]) -> dict[str, float | None] | None:
    """What a process of its own finds of a shape; ``None`` where it had no memory for that, or was killed for it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for answer in _answers(shape, [one for one in PRECISIONS if one in precisions]):
                os.write(writing, f"{json.dumps(answer)}\n".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        lines = [json.loads(line) for line in pipe]
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == -signal.SIGKILL or "memory" in lines:
        return None
    asked = [precision for precision in PRECISIONS if precision in precisions]
    return dict(zip(asked, [*lines, *[None] * len(asked)][: len(asked)], strict=True))


def _answers(shape: Shape, precisions: Sequence[str]) -> Iterator[float | str | None]:
    """An error for each precision; ``memory`` where there was none."""
    try:
        exact = computed(shape, torch.float64)
        for precision in precisions:
            found = [error_of(shape, precision, exact) for _ in range(_TIMES)]
            yield max(found) if all(map(math.isfinite, found)) else None
    except (RuntimeError, MemoryError) as error:
        yield "memory" if isinstance(error, MemoryError) or "can't allocate memory" in str(error) else None


def _main() -> None:
    asked = json.load(sys.stdin)
    torch.set_num_threads(asked["threads"])
    for number, plain in enumerate(asked["shapes"]):
        sizes: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in plain.items()}
        shape = Shape(**sizes)
        errors = _answered(shape, asked["precisions"])
        if errors is not None:
            print(json.dumps([number, errors]), flush=True)


if __name__ == "__main__":
    _main()
