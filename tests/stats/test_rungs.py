"""Who goes on at a rung: truth tables, against a plain count, and whole searches replayed from curves."""

from __future__ import annotations

import re
import subprocess
import sys
from math import sqrt

import numpy as np
import pytest

from stsearch.stats.rungs import Ladder, Replay, Segment, binomial_tolerance, places, ranks, rivals
from tests.conftest import ROOT


def ladder(*networks: tuple[str, float, float], reduction: int = 3, tolerance: float = 0.0) -> Ladder:
    """Results at epoch 1: ``(name, cost, accuracy)``."""
    made = Ladder((1, 3, 9), reduction, tolerance)
    for name, cost, accuracy in networks:
        made.record(name, [cost], 1, accuracy)
    return made


def going_on(made: Ladder) -> set[str]:
    return {name for name in made._found[1] if made.verdict(name, 1).goes_on}


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        # (name, cost, accuracy), and who goes on; one in three has a place, rounded up
        ([("a", 1, 10)], "a"),  # alone: nothing to compare it with
        ([("a", 1, 10), ("b", 2, 20)], "ab"),  # each dearer one is better: the front itself
        ([("a", 1, 20), ("b", 2, 10)], "a"),  # dearer and worse
        ([("a", 1, 20), ("b", 2, 20)], "ab"),  # dearer and as good: nobody is better
        ([("a", 1, 10), ("b", 1, 20)], "b"),  # equal in cost: each is among the other's rivals
        ([("a", 1, 90), ("b", 2, 80), ("c", 3, 70)], "a"),  # beaten by 0, 1, 2; one place
        ([("a", 1, 90), ("b", 2, 80), ("c", 3, 70), ("d", 4, 60)], "ab"),  # beaten by 0, 1, 2, 3; two places
        ([("a", 1, 90), ("b", 2, 80), ("c", 3, 70), ("d", 4, 85)], "abd"),  # by 0, 1, 2, 1: equals together
        ([("a", 1, 5), ("b", 9, 90), ("c", 9, 91), ("d", 9, 92)], "ad"),  # the cheap end lives, however bad
    ],
)
def test_truth_table(networks: list[tuple[str, float, float]], expected: str) -> None:
    assert going_on(ladder(*networks)) == set(expected)
    assert going_on(ladder(*reversed(networks))) == set(expected), "the order of arrival does not matter"


def test_only_what_costs_no_more_in_every_cost_is_compared() -> None:
    """Accuracies fall from a to d; b is cheaper than a in one cost only."""
    costs = np.array([[1.0, 5.0], [5.0, 1.0], [5.0, 5.0], [6.0, 6.0]])
    among, better = rivals(costs, np.array([90.0, 80.0, 70.0, 60.0]), 0.0)
    assert among.tolist() == [1, 1, 3, 4]
    assert better.tolist() == [0, 0, 2, 3]


def test_without_costs_it_is_successive_halving() -> None:
    accuracies = np.arange(9.0)
    among, better = rivals(np.zeros((9, 0)), accuracies, 0.0)
    assert set(among) == {9}
    assert (ranks(better) < places(9, 3)).tolist() == [False] * 6 + [True] * 3


def test_better_is_by_more_than_the_tolerance() -> None:
    for tolerance, expected in ((0.9, "a"), (1.0, "ab"), (1.1, "ab")):
        assert going_on(ladder(("a", 1, 57.0), ("b", 2, 56.0), tolerance=tolerance)) == set(expected)
    share = 0.57 * 100  # 56.99999999999999
    assert going_on(ladder(("a", 1, 58.0), ("b", 2, share), tolerance=1.0)) == {"a", "b"}, "rounding is no difference"


def test_it_agrees_with_a_plain_count() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        count, kinds = int(rng.integers(1, 40)), int(rng.integers(1, 4))
        costs, accuracies = rng.integers(0, 5, (count, kinds)).astype(float), rng.integers(0, 20, count).astype(float)
        tolerances = rng.integers(0, 4, count).astype(float)
        among, better = rivals(costs, accuracies, tolerances)
        for i in range(count):
            no_dearer = [j for j in range(count) if all(costs[j] <= costs[i])]
            assert among[i] == len(no_dearer)
            assert better[i] == sum(accuracies[j] > accuracies[i] + tolerances[i] for j in no_dearer)


@pytest.mark.parametrize("reduction", [2, 3, 4])
def test_the_cheapest_always_goes_on_and_places_are_rounded_up(reduction: int) -> None:
    rng = np.random.default_rng(reduction)
    costs = rng.permutation(30).astype(float)
    made = ladder(*((str(c), c, float(rng.uniform(0, 100))) for c in costs), reduction=reduction)
    assert "0.0" in going_on(made)
    assert [places(k, 3) for k in range(1, 8)] == [1, 1, 1, 2, 2, 2, 3]


def test_one_cost_is_counted_as_several_are() -> None:
    """The sweep for one cost agrees with the comparison of all pairs."""
    rng = np.random.default_rng(0)
    costs, accuracies = rng.integers(0, 40, (500, 1)).astype(float), rng.integers(0, 60, 500).astype(float)
    twice = np.hstack([costs, costs])
    for one, all_pairs in zip(rivals(costs, accuracies, 1.0), rivals(twice, accuracies, 1.0), strict=True):
        assert one.tolist() == all_pairs.tolist()


