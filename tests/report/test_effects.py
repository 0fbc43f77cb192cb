"""Placement effects: planted ones come back, pairs are those of brute force, noise claims nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from stsearch.errors import UserError
from stsearch.report.axes import placement_class
from stsearch.report.effect_contrasts import MIN_PAIRS, Contrast
from stsearch.report.effect_design import Floats, design_of, design_of_ids, merged
from stsearch.report.effect_estimates import Fit, cost_matched, matched_pairs, terms_of
from stsearch.report.effect_importance import CAP, importance_of
from stsearch.report.effect_tables import effects_markdown, print_effects
from stsearch.report.effects import (
    CALIPER,
    FAMILY,
    Effects,
    placement_effects,
    placement_effects_of_ids,
    published_effects,
)
from stsearch.report.effects_text import effects_json, paragraph, swap_words
from stsearch.resources import find
from stsearch.space.architecture import GROUPS, Architecture
from stsearch.space.blueprint import ClipShape
from stsearch.space.cost import network_cost
from stsearch.space.search_space import load_space

WORTH = {"2d": 0.0, "3d": 2.0, "2plus1d": 3.0}
CLAIMS = ("is worth", "loses", "shown to help", "shown to hurt", "are more accurate")


def drawn(name: str, n: int | None = None, seed: int = 0) -> list[Architecture]:
    """``n`` networks of a shipped space, or all."""
    space = load_space(find("search_spaces", name))
    if n is None:
        return list(space.enumerate())
    return [space.architecture(int(i)) for i in np.random.default_rng(seed).choice(space.size, n, replace=False)]


def gmacs(architecture: Architecture) -> float:
    return network_cost(architecture, ClipShape()).total.macs / 1e9


def planted(architecture: Architecture) -> float:
    """conv5_x counts, by share of blocks, and depth."""
    kinds = architecture.stages[3]
    return 40 + sum(WORTH[kind] for kind in kinds) / len(kinds) + 0.5 * sum(architecture.depths)


def study(
    architectures: Sequence[Architecture],
    accuracy: Callable[[Architecture], float] = planted,
    noise: float = 0.0,
    seed: int = 0,
) -> Effects:
    rng = np.random.default_rng(seed)
    networks = [(a, {"video_top1": accuracy(a) + noise * rng.normal(), "gmacs": gmacs(a)}) for a in architectures]
    return placement_effects(networks, importance=False)


def find_contrast(effects: Effects, group: str, kind: str, against: str) -> Contrast:
    (found,) = [c for c in effects.contrasts if (c.group, c.kind, c.against) == (group, kind, against)]
    return found


@pytest.mark.parametrize(
    ("space", "n", "method"),
    [("paper-18", None, "matched pairs"), ("r18", 60, "regression"), ("blockwise-18", 80, "regression")],
)
def test_planted_effects_come_back_exactly_without_noise(space: str, n: int | None, method: str) -> None:
    effects = study(drawn(space, n))
    for contrast in effects.contrasts:
        expected = 0.0
        if contrast.group == "conv5_x" and contrast.kind != "time":
            expected = WORTH[contrast.kind] - WORTH[contrast.against]
        if contrast.kind == "time":
            assert contrast.method == "regression"
            continue
        assert contrast.method == method
        assert contrast.estimate is not None
        assert contrast.estimate.mean == pytest.approx(expected, abs=1e-8)
        assert contrast.claimed is (expected != 0)


def test_time_is_the_mean_of_its_kinds_in_a_full_study() -> None:
    effects = study(drawn("paper-18"))
    time = find_contrast(effects, "conv5_x", "time", "2d")
    assert time.estimate is not None
    assert time.estimate.mean == pytest.approx(2.5)
    assert time.claimed
    assert time.cost is not None
    kinds = [find_contrast(effects, "conv5_x", kind, "2d").cost for kind in ("3d", "2plus1d")]
    assert time.cost.mean == pytest.approx(sum(cost.mean for cost in kinds if cost) / 2)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(["paper-18", "r18", "blockwise-18"]), st.integers(2, 60), st.integers(0, 10**6))
def test_matched_pairs_are_those_of_brute_force(space: str, n: int, seed: int) -> None:
    networks = drawn(space, n, seed)
    # neighbours, so that there are pairs in large spaces too
    extra = [replace(a, stages=(*a.stages[:3], ("3d",) * len(a.stages[3]))) for a in networks[: n // 2]]
    networks = list(dict.fromkeys([*networks, *extra]))
    design = design_of(networks)
    for pair in design.pairs:
        group, kind, against = pair
        rows, others = matched_pairs(design, pair)
        expected = set()
        for i, a in enumerate(networks):
            for j, b in enumerate(networks):
                forms_a, forms_b = ((a.stem,), *a.stages), ((b.stem,), *b.stages)
                alike = all(forms_a[g] == forms_b[g] for g in range(5) if g != group)
                uniform = set(forms_a[group]) == {kind} and set(forms_b[group]) == {against}
                if alike and uniform and len(forms_a[group]) == len(forms_b[group]):
                    expected.add((i, j))
        assert set(zip(rows.tolist(), others.tolist(), strict=True)) == expected
        assert len(set(rows.tolist())) == len(rows)
        assert len(set(others.tolist())) == len(others)


def test_blocks_and_widths_separate_pairs() -> None:
    one = Architecture("2d", (("2d",), ("2d",), ("2d",), ("2d",)))
    twin = replace(one, stem="3d")
    for change in ({"width": 0.5}, {"block": "bottleneck"}):
        design = design_of([one, replace(twin, **change)])
        assert len(matched_pairs(design, (0, "3d", "2d"))[0]) == 0
    assert len(matched_pairs(design_of([one, twin]), (0, "3d", "2d"))[0]) == 1


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(80, 120), max_size=12), st.lists(st.integers(80, 120), max_size=12))
def test_pairs_of_equal_cost_are_a_largest_matching(left: list[int], right: list[int]) -> None:
    early, late = np.array(left, dtype=float), np.array(right, dtype=float)
    here, there = cost_matched(early, late, CALIPER)
    assert len(set(here.tolist())) == len(here)
    assert len(set(there.tolist())) == len(there)
    close = np.array([[abs(a - b) <= CALIPER * max(a, b) for b in right] for a in left], dtype=bool)
    assert all(close[i, j] for i, j in zip(here, there, strict=True))
    most = (maximum_bipartite_matching(csr_matrix(close)) >= 0).sum() if left and right else 0
    assert len(here) == most


def brute_regression(networks: list[Architecture], y: Floats, group: int, kind: str) -> tuple[float, float, float]:
    """Effect against 2D with the classical and the HC2 error, from dummies without redundancy."""
    columns = [np.ones(len(networks))]
    index = -1
    for g in range(5):
        for k in ("3d", "2plus1d"):
            if (g, k) == (group, kind):
                index = len(columns)
            forms = [((a.stem,), *a.stages)[g] for a in networks]
            columns.append(np.array([form.count(k) / len(form) for form in forms]))
    x = np.stack([*columns, *(np.array([a.depths[s] for a in networks], float) for s in range(4))], axis=1)
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ y
    residuals = y - x @ beta
    hat = np.diag(x @ inverse @ x.T)
    classical = residuals @ residuals / (len(y) - x.shape[1]) * inverse
    hc2 = inverse @ (x.T * (residuals**2 / (1 - hat))) @ x @ inverse
    return beta[index], classical[index, index] ** 0.5, hc2[index, index] ** 0.5


@pytest.mark.parametrize(("group", "kind"), [(0, "3d"), (3, "2plus1d")])
def test_regression_agrees_with_a_textbook_one(group: int, kind: str) -> None:
    networks = drawn("r18", 50)
    y = np.random.default_rng(1).normal(50, 3, 50)
    terms = terms_of(design_of(networks))
    fit = Fit(terms, y)
    weights = terms.contrast((group, kind, "2d"))
    mean, classical, hc2 = brute_regression(networks, y, group, kind)
    for errors, expected in (("classical", classical), ("hc2", hc2), ("larger", max(classical, hc2))):
        estimate = fit.estimate(weights, errors)  # type: ignore[arg-type]
        assert estimate is not None
        assert [estimate.mean, estimate.error] == pytest.approx([mean, expected])
        assert estimate.df == 50 - 15


def test_twins_that_always_come_together_are_not_told_apart() -> None:
    kinds = ("2d", "3d")
    networks = [
        Architecture(stem, ((a,) * d, (a,), (b,), (c,)))
        for stem in kinds
        for a in kinds
        for b in kinds
        for c in kinds
        for d in (1, 2)
    ]
    effects = study(networks, noise=1.0)
    for group, other in (("conv2_x", "conv3_x"), ("conv3_x", "conv2_x")):
        contrast = find_contrast(effects, group, "3d", "2d")
        assert (contrast.method, contrast.estimate) == ("none", None)
        assert contrast.why_not == f"cannot be told apart from 3D in {other}"
        assert contrast.confounded == (("3d", 1), ("3d", 2))
    for group in ("conv1", "conv4_x", "conv5_x"):
        assert find_contrast(effects, group, "3d", "2d").estimate is not None
    assert "In these networks 3D in conv2_x and conv3_x come together" in paragraph(effects)


def test_a_kind_that_comes_with_a_depth_is_not_told_from_it() -> None:
    networks = [a for a in drawn("r18", 300) if (a.stages[3][0] == "2d") == (a.depths[3] == 1) and a.depths[3] != 3]
    contrast = find_contrast(study(networks, noise=1.0), "conv5_x", "3d", "2d")
    assert contrast.estimate is None
    assert "the depth of conv5_x" in contrast.why_not
    assert find_contrast(study(networks, noise=1.0), "conv5_x", "2plus1d", "3d").estimate is not None


@pytest.mark.parametrize("frames", [8, 16])
def test_the_papers_twelve_networks(frames: int) -> None:
    effects = published_effects(frames)
    assert effects.networks == 12
    for group in GROUPS:
        late = find_contrast(effects, group, "2plus1d", "2d")
        others = [name for name in GROUPS if name != group]
        assert late.why_not == f"cannot be told apart from (2+1)D in {', '.join(others[:3])} and {others[3]}"
        assert find_contrast(effects, group, "3d", "2d").estimate is not None
    assert "single network" in find_contrast(effects, "conv1", "collapse", "2d").why_not
    assert not effects.claims
    assert not effects.early_late.claimed
    assert not any(claim in paragraph(effects) for claim in CLAIMS)
    # 3D in conv5_x is MC5 against R3D and f-R2D against rMC5: two pairs, computed in every network
    five = find_contrast(effects, "conv5_x", "3d", "2d")
    assert five.pairs == 2
    assert five.cost is not None
    assert five.cost.source == "computed"
    with pytest.raises(UserError, match=r"unknown number of frames '32'.*Allowed: 8, 16"):
        published_effects(32)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 12])
@pytest.mark.parametrize("space", ["paper-18", "r18", "blockwise-18"])
def test_tiny_studies_say_so(space: str, n: int) -> None:
    networks = [(a, {"video_top1": 50.0 + i, "gmacs": gmacs(a)}) for i, a in enumerate(drawn(space, n))]
    effects = placement_effects(networks)
    assert effects.networks == n
    assert not effects.claims
    assert "nothing can be said" in paragraph(effects) or "can be claimed" in paragraph(effects)
    json.dumps(effects.as_dict())
    print_effects(effects, Console(file=io.StringIO(), width=80))


def test_networks_that_are_all_alike_say_so() -> None:
    networks = [Architecture("2d", (("2d",) * d, ("2d",), ("2d",), ("2d",))) for d in range(1, 30)]
    effects = study(networks)
    assert effects.contrasts == ()
    assert "29 networks have the same kinds in every group" in paragraph(effects)


@pytest.mark.parametrize("space", ["paper-18", "r18"])
@pytest.mark.parametrize("n", [24, 60])
def test_pure_noise_claims_nothing(space: str, n: int) -> None:
    for seed in range(10):
        effects = study(drawn(space, n, seed), lambda _: 50.0, noise=2.0, seed=seed)
        assert not effects.claims
        assert not any(claim in paragraph(effects) for claim in CLAIMS)
        assert "no effect of a kind on video top-1 can be claimed" in paragraph(effects)


def test_equal_accuracies_claim_nothing() -> None:
    effects = study(drawn("paper-18"), lambda _: 100 / 3)
    assert not effects.claims
    assert not effects.early_late.claimed


def test_claims_carry_their_interval_and_cost() -> None:
    effects = study(drawn("paper-18"), lambda a: 50.0 + 3 * (a.stages[3][0] != "2d"), noise=1.0)
    time = find_contrast(effects, "conv5_x", "time", "2d")
    assert time.claimed
    assert time.estimate is not None
    low, high = time.estimate.interval()
    mean = f"{time.estimate.mean:+.1f}"
    interval = f"{low:.1f} to {high:.1f}"
    said = f"seeing time in conv5_x is worth {mean} points (95 % interval {interval}) for +"
    assert said in paragraph(effects)
    assert "So seeing time is shown to help in conv5_x, that is late." in paragraph(effects)
    assert "conv1, conv2_x, conv3_x and conv4_x is not shown" in paragraph(effects)
    assert "99.95 % jointly over 21 comparisons" in paragraph(effects)


def test_a_claim_is_what_the_joint_interval_says() -> None:
    effects = study(drawn("paper-18"), noise=4.0)
    assert effects.claim_level == pytest.approx(1 - (1 - FAMILY) / 21)
    for contrast in effects.contrasts:
        assert contrast.estimate is not None
        low, high = contrast.estimate.interval(effects.claim_level)
        assert contrast.claimed is not (low <= 0 <= high)


def test_kinds_that_differ_are_told_one_by_one() -> None:
    def accuracy(a: Architecture) -> float:
        return 50 + {"2d": 0.0, "3d": -4.0, "2plus1d": 4.0}[a.stem]

    effects = study(drawn("paper-18"), accuracy, noise=1.0)
    assert "3D instead of 2D in conv1 loses" in paragraph(effects)
    assert "(2+1)D instead of 2D in conv1 is worth" in paragraph(effects)
    assert "seeing time in conv1" not in paragraph(effects)
    assert "shown to h" not in paragraph(effects)


def test_everywhere_and_early() -> None:
    def early(a: Architecture) -> float:
        return 50 + 5 * (a.stem != "2d") + 5 * (a.stages[0][0] != "2d")

    def everywhere(a: Architecture) -> float:
        return early(a) + sum(5 * (kinds[0] != "2d") for kinds in a.stages[1:])

    assert "shown to help in conv1 and conv2_x, that is early" in paragraph(study(drawn("paper-18"), early, 1.0))
    said = paragraph(study(drawn("paper-18"), everywhere, 1.0))
    assert "shown to help in conv1, conv2_x, conv3_x, conv4_x and conv5_x, everywhere" in said


def test_early_against_late_by_hand() -> None:
    networks = drawn("paper-18")
    effects = study(networks, noise=1.0)
    classes = [placement_class(a) for a in networks]
    both = effects.early_late
    assert both.early == classes.count("time early (MC-like)")
    assert both.late == classes.count("time late (rMC-like)")
    assert both.estimate is not None
    assert both.claimed
    assert both.estimate.mean < 0
    assert "that see time late are more accurate than those that see it early" in paragraph(effects)
    assert f"{both.pairs} pairs within 5 % of GMACs" in paragraph(effects)


def test_costs_are_exact() -> None:
    networks = drawn("paper-18")
    read = find_contrast(study(networks), "conv4_x", "3d", "2d").cost
    computed = placement_effects(
        [(a, {"video_top1": planted(a), "gmacs": gmacs(a)}) for a in networks], cost_of=gmacs, importance=False
    )
    by_stages = {(a.stem, a.stages): gmacs(a) for a in networks}
    three, two = ("3d",) * 2, ("2d",) * 2
    differences = {
        (stem, stages): cost - by_stages[stem, (*stages[:2], two, stages[3])]
        for (stem, stages), cost in by_stages.items()
        if stages[2] == three
    }
    for cost, source in ((find_contrast(computed, "conv4_x", "3d", "2d").cost, "computed"), (read, "pairs")):
        assert cost is not None
        assert (cost.source, cost.contexts) == (source, len(differences))
        expected = [np.mean(list(differences.values())), min(differences.values()), max(differences.values())]
        assert [cost.mean, cost.low, cost.high] == pytest.approx(expected)
        differences.pop(("2d", (two, two, three, two)), None)  # its trained twin is blind to order


def test_networks_blind_to_order_are_told_apart_and_left_out_of_the_rest() -> None:
    """An all-2D network lacks what no single group gives, and its loss is no noise of the others' effects."""
    networks = drawn("r18", 60)
    blind = [a for a in drawn("r18") if a.stem == "2d" and all(set(kinds) == {"2d"} for kinds in a.stages)][:3]
    rows = [(a, {"video_top1": planted(a), "gmacs": gmacs(a)}) for a in networks if a not in blind]
    without = placement_effects(rows, importance=False)
    rows += [(a, {"video_top1": 10.0 + n, "gmacs": gmacs(a)}) for n, a in enumerate(blind)]
    effects = placement_effects(rows, importance=False)
    assert without.blind is None
    assert effects.blind is not None
    assert (effects.blind.networks, effects.blind.mean, effects.blind.claimed) == (3, 11.0, True)
    assert [c.estimate for c in effects.contrasts] == [c.estimate for c in without.contrasts]
    assert effects.noise == without.noise
    assert "3 networks treat frames one by one and have 11.0 % on average" in paragraph(effects)
    few = placement_effects(rows[-4:], importance=False)  # nobody is left out where too few would be left
    assert few.blind is None


