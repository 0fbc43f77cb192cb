"""stsearch: where in a video network should convolutions see time, and what does it cost?

The names below load what they need when they are first used; ``import stsearch`` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from stsearch.nets.build import build as build
    from stsearch.report.pareto import pareto_of as pareto_of
    from stsearch.search.reading import read_study as read_study
    from stsearch.search.storage import open_study as open_study
    from stsearch.space.architecture import Architecture as Architecture
    from stsearch.space.blueprint import ClipShape as ClipShape
    from stsearch.space.cost import network_cost as network_cost
    from stsearch.space.kinds import kind as kind
    from stsearch.space.published import find_network as find_network
    from stsearch.space.search_space import load_space as load_space

_HOME = {
    "Architecture": "stsearch.space.architecture",
    "ClipShape": "stsearch.space.blueprint",
    "build": "stsearch.nets.build",
    "find_network": "stsearch.space.published",
    "kind": "stsearch.space.kinds",
    "load_space": "stsearch.space.search_space",
    "network_cost": "stsearch.space.cost",
    "open_study": "stsearch.search.storage",
    "pareto_of": "stsearch.report.pareto",
    "read_study": "stsearch.search.reading",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'stsearch' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
