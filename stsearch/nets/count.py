"""The second, independent count: what torch itself does in a forward pass."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from stsearch.nets.build import build
from stsearch.space.blueprint import AnyNetwork, ClipShape


def counted_flops(architecture: AnyNetwork, clip: ClipShape, classes: int) -> int:
    """FLOPs of one clip (2 x MACs) that ``FlopCounterMode`` sees, on the meta device."""
    with torch.device("meta"):
        network = build(architecture, clip, classes).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.empty(1, *clip.sizes))
    return int(counter.get_total_flops())
