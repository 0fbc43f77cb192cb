"""Weights that a training begins with, in place of random ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from stsearch.errors import UserError, brief
from stsearch.evaluate.weights import is_ours, of_network, put_in, read_content, read_weights_of, weights_in
from stsearch.nets.build import VideoNet, build
from stsearch.nets.foreign import published_in
from stsearch.nets.inflate import Mode, flat, from_resnet, inflate
from stsearch.space.blueprint import AnyNetwork, ClipShape, Definition
from stsearch.space.published import name_of


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


def from_weights(path: Path, network: AnyNetwork, name: str, classes: tuple[str, ...], clip: ClipShape) -> Start:
    """Go on from weights of the same network, ours or as others published them.

    Its classifier is kept where the classes are the same; a published one, whose classes nobody knows, where there are
    as many. Raises ``UserError`` for weights of another network, and for a file that holds none.
    """
    content = read_content(path)
    if not is_ours(content):
        return _from_published(content, path, network, name, classes, clip)
    found = of_network(weights_in(content, path), path, network, name)
    same = found.about.classes == classes
    count = len(found.about.classes)
    others = f"the classifier in {brief(str(path))} is of other classes ({count}): a new one is trained"

    def put(network: nn.Module) -> None:
        put_in(network, found.state if same else with_new_head(network, found.state), name)

    said = f"{path.name} ({found.about.network}, trained on {found.about.data.get('name', 'other data')})"
    return Start(said, digest_of(path), () if same else (others,), put)


def _from_published(
    content: object, path: Path, network: AnyNetwork, name: str, classes: tuple[str, ...], clip: ClipShape
) -> Start:
    found = published_in(content, network, clip, path)
    same = found.classes == len(classes)
    note = f"{brief(str(path))} names none of its {found.classes} classes: "
    note += "its classifier is taken as that of the data's, in their order" if same else "a new classifier is trained"

    def put(built: nn.Module) -> None:
        put_in(built, found.state if same else with_new_head(built, found.state), name)

    return Start(f"{path.name} ({name}, published by {found.naming.library})", digest_of(path), (note,), put)


def from_2d(
    path: Path, architecture: AnyNetwork, name: str, classes: tuple[str, ...], clip: ClipShape, mode: Mode
) -> Start:
    """Go on from a 2D network of the same shape: a ``weights.pt`` of ours, or a state dict of torchvision's or timm's.

    Raises ``UserError`` for weights of another shape, a file that holds none, and a kind that has no 2D weights in it.
    """
    if isinstance(architecture, Definition):
        raise UserError(f"--inflate-from is for networks built of kinds, as R3D-18; {name} begins with --weights FILE")
    plane = flat(architecture)
    content = read_content(path)
    ours = is_ours(content)
    if ours:
        known = read_weights_of(path, plane, f"{name_of(plane)}, the 2D network of the shape of {name}")
        state, same, source = dict(known.state), known.about.classes == classes, known.about.network
        if len(known.about.mean) != clip.channels:
            raise UserError(f"{brief(str(path))} sees {len(known.about.mean)} channels; the clips have {clip.channels}")
    else:
        state, same, source = from_resnet(_tensors(content, path), architecture), False, "a ResNet"
    flat_network = build(plane, clip, len(classes))
    flat_state = state if same else with_new_head(flat_network, state)
    put_in(flat_network, flat_state, f"{name_of(plane)}, the 2D network of the shape of {name}")
    probe = build(architecture, clip, len(classes))
    found = inflate(flat_network, probe, architecture, clip, mode)
    probe.load_state_dict(found.state)
    notes = [] if same else ["the classifier is new"]
    notes += [] if ours else ["their max-pool after the stem is not ours: what follows sees frames twice as fine"]
    for key, share in found.kept.items():
        far = 100 * _apart(flat_network, probe, clip)
        notes.append(
            f"{key} has fewer channels than filters: {100 * share:.1f} % of their squares are kept, and logits of "
            f"noise that stands still are off by up to {far:.1f} % of the largest"
        )

    def put(network: nn.Module) -> None:
        assert isinstance(network, VideoNet)
        begun = inflate(flat_network, network, architecture, clip, mode).state
        network.load_state_dict(begun if same else with_new_head(network, begun))

    said = f"{path.name} ({source}, inflated: {mode})"
    return Start(said, f"{digest_of(path)} {mode}", tuple(notes), put)


def _apart(flat_network: nn.Module, network: nn.Module, clip: ClipShape) -> float:
    """Largest difference of a logit on noise that stands still, where the largest logit is 1."""
    noise = torch.randn(4, clip.channels, 1, clip.height, clip.width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = flat_network.eval()(noise)
        found = network.eval()(noise.expand(-1, -1, clip.frames, -1, -1))
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))


def _tensors(content: object, path: Path) -> dict[str, torch.Tensor]:
    """The state dict that a file holds, at its top or as ``state_dict``."""
    inner = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(inner, dict) or not inner or not all(torch.is_tensor(value) for value in inner.values()):
        raise UserError(
            f"{brief(str(path))} holds no state dict; expected weights.pt of `stsearch train` or a ResNet's"
        )
    return {str(key): value for key, value in inner.items()}


def with_new_head(network: nn.Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``state`` with the classifier of ``network``, its last layer, in place of its own."""
    *_, (last, _) = ((name, one) for name, one in network.named_modules() if isinstance(one, nn.Linear | nn.Conv3d))
    own = {key: value for key, value in network.state_dict().items() if key.startswith(f"{last}.")}
    return {**state, **own}
