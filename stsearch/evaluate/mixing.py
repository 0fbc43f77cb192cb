"""Two clips of a batch as one: mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019) of clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from stsearch.evaluate.recipe import Extras


@dataclass(frozen=True)
class Mix:
    """What is done to all clips of one batch: each is mixed with the next one, the last with the first."""

    share: float
    """of the loss that is of the clip's own class; the rest is of its neighbour's"""
    box: tuple[int, int, int, int] | None = None
    """first row, end, first column, end of what is cut out of the neighbour, in all frames; ``None``: both are added"""

    def mixed(self, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Clips ``(B, C, T, H, W)`` and their neighbours as one; changes ``own``."""
        if self.box is None:
            return own.lerp_(other, 1 - self.share)
        top, bottom, left, right = self.box
        own[..., top:bottom, left:right] = other[..., top:bottom, left:right]
        return own


def draw_mix(extras: Extras, size: int, generator: torch.Generator) -> Mix | None:
    """The next batch's, for clips of ``size`` x ``size`` pixels; ``None``, and nothing drawn, where nothing is asked.

    Where both are asked for, each batch is mixed in one way, by the toss of a coin.
    """
    if not extras.mixup and not extras.cutmix:
        return None
    draw = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    cut = not extras.mixup or (extras.cutmix > 0 and draw.random() < 0.5)
    alpha = extras.cutmix if cut else extras.mixup
    share = float(draw.beta(alpha, alpha))
    if not cut:
        return Mix(share)
    side = size * (1 - share) ** 0.5
    (row, column) = draw.uniform(0, size, 2)
    top, bottom, left, right = (
        int(np.clip(round(at), 0, size))
        for at in (row - side / 2, row + side / 2, column - side / 2, column + side / 2)
    )
    return Mix(1 - (bottom - top) * (right - left) / size**2, (top, bottom, left, right))
