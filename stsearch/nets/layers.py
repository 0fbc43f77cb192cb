"""Modules that torch does not have: what ops become where no ``torch.nn`` module will do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from stsearch.space.ops import Triple


class Convolution(nn.Conv3d):
    """``nn.Conv3d``, ``(N, C, T, H, W)`` to the same, in a precision in which it trains right.

    On a CPU oneDNN's gradient of the weights (torch 2.13) is off by its own size, infinite or nan, and is written
    outside its memory, in bf16 where the temporal kernel is longer than the clip: a kernel of 3 on 2 frames, one of 5
    on 2 to 4, one of 7 on 2 to 6. ``stsearch.evaluate.sound`` tries every shape and says so in ``right_in``.
    """

    right_in: torch.dtype | None = None
    """the lowest precision that was found right; ``None`` where nobody tried: then the rule above holds"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolution of ``x``."""
        if x.is_meta:
            return super().forward(x)
        if self.right_in is torch.float64:
            return self._exact(x)
        if torch.is_autocast_enabled(x.device.type) and self._wants_fp32(x):
            with torch.autocast(x.device.type, enabled=False):
                return super().forward(x.to(self.weight.dtype))
        return super().forward(x)

    def _wants_fp32(self, x: torch.Tensor) -> bool:
        if self.right_in is None:
            return x.device.type == "cpu" and x.shape[2] < self.kernel_size[0]
        return self.right_in is torch.float32

    def _exact(self, x: torch.Tensor) -> torch.Tensor:
        """In float64, which no fast library computes."""
        bias = None if self.bias is None else self.bias.double()
        with torch.autocast(x.device.type, enabled=False):
            out: torch.Tensor = self._conv_forward(x.double(), self.weight.double(), bias)
        return out.to(self.weight.dtype)


class AveragePool(nn.Module):
    """The mean of ``(N, C, T, H, W)`` under a window that moves by 1; 0 is the whole extent, which none exceeds."""

    def __init__(self, kernel: Triple) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C, T, H, W)`` with fewer positions."""
        sides = list(zip((2, 3, 4), self.kernel, x.shape[2:], strict=True))
        whole = [axis for axis, width, size in sides if not 0 < width <= size]
        if whole:
            x = x.mean(whole, keepdim=True)
        if len(whole) == 3:
            return x
        # numbers of the definition alone: an exported file then takes clips of any size on this side of the window
        kernel = [1 if axis in whole else width for axis, width, _ in sides]
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
            zeros = width - step if step == 1 else width - step + -size % step  # no window is smaller than its step
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


@dataclass(frozen=True)
class Draws:
    """What a dropout sets to zero in one step, so that it is the same however the batch is split."""

    seed: int
    batch: int
    """clips of the whole batch"""
    begin: int
    """place in it of the first clip of this pass"""


class StepDropout(nn.Module):
    """``nn.Dropout`` whose draws can be named; without ``draws`` they come from torch's own generator."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.draws: Draws | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` with a share of its elements set to zero and the others scaled up; in evaluation ``x`` itself."""
        if not self.training or not self.share or self.draws is None:
            return functional.dropout(x, self.share, self.training)
        generator = torch.Generator(x.device).manual_seed(self.draws.seed)
        of_batch = torch.rand(self.draws.batch, *x.shape[1:], device=x.device, generator=generator)
        kept = of_batch[self.draws.begin :][: len(x)] >= self.share
        return x * kept.to(x.dtype) / (1 - self.share)


def name_draws(network: nn.Module, draws: Draws | None) -> None:
    """Tell every dropout of ``network`` what to draw from, each its own numbers."""
    for number, module in enumerate(module for module in network.modules() if isinstance(module, StepDropout)):
        module.draws = None if draws is None else Draws(draws.seed + number, draws.batch, draws.begin)


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
