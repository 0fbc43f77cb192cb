"""Several processes that train one network together, each on its share of every batch, as ``torchrun`` starts them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class World:
    """The processes of one training, and which of them this is. Without others nothing is sent."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"
    """where tensors are when they are sent"""

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of ``count`` things in a row; those of all processes differ by one at most."""
        each, more = divmod(count, self.size)
        begin = self.rank * each + min(self.rank, more)
        return slice(begin, begin + each + (self.rank < more))

    def summed(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of all processes' ``tensor``, where that was."""
        if self.size == 1:
            return tensor
        sent = tensor.to(self.device, copy=True).contiguous()
        dist.all_reduce(sent)
        return sent.to(tensor.device)

    def gathered(self, own: torch.Tensor, count: int) -> torch.Tensor:
        """``(count, ...)`` of which every process has its ``share``, on the CPU."""
        if self.size == 1:
            return own
        whole = torch.zeros(count, *own.shape[1:], dtype=own.dtype, device=own.device)
        whole[self.share(count)] = own
        return self.summed(whole).cpu()

    def add_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Give every weight the sum of its gradients over all processes; one that had no clip adds nothing."""
        if self.size == 1:
            return
        gradients = []
        for weight in weights:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            gradients.append(weight.grad)
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, torch.split(flat, [one.numel() for one in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def average(self, tensors: Sequence[torch.Tensor]) -> None:
        """Give every one of ``tensors`` its mean over all processes."""
        for tensor in tensors if self.size > 1 else ():
            tensor.copy_(self.summed(tensor) / self.size)

    def told(self, content: bytes) -> bytes:
        """What the first process calls this with; the others' is not looked at."""
        if self.size == 1:
            return content
        length = torch.tensor(len(content), device=self.device)
        dist.broadcast(length, 0)
        sent = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.first and content:
            sent = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self.device)
        if len(sent):
            dist.broadcast(sent, 0)
        return sent.cpu().numpy().tobytes()


ALONE = World()


def shares(count: int, micro: int, world: World) -> list[slice]:
    """Where this process's clips are in a batch of ``count`` that is trained on ``micro`` at a time: a slice of each.

    So that all processes are at work on the same clips that one alone would be.
    """
    found = []
    for begin in range(0, count, micro):
        part = world.share(min(micro, count - begin))
        found.append(slice(begin + part.start, begin + part.stop))
    return found


def own_clips(count: int, batch: int, micro: int, world: World) -> torch.Tensor:
    """Numbers ``(n,)`` of the clips of this process among the ``count`` of an epoch, in order."""
    found: list[int] = []
    for begin in range(0, count, batch):
        for part in shares(min(batch, count - begin), micro, world):
            found += range(begin + part.start, begin + part.stop)
    return torch.tensor(found, dtype=torch.int64)
