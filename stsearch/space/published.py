"""The paper's networks as architectures, and its accuracy table as data.

Tran et al., *A Closer Look at Spatiotemporal Convolutions for Action Recognition*, CVPR 2018.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stsearch.errors import UserError, brief, did_you_mean
from stsearch.space.architecture import DEPTHS, Architecture, layers_of, parse_placement, uniform
from stsearch.space.blueprint import AnyNetwork, Definition
from stsearch.texts import path_of, read_text

_2D, _3D, _2P1 = "2d", "3d", "2plus1d"


def _mixed(early: str, late: str, group: int) -> tuple[str, ...]:
    return tuple(early if number < group else late for number in range(1, 6))


PLACEMENTS: dict[str, tuple[str, ...]] = {
    "R2D": ("collapse", _2D, _2D, _2D, _2D),
    "f-R2D": (_2D,) * 5,
    "R3D": (_3D,) * 5,
    **{f"MC{x}": _mixed(_3D, _2D, x) for x in (2, 3, 4, 5)},
    **{f"rMC{x}": _mixed(_2D, _3D, x) for x in (2, 3, 4, 5)},
    "R(2+1)D": (_2P1,) * 5,
}
"""Name to kinds, stem first (section 3 of the paper)."""
PAPER_LAYERS = (18, 34)
DEEP = {"R(2+1)D": (50, 101, 152)}


def _named() -> dict[str, Architecture]:
    return {
        f"{name}-{layers}": uniform(kinds, layers)
        for layers in DEPTHS
        for name, kinds in PLACEMENTS.items()
        if layers in PAPER_LAYERS or layers in DEEP.get(name, ())
    }


NETWORKS: dict[str, Architecture] = _named()
"""Every named network: ``R2D-18`` .. ``R(2+1)D-152``."""
_NAMES = {architecture: name for name, architecture in NETWORKS.items()}


def paper_networks(layers: int = 18) -> dict[str, Architecture]:
    """The paper's twelve networks at 18 or 34 layers, by name."""
    return {f"{name}-{layers}": NETWORKS[f"{name}-{layers}"] for name in PLACEMENTS}


def name_of(architecture: AnyNetwork) -> str:
    """The zoo's or the paper's name, else ``3d-3d-2d-2plus1d-2d@18`` where depths are usual, else the id."""
    if isinstance(architecture, Definition):
        return architecture.name
    if architecture in _NAMES:
        return _NAMES[architecture]
    layers = layers_of(architecture)
    if layers is None or "." in architecture.placement or architecture.width != 1.0:
        return architecture.id
    return f"{architecture.placement}@{layers}"


def _key(name: str) -> str:
    return re.sub(r"[()+_ ]|plus", "", name.lower())


_KEYS = {_key(name): name for name in NETWORKS}


def find_network(text: str, also: tuple[str, ...] = ()) -> Architecture:
    """A network from what a user types: a name in any case, a placement, an id or a JSON file.

    Raises ``UserError`` with a suggestion for anything else; ``also``: names that the caller knows besides.
    """
    text = text.strip()
    if (known := _KEYS.get(_key(text))) is not None:
        return NETWORKS[known]
    if text.lower().endswith(".json"):
        return _from_file(text)
    if text.count("-") >= 3 or "@" in text:
        return parse_placement(text.lower())
    names = (*NETWORKS, *also)
    raise UserError(
        f"unknown network {brief(text)}.{did_you_mean(text, names)} Allowed: {', '.join(names)}, "
        "a placement such as 3d-3d-2d-2d-2d@18, an architecture id, a JSON file, or STUDY#TRIAL."
    )


def _from_file(name: str) -> Architecture:
    before = f"cannot read the network {brief(name)}: "
    text = read_text(path_of(name, before), before)
    try:
        return Architecture.from_json(text)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


@dataclass(frozen=True)
class PublishedResult:
    """One row of the paper's table: 18 layers, Kinetics-400 validation, RGB, from scratch."""

    network: str
    frames: int
    clip_top1: float
    """per cent"""
    video_top1: float
    """per cent, mean of 10 clips"""


_TABLE: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "R2D": ((46.7, 59.5), (47.0, 58.9)),
    "f-R2D": ((48.1, 59.4), (50.3, 60.5)),
    "R3D": ((49.4, 61.8), (52.5, 64.2)),
    "MC2": ((50.2, 62.5), (53.1, 64.2)),
    "MC3": ((50.7, 62.9), (53.7, 64.7)),
    "MC4": ((50.5, 62.5), (53.7, 65.1)),
    "MC5": ((50.3, 62.5), (53.7, 65.1)),
    "rMC2": ((49.8, 62.1), (53.1, 64.9)),
    "rMC3": ((49.8, 62.3), (53.2, 65.0)),
    "rMC4": ((49.9, 62.3), (53.4, 65.1)),
    "rMC5": ((49.4, 61.2), (52.1, 63.1)),
    "R(2+1)D": ((52.8, 64.8), (56.8, 68.0)),
}
PUBLISHED: tuple[PublishedResult, ...] = tuple(
    PublishedResult(f"{name}-18", frames, *row[column])
    for column, frames in enumerate((8, 16))
    for name, row in _TABLE.items()
)
"""Clip and video top-1 at 8 and 16 frames, 112x112 (the paper's table of 12 networks)."""
