"""Which classes and videos are used, and validation videos where a source has none.

Everything is drawn by hashing the seed with names, never by position: a file that is added or a
class that is left out does not reshuffle the others.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stsearch.data.expressions import found_groups
from stsearch.data.listing import SPLITS, Entry, Listing, Row, check_classes, distinct, some
from stsearch.data.recipe import VideoRecipe
from stsearch.errors import UserError, brief, did_you_mean

VAL_SHARE = 0.2
"""share of each class that validates where the source does not say which videos do"""
_ORDERS = 8
"""random orders in which groups are tried; the best result counts"""
_MOST_ORDERS = 200
"""tried as long as some class has no validation video"""


def _rank(seed: int, purpose: str, name: str) -> bytes:
    """A random place in an order that depends on nothing but these."""
    text = f"{seed}\0{purpose}\0{name}".encode(errors="surrogateescape")
    return hashlib.blake2b(text, digest_size=8).digest()


def chosen_classes(names: Sequence[str], recipe: VideoRecipe, beside: Iterable[str] = ()) -> tuple[str, ...]:
    """The classes of ``names`` that ``recipe.classes`` asks for, in the order of ``names``, without ``recipe.exclude``.

    ``beside`` are names that nothing trains on, such as of a class in ``val`` alone: these may be left out too.

    A number draws so many at random with ``recipe.seed``, a smaller number from those of a larger
    one. Not the first by name: these resemble each other (Kinetics has dozens of "playing ...",
    Something-Something families of "Pushing ..."), which makes a subset unlike the whole.
    Raises ``UserError`` for names that there are not, and for more than there are.
    """
    wanted = recipe.classes
    names = _not_excluded(names, recipe, beside)
    if wanted is None:
        return tuple(names)
    if isinstance(wanted, int):
        if wanted > len(names):
            raise UserError(f"data.classes: {wanted} classes are asked for; there are {len(names)}")
        drawn = set(sorted(names, key=lambda name: _rank(recipe.seed, "class", name))[:wanted])
    else:
        absent = [name for name in wanted if name not in names]
        if absent:
            lines = [f"{name!r}.{did_you_mean(name, names)}" for name in absent]
            raise UserError(f"data.classes: none of the {len(names)} classes is called {some(lines)}")
        drawn = set(wanted)
        if len(drawn) < max(2, len(wanted)):
            raise UserError(f"data.classes: at least 2 names are needed, each once; given {wanted}")
    return tuple(name for name in names if name in drawn)


def _not_excluded(names: Sequence[str], recipe: VideoRecipe, beside: Iterable[str]) -> Sequence[str]:
    """``names`` without those of ``recipe.exclude``; ``UserError`` for one that there is not, or that is wanted too."""
    out = recipe.exclude or []
    known = {**dict.fromkeys(names), **dict.fromkeys(beside)}
    absent = [f"{name!r}.{did_you_mean(name, known)}" for name in dict.fromkeys(out) if name not in known]
    if absent:
        raise UserError(f"data.exclude: none of the {len(known)} classes is called {some(absent)}")
    if isinstance(recipe.classes, list) and (both := [repr(name) for name in out if name in recipe.classes]):
        raise UserError(f"data.exclude: a class is in data.classes or left out, not both; given {some(both)}")
    left = [name for name in names if name not in set(out)]
    if out and len(left) < 2:
        raise UserError(f"data.exclude: at least 2 of the {len(names)} classes are needed; it leaves {len(left)}")
    return left


def with_groups(rows: Iterable[Row], pattern: str) -> list[Row]:
    """``rows`` with what the one group of the regular expression ``pattern`` finds in their names.

    Raises ``UserError`` if ``pattern`` is no such expression, or finds nothing in a name.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of what later versions of Python may read otherwise
            expression = re.compile(pattern)
    except (re.error, RecursionError, OverflowError, MemoryError) as error:
        raise UserError(f"data.group: {brief(pattern)} is no regular expression: {error}") from None
    if expression.groups != 1:
        raise UserError(
            "data.group: a regular expression with one (group) is needed, such as '_(g[0-9]+)_'; "
            f"given {brief(pattern)}"
        )
    grouped: list[Row] = []
    faults: list[str] = []
    rows = list(rows)
    for row, group in zip(rows, found_groups(pattern, [row.name for row in rows]), strict=True):
        if group:
            grouped.append(row._replace(group=group))
        else:
            faults.append(brief(row.name))
    if faults:
        raise UserError(f"data.group: {brief(pattern)} finds nothing in {len(faults):,} names: {some(faults)}")
    return grouped