def test_few_pairs_leave_the_cost_to_a_fit() -> None:
    cost = find_contrast(study(drawn("r18", 40)), "conv5_x", "3d", "2d").cost
    assert cost is not None
    assert (cost.source, cost.low, cost.high, cost.contexts) == ("fitted", None, None, 0)


def test_pairs_are_read_only_where_there_are_enough() -> None:
    stems = [replace(a, stem=stem) for a in drawn("r18", 40) for stem in ("2d", "3d")]
    networks = list(dict.fromkeys(stems))
    contrast = find_contrast(study(networks, noise=1.0), "conv1", "3d", "2d")
    assert contrast.method == "matched pairs"
    assert contrast.pairs >= MIN_PAIRS
    assert find_contrast(study(networks, noise=1.0), "conv5_x", "3d", "2d").method == "regression"


def test_results_of_one_network_are_averaged_and_the_incomplete_left_out() -> None:
    networks = drawn("paper-18", 40)
    once = [(a, {"video_top1": planted(a), "gmacs": gmacs(a)}) for a in networks]
    twice = [(a, {"video_top1": planted(a) + shift, "gmacs": gmacs(a)}) for shift in (-1, 1) for a in networks]
    first = placement_effects(once, importance=False)
    second = placement_effects([*twice, (networks[0], {"gmacs": 1.0})], importance=False)
    assert (second.results, second.networks, second.skipped) == (80, 40, 1)
    for one, other in zip(first.contrasts, second.contrasts, strict=True):
        assert (one.estimate is None) == (other.estimate is None)
        if one.estimate and other.estimate:
            assert one.estimate.mean == pytest.approx(other.estimate.mean, abs=1e-9)
    assert "results of one network are averaged" in paragraph(second)


