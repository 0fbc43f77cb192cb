"""A 2D network's weights in a video network of the same shape, so that a video that stands still is judged alike.

A 3D convolution holds the 2D weights in its middle tap, or in all taps, divided by their number (Carreira and
Zisserman, CVPR 2017). Repeated weights are exact within a clip but not at its ends, where padding with zeros takes
mass away; the middle tap is exact everywhere. A (2+1)D convolution has a ReLU in its middle. A filter that is there
twice, with both signs, passes it whole: ``relu(y) - relu(-y) = y``. That takes twice as many channels in the middle as
come out. Where there are fewer, the other filters pass with a shift that keeps them above 0, which the next BatchNorm
takes off; the stem's 45 channels cannot carry 64 filters, so these are approximated (singular value decomposition).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from stsearch.errors import UserError
from stsearch.nets.build import VideoNet
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape, Unit, blueprint
from stsearch.space.kinds import KINDS, STEMS
from stsearch.space.ops import NORM_EPS, Act, Conv, Norm, Ops

Mode = Literal["centre", "repeat"]
State = dict[str, torch.Tensor]
HEAD = "head."
_DEVIATIONS = 8.0
"""A filter that passes with a shift is kept above 0 to so many standard deviations of what it gives."""


def flat(architecture: Architecture) -> Architecture:
    """The 2D network of the same shape: every convolution sees one frame."""
    stages = tuple(("2d",) * depth for depth in architecture.depths)
    return Architecture("2d", stages, architecture.block, architecture.width)


@dataclass
class Inflated:
    """Weights of a video network, but for its classifier's where the 2D network has another one."""

    state: State
    kept: dict[str, float] = field(default_factory=dict)
    """name of a convolution that is approximated, and the share of its squared weights that is kept"""


def inflate(source: VideoNet, target: VideoNet, architecture: Architecture, clip: ClipShape, mode: Mode) -> Inflated:
    """Weights for ``target``, of ``architecture`` for clips like ``clip``, from ``source``, of ``flat(architecture)``.

    ``target`` gives what is free: channels that nothing of the 2D network needs begin as they were, without effect.
    Raises ``UserError`` for a kind that a 2D convolution cannot be written as.
    """
    plans = (blueprint(flat(architecture), clip, 1), blueprint(architecture, clip, 1))
    filling = _Filling(source.state_dict(), target.state_dict(), _largest_outputs(source, clip), mode)
    for group, wanted in zip(*(plan.groups for plan in plans), strict=True):
        for number, (flat_unit, unit) in enumerate(zip(group.units, wanted.units, strict=True)):
            stem = unit.shortcut is None
            filling.unit = f"stages.{group.name}.{number}"
            filling.main = f"{filling.unit}." if stem else f"{filling.unit}.main."
            for place, ops, at in _parts(flat_unit, unit, wanted.kinds[number], stem, clip.frames):
                filling.fill(place, ops, at, wanted.kinds[number])
            filling.copy(f"{filling.unit}.shortcut.")
    given, own = filling.given, filling.own
    if all(given[key].shape == own[key].shape for key in own if key.startswith(HEAD)):
        filling.copy(HEAD)
    return Inflated({**own, **filling.made}, filling.kept)


def _parts(flat_unit: Unit, unit: Unit, kind: str, stem: bool, frames: int) -> Iterator[tuple[int, Ops, int]]:
    """Place in the 2D unit, the ops that stand for it, and their place in the unit, for every op with weights."""
    place = 0
    for number, op in enumerate(flat_unit.main):
        count = 1
        if isinstance(op, Conv) and op.kernel[1] > 1:
            made = STEMS[kind](op.c_in, op.c_out, frames) if stem else KINDS[kind](op.c_in, op.c_out, op.stride[1])
            count = len(made)
        yield number, unit.main[place : place + count], place
        place += count


