"""Validation videos where there are none, and subsets of videos and classes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stsearch.data.listing import Listing, Row
from stsearch.data.recipe import VideoRecipe
from stsearch.data.splits import VAL_SHARE, chosen_classes, held_out_groups, make_listing
from stsearch.errors import UserError
from tests.data.test_sources import names

Clips = list[tuple[int, int]]
CLIPS_OF_GROUPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7)), min_size=1, max_size=60)


def rows_of(clips: Clips, grouped: bool = True) -> list[Row]:
    return [Row(f"{n}.mp4", f"{n}.mp4", f"c{c}", "train", f"g{g}" if grouped else "") for n, (c, g) in enumerate(clips)]


@given(CLIPS_OF_GROUPS, st.integers(0, 5))
def test_no_group_stands_in_two_splits(clips: Clips, seed: int) -> None:
    rows = rows_of(clips)
    classes = sorted({row.label for row in rows})
    assume(len(classes) > 1)
    try:
        listing = make_listing(rows, classes, VideoRecipe(path="", seed=seed), flip=False)
    except UserError:
        return
    group = {row.name: row.group for row in rows}
    held = {group[name] for name in names(listing, "val")}
    assert held.isdisjoint(group[name] for name in names(listing, "train"))
    assert {listing.classes[e.label] for e in listing.entries if e.split == "val"} == set(classes)
    assert {listing.classes[e.label] for e in listing.entries if e.split == "train"} == set(classes)
    assert make_listing(rows, classes, VideoRecipe(path="", seed=seed), flip=False) == listing
    assert len(listing.entries) == len(rows)


def possible(clips: Clips) -> bool:
    """Whether any choice of groups leaves every class videos on both sides, by trying all."""
    groups, classes = sorted({g for _, g in clips}), {c for c, _ in clips}
    for choice in range(2 ** len(groups)):
        held = {g for n, g in enumerate(groups) if choice >> n & 1}
        if {c for c, g in clips if g in held} == classes == {c for c, g in clips if g not in held}:
            return True
    return False


@given(CLIPS_OF_GROUPS, st.integers(0, 5))
def test_a_choice_of_groups_is_found_where_there_is_one(clips: Clips, seed: int) -> None:
    labels, groups = [f"c{c}" for c, _ in clips], [f"g{g}" for _, g in clips]
    try:
        held_out_groups(labels, groups, seed)
        found = True
    except UserError:
        found = False
    assert found == possible(clips)


@given(st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=12), min_size=1, max_size=5), st.integers(0, 5))
def test_shares_are_as_near_to_a_fifth_as_groups_of_one_class_allow(sizes: list[list[int]], seed: int) -> None:
    labels = [f"c{c}" for c, groups in enumerate(sizes) for size in groups for _ in range(size)]
    groups = [f"c{c} g{g}" for c, found in enumerate(sizes) for g, size in enumerate(found) for _ in range(size)]
    held = held_out_groups(labels, groups, seed)
    counts = Counter(label for label, group in zip(labels, groups, strict=True) if group in held)
    for c, found in enumerate(sizes):
        assert abs(counts[f"c{c}"] - VAL_SHARE * sum(found)) <= max(found)


@given(st.lists(st.integers(0, 3), min_size=8, max_size=80), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 3))
def test_a_smaller_fraction_is_part_of_a_larger_one(labels: list[int], one: float, other: float, seed: int) -> None:
    counts = Counter(labels)
    assume(len(counts) > 1 and min(counts.values()) > 1)
    rows = rows_of([(label, 0) for label in labels], grouped=False)
    classes = sorted({row.label for row in rows})

    def listed(fraction: float) -> Listing:
        return make_listing(rows, classes, VideoRecipe(path="", seed=seed, fraction=fraction), flip=False)

    small, large, whole = (listed(fraction) for fraction in (*sorted((one, other)), 1.0))
    assert set(names(small, "train")) <= set(names(large, "train")) <= set(names(whole, "train"))
    assert names(small, "val") == names(whole, "val")
    for label in range(len(classes)):
        kept, of = (sum(e.label == label and e.split == "train" for e in part.entries) for part in (small, whole))
        assert kept == max(1, round(min(one, other) * of))
        held = sum(e.label == label and e.split == "val" for e in whole.entries)
        assert held == min(max(1, round(VAL_SHARE * (of + held))), of + held - 1)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 5))
def test_fewer_classes_are_some_of_more(one: int, other: int, seed: int) -> None:
    known = [f"class {n}" for n in range(12)]
    few, many = (chosen_classes(known, VideoRecipe(path="", classes=n, seed=seed)) for n in sorted((one, other)))
    assert len(few) == min(one, other)
    assert set(few) <= set(many)
    assert list(many) == [name for name in known if name in many]


def test_classes_by_name() -> None:
    def chosen(classes: int | list[str]) -> tuple[str, ...]:
        return chosen_classes(("jump", "run", "wave"), VideoRecipe(path="", classes=classes))

    assert chosen(["wave", "jump"]) == ("jump", "wave")
    for given_classes, expected in (
        (["wave", "jumb"], "none of the 3 classes is called 'jumb'. Did you mean 'jump'?"),
        (["wave", "wave"], "at least 2 names are needed, each once"), (4, "4 classes are asked for; there are 3"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=expected.replace("?", r"\?")):
            chosen(given_classes)


def test_classes_but_some() -> None:
    known = [f"class {n}" for n in range(12)]
    left = chosen_classes(known, VideoRecipe(path="", exclude=["class 3"]))
    assert left == tuple(name for name in known if name != "class 3")
    some = chosen_classes(known, VideoRecipe(path="", classes=5))
    assert set(some) - {"class 3"} <= set(chosen_classes(known, VideoRecipe(path="", classes=5, exclude=["class 3"])))
