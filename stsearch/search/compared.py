"""Networks that a study is compared with, ``search.compare_with``: which they are, and what clips they see."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from stsearch.errors import UserError, brief, did_you_mean
from stsearch.space.blueprint import AnyNetwork, ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.literature import printed_of
from stsearch.space.published import NETWORKS, name_of
from stsearch.space.zoo import ZOO, find_any


def known_name(given: str) -> str:
    """The name of a network that somebody writes in any case; ``ValueError`` in one short line for another."""
    try:
        network = find_any(given)
    except UserError as error:
        if not str(error).startswith("unknown network"):
            raise ValueError(str(error)) from None
        raise ValueError(
            f"unknown network {brief(given)}.{did_you_mean(given, (*NETWORKS, *ZOO))} Allowed: names of the paper's "
            "and the zoo's networks (docs/zoo.md), a placement such as 3d-3d-2d-2d-2d@18, an id, a JSON file"
        ) from None
    return name_of(network)


@lru_cache(maxsize=256)
def too_small(network: AnyNetwork, clip: ClipShape) -> str:
    """Why clips of this shape cannot be seen by ``network``; empty where they can."""
    try:
        network_cost(network, clip, 2)
    except UserError as error:
        return str(error)
    return ""


def compared_faults(networks: Mapping[str, AnyNetwork], target: ClipShape, proxy: ClipShape) -> list[str]:
    """Networks of which nothing could be shown: no cost, or neither a training nor a published accuracy."""
    faults = []
    for name, network in networks.items():
        if why := too_small(network, target):
            faults.append(f"search.compare_with: {name} has no cost on the target: {why}")
        elif (why := too_small(network, proxy)) and printed_of(network) is None:
            faults.append(f"search.compare_with: {name} cannot be trained, and no accuracy of it is published: {why}")
    return faults