def make_listing(
    rows: Iterable[Row], classes: Sequence[str], recipe: VideoRecipe, *, flip: bool, notes: Iterable[str] = ()
) -> Listing:
    """The listing of ``rows``, all of them of ``classes``, once its faults are ruled out.

    Where no row is in ``val``, a fifth of each class in ``train`` becomes it: whole groups where
    groups are known, else at random, which a note says. ``recipe.fraction`` thins what is left of
    ``train``. Raises ``UserError`` for fewer than 2 classes, a class without videos in ``train`` or
    ``val``, and a file with two labels or in two splits.
    """
    kept, repeated = distinct(rows)
    said = [*notes, *repeated]
    if len(classes) > 1 and kept and all(row.split != "val" for row in kept):
        kept, how = _hold_out(kept, recipe.seed)
        said.append(how)
    check_classes(kept, classes)
    said += _crossings(kept)
    kept = _thinned(kept, recipe)
    numbers = {name: number for number, name in enumerate(classes)}
    kept.sort(key=lambda row: SPLITS.index(row.split))
    entries = tuple(Entry(Path(row.path), row.name, numbers[row.label], row.split) for row in kept)
    return Listing(entries, tuple(classes), flip if recipe.flip is None else recipe.flip, tuple(said))


def _hold_out(rows: list[Row], seed: int) -> tuple[list[Row], str]:
    """``rows`` with a part of ``train`` moved to ``val``, and how that was done."""
    train = [row for row in rows if row.split == "train"]
    grouped = any(row.group for row in train)
    if grouped:
        groups = [row.group or row.path for row in train]
        chosen = held_out_groups([row.label for row in train], groups, seed)
        held = {row.path for row, group in zip(train, groups, strict=True) if group in chosen}
        how = f"whole groups, {len(chosen):,} of {len(set(groups)):,}, drawn with seed {seed}"
    else:
        held = held_out_at_random(train, seed)
        how = (
            f"drawn at random within each class with seed {seed}. If several clips show one recording or person, "
            "their accuracy will flatter: give 'val' yourself, or say with data.group what they share"
        )
    moved = [row._replace(split="val") if row.path in held and row.split == "train" else row for row in rows]
    return moved, f"there is no 'val': {len(held):,} of {len(train):,} training videos are taken for it, {how}"


def held_out_at_random(rows: Iterable[Row], seed: int) -> set[str]:
    """Paths of about a fifth of the videos of each class: at least one, and never all."""
    by_class: dict[str, list[Row]] = {}
    for row in rows:
        by_class.setdefault(row.label, []).append(row)
    held: set[str] = set()
    for found in by_class.values():
        found.sort(key=lambda row: _rank(seed, "val", row.name))
        count = min(max(1, round(VAL_SHARE * len(found))), len(found) - 1)
        held |= {row.path for row in found[:count]}
    return held


@dataclass(frozen=True)
class _Groups:
    """Videos and groups of every class."""

    members: dict[str, Counter[str]]
    """videos per class in each group"""
    totals: Counter[str]
    """videos per class"""
    spread: Counter[str]
    """groups that hold a class"""

    def target(self, label: str) -> float:
        return VAL_SHARE * self.totals[label]

    def leaves_train(self, group: str, held: Counter[str]) -> bool:
        """Whether every class keeps a training video if ``group`` is held out too."""
        return all(held[label] + count < self.totals[label] for label, count in self.members[group].items())

    def change(self, group: str, held: Counter[str]) -> float:
        """What holding ``group`` out adds to the squared relative errors of the classes' shares."""
        return sum(
            count * (2 * (held[label] - self.target(label)) + count) / self.target(label) ** 2
            for label, count in self.members[group].items()
        )

    def error(self, held: Counter[str]) -> float:
        return sum(((held[label] - self.target(label)) / self.target(label)) ** 2 for label in self.totals)