def test_ids_and_architectures_say_the_same() -> None:
    networks = [*drawn("r18", 50), *drawn("blockwise-18", 30), *drawn("r50", 20)]
    networks += [a.scaled(0.5) for a in networks[:10]]
    accuracies = np.random.default_rng(0).normal(50, 3, len(networks))
    costs = [gmacs(a) for a in networks]
    pairs = [(a, {"video_top1": v, "gmacs": c}) for a, v, c in zip(networks, accuracies.tolist(), costs, strict=True)]
    one = placement_effects(pairs).as_dict()
    other = placement_effects_of_ids([a.id for a in networks], accuracies, costs).as_dict()
    assert json.dumps(one) == json.dumps(other)


def test_short_ids_are_read_too() -> None:
    design = design_of_ids(["3d-3d-2d-2d-2d@18", "2d-3d.2d-2d-2d-2dx300@w0.5".replace("x300", "x3")])
    assert design.architecture(0).id == "3d-3dx2-2dx2-2dx2-2dx2"
    assert design.architecture(1).id == "2d-3d.2d-2d-2d-2dx3@w0.5"
    with pytest.raises(UserError, match="5 groups"):
        design_of_ids(["3d-3d"])
    with pytest.raises(UserError, match="unknown kind '4d'"):
        design_of_ids(["3d-4d-2d-2d-2d"])


