"""Weights that other libraries published: their names mapped onto ours, every tensor used exactly once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from stsearch.errors import UserError, brief
from stsearch.nets.build import VideoNet, build
from stsearch.nets.tensors import load_torch
from stsearch.space.blueprint import AnyNetwork, ClipShape, Definition, Naming
from stsearch.space.published import name_of
from stsearch.space.zoo.torchvision import naming_of

_WITHIN = ("model_state", "state_dict", "model")
"""keys under which checkpoints keep the weights beside an optimiser's state"""
_PREFIX = "module."
"""of networks that were saved within ``DataParallel``"""
_COUNTER = "num_batches_tracked"
"""of BatchNorm: torch before 0.4.1 had none, and nothing is computed with it"""


def namings(network: AnyNetwork) -> tuple[Naming, ...]:
    """How published checkpoints name the layers of ``network``."""
    return network.foreign if isinstance(network, Definition) else naming_of(network)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The named tensors of a checkpoint, read without unpickling anything else.

    ``UserError`` where ``path`` is no file, or no file of named tensors.
    """
    return tensors_in(load_torch(path), path)


def tensors_in(content: object, path: Path) -> dict[str, torch.Tensor]:
    """The named tensors in the ``content`` of the file ``path``; ``UserError`` where there are none."""
    shown, found = brief(str(path)), content
    for key in _WITHIN:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping) or not found or not all(map(torch.is_tensor, found.values())):
        raise UserError(f"{shown} holds no state dict: expected names and tensors, alone or under {', '.join(_WITHIN)}")
    return {str(name).removeprefix(_PREFIX): tensor for name, tensor in found.items()}


def translate(
    network: AnyNetwork, built: VideoNet, tensors: Mapping[str, torch.Tensor], source: str
) -> dict[str, torch.Tensor]:
    """``tensors`` under the names of ``built``, which is ``network``'s; ``source`` is named in errors.

    ``UserError`` names a tensor that is missing, of another shape, or used by no layer.
    """
    prefixes = naming_for(network, tensors, source).layers()
    left, found = dict(tensors), {}
    for (place, module), prefix in zip(_layers(built), prefixes, strict=True):
        for name, own in module.state_dict().items():
            theirs = f"{prefix}.{name}"
            if theirs in left:
                found[f"{place}.{name}"] = _shaped(left.pop(theirs), own, theirs, source)
            elif name == _COUNTER:
                found[f"{place}.{name}"] = own
            else:
                raise UserError(f"{source} lacks the tensor {theirs} of {name_of(network)}")
    if left:
        raise UserError(f"{source} has tensors that {name_of(network)} has no layer for: {_listed(list(left))}")
    return found


def naming_for(network: AnyNetwork, tensors: Mapping[str, torch.Tensor], source: str) -> Naming:
    """The one of ``namings`` by which ``tensors`` are named; ``UserError`` where there is none."""
    known = namings(network)
    if not known:
        raise UserError(f"no published checkpoint of {name_of(network)} is known; its own weights have its own names")
    found = max(known, key=lambda naming: _matches(naming.layers(), tensors))
    if not _matches(found.layers(), tensors):
        libraries, first = ", ".join(naming.library for naming in known), brief(next(iter(tensors)))
        raise UserError(
            f"{source} is no checkpoint of {name_of(network)} as {libraries} names it: "
            f"expected {found.layers()[0]}.weight, its first tensor is {first}"
        )
    return found


@dataclass(frozen=True)
class Published:
    """A checkpoint that somebody published, under our names."""

    state: Mapping[str, torch.Tensor]
    classes: int
    """outputs of its classifier; which classes they are it does not say"""
    naming: Naming


def published_in(content: object, network: AnyNetwork, clip: ClipShape, path: Path) -> Published:
    """The checkpoint of ``network`` in the ``content`` of the file ``path``, whatever its classes.

    Every tensor is used exactly once. ``clip`` is of any shape that the network takes. ``UserError`` names what does
    not fit.
    """
    tensors, source = tensors_in(content, path), brief(str(path))
    naming = naming_for(network, tensors, source)
    last = tensors.get(f"{naming.layers()[-1]}.weight")
    classes = len(last) if last is not None and last.dim() else 1  # of a missing one ``translate`` tells
    with torch.device("meta"):
        built = build(network, clip, classes)
    state = translate(network, built, tensors, source)
    # only BatchNorm's counters can be missing; then they begin at 0
    whole = {key: torch.zeros((), dtype=value.dtype) if value.is_meta else value for key, value in state.items()}
    return Published(whole, classes, naming)


def load_foreign(network: AnyNetwork, built: VideoNet, path: Path) -> None:
    """Give ``built``, which is ``network``'s, the published weights in the file ``path``; all of them or none."""
    built.load_state_dict(translate(network, built, read_tensors(path), brief(str(path))))


def _layers(built: VideoNet) -> Iterator[tuple[str, nn.Module]]:
    """Modules that have tensors of their own, in the blueprint's order."""
    for place, module in built.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            yield place, module


def _matches(prefixes: Sequence[str], tensors: Mapping[str, torch.Tensor]) -> int:
    return sum(f"{prefix}.weight" in tensors for prefix in prefixes)


def _shaped(tensor: torch.Tensor, own: torch.Tensor, name: str, source: str) -> torch.Tensor:
    """``tensor`` in our shape: a linear layer or a 2D convolution is one in 3D with extents of 1."""
    theirs, ours = tuple(tensor.shape), tuple(own.shape)
    if theirs == ours:
        return tensor
    if [size for size in theirs if size > 1] != [size for size in ours if size > 1] or theirs[:1] != ours[:1]:
        raise UserError(f"the tensor {name} of {source} is {_sizes(theirs)}; this network has {_sizes(ours)} there")
    return tensor.reshape(ours)


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
