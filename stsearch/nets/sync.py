"""BatchNorm over the clips of all processes that train together."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn


class _Summed(torch.autograd.Function):
    """The sum of all processes' tensors; so is its gradient, as every process' loss depends on all of them."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor) -> torch.Tensor:
        found = own.contiguous().clone()
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        found = gradients[0].contiguous().clone()
        dist.all_reduce(found)
        return found


def _summed(own: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = _Summed.apply(own)  # type: ignore[no-untyped-call]
    return found


class SyncNorm(nn.BatchNorm3d):
    """``nn.BatchNorm3d`` whose statistics in training are those of all processes' clips ``(N, C, T, H, W)``.

    torch's ``SyncBatchNorm`` runs on GPUs alone. The mean first, then the squares around it: so nothing is lost where
    the mean is large. A process may have no clip at all.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` normalised."""
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            values, axes, sides = x.float(), (0, 2, 3, 4), (1, -1, 1, 1, 1)
            own = values.new_tensor([values.numel() // values.shape[1]])
            total = _summed(torch.cat([values.sum(axes), own]))
            mean, count = total[:-1] / total[-1], total[-1].detach()
            centred = values - mean.view(sides)
            variance = _summed(centred.square().sum(axes)) / count
            self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
            scale = self.weight * (variance + self.eps).rsqrt()
            out: torch.Tensor = centred * scale.view(sides) + self.bias.view(sides)
            return out.to(x.dtype)

    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Take them into the running statistics, which go into evaluation."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def synchronise(network: nn.Module) -> None:
    """Put a ``SyncNorm`` with the same weights and statistics in the place of every BatchNorm."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm3d:
                norm = SyncNorm(child.num_features, child.eps, child.momentum)
                norm.weight, norm.bias = child.weight, child.bias
                norm.running_mean, norm.running_var = child.running_mean, child.running_var
                norm.num_batches_tracked = child.num_batches_tracked
                norm.train(child.training)
                setattr(parent, name, norm)
