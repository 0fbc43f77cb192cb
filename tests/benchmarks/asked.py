"""Are answers to what a balanced study asks right as often as they say, and are they found?

``python -m tests.benchmarks.asked --studies 200`` plants accuracies on the networks that the quickstart's design with
``search.start_with: balanced`` trains, six drawn at random in place of the sampler's, and reads the answers.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from stsearch.report.effect_answers import Asked
from stsearch.report.effects import placement_effects_of_ids
from stsearch.search.balanced import sees
from stsearch.search.session import _sampler, check_budget
from stsearch.search.spec import load_study
from stsearch.space.architecture import Architecture

Floats = npt.NDArray[np.float64]
Noise = Callable[[Sequence[Architecture], np.random.Generator], Floats]
LEARNT = (55.0, 75.0, 77.0, 77.7, 78.0, 78.3)
"""Accuracy by the number of groups that see time, about as the paper's networks on the built-in set."""
DEPTH = 0.3
"""Points that a block adds"""


def even(networks: Sequence[Architecture], rng: np.random.Generator) -> Floats:
    """1.5 points."""
    return rng.normal(0, 1.5, len(networks))


def uneven(networks: Sequence[Architecture], rng: np.random.Generator) -> Floats:
    """4 points where conv5_x is 3D, 0.7 elsewhere."""
    return rng.normal(0, 1, len(networks)) * [4.0 if "3d" in a.stages[3] else 0.7 for a in networks]


def outliers(networks: Sequence[Architecture], rng: np.random.Generator) -> Floats:
    """1 point, and 15 % of the trainings lose 20."""
    return rng.normal(0, 1, len(networks)) - 20.0 * (rng.random(len(networks)) < 0.15)


NOISE: dict[str, Noise] = {"even": even, "uneven": uneven, "outliers": outliers}


def truth(answer: str, planted: bool) -> float | None:
    """What was planted: its sign decides; ``None`` where the answer averages over what was not planted alike."""
    return {"alone": 20.0, "several": 2.8, "kind": 0.0}.get(answer) if planted else 0.0


def studies(count: int, noise: Noise, planted: bool) -> Iterator[Asked]:
    """So many simulated studies' answers."""
    study = load_study("quickstart", ["search.start_with=balanced"])
    table = check_budget(study, 10)
    sampler = _sampler(study, table)
    digits, _ = table.population(0)
    digits = digits[table.within(digits, study.hard_budget())]
    for number in range(count):
        rng = np.random.default_rng(number)
        drawn = [study.space.from_digits(tuple(map(int, row))) for row in rng.choice(digits, 40)]
        more = [a for a in dict.fromkeys(drawn) if a not in sampler.start]
        networks = [*sampler.start, *more][: study.spec.search.trials]
        true = [LEARNT[sum(sees(a))] + DEPTH * (sum(a.depths) - 8) if planted else 50.0 for a in networks]
        costs = [table.cost_of(a)["gmacs"] for a in networks]
        found = np.array(true) + noise(networks, rng)
        effects = placement_effects_of_ids([a.id for a in networks], found, costs, importance=False, asked=True)
        assert effects.asked is not None
        yield effects.asked


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    count = parser.parse_args().studies
    print("| planted | noise | studies with a false claim | with three claims | claims on average | how often each |")
    print("|---|---|--:|--:|--:|---|")
    for planted in (False, True):
        for name, noise in NOISE.items():
            false, enough, total, each = 0, 0, 0, Counter[str]()
            for asked in studies(count, noise, planted):
                wrong = [
                    a
                    for a in asked.claims
                    if (t := truth(a.question, planted)) is not None and a.estimate.mean * t <= 0
                ]
                false += bool(wrong)
                enough += len(asked.claims) >= 3
                total += len(asked.claims)
                each.update(f"{a.question} {a.group or a.kind}".strip() for a in asked.claims)
            said = ", ".join(f"{what} {times}" for what, times in each.most_common(8)) or "-"
            what = "time" if planted else "nothing"
            print(
                f"| {what} | {name} | {false} of {count} | {enough} of {count} | {total / count:.1f} | {said} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
