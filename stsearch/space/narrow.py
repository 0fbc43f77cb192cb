"""Ops at another width: every layer keeps a share of its channels, the clip and the classes stay."""

from __future__ import annotations

from dataclasses import replace

from stsearch.space.ops import Concat, Conv, Excite, Linear, Norm, Op, Ops, Shift, Sum


def scaled(channels: int, width: float) -> int:
    """Channels at a width multiplier, rounded, at least 1."""
    return max(1, round(channels * width))


def narrowed(ops: Ops, channels: int, width: float) -> tuple[Ops, int]:
    """``ops`` in a row at ``width``, which ``channels`` enter, and how many channels leave them.

    What enters is told, as rounded parts need not add up to their rounded sum.
    """
    made = []
    for op in ops:
        other, channels = _narrowed(op, channels, width)
        made.append(other)
    return tuple(made), channels


def _narrowed(op: Op, channels: int, width: float) -> tuple[Op, int]:
    match op:
        case Conv() if op.groups > 1:
            assert op.groups == op.c_in, f"only depthwise convolutions have groups in the zoo; given {op}"
            leaving = channels * (op.c_out // op.c_in)
            return replace(op, c_in=channels, c_out=leaving, groups=channels), leaving
        case Conv():
            leaving = op.c_out if op.bias else scaled(op.c_out, width)  # the classifier is the one with a bias
            return replace(op, c_in=channels, c_out=leaving), leaving
        case Linear():
            return Linear(channels, op.c_out), op.c_out
        case Norm():
            return replace(op, channels=channels), channels
        case Excite():
            return Excite(channels, scaled(op.middle, width)), channels
        case Shift():
            return Shift(min(scaled(op.channels, width), channels // 2)), channels
        case Concat():
            branches = [narrowed(branch, channels, width) for branch in op.branches]
            return Concat(tuple(made for made, _ in branches)), sum(leaving for _, leaving in branches)
        case Sum():
            branches = [narrowed(branch, channels, width) for branch in op.branches]
            return Sum(tuple(made for made, _ in branches)), branches[0][1]
    return op, channels