def test_wrong_input_is_named() -> None:
    networks = [(a, {"video_top1": 1.0, "gmacs": 1.0}) for a in drawn("paper-18", 3)]
    with pytest.raises(UserError, match=r"unknown metric 'gmac'. Did you mean 'gmacs'\?"):
        placement_effects(networks, cost="gmac")
    with pytest.raises(UserError, match="given 2 ids, 2 and 1 values"):
        placement_effects_of_ids(["3d-3d-2d-2d-2d@18", "2d-3d-2d-2d-2d@18"], [1.0, 2.0], [3.0])


def test_long_mixed_stages() -> None:
    rng = np.random.default_rng(0)
    networks = [
        Architecture("2d", tuple(tuple(rng.choice(list(WORTH), size=100).tolist()) for _ in range(4)))
        for _ in range(40)
    ]
    effects = study(networks)
    contrast = find_contrast(effects, "conv5_x", "2plus1d", "2d")
    assert contrast.estimate is not None
    assert contrast.estimate.mean == pytest.approx(3)
    design, _ = merged(design_of([*networks, *networks]), np.zeros((80, 2)))
    assert len(design) == 40


def test_importance_finds_what_matters() -> None:
    networks = drawn("paper-18")
    effects = placement_effects([(a, {"video_top1": planted(a), "gmacs": gmacs(a)}) for a in networks])
    shares = effects.importance.shares
    assert set(shares) == set(GROUPS)
    assert max(shares, key=lambda name: shares[name]) == "conv5_x"
    assert sum(shares.values()) == pytest.approx(1)
    depths = placement_effects([(a, {"video_top1": planted(a), "gmacs": gmacs(a)}) for a in drawn("r18", 100)])
    assert "conv2_x depth" in depths.importance.shares