def held_out_groups(labels: Sequence[str], groups: Sequence[str], seed: int) -> frozenset[str]:
    """Groups that hold about a fifth of each class, as near as whole groups allow.

    ``labels`` and ``groups`` have one item per video; a group may hold several classes. Every
    class has videos inside and outside of what is returned; ``UserError`` if no such choice is
    found. Groups are tried in random orders, and the choice nearest to a fifth counts.
    """
    members: dict[str, Counter[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        members.setdefault(group, Counter())[label] += 1
    facts = _Groups(members, Counter(labels), Counter(label for found in members.values() for label in found))
    best: tuple[int, float] | None = None
    chosen: frozenset[str] = frozenset()
    for number in range(_MOST_ORDERS if min(facts.spread.values()) > 1 else 1):
        if number >= _ORDERS and best is not None and best[0] == 0:
            break
        order = sorted(members, key=lambda group: _rank(seed, f"group {number}", group))
        taken, held = _greedy(facts, order, cover_first=number >= _ORDERS)
        score = (sum(not held[label] for label in facts.totals), facts.error(held))
        if best is None or score < best:
            best, chosen = score, taken
    left = facts.totals.keys() - {label for group in chosen for label in members[group]}
    if left:
        lines = [
            f"{label!r} (in {facts.spread[label]:,} group{'s' * (facts.spread[label] > 1)})" for label in sorted(left)
        ]
        raise UserError(
            "data: no choice of whole groups was found that gives every class videos in 'train' and in 'val'; without "
            f"'val': {some(lines)}. Give 'val' yourself, leave classes out with data.exclude, or use finer groups"
        )
    return chosen


def _greedy(facts: _Groups, order: list[str], *, cover_first: bool) -> tuple[frozenset[str], Counter[str]]:
    """Groups to hold out, and how many videos of each class are in them.

    In ``order``, each group is taken that brings the shares nearer to a fifth; then classes still
    without a video get the group that suits the shares best. With ``cover_first`` it is the other
    way round, and classes get the first group in ``order`` that has them: worse shares, but
    random, so that repetition finds a choice where there are few.
    """
    held: Counter[str] = Counter()
    taken: set[str] = set()

    def take(group: str) -> None:
        taken.add(group)
        held.update(facts.members[group])

    def improve() -> None:
        for group in order:
            if group not in taken and facts.leaves_train(group, held) and facts.change(group, held) < 0:
                take(group)

    def cover() -> None:
        for label in sorted(facts.totals, key=lambda label: (facts.spread[label], label)):
            if not held[label]:
                able = [g for g in order if label in facts.members[g] and facts.leaves_train(g, held)]
                if able:
                    take(able[0] if cover_first else min(able, key=lambda group: facts.change(group, held)))

    for step in (cover, improve) if cover_first else (improve, cover):
        step()
    return frozenset(taken), held


def _crossings(rows: Iterable[Row]) -> list[str]:
    """A note for each pair of splits that have groups in common."""
    where: dict[str, str] = {}
    torn: dict[str, set[str]] = {}
    for row in rows:
        if row.group and where.setdefault(row.group, row.split) != row.split:
            torn.setdefault(row.group, {where[row.group]}).add(row.split)
    notes = []
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        both = [group for group, splits in torn.items() if first in splits and second in splits]
        if both:
            count = "1 group has" if len(both) == 1 else f"{len(both):,} groups have"
            notes.append(
                f"{count} videos in {first!r} and in {second!r}, so accuracy on {second!r} will flatter: {some(both)}"
            )
    return notes


def _thinned(rows: list[Row], recipe: VideoRecipe) -> list[Row]:
    """``rows`` with ``recipe.fraction`` of the training videos of each class, at least one.

    A smaller fraction is a part of a larger one.
    """
    if recipe.fraction == 1:
        return rows
    by_class: dict[str, list[Row]] = {}
    for row in rows:
        if row.split == "train":
            by_class.setdefault(row.label, []).append(row)
    used: set[str] = set()
    for found in by_class.values():
        found.sort(key=lambda row: _rank(recipe.seed, "fraction", row.name))
        used |= {row.path for row in found[: max(1, round(recipe.fraction * len(found)))]}
    return [row for row in rows if row.split != "train" or row.path in used]
