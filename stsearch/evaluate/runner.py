"""A network on the device that it is trained on, and what becomes of it where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import nn

from stsearch.data.augment import Normaliser
from stsearch.data.videos import ClipData
from stsearch.errors import StsearchError
from stsearch.evaluate.recipe import LoopRecipe
from stsearch.evaluate.world import ALONE, World
from stsearch.interrupt import check
from stsearch.profiling.device import out_of_memory

T = TypeVar("T")


class EvaluationFailed(StsearchError):
    """A network could not be evaluated; the message is the reason that the trial keeps."""


FEW = 32
"""clips at a time in a process: with fewer, statistics of BatchNorm are those of all processes"""


def in_step(recipe: LoopRecipe, world: World) -> bool:
    """Whether BatchNorm sees the clips of all processes; then a training is the same in any number of them."""
    asked, micro = recipe.extras.sync_norm, recipe.extras.micro_batch or recipe.batch
    return world.size == 1 or (micro < FEW * world.size if asked is None else asked)


class Runner:
    """A network on its device: normalised forward passes that shrink when memory runs out."""

    def __init__(
        self, network: nn.Module, data: ClipData, recipe: LoopRecipe, device: torch.device, world: World = ALONE
    ) -> None:
        self.network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.device, self.world, self.classes = device, world, len(data.classes)
        bf16 = recipe.precision == "bf16" or (
            recipe.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        self.precision = "bf16" if bf16 else "fp32"
        self.in_step = in_step(recipe, world)
        self.micro = recipe.extras.micro_batch or recipe.batch
        self.normalised = Normaliser.of(data, device)

    def autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def logits(self, clips: torch.Tensor, colour: torch.Tensor | None = None) -> torch.Tensor:
        """uint8 ``(B, C, T, H, W)`` and factors of its colours ``(B, 3)`` to float32 ``(B, classes)``."""
        return self.of(self.normalised(clips, colour))

    def of(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalised float32 ``(B, C, T, H, W)`` to float32 ``(B, classes)``."""
        with self.autocast():
            out: torch.Tensor = self.network(inputs)
        return out.float()

    def shrinking(self, work: Callable[[int], T]) -> T:
        """``work(micro_batch)``, again with half the micro-batch whenever memory runs out; after Ctrl-C not begun."""
        while True:
            check()
            try:
                return work(self.micro)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self.world.size > 1:  # the others are at the same clips; none can go on with fewer alone
                    raise EvaluationFailed(
                        f"out of memory on {self.device} with {self.micro} clips at a time in {self.world.size} "
                        f"processes; give evaluate.micro_batch less than that ({str(error).splitlines()[0]})"
                    ) from None
                if self.micro == 1:
                    raise EvaluationFailed(
                        f"out of memory on {self.device} even with one clip at a time ({str(error).splitlines()[0]})"
                    ) from None
            self.micro //= 2
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


@contextmanager
def memory(where: str) -> Iterator[None]:
    """``EvaluationFailed`` if memory runs out within, which no smaller micro-batch would mend."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise EvaluationFailed(f"out of memory on {where} ({str(error).splitlines()[0]})") from None