def test_tolerance_is_a_standard_error() -> None:
    assert binomial_tolerance(50.0, 400) == pytest.approx(2.5)
    assert binomial_tolerance(80.0, 10_000) == pytest.approx(100 * sqrt(0.8 * 0.2 / 10_000), rel=1e-3)
    assert binomial_tolerance(100.0, 400) == pytest.approx(binomial_tolerance(0.0, 400))
    assert 0 < binomial_tolerance(100.0, 400) < 0.5
    made = Ladder((1, 3), 3, None, videos=400)
    for name, cost, accuracy in (("a", 1, 52.4), ("b", 2, 50.0), ("c", 3, 49.0)):
        made.record(name, [cost], 1, accuracy)
    assert made.verdict("b", 1).better == 0, "2.4 points are no more than the 2.5 of 50 %"
    assert made.reason("c", 1) == (
        "stopped at epoch 1 of 3: 1 of 2 networks that cost no more are better by over 2.5 points, "
        "which is place 3 of 3, with room for 1"
    )


def test_a_rung_waits_for_as_many_as_the_reduction_while_more_begin() -> None:
    made = ladder(("a", 1, 90), ("b", 2, 95))
    made.more = True
    assert made.promotable({"a": 1, "b": 1}) == []
    assert made.reason("b", 1) == "stopped at epoch 1 of 9 until 3 networks have come so far: it is number 2"
    made.more = False
    assert made.promotable({"a": 1, "b": 1}) == ["a", "b"], "none is to come"
    made.more = True
    made.record("c", [3.0], 1, 10.0)
    assert made.promotable({"a": 1, "b": 1, "c": 1}) == ["a", "b"]
    assert made.reason("c", 1) is not None
    assert made.reason("a", 1) is None


def test_promotions_come_from_the_highest_rung_and_when_others_make_room() -> None:
    made = ladder(("a", 1, 90), ("b", 2, 80))
    assert made.promotable({"b": 1}) == []
    made.record("c", [2.0], 1, 10.0)
    assert made.promotable({"b": 1, "c": 1}) == []
    made.record("d", [3.0], 1, 5.0)
    assert made.promotable({"b": 1, "c": 1, "d": 1}) == ["b"], "two places among four now"
    made.record("e", [9.0], 3, 50.0)
    assert made.promotable({"b": 1, "e": 3}) == ["e", "b"]
    assert made.promotable({"unknown": 1}) == []


def curves(count: int, noise: float, seed: int = 0) -> tuple[dict[str, float], dict[str, dict[int, float]]]:
    """Costs and accuracies at epochs 1, 3, 9: the better the later, noise the smaller the later."""
    rng = np.random.default_rng(seed)
    costs = {str(n): float(c) for n, c in enumerate(rng.uniform(1, 3, count))}
    final = {n: float(np.clip(40 + 15 * c + rng.normal(0, 8), 0, 100)) for n, c in costs.items()}
    drop = {1: 25.0, 3: 10.0, 9: 0.0}
    return costs, {
        n: {e: top - drop[e] + float(rng.normal(0, noise * drop[e] / 25)) for e in drop} for n, top in final.items()
    }


def replayed(ladder: Ladder, count: int, workers: int, noise: float = 2.0) -> list[Segment]:
    costs, found = curves(count, noise)
    left = iter(costs)
    search = Replay(ladder, lambda n, e: found[n][e], lambda n: [costs[n]], trials=count, workers=workers)
    return list(search.run(lambda: next(left, None)))


@pytest.mark.parametrize("workers", [1, 4])
def test_a_replayed_search_begins_all_and_promotes_from_where_it_stopped(workers: int) -> None:
    made = Ladder((1, 3, 9), 3, 1.0)
    pieces = replayed(made, 120, workers)
    begun: dict[str, int] = {}
    for piece in pieces:
        assert piece.begin == begun.get(piece.network, 0), "a network goes on from where it was"
        begun[piece.network] = piece.end
    assert len(begun) == 120
    assert set(begun.values()) <= {1, 3, 9}
    complete = [piece.network for piece in pieces if piece.complete]
    assert len(complete) == len(set(complete)) == sum(end == 9 for end in begun.values())
    assert any(piece.begin for piece in pieces), "some were promoted later"
    assert not made.promotable({name: end for name, end in begun.items() if end < 9}), "nothing is left to promote"
    spent = sum(piece.epochs for piece in pieces)
    assert spent == sum(begun.values()), "no epoch is trained twice"
    assert spent < 0.55 * 9 * 120
    assert pieces[0].end == 1, "the first one waits for others"


@pytest.mark.parametrize(("trials", "there"), [(2, 9), (9, 2)])
def test_a_search_that_is_too_small_for_a_rung_does_not_wait(trials: int, there: int) -> None:
    """Two networks are asked for, or the space has two: both are on the front, and trained whole."""
    left = iter("abcdefghi"[:there])
    costs, reached = {n: float(ord(n)) for n in "abcdefghi"}, {n: ord(n) - 60.0 for n in "abcdefghi"}
    search = Replay(Ladder((1, 3, 9), 3, 0.0), lambda n, e: reached[n], lambda n: [costs[n]], trials=trials)
    pieces = list(search.run(lambda: next(left, None)))
    assert sorted(piece.network for piece in pieces if piece.complete) == ["a", "b"]
    assert sum(piece.epochs for piece in pieces) == 18


def test_without_noise_the_front_is_never_stopped() -> None:
    made = Ladder((1, 3, 9), 3, 0.0)
    complete = {piece.network for piece in replayed(made, 150, 1, noise=0.0) if piece.complete}
    costs, found = curves(150, 0.0)
    front = {a for a in costs if not any(costs[b] <= costs[a] and found[b][9] > found[a][9] for b in costs if b != a)}
    assert front <= complete
    assert len(complete) < 75


def test_a_replay_needs_no_torch() -> None:
    code = (
        "import sys, stsearch.stats.rungs\n"
        "assert not {'torch', 'optuna', 'sqlalchemy'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_example_of_the_documentation() -> None:
    page = (ROOT / "docs" / "fidelities.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.count("\n") == 7
    assert f"```\n{ran.stdout}```" in page