@pytest.mark.parametrize(
    ("n", "accuracy", "why"),
    [
        (19, planted, "too few networks: 19"),
        (40, lambda _: 7.0, "same accuracy"),
        (40, lambda a: -(a.id < "2d"), "same"),
    ],
)
def test_importance_says_why_not(n: int, accuracy: Callable[[Architecture], float], why: str) -> None:
    networks = drawn("paper-18", n)
    importance = importance_of(design_of(networks), np.array([float(accuracy(a)) for a in networks]))
    assert importance.shares == {}
    assert why in importance.why_not


@pytest.mark.slow
def test_importance_of_many_is_a_fixed_sample() -> None:
    design = design_of(drawn("r18", CAP + 500))
    accuracies = np.random.default_rng(0).normal(size=CAP + 500)
    importance = importance_of(design, accuracies)
    assert importance.networks == CAP
    assert importance == importance_of(design, accuracies)


def test_what_would_be_needed_falls_with_noise() -> None:
    networks = drawn("r18", 60)
    asked = [study(networks, noise=noise).networks_needed(2.0) for noise in (1.0, 2.0, 4.0)]
    assert asked == sorted(asked, key=lambda n: n or 0)
    assert len(set(asked)) == 3
    noisy = study(networks, noise=4.0)
    assert f"about {noisy.networks_needed(2.0):,} such networks in all would be needed" in paragraph(noisy)
    assert study(networks[:2]).networks_needed(2.0) is None


