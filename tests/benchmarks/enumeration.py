"""How many architectures per second have all their costs computed? Run by hand, not in CI.

    python tests/benchmarks/enumeration.py

Prints, for every shipped space, the time to read nothing but the space's tables and then cost
every architecture (table included), best of 5, on one core.
"""

from __future__ import annotations

import platform
import time

import numpy as np

from stsearch.resources import find, names
from stsearch.space.blueprint import ClipShape, residual_unit
from stsearch.space.cost import cost_of_unit
from stsearch.space.search_space import load_space
from stsearch.space.table import CostTable


def main() -> None:
    """Measure and print."""
    print(f"python {platform.python_version()}, numpy {np.__version__}, {platform.processor() or platform.machine()}")
    for name in names("search_spaces"):
        space = load_space(find("search_spaces", name))
        spent = []
        for _ in range(5):
            residual_unit.cache_clear()
            cost_of_unit.cache_clear()
            begun = time.perf_counter()
            table = CostTable(space, ClipShape(), 400)
            digits, _ = table.population()
            table.costs(digits)
            spent.append(time.perf_counter() - begun)
        print(f"{name}: {space.size:,} in {min(spent) * 1e3:.1f} ms, {space.size / min(spent):,.0f} a second")


if __name__ == "__main__":
    main()
