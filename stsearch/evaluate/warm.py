"""Weights that a training begins with, in place of random ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from stsearch.errors import brief
from stsearch.evaluate.weights import put_in, read_weights_of
from stsearch.space.architecture import Architecture

HEAD = "head."
"""Begins the names of the classifier's tensors."""


@dataclass(frozen=True)
class Start:
    """Where a training's first weights come from."""

    said: str
    """in words, for the record"""
    digest: str
    """of the file: with another one, it is another training"""
    notes: tuple[str, ...]
    """what a user should know"""
    put: Callable[[nn.Module], None]
    """gives the network its weights"""


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def from_weights(path: Path, architecture: Architecture, name: str, classes: tuple[str, ...]) -> Start:
    """Go on from weights of the same network; its classifier is kept where the classes are the same.

    Raises ``UserError`` for weights of another network, and for a file that holds none.
    """
    found = read_weights_of(path, architecture, name)
    same = found.about.classes == classes
    count = len(found.about.classes)
    others = f"the classifier in {brief(str(path))} is of other classes ({count}): a new one is trained"

    def put(network: nn.Module) -> None:
        put_in(network, found.state if same else with_new_head(network, found.state), name)

    said = f"{path.name} ({found.about.network}, trained on {found.about.data.get('name', 'other data')})"
    return Start(said, digest_of(path), () if same else (others,), put)


def with_new_head(network: nn.Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``state`` with the classifier of ``network`` in place of its own."""
    own = {key: value for key, value in network.state_dict().items() if key.startswith(HEAD)}
    return {**{key: value for key, value in state.items() if not key.startswith(HEAD)}, **own}