@pytest.mark.parametrize("width", [80, 100])
def test_tables_fit(width: int) -> None:
    effects = study(drawn("paper-18"), noise=1.0)
    out = io.StringIO()
    print_effects(effects, Console(file=out, width=width))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if line.strip().startswith("conv") and " yes " in line + " "]
    assert len(rows) == len(effects.claims)
    assert ("(range)" in out.getvalue()) is (width == 100)


def test_markdown_has_every_estimate() -> None:
    effects = study(drawn("paper-18"), noise=1.0)
    text = effects_markdown(effects)
    rows = [line for line in text.splitlines() if line.startswith("| conv")]
    assert len(rows) == len(effects.contrasts) == 20
    assert all(row.count("|") == 9 for row in rows)


def test_keys_are_stable() -> None:
    data = json.loads(json.dumps(effects_json(study(drawn("paper-18", 60), noise=1.0))))
    assert list(data) == [
        "accuracy",
        "cost",
        "accuracy_of",
        "results",
        "trainings",
        "most_trainings",
        "networks",
        "skipped",
        "family_level",
        "comparisons",
        "noise",
        "effects",
        "early_late",
        "blind",
        "asked",
        "importance",
        "paragraph",
    ]
    assert list(data["effects"][0]) == [
        "group",
        "kind",
        "against",
        "method",
        "why_not",
        "confounded",
        "pairs",
        "claimed",
        "matched",
        "regression",
        "cost",
    ]
    keys = ["mean", "error", "df", "n", "low", "high", "joint_low", "joint_high"]
    assert list(data["effects"][0]["regression"]) == keys
    assert list(data["effects"][0]["cost"]) == ["mean", "low", "high", "contexts", "source"]


def test_unknown_kinds_and_costs_have_names() -> None:
    networks = [(a, {"map": planted(a), "latency_ms": 3.0 + gmacs(a)}) for a in drawn("paper-18")]
    effects = placement_effects(networks, "map", "latency_ms", importance=False)
    assert " ms (" in paragraph(effects)
    assert "points of map" in paragraph(effects)
    assert {swap_words(c) for c in effects.contrasts} >= {"seeing time", "3D instead of 2D", "(2+1)D instead of 3D"}
