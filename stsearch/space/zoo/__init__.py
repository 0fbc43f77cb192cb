"""The networks people compare with, each from its definition. A new one is one file with a ``Definition``."""

from __future__ import annotations

from stsearch.registry import Registry
from stsearch.space.architecture import parse_placement
from stsearch.space.blueprint import AnyNetwork, Definition
from stsearch.space.published import find_network
from stsearch.space.zoo import csn, inception, resnet50, slowfast, torchvision, x3d

ZOO: Registry[Definition] = Registry("network")
"""By name, in the order of the documentation."""
for _module in (inception, resnet50, slowfast, csn, x3d, torchvision):
    for _network in _module.NETWORKS:
        ZOO.add(_network.name, _network)


_KEYS = {name.lower(): name for name in ZOO}


def of_zoo(text: str) -> Definition | None:
    """A network of the zoo by its name in any case."""
    known = _KEYS.get(text.strip().lower())
    return None if known is None else ZOO[known]


def network_of(identifier: str) -> AnyNetwork:
    """The network whose ``id`` that is: a name of the zoo, or an architecture's; ``UserError`` for another one."""
    return ZOO[identifier] if identifier in ZOO else parse_placement(identifier)


def find_any(text: str) -> AnyNetwork:
    """A network of the zoo or of the paper by its name in any case, a placement, an id or a JSON file.

    ``r3d_18`` is torchvision's, ``R3D-18`` the paper's. ``UserError`` with a suggestion otherwise.
    """
    return of_zoo(text) or find_network(text, also=tuple(ZOO))
