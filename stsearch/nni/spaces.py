"""A search space as an NNI ``ModelSpace``, and its architectures as NNI samples, both ways.

A sample's labels are the names of the space's own decisions, ``:`` for ``.``: ``stem``,
``conv2_x:kind`` (``conv2_x:1:kind`` where kinds are per block), ``conv2_x:depth``, ``width``.
Decisions with one allowed value are no choices here either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import nni
import torch
from nni.nas.nn.pytorch import LayerChoice, ModelSpace, Repeat
from torch import nn

from stsearch.errors import UserError
from stsearch.nets.build import Residual, initialise, modules
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape, Unit, head_ops, stage_units, stem_unit
from stsearch.space.search_space import Parameter, SearchSpace, StageChoices, Value

Sample = dict[str, Any]
"""Label to chosen value, as NNI has it."""


def label(name: str) -> str:
    """The label of a decision. Each is a parameter's name in DARTS, where torch allows no dot; NNI allows no slash."""
    return name.replace(".", ":")


def token(value: Value) -> Value:
    """How NNI names a value: widths are candidates of a ``LayerChoice``, whose names are strings without a dot."""
    return f"w{value!r}".replace(".", "_") if isinstance(value, float) else value


def _parameter_tokens(parameter: Parameter) -> dict[Value, Value]:
    return {token(value): value for value in parameter.values}


def to_sample(space: SearchSpace, architecture: Architecture) -> Sample:
    """The sample of ``architecture``; ``UserError`` if it is not of ``space``."""
    return {label(name): token(value) for name, value in space.encode(architecture).items()}


def to_architecture(space: SearchSpace, sample: Mapping[str, Any]) -> Architecture:
    """The architecture of a sample; ``UserError`` for a label that is missing or a value that is not allowed.

    Where kinds are per block, samples that differ beyond the depth are one architecture.
    """
    values: dict[str, Value] = {}
    for parameter in space.parameters:
        known, name = _parameter_tokens(parameter), label(parameter.name)
        if name not in sample:
            raise UserError(f"the sample of the space {space.name!r} has no {name!r}; given {', '.join(sample) or '-'}")
        if sample[name] not in known:
            raise UserError(f"{name} is one of {', '.join(map(str, known))}; given {sample[name]!r}")
        values[parameter.name] = known[sample[name]]
    return space.decode(values)


class SpaceNet(ModelSpace):  # type: ignore[misc]
    """The networks of ``space`` on clips of shape ``clip``: ``LayerChoice`` per stage or block, depths as ``Repeat``.

    Kinds of one stage share a label, so they are one decision. Widths, which change every layer, are a
    ``LayerChoice`` of whole networks: NNI's one-shot strategies know no ``Conv3d`` of variable channels.
    """

    def __init__(self, space: SearchSpace, clip: ClipShape, classes: int) -> None:
        super().__init__()
        trunk = partial(_trunk, space, clip, classes)
        if len(space.widths) == 1:
            self.network = trunk(space.widths[0])
        else:
            self.network = LayerChoice({str(token(width)): trunk(width) for width in space.widths}, label="width")

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(clips)
        return logits


def _trunk(space: SearchSpace, clip: ClipShape, classes: int, width: float) -> nn.Module:
    """A whole network of one width: stem, stages, head."""
    stems = {stem: partial(_module, stem_unit(stem, clip, width)) for stem in space.stems}
    stages = [_stage(stage, number, space.block, width) for number, stage in enumerate(space.stages, 1)]
    return nn.Sequential(_choice(stems, "stem"), *stages, modules(head_ops(space.block, width, classes)))


def _module(unit: Unit) -> nn.Module:
    return modules(unit.main) if unit.shortcut is None else Residual(unit)


def _stage(stage: StageChoices, number: int, block: str, width: float) -> nn.Module:
    """``Repeat`` of blocks; the first of them takes the channels and the stride of the stage before."""
    most = max(stage.depths)
    units = {kind: stage_units(number, (kind,) * most, block, width) for kind in stage.kinds}

    def nth(place: int) -> nn.Module:
        name = f"{stage.name}.{place + 1}.kind" if stage.per_block else f"{stage.name}.kind"
        return _choice({kind: partial(_module, units[kind][place]) for kind in stage.kinds}, label(name))

    if len(stage.depths) == 1:
        return nn.Sequential(*(nth(place) for place in range(most)))
    repeat: nn.Module = Repeat(nth, nni.choice(label(f"{stage.name}.depth"), list(stage.depths)))
    return repeat


def _choice(candidates: Mapping[str, Callable[[], nn.Module]], name: str) -> nn.Module:
    """A ``LayerChoice``, or the only candidate itself."""
    if len(candidates) == 1:
        return next(iter(candidates.values()))()
    choice: nn.Module = LayerChoice({kind: make() for kind, make in candidates.items()}, label=name)
    return choice


def to_model_space(
    space: SearchSpace, clip: ClipShape, classes: int, *, generator: torch.Generator | None = None
) -> SpaceNet:
    """``space`` as an NNI ``ModelSpace``; on the meta device (``with torch.device("meta")``) nothing is allocated.

    Weights are initialised as ``stsearch.nets.build.build`` does it. ``UserError`` for kinds whose names NNI keeps
    for itself.
    """
    taken = {kind for stage in space.stages for kind in stage.kinds} | set(space.stems)
    reserved = sorted(kind for kind in taken if hasattr(LayerChoice, kind) or kind in _RESERVED)
    if reserved:
        raise UserError(f"NNI cannot hold a kind named {', '.join(reserved)}: it keeps that name for itself")
    with torch.random.fork_rng(devices=[]):  # the layers' own initialisation must not move the caller's state
        network = SpaceNet(space, clip, classes)
    initialise(network, generator)
    return network


_RESERVED = {"length", "reduction", "return_mask", "key", "names", "choice", "training"}
"""Names that ``LayerChoice`` refuses, or attributes of its instances."""
