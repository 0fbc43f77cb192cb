"""NNI's exploration strategies as proposers: they see a population and name a network, we train and record it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from nni.nas.execution import ExecutionEngine
from nni.nas.space import SimplifiedModelSpace
from nni.nas.strategy import Random, RegularizedEvolution
from nni.nas.strategy.evolution import Individual

from stsearch.nni.spaces import to_architecture, to_model_space, to_sample
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.search_space import SearchSpace

Name = Literal["random", "regularized-evolution"]
Population = Sequence[tuple[Architecture, float]]
"""Trained networks of the space, oldest first, and how good each is (more is better)."""
_SHAPE = ClipShape(3, 8, 32, 32)
"""What is proposed does not depend on it."""


@lru_cache(maxsize=8)
def _simplified(space: SearchSpace) -> SimplifiedModelSpace:
    with torch.device("meta"):
        return SimplifiedModelSpace.from_model(to_model_space(space, _SHAPE, 2))


class Proposer:
    """One of NNI's strategies on ``space``, its random state from ``seed``.

    ``regularized-evolution`` (Real et al., AAAI 2019, algorithm 1): tournaments of a quarter of the
    ``population_size`` newest networks; each decision of the winner is drawn anew with probability one over the
    number of decisions, so that about one changes.
    """

    def __init__(self, name: Name, space: SearchSpace, *, seed: int, population_size: int) -> None:
        self.space, self.name, self.size = space, name, population_size
        if name == "random":
            self._strategy = Random(seed=seed, dedup=False)
        else:
            self._strategy = RegularizedEvolution(
                population_size=population_size,
                sample_size=max(2, population_size // 4),
                mutation_prob=1 / max(1, len(space.parameters)),
                dedup=False,  # uniqueness is kept by who asks, also across processes
                seed=seed,
            )
        self._strategy.initialize(_simplified(space), ExecutionEngine())

    def propose(self, population: Population) -> Architecture:
        """A network, perhaps one that was proposed before; evolution begins at random until there are enough."""
        if self.name == "random":
            model = self._strategy.random(_simplified(self.space))
        elif len(population) < self.size:
            model = self._strategy.random()
        else:
            newest = [Individual(to_sample(self.space, a), value) for a, value in population[-self.size :]]
            self._strategy.load_state_dict({**self._strategy.state_dict(), "population": newest})
            model = self._strategy.new_individual()
        return to_architecture(self.space, model.sample)
