"""``SCORES``: what an architecture is worth before any training, larger is better.

Each is in natural logarithms, so that deep networks neither overflow nor underflow, and a function
of architecture, clip shape, clips and seed alone. None is an accuracy: how well one orders networks
on some data is what ``stsearch audit`` measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from stsearch.data.augment import Normaliser, evaluation_views, view_cuts
from stsearch.data.loader import batches
from stsearch.data.videos import ClipData
from stsearch.nets.build import VideoNet, build
from stsearch.registry import Registry
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape, blueprint
from stsearch.space.cost import cost_of_ops
from stsearch.space.ops import Conv, Op, Ops, Sum

_LEAST_DISTANCE = 0.01
"""Below it a kernel and a feature map count as of the same shape."""


@dataclass(frozen=True)
class Subject:
    """What a score looks at."""

    architecture: Architecture
    """the proxy: already scaled in width"""
    clip: ClipShape
    data: ClipData
    weights_seed: int
    """of the initial weights"""
    clips_seed: int
    """of the choice of clips: the same for all networks that are compared"""
    clips: int
    """clips to look at, for scores that look at any"""
    device: torch.device

    def network(self) -> VideoNet:
        """The network as training would begin with it."""
        generator = torch.Generator().manual_seed(self.weights_seed)
        network = build(self.architecture, self.clip, len(self.data.classes), generator=generator)
        return network.to(self.device)

    def batch(self) -> torch.Tensor:
        """Normalised centre clips of training videos drawn without repeats, float32 ``(clips, C, T, H, W)``."""
        videos = self.data.splits["train"]
        order = torch.randperm(len(videos), generator=torch.Generator().manual_seed(self.clips_seed))
        chosen = order[: self.clips]
        cuts = view_cuts(videos, evaluation_views(videos, self.clip.frames, 1)[0], self.clip.height).chosen(chosen)
        (batch,) = batches(videos, cuts, len(chosen), self.device)
        return Normaliser.of(self.data, self.device)(batch.clips)


class Score(Protocol):
    """A figure of a network that was not trained; not finite where the network has none."""

    def __call__(self, subject: Subject) -> float:
        """Larger promises more."""


SCORES: Registry[Score] = Registry("score")


def log_synaptic_flow(layers: Iterable[nn.Module], ones: torch.Tensor) -> float:
    """log of the summed synaptic saliency of ``layers`` one after the other, whose weights are not negative.

    Tanaka et al., NeurIPS 2020, eq. 4 and section 5: ``R`` is the sum of the outputs for an input
    of ones, and the sum over the weights of ``w dR/dw`` is ``R`` times that of ``w d(log R)/dw``,
    which is about the number of layers. ``log R`` is gathered layer by layer, each output divided
    by its mean, which changes nothing for layers that are homogeneous in their input.
    """
    layers = list(layers)
    weights = [p for layer in layers for p in layer.parameters() if p.dim() > 1]
    total = torch.zeros((), dtype=ones.dtype, device=ones.device)
    for layer in layers:
        ones = layer(ones)
        mean = ones.mean()
        total, ones = total + mean.log(), ones / mean
    gradients = torch.autograd.grad(total + math.log(ones.numel()), weights, allow_unused=True)
    saliency = sum(float((w.detach() * g).sum()) for w, g in zip(weights, gradients, strict=True) if g is not None)
    flow = float(total.detach()) + math.log(ones.numel())
    return flow + math.log(saliency) if saliency > 0 else -math.inf


@SCORES.register("synflow")
def synaptic_flow(subject: Subject) -> float:
    """log of the synaptic flow (Tanaka et al., NeurIPS 2020) of one clip of ones, in double precision.

    Adapted to clips: nothing but the input's shape; a kind that looks at more frames or has more
    layers lets more flow through. Weights of convolutions and of the classifier count, BatchNorm is
    as at the beginning (mean 0, variance 1, scale 1).
    """
    network = subject.network().double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    units = [unit for stage in network.stages.values() for unit in stage.children()]
    ones = torch.ones(1, *subject.clip.sizes, dtype=torch.float64, device=subject.device)
    return log_synaptic_flow([*units, network.head], ones)


class _Codes:
    """The kernel of activation codes, gathered ReLU by ReLU: whole numbers, exact in double precision."""

    MOST = 2**22
    """units at a time: sums of so many ones are exact in float32 (and TF32)"""

    def __init__(self, clips: int) -> None:
        self.kernel = torch.zeros(clips, clips, dtype=torch.float64)

    def add(self, outputs: torch.Tensor) -> None:
        """``outputs`` of a ReLU, clips first."""
        codes = (outputs > 0).flatten(1)
        for begin in range(0, codes.shape[1], self.MOST):
            ones = codes[:, begin : begin + self.MOST].float()
            zeros = 1 - ones
            self.kernel += (ones @ ones.T + zeros @ zeros.T).double().cpu()


def log_determinant(kernel: torch.Tensor) -> float:
    """log det of a kernel of agreeing activations plus the identity.

    The identity (one activation more, which every clip has for itself) keeps it finite where two
    clips have the same code, and is nothing beside thousands of activations.
    """
    return float(torch.linalg.slogdet(kernel + torch.eye(len(kernel), dtype=kernel.dtype)).logabsdet)


@SCORES.register("naswot")
def activation_overlap(subject: Subject) -> float:
    """log det of the kernel of binary activation codes of some clips (Mellor et al., ICML 2021, eq. 2).

    The kernel counts the ReLU outputs in which two clips agree, over channels, frames and pixels; the
    ReLU between the halves of a (2+1)D convolution counts. BatchNorm uses the statistics of these clips.
    """
    clips = subject.batch()
    network, codes = subject.network().train(), _Codes(len(clips))
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda module, inputs, output: codes.add(output))
    with torch.no_grad():
        network(clips)
    return log_determinant(codes.kernel)


def refinement(kernel: tuple[int, ...], size: tuple[int, ...]) -> float:
    """How well a kernel's shape (time, height, width) fits that of the map it slides over: -log(1 - cosine).

    Of E3D; at least 0 and, as cubic kernels on cubic maps would be infinitely good, at most -log 0.01.
    """
    cosine = sum(a * b for a, b in zip(kernel, size, strict=True)) / (math.hypot(*kernel) * math.hypot(*size))
    return -math.log(max(1 - cosine, _LEAST_DISTANCE))


def _straight(ops: Ops) -> Iterator[Op]:
    """``ops``, of branches that are added the first one."""
    for op in ops:
        if isinstance(op, Sum):
            yield from _straight(op.branches[0])
        else:
            yield op


def entropy(architecture: Architecture, clip: ClipShape) -> float:
    """Entropy of the last feature map of a network with Gaussian weights, in nats, closed form.

    After Wang et al. (E3D, ICLR 2023): without ReLU and normalisation each convolution multiplies
    the variance of its inputs by its fan-in, so the entropy of an element is half the sum of the
    logs of the fan-ins over the depth, each weighted by ``refinement``; to it comes the log of the
    channels. Adapted to kinds: read off the ops of a kind, so a (2+1)D convolution is two layers
    (1x3x3 and 3x1x1), each with the fit of its own kernel; shortcuts do not count, and of several
    scales only the last one does.
    """
    plan = blueprint(architecture, clip, 1)
    shape, total = clip.sizes, 0.0
    for op in (op for group in plan.groups for unit in group.units for op in _straight(unit.main)):
        if isinstance(op, Conv):
            fan_in = op.c_in // op.groups * math.prod(op.kernel)
            total += 0.5 * refinement(op.kernel, shape[1:]) * math.log(fan_in)
        _, shape = cost_of_ops((op,), shape)
    return total + math.log(shape[0])


SCORES.add("entropy", lambda subject: entropy(subject.architecture, subject.clip))