@dataclass
class _Filling:
    """A video network's weights while they are made, unit by unit."""

    given: Mapping[str, torch.Tensor]
    """of the 2D network"""
    own: Mapping[str, torch.Tensor]
    """of the video network, as it is"""
    largest: Mapping[str, torch.Tensor]
    mode: Mode
    made: State = field(default_factory=dict)
    kept: dict[str, float] = field(default_factory=dict)
    unit: str = ""
    main: str = ""
    """begins the names of the unit's tensors, but for its shortcut's"""
    shift: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    """``(c_out,)`` by which the last convolution gives too much; the BatchNorm after it takes that off"""

    def copy(self, begin: str) -> None:
        """Tensors whose names begin like that are the 2D network's."""
        self.made |= {key: value for key, value in self.given.items() if key.startswith(begin)}

    def fill(self, number: int, ops: Ops, place: int, kind: str) -> None:
        """Put the weights of one op of the 2D network, at ``number``, where the ops that stand for it are."""
        key, at = f"{self.main}{number}", f"{self.main}{place}"
        if isinstance(ops[0], Norm):
            names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            self.made |= {f"{at}.{name}": self.given[f"{key}.{name}"].clone() for name in names}
            self.made[f"{at}.running_mean"] += self.shift
            self.shift = torch.zeros(())
        elif isinstance(ops[0], Conv):
            weight = self.given[f"{key}.weight"][:, :, 0]
            if len(ops) == 1 and _is_whole(ops[0], weight):
                self.made[f"{at}.weight"] = _in_time(weight, ops[0].kernel[0], self.mode)
            elif (time := _time_of(ops, weight)) is not None:
                self._factorise(number, place, ops[0], time)
            else:
                raise UserError(f"2D weights cannot be inflated into the kind {kind!r}: it makes other convolutions")

    def _factorise(self, number: int, place: int, space: Conv, time: Conv) -> None:
        """A 2D convolution as 1xkxk, BatchNorm, ReLU, tx1x1.

        What passes the ReLU is ``basis.T`` times the filters: all of them where the middle has as many channels, and
        as many as can with both signs.
        """
        weight = self.given[f"{self.main}{number}.weight"][:, :, 0]
        mean, variance = (self.given[f"{self.main}{number + 1}.running_{name}"] for name in ("mean", "var"))
        basis = self._basis(weight, space.c_out, f"{self.main}{place}")
        once = basis.shape[1]
        pairs = min(once, space.c_out - once)
        sign = torch.cat([torch.ones(once), -torch.ones(pairs)])
        which = torch.cat([torch.arange(once), torch.arange(pairs)])
        used = len(which)
        means, variances = basis.T @ mean, basis.T.square() @ variance
        bound = 2 * (basis.T.abs() @ self.largest[f"{self.main}{number}"])
        shift = torch.maximum(_DEVIATIONS * variances.sqrt() - means, bound)
        shift[:pairs] = 0

        filters = self.own[f"{self.main}{place}.weight"].clone()
        carried = (basis.T @ weight.flatten(1)).view(-1, *weight.shape[1:])
        filters[:used, :, 0] = sign[:, None, None, None] * carried[which]
        out = torch.zeros(time.c_out, space.c_out)
        out[:, :used] = basis[:, which] * sign
        self.made[f"{self.main}{place}.weight"] = filters
        self.made[f"{self.main}{place + 3}.weight"] = _in_time(out[:, :, None, None], time.kernel[0], self.mode)
        norm = {
            "running_mean": sign * means[which],
            "running_var": variances[which],
            "weight": (variances[which] + NORM_EPS).sqrt(),  # so that it changes nothing but for the shift
            "bias": sign * means[which] + shift[which],
        }
        for name, values in norm.items():
            key = f"{self.main}{place + 1}.{name}"
            self.made[key] = torch.cat([values, self.own[key][used:]])
        self.shift = basis @ shift

    def _basis(self, weight: torch.Tensor, middle: int, name: str) -> torch.Tensor:
        """``(c_out, at most middle)``, orthonormal columns: all filters, or what comes closest to them."""
        if middle >= len(weight):
            return torch.eye(len(weight))
        basis: torch.Tensor = torch.linalg.svd(weight.flatten(1).double(), full_matrices=False).U[:, :middle].float()
        self.kept[name] = float((basis.T @ weight.flatten(1)).square().sum() / weight.square().sum())
        return basis


