"""NNI's strategies as an Optuna sampler: NNI proposes, the study remembers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial, TrialState

from stsearch.search.attributes import ARCHITECTURE
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.search_space import SearchSpace
from stsearch.stats.front import minimised

if TYPE_CHECKING:
    from stsearch.nni.strategies import Name

NNI_SAMPLERS: dict[str, Name] = {"nni-random": "random", "nni-regularized-evolution": "regularized-evolution"}
_AUGMENT = 0.05
"""rho of the augmented Chebyshev function"""


def scalarised(values: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """One number per network, more is better, from ``(N, objectives)`` that are all minimised.

    NNI's evolution compares numbers, so each proposal looks at the objectives, scaled to 0..1 over the
    population, in a direction of its own: the augmented Chebyshev function of ParEGO (Knowles, IEEE TEVC 2006) with
    weights drawn evenly from the simplex. Over many proposals every part of a front is aimed at. A single
    objective stays in its order.
    """
    span = np.ptp(values, axis=0)
    unit = (values - values.min(0)) / np.where(span > 0, span, 1.0)
    weighted = unit * rng.dirichlet(np.ones(values.shape[1]))
    found: npt.NDArray[np.float64] = -(weighted.max(1) + _AUGMENT * weighted.sum(1))
    return found


class NniSampler(BaseSampler):
    """A strategy of ``NNI_SAMPLERS`` on ``space``. ``UserError`` where NNI is not installed."""

    def __init__(self, name: str, space: SearchSpace, *, seed: int, trials: int) -> None:
        from stsearch.nni.strategies import Proposer

        self.space = space
        self._rng = np.random.default_rng(seed)
        size = min(50, max(8, trials // 4))
        self._proposer = Proposer(NNI_SAMPLERS[name], space, seed=seed % 2**32, population_size=size)

    def infer_relative_search_space(self, study: OptunaStudy, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return dict(self.space.encode(self._proposer.propose(self._population(study))))

    def sample_independent(
        self, study: OptunaStudy, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} was not proposed with the rest of the architecture")

    def _population(self, study: OptunaStudy) -> Sequence[tuple[Architecture, float]]:
        """Finished networks within the budget, oldest first, and their scalar."""
        done = [
            trial
            for trial in study.get_trials(deepcopy=False)
            if trial.state == TrialState.COMPLETE and all(value <= 0 for value in trial.constraints.values())
        ]
        done.sort(key=lambda trial: (trial.datetime_complete, trial.number))
        pairs = [(parse_placement(trial.user_attrs[ARCHITECTURE]), trial.values) for trial in done]
        pairs = [(architecture, values) for architecture, values in pairs if architecture in self.space]
        if not pairs:
            return []
        values = minimised([values for _, values in pairs], [way.name for way in study.directions])
        scalars = scalarised(values, self._rng)
        return [(architecture, float(scalar)) for (architecture, _), scalar in zip(pairs, scalars, strict=True)]
