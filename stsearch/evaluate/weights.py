"""A trained network as one file: its weights, and all that somebody needs to use them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from stsearch.errors import UserError, brief
from stsearch.nets.build import VideoNet, build
from stsearch.nets.tensors import load_torch
from stsearch.space.blueprint import AnyNetwork, ClipShape
from stsearch.space.zoo import network_of

FORMAT = "stsearch weights 1"
CHECKPOINT_KEYS = {"of", "state"}
"""of the file that a training goes on from: what it is of, and how it stands"""


@dataclass(frozen=True)
class About:
    """What weights are of."""

    network: str
    architecture: str
    """id; of a network of the zoo its name"""
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    """per channel, of pixels 0..255: a network is fed with ``(pixel - mean) / std``"""
    std: tuple[float, ...]
    frames: int
    size: int
    """height and width of a clip, pixels"""
    modality: str = "rgb"
    """``flow``: two channels"""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """how clips come from videos: ``span`` (seconds that a clip covers), ``windows``, ``fps``, ``fit``, and ``height``
    and ``width`` of frames before the crop; empty where clips were rendered"""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    """``name``, ``path`` where there is one, and ``fingerprint``"""
    begun_from: str = ""
    """the weights that training began with; empty for random ones"""
    record: Mapping[str, Any] = field(default_factory=dict)
    """accuracies (per cent), epochs and clips of the training, as in ``record.json``"""
    versions: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    """of the weights; empty where nobody said"""

    @property
    def clip(self) -> ClipShape:
        """The clip that they were trained on."""
        return ClipShape(len(self.mean), self.frames, self.size, self.size)

    def parsed(self) -> AnyNetwork:
        """The network that they are of."""
        return network_of(self.architecture)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain: dict[str, Any] = _listed(asdict(self))
        return plain


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _listed(inner) for key, inner in value.items()}
    return [_listed(inner) for inner in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


@dataclass(frozen=True)
class Weights:
    """Weights and what they are of."""

    about: About
    state: Mapping[str, torch.Tensor]

    def network(self) -> VideoNet:
        """The network with these weights, on the CPU; ``UserError`` where they do not fit it."""
        network = build(self.about.parsed(), self.about.clip, len(self.about.classes))
        put_in(network, self.state, self.about.network)
        return network


def put_in(network: torch.nn.Module, state: Mapping[str, torch.Tensor], name: str) -> None:
    """Give ``network`` the weights ``state``; ``UserError`` names the first tensor that does not fit."""
    own = network.state_dict()
    for key in own:
        if key not in state:
            raise UserError(f"these are not weights of {name}: {key!r} is missing")
    for key, value in state.items():
        if key not in own:
            raise UserError(f"these are not weights of {name}: it has no {key!r}")
        if value.shape != own[key].shape:
            shapes = f"{tuple(value.shape)} and should be {tuple(own[key].shape)}"
            raise UserError(f"these are not weights of {name}: {key!r} is {shapes}")
    network.load_state_dict(state)


def is_ours(content: object) -> bool:
    """Whether ``content`` of a file is what ``write_weights`` writes."""
    return isinstance(content, dict) and content.get("format") == FORMAT


def read_content(path: Path) -> Any:
    """What is in a file of weights, be they ours or as others published them.

    ``UserError`` for one that torch cannot read, and for the checkpoint that a training of ours goes on from.
    """
    content = load_torch(path)
    if isinstance(content, dict) and content.keys() == CHECKPOINT_KEYS:
        raise UserError(
            f"{brief(str(path))} is what `stsearch train` goes on from after a stop; the weights are in weights.pt "
            "beside it as soon as the training has ended"
        )
    return content


def read_weights(path: Path) -> Weights:
    """What ``write_weights`` wrote; ``UserError`` for anything else."""
    return weights_in(read_content(path), path)


def weights_in(content: Any, path: Path) -> Weights:
    """What ``write_weights`` wrote, in the ``content`` of the file ``path``; ``UserError`` for anything else."""
    if not is_ours(content):
        raise UserError(
            f"{brief(str(path))} holds no class list, mean and clip shape, so nobody knows what its weights say; "
            "expected a file that `stsearch train` wrote"
        )
    try:
        given = {key: value for key, value in content["about"].items() if key in {one.name for one in fields(About)}}
        tuples = {key: tuple(given[key]) for key in ("classes", "mean", "std")}
        about = About(**{**given, **tuples})
        state = {str(key): value for key, value in content["state"].items()}
        if not about.classes or len(about.mean) != len(about.std) or not all(map(torch.is_tensor, state.values())):
            raise ValueError
        about.parsed()
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{brief(str(path))} lacks a part: its class list, clip shape or weights") from None
    return Weights(about, state)


def read_weights_of(path: Path, architecture: AnyNetwork, name: str) -> Weights:
    """``read_weights``, which must be of ``architecture``; ``UserError`` otherwise."""
    return of_network(read_weights(path), path, architecture, name)


def of_network(found: Weights, path: Path, architecture: AnyNetwork, name: str) -> Weights:
    """``found`` in ``path``, which must be of ``architecture``; ``UserError`` otherwise."""
    if found.about.architecture != architecture.id:
        raise UserError(f"{brief(str(path))} holds weights of {found.about.network}, not of {name}")
    return found


def write_weights(path: Path, weights: Weights) -> None:
    """Write ``path`` whole or not at all; raises ``OSError``."""
    kept = io.BytesIO()
    state = {key: value.detach().to("cpu").contiguous() for key, value in weights.state.items()}
    torch.save({"format": FORMAT, "about": weights.about.as_dict(), "state": state}, kept)
    write_whole(path, kept.getbuffer())


def write_whole(path: Path, content: memoryview) -> None:
    """Write ``path`` so that a reader sees it whole or as it was, whatever happens; raises ``OSError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