def _is_whole(op: Conv, weight: torch.Tensor) -> bool:
    return op.groups == 1 and (op.c_out, op.c_in, *op.kernel[1:]) == tuple(weight.shape)


def _time_of(ops: Ops, weight: torch.Tensor) -> Conv | None:
    """The convolution over time of 1xkxk, BatchNorm, ReLU, tx1x1; ``None`` for all else."""
    if [type(op) for op in ops] != [Conv, Norm, Act, Conv]:
        return None
    space, time = ops[0], ops[3]
    assert isinstance(space, Conv)
    assert isinstance(time, Conv)
    alike = (space.c_in, *space.kernel[1:]) == tuple(weight.shape[1:]) and time.c_out == len(weight)
    in_turn = space.kernel[0] == space.groups == time.groups == 1 and time.kernel[1:] == (1, 1)
    return time if alike and in_turn else None


def _in_time(weight: torch.Tensor, taps: int, mode: Mode) -> torch.Tensor:
    """``(c_out, c_in, k, k)`` to ``(c_out, c_in, taps, k, k)``."""
    if mode == "repeat":
        return weight[:, :, None].repeat(1, 1, taps, 1, 1) / taps
    inflated = weight.new_zeros(*weight.shape[:2], taps, *weight.shape[2:])
    inflated[:, :, taps // 2] = weight
    return inflated


def _largest_outputs(source: VideoNet, clip: ClipShape) -> State:
    """By name of a convolution, the largest magnitudes ``(c_out,)`` that it gives on noise; its weights may be any."""
    found: State = {}

    def listen(name: str) -> None:
        module.register_forward_hook(lambda _, inputs, output: found.update({name: output.abs().amax((0, 2, 3, 4))}))

    before = source.training
    for name, module in source.named_modules():
        if isinstance(module, nn.Conv3d):
            listen(name)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, clip.channels, 1, clip.height, clip.width, generator=generator)
    with torch.no_grad():
        source.eval()(noise)
    for module in source.modules():
        module._forward_hooks.clear()
    source.train(before)
    return found


_OURS = {"conv1": "0", "bn1": "1", "conv2": "3", "bn2": "4", "conv3": "6", "bn3": "7"}
"""Names within a block of torchvision's and timm's ResNets, and places in ours"""
_THEIR_EPS = 1e-5


def from_resnet(state: Mapping[str, torch.Tensor], architecture: Architecture) -> State:
    """A state dict of torchvision's or timm's ResNet-18, -34 or -50 as weights of ``flat(architecture)``.

    Their classifier is left out, as is the max-pool after their stem, which our networks do not have. BatchNorm's scale
    takes up what is between their epsilon and ours. Raises ``UserError`` that names the first tensor without a place.
    """
    found: State = {}
    for key, value in state.items():
        if key.startswith("fc."):
            continue
        ours = _our_name(key)
        if ours is None:
            raise UserError(f"{key!r} is no tensor of a ResNet of basic or bottleneck blocks as torchvision names them")
        found[ours] = value.unsqueeze(2) if value.dim() == 4 else value.clone()
    for key in [key for key in found if key.endswith("running_var")]:
        scale = ((found[key] + NORM_EPS) / (found[key] + _THEIR_EPS)).sqrt()
        found[key.replace("running_var", "weight")] = found[key.replace("running_var", "weight")] * scale
    return found


def _our_name(key: str) -> str | None:
    head, *rest = key.split(".")
    if head in ("conv1", "bn1") and len(rest) == 1:
        return f"stages.conv1.0.{_OURS[head]}.{rest[0]}"
    if head in ("layer1", "layer2", "layer3", "layer4") and len(rest) in (3, 4):
        stage = f"stages.conv{int(head[-1]) + 1}_x.{rest[0]}"
        if rest[1] == "downsample" and len(rest) == 4 and rest[2] in ("0", "1"):
            return f"{stage}.shortcut.{rest[2]}.{rest[3]}"
        if rest[1] in _OURS and len(rest) == 3:
            return f"{stage}.main.{_OURS[rest[1]]}.{rest[2]}"
    return None
