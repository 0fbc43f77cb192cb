"""What networks are made of. A kind returns a tuple of these; cost and build interpret them.

An op is plain data. Two tables give it meaning: ``stsearch.space.cost.COST`` and
``stsearch.nets.build.BUILD``; an op that is in neither raises in both.
"""

from __future__ import annotations

from dataclasses import dataclass

Triple = tuple[int, int, int]
"""Extents in time, height and width."""


class Op:
    """Base of all ops."""


@dataclass(frozen=True)
class Conv(Op):
    """A convolution without bias over ``(N, C, T, H, W)``."""

    c_in: int
    c_out: int
    kernel: Triple
    stride: Triple = (1, 1, 1)
    padding: Triple = (0, 0, 0)
    groups: int = 1


@dataclass(frozen=True)
class Norm(Op):
    """BatchNorm over ``channels``."""

    channels: int


@dataclass(frozen=True)
class Act(Op):
    """ReLU."""


@dataclass(frozen=True)
class Pool(Op):
    """Global average over time and space: ``(N, C, T, H, W)`` to ``(N, C, 1, 1, 1)``."""


@dataclass(frozen=True)
class Linear(Op):
    """The classifier, with bias: ``c_in`` features to ``c_out`` classes."""

    c_in: int
    c_out: int


Ops = tuple[Op, ...]


def total_stride(ops: Ops) -> Triple:
    """The stride of ``ops`` one after the other: what a shortcut beside them must do."""
    t, h, w = 1, 1, 1
    for op in ops:
        if isinstance(op, Conv):
            t, h, w = t * op.stride[0], h * op.stride[1], w * op.stride[2]
    return t, h, w
