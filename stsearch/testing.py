"""Suites that the author of a plug-in inherits; see docs/plugins.md. pytest collects subclasses.

Importing it also registers the evaluators ``replay``, recorded trainings in place of new ones, and ``simulated``,
trainings that take time and compute nothing.
"""

from __future__ import annotations

from math import isfinite
from typing import ClassVar

import torch
from torch.nn import functional

from stsearch.data.motions import MotionsRecipe, load_motions
from stsearch.evaluate import replay as replay
from stsearch.evaluate import simulated as simulated
from stsearch.evaluate.scores import SCORES, Subject
from stsearch.nets.build import build, modules
from stsearch.nets.count import counted_flops
from stsearch.space.architecture import BLOCKS, Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import cost_of_ops, network_cost
from stsearch.space.kinds import KINDS, STEMS


class KindSuite:
    """What every kind must do. Subclass it and set ``kind`` to the registered name."""

    kind: ClassVar[str]

    def architecture(self, block: str = "basic", width: float = 0.125) -> Architecture:
        """A small network with this kind wherever it may stand."""
        stem = self.kind if self.kind in STEMS else "2d"
        return Architecture(stem, ((self.kind,) * 2,) * 4, block, width)

    def test_channels_and_strides_fit_a_residual_block(self) -> None:
        """Ops take ``c_in`` channels to ``c_out``; stride 2 halves space, and time or not."""
        for c_in, c_out, stride in ((8, 8, 1), (8, 16, 2), (3, 5, 2)):
            ops = KINDS[self.kind](c_in, c_out, stride)
            _, shape = cost_of_ops(ops, (c_in, 8, 8, 8))
            assert shape[0] == c_out, f"asked for {c_out} channels, the ops give {shape[0]}"
            assert shape[2:] == (8 // stride, 8 // stride), f"stride {stride} turns 8x8 into {shape[2]}x{shape[3]}"
            assert shape[1] in (8, 8 // stride), f"stride {stride} turns 8 frames into {shape[1]}"
            built = modules(ops)(torch.zeros(1, c_in, 8, 8, 8))
            assert tuple(built.shape[1:]) == shape, f"cost says {shape}, the modules give {tuple(built.shape[1:])}"

    def test_it_is_a_pure_function(self) -> None:
        """The same arguments give equal ops: architectures are compared, hashed and stored."""
        assert KINDS[self.kind](8, 16, 2) == KINDS[self.kind](8, 16, 2)
        assert hash(KINDS[self.kind](8, 16, 2)) == hash(KINDS[self.kind](8, 16, 2))

    def test_closed_form_is_what_torch_counts(self) -> None:
        """Parameters and multiply-adds agree in basic and bottleneck blocks."""
        for block in BLOCKS:
            for clip in (ClipShape(3, 8, 32, 32), ClipShape(3, 5, 33, 33)):
                architecture = self.architecture(block)
                total = network_cost(architecture, clip, 7).total
                assert sum(p.numel() for p in build(architecture, clip, 7).parameters()) == total.params
                assert counted_flops(architecture, clip, 7) == 2 * total.macs

    def test_the_smallest_clip_trains(self) -> None:
        """Forward and backward at 3x4x16x16 give finite gradients everywhere."""
        clip = ClipShape(3, 4, 16, 16)
        network = build(self.architecture(), clip, 3)
        loss = functional.cross_entropy(network(torch.randn(4, *clip.sizes)), torch.tensor([0, 1, 2, 0]))
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())

    def test_it_has_every_score(self) -> None:
        """Training-free scores of a network with this kind are finite."""
        data = load_motions(MotionsRecipe(name="motions", classes=2, clips=16, val_clips=10), 4, 16)
        for block in BLOCKS:
            subject = Subject(self.architecture(block), ClipShape(3, 4, 16, 16), data, 0, 0, 8, torch.device("cpu"))
            scores = {name: SCORES[name](subject) for name in SCORES}
            assert all(isfinite(score) for score in scores.values()), scores
