"""A short run of ``tests/fuzz.py``: the same cases on every machine."""

from __future__ import annotations

from tests.fuzz import SEED, fault, place


def test_nothing_but_our_own_errors_comes_out() -> None:
    with place():
        faults = [f"case {number}: {found}" for number in range(600) if (found := fault(SEED, number))]
    assert not faults, faults[0]
