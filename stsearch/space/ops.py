"""What networks are made of. A kind returns a tuple of these; cost and build interpret them.

An op is plain data. Two tables give it meaning: ``stsearch.space.cost.COST`` and
``stsearch.nets.build.BUILD``; an op that is in neither raises in both.
"""

from __future__ import annotations

from dataclasses import dataclass

Triple = tuple[int, int, int]
"""Extents in time, height and width."""
NORM_EPS = 1e-3
"""BatchNorm's epsilon in the authors' code; its momentum there, 0.9, is 0.1 in torch's sense."""


class Op:
    """Base of all ops."""


@dataclass(frozen=True)
class Conv(Op):
    """A convolution over ``(N, C, T, H, W)``; only where it is a classifier it has a bias."""

    c_in: int
    c_out: int
    kernel: Triple
    stride: Triple = (1, 1, 1)
    padding: Triple = (0, 0, 0)
    groups: int = 1
    bias: bool = False


@dataclass(frozen=True)
class Norm(Op):
    """BatchNorm over ``channels``."""

    channels: int
    eps: float = NORM_EPS
    momentum: float = 0.1
    """share of the newest batch in the running statistics, as torch means it"""


@dataclass(frozen=True)
class Act(Op):
    """ReLU."""


@dataclass(frozen=True)
class Swish(Op):
    """``x * sigmoid(x)``."""


@dataclass(frozen=True)
class Dropout(Op):
    """Zeroes a ``share`` of the elements in training."""

    share: float


@dataclass(frozen=True)
class MaxPool(Op):
    """The largest element under a window."""

    kernel: Triple
    stride: Triple
    padding: Triple = (0, 0, 0)


@dataclass(frozen=True)
class AvgPool(Op):
    """The mean under a window that moves by 1; 0 is the whole extent, and a window never exceeds its extent."""

    kernel: Triple


@dataclass(frozen=True)
class PadSame(Op):
    """Zeros around a clip as TensorFlow's SAME has them for the window that follows; of an odd number more behind."""

    kernel: Triple
    stride: Triple


@dataclass(frozen=True)
class Every(Op):
    """Every ``step``-th frame, the first among them."""

    step: int


@dataclass(frozen=True)
class Shift(Op):
    """``channels`` channels look one frame ahead, as many one frame back; zeros at the ends (TSM, ICCV 2019)."""

    channels: int


@dataclass(frozen=True)
class Excite(Op):
    """Squeeze-and-excitation (Hu et al., CVPR 2018): channels weighted by what the mean of the clip says.

    Global average, 1x1x1 with bias to ``middle``, ReLU, 1x1x1 with bias back, sigmoid, product.
    """

    channels: int
    middle: int


@dataclass(frozen=True)
class Concat(Op):
    """Branches that see the same clip; what leaves them is put one behind the other, along the channels."""

    branches: tuple[tuple[Op, ...], ...]


@dataclass(frozen=True)
class Pool(Op):
    """Global average over time and space: ``(N, C, T, H, W)`` to ``(N, C, 1, 1, 1)``."""


@dataclass(frozen=True)
class Linear(Op):
    """The classifier, with bias: ``c_in`` features to ``c_out`` classes."""

    c_in: int
    c_out: int


@dataclass(frozen=True)
class Sum(Op):
    """Branches that see the same clip; what leaves them, of one shape, is added up."""

    branches: tuple[tuple[Op, ...], ...]


Ops = tuple[Op, ...]


def total_stride(ops: Ops) -> Triple:
    """The stride of ``ops`` one after the other: what a shortcut beside them must do."""
    t, h, w = 1, 1, 1
    for op in ops:
        if isinstance(op, Conv | Sum):
            steps = op.stride if isinstance(op, Conv) else total_stride(op.branches[0])
            t, h, w = t * steps[0], h * steps[1], w * steps[2]
    return t, h, w
