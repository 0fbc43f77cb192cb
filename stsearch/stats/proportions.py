"""Shares of so many videos, and differences of two, with their intervals."""

from __future__ import annotations

from math import sqrt

_Z = 1.959964
"""Of 95 %"""


def wilson(share: float, number: int) -> tuple[float, float]:
    """95 % interval of the probability behind ``share`` (0 to 1) of ``number`` things (Wilson, 1927)."""
    z2 = _Z**2
    centre = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = sqrt(z2 * (share * (1 - share) / number + z2 / (4 * number**2))) / (1 + z2 / number)
    return max(0.0, centre - half), min(1.0, centre + half)


def difference(first: float, number1: int, second: float, number2: int) -> tuple[float, float]:
    """95 % interval of ``first - second``, shares (0 to 1) of so many things each (Newcombe, 1998, method 10).

    As if they were of different things: for two networks on the same videos it is rather too wide.
    """
    (low1, high1), (low2, high2) = wilson(first, number1), wilson(second, number2)
    low = first - second - sqrt((first - low1) ** 2 + (high2 - second) ** 2)
    high = first - second + sqrt((high1 - first) ** 2 + (second - low2) ** 2)
    return max(-1.0, low), min(1.0, high)
