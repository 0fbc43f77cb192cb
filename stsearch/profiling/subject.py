"""The network under measurement: its forward pass, its training step, and marks between its stages."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from stsearch.errors import WorldError
from stsearch.nets.build import VideoNet, build
from stsearch.profiling.device import MEMORY_FORMAT, Setting, refusing
from stsearch.profiling.timing import Clock
from stsearch.space.blueprint import AnyNetwork, ClipShape
from stsearch.space.cost import network_cost

LR = 1e-3
"""Small, so that weights stay finite over any number of steps on random clips."""


def parts(network: VideoNet) -> list[tuple[str, nn.Module]]:
    """Its groups, such as conv1 and conv2_x .. conv5_x, and the head, in order."""
    return [*network.stages.items(), ("head", network.head)]


class Subject:
    """A built network with random clips, on its device, in channels-last memory.

    Clips are normalised float32 and already on the device: reading and normalising them is not
    measured. A training step is forward, cross-entropy, backward and SGD with Nesterov momentum
    and weight decay, gradients freed at its end.
    """

    def __init__(self, architecture: AnyNetwork, clip: ClipShape, classes: int, setting: Setting) -> None:
        self.architecture, self.clip, self.classes, self.setting = architecture, clip, classes, setting
        self.held_before = torch.cuda.memory_allocated(setting.device) if setting.device.type == "cuda" else 0
        self.cost = network_cost(architecture, clip, classes)
        generator = torch.Generator().manual_seed(0)
        with refusing(setting, f"building {architecture.id}"):
            network = build(architecture, clip, classes, generator=generator)
            self.network: VideoNet = network.to(setting.device, memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
        self.clips = torch.empty(0)
        self.labels = torch.empty(0)
        self.optimiser: torch.optim.SGD | None = None

    def load(self, batch: int) -> None:
        """Random clips ``(batch, C, T, H, W)``, the same for the same shape."""
        self._refuse_what_cannot_fit(batch)
        device = self.setting.device
        generator = torch.Generator(device).manual_seed(0)
        with refusing(self.setting, f"making {batch} clips of {self.clip}"):
            self.clips = torch.empty(0)
            clips = torch.randn(batch, *self.clip.sizes, generator=generator, device=device)
            self.clips = clips.contiguous(memory_format=MEMORY_FORMAT)
            self.labels = torch.arange(batch, device=device) % self.classes

    def prepare(self, *, training: bool) -> None:
        """Evaluation mode, or training mode with the optimiser's momentum in place."""
        self.network.train(training)
        if not training or self.optimiser is not None:
            return
        with refusing(self.setting, f"making the optimiser of {self.architecture.id}"):
            self.optimiser = torch.optim.SGD(
                self.network.parameters(), LR, momentum=0.9, weight_decay=1e-4, nesterov=True
            )
            for parameter in self.network.parameters():
                parameter.grad = torch.zeros_like(parameter)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)

    def forward(self) -> None:
        """One forward pass in inference mode."""
        with torch.inference_mode(), self.setting.autocast():
            self.network(self.clips)

    def step(self, after_backward: Callable[[], None] | None = None) -> None:
        """One training step."""
        assert self.optimiser is not None
        with self.setting.autocast():
            logits = self.network(self.clips)
        functional.cross_entropy(logits.float(), self.labels).backward()  # type: ignore[no-untyped-call]
        if after_backward is not None:
            after_backward()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)

    @property
    def held_bytes(self) -> int:
        """Of weights, buffers, momentum and clips: what is there before a pass begins."""
        held: list[torch.Tensor] = [*self.network.parameters(), *self.network.buffers(), self.clips]
        if self.optimiser is not None:
            held.append(self.labels)
            held += [v for state in self.optimiser.state.values() for v in state.values() if torch.is_tensor(v)]
        return sum(tensor.nbytes for tensor in held)

    def trainable(self, batch: int) -> bool:
        """Whether BatchNorm sees more than one value per channel; with one it refuses to train."""
        return batch * math.prod(self.cost.stages[-1].output[1:]) > 1

    def _refuse_what_cannot_fit(self, batch: int) -> None:
        """A CPU kills the process instead of refusing: say first what is certain to go wrong."""
        if self.setting.device.type != "cpu" or not hasattr(os, "sysconf"):
            return
        widest = max(math.prod(stage.output) for stage in self.cost.stages)
        activation = 2 if self.setting.dtype == "bf16" else 4
        least = 4 * self.cost.total.params + batch * (4 * math.prod(self.clip.sizes) + 2 * activation * widest)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if least > memory:
            raise WorldError(
                f"out of memory on cpu: {batch} clips of {self.clip} need at least {least / 1e9:.1f} GB, "
                f"the machine has {memory / 1e9:.1f} GB; measure fewer clips at once"
            )


class StageMarks:
    """Times of the stages within whole passes: marks in hooks between them, nothing run twice.

    Forward, a stage ends where its output is there; backward, it ends where the gradient of its
    input is (the loss counts as the head's). Use as a context manager; ``collect`` after every
    pass, synchronised. Where a network has pathways, their backward passes interleave and no moment ends a
    stage, so ``collect`` keeps nothing of a training step and ``ms`` stays empty.
    """

    def __init__(self, subject: Subject, marked: Sequence[tuple[str, nn.Module]] | None = None) -> None:
        """Marks are at the ends of ``marked``, by default of the stages: of all that is computed, in its order."""
        self.clock = Clock(subject.setting.device)
        self.parts = list(marked or parts(subject.network))
        self._chain = subject.network.is_chain
        self.ms: dict[str, list[float]] = {name: [] for name, _ in self.parts}
        self._ahead: list[Any] = []
        self._back: list[Any] = []
        self._handles: list[Any] = []

    def __enter__(self) -> StageMarks:
        self._handles.append(self.parts[0][1].register_forward_pre_hook(self._begin))
        self._handles += [module.register_forward_hook(self._end) for _, module in self.parts]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: nn.Module, inputs: Any) -> None:
        self._ahead, self._back = [self.clock.mark()], []

    def _end(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self._ahead.append(self.clock.mark())
        if output.requires_grad:
            output.register_hook(self._gradient)  # type: ignore[no-untyped-call]

    def _gradient(self, gradient: torch.Tensor) -> None:
        self._back.append(self.clock.mark())

    def after_backward(self) -> None:
        """The end of conv1's backward pass."""
        self._back.append(self.clock.mark())

    def collect(self) -> None:
        """Keep the times of the pass that has just ended."""
        if self._back and not self._chain:
            self.ms = {}
            return
        last = len(self.parts) - 1
        for index, (name, _) in enumerate(self.parts):
            spent = self.clock.ms(self._ahead[index], self._ahead[index + 1])
            if self._back:
                spent += self.clock.ms(self._back[last - index], self._back[last - index + 1])
            self.ms[name].append(spent)
