"""Modules that torch does not have: what ops become where no ``torch.nn`` module will do."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from stsearch.space.ops import Triple


class Convolution(nn.Conv3d):
    """``nn.Conv3d``, ``(N, C, T, H, W)`` to the same, that trains right in bf16 on a CPU too.

    oneDNN's bf16 gradient of the weights (torch 2.13, avx512_bf16) is off by its own size, infinite or nan, and
    writes outside its memory, where the temporal kernel is longer than the clip: a kernel of 3 on 2 frames, one of 5
    on 2 to 4, one of 7 on 2 to 6. All other shapes tried are right. So these few are computed in fp32.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution of ``x``."""
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and x.shape[2] < self.kernel_size[0]:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.to(self.weight.dtype))
        return super().forward(x)


class AveragePool(nn.Module):
    """The mean of ``(N, C, T, H, W)`` under a window that moves by 1; 0 is the whole extent, which none exceeds."""

    def __init__(self, kernel: Triple) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C, T, H, W)`` with fewer positions."""
        whole = [axis for axis, width in zip((2, 3, 4), self.kernel, strict=True) if not width]
        if whole:
            x = x.mean(whole, keepdim=True)
        if len(whole) == 3:
            return x
        kernel = [width if 0 < width <= size else size for width, size in zip(self.kernel, x.shape[2:], strict=True)]
        return functional.avg_pool3d(x, kernel, stride=1)


class SamePadding(nn.Module):
    """Zeros around ``(N, C, T, H, W)`` as TensorFlow's SAME has them for a window of ``kernel`` and ``stride``."""

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` with its zeros; of an odd number there is one more behind than before."""
        pads: list[int] = []
        for size, width, step in zip(x.shape[2:], self.kernel, self.stride, strict=True):
            zeros = max(width - (size % step or step), 0)
            pads = [zeros // 2, zeros - zeros // 2, *pads]  # torch names the last axis first
        return functional.pad(x, pads)


class EveryFrame(nn.Module):
    """Every ``step``-th frame of ``(N, C, T, H, W)``."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C, ceil(T / step), H, W)``"""
        return x[:, :, :: self.step]


class TemporalShift(nn.Module):
    """Some channels of ``(N, C, T, H, W)`` from the next frame, as many from the one before (Lin et al., ICCV 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` shifted; zeros where there is no frame."""
        n = self.channels
        ahead = functional.pad(x[:, :n, 1:], (0, 0, 0, 0, 0, 1))
        back = functional.pad(x[:, n : 2 * n, :-1], (0, 0, 0, 0, 1, 0))
        return torch.cat((ahead, back, x[:, 2 * n :]), 1)


class SqueezeExcite(nn.Module):
    """``x`` times a weight per channel: sigmoid of two 1x1x1 convolutions of its mean (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.squeeze = Convolution(channels, middle, 1)
        self.act = nn.ReLU(inplace=True)
        self.expand = Convolution(middle, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C, T, H, W)`` to the same."""
        return x * torch.sigmoid(self.expand(self.act(self.squeeze(self.pool(x)))))


class Branches(nn.ModuleList):
    """Modules that see the same clip; their outputs concatenated along the channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C, T, H, W)`` of every branch, together."""
        return torch.cat([branch(x) for branch in self], 1)


class Added(nn.ModuleList):
    """Modules that see the same clip; their outputs added up."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C, T, H, W)`` of every branch, summed."""
        first, *others = (branch(x) for branch in self)
        for other in others:
            first = first + other
        out: torch.Tensor = first
        return out
