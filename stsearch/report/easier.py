"""Whether (2+1)D is easier to train than 3D: errors over epochs of networks that differ in nothing else.

Tran et al. (CVPR 2018, section 3.5 and figure 3) hold R(2+1)D against R3D: the former has the lower training error too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from stsearch.report.records import Chart, Column, Part, Section, table_of
from stsearch.report.words import counted
from stsearch.search.attributes import ARCHITECTURE
from stsearch.search.stored import StoredStudy
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.published import NETWORKS, name_of
from stsearch.stats.proportions import wilson

MOST = 6
"""Pairs that are drawn"""
READ = 40
"""Pairs whose records are read, at most"""
Floats = npt.NDArray[np.float64]
_NAMED = {architecture.id: place for place, architecture in enumerate(NETWORKS.values())}


@dataclass(frozen=True)
class Side:
    """One network of a pair."""

    network: str
    train: Floats
    """``(trainings, epochs)``, per cent of the clips that were wrong as they were trained on"""
    val: Floats
    """``(trainings, epochs)``, per cent of the validation videos whose centre clip was wrong"""

    @property
    def last(self) -> tuple[float, float]:
        """Training and validation error of the last epoch, means over trainings."""
        return float(self.train[:, -1].mean()), float(self.val[:, -1].mean())


@dataclass(frozen=True)
class Pair:
    """Two networks of the same depth and placement."""

    of_3d: Side
    of_2plus1d: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        """3D first."""
        return self.of_3d, self.of_2plus1d

    @property
    def seeds(self) -> tuple[int, int]:
        """Trainings of each."""
        return len(self.of_3d.train), len(self.of_2plus1d.train)


def pairs_in(names: Sequence[str]) -> list[tuple[str, str]]:
    """Ids of networks that differ in 3D against (2+1)D alone, those of the paper first, R3D before the others."""
    known = set(names)
    found = ((name, _swapped(parse_placement(name))) for name in dict.fromkeys(names))
    pairs = [(name, other) for name, other in found if other in known]
    return sorted(pairs, key=lambda pair: (pair[0].count("2d"), _NAMED.get(pair[0], len(_NAMED)), pair[0]))


def _swapped(architecture: Architecture) -> str:
    """The id with (2+1)D where there is 3D; empty where there is nothing to swap, or both already."""
    kinds = {architecture.stem, *(kind for stage in architecture.stages for kind in stage)}
    if "3d" not in kinds or "2plus1d" in kinds:
        return ""
    swap = {"3d": "2plus1d"}
    stages = tuple(tuple(swap.get(kind, kind) for kind in stage) for stage in architecture.stages)
    return replace(architecture, stem=swap.get(architecture.stem, architecture.stem), stages=stages).id


def easier_of(stored: StoredStudy, attributes: Sequence[Mapping[str, Any]]) -> tuple[Pair, ...]:
    """The pairs of a study whose records have errors of every epoch; ``attributes`` are those of complete trials."""
    rows = {a[ARCHITECTURE]: row for row, a in zip(stored.complete, attributes, strict=True) if ARCHITECTURE in a}
    outside = {name: found for name, found in stored.reference_details().items() if name.count("-") >= _HYPHENS}
    pairs = pairs_in([*rows, *(name for name in outside if name not in rows)])[:READ]
    wanted = [name for name in dict.fromkeys(name for pair in pairs for name in pair) if name in rows]
    read = stored.details(np.array([rows[name] for name in wanted], dtype=np.int64))
    details = {**outside, **dict(zip(wanted, read, strict=True))}
    return tuple(_pairs(pairs, details))


_HYPHENS = 4
"""In the id of a placement of five groups, at least; networks of the zoo have fewer"""


def _pairs(pairs: Sequence[tuple[str, str]], details: Mapping[str, Mapping[str, Any]]) -> Iterator[Pair]:
    for names in pairs:
        sides = [_side(name, details[name].get("trainings", ())) for name in names]
        if sides[0] and sides[1] and sides[0].train.shape[1] == sides[1].train.shape[1]:
            yield Pair(sides[0], sides[1])


def _side(name: str, trainings: Sequence[Mapping[str, Any]]) -> Side | None:
    """``None`` where no training has an error of every epoch, as those of earlier versions."""
    curves = [t["curve"] for t in trainings if t.get("curve") and all(_errors(epoch) for epoch in t["curve"])]
    same = [curve for curve in curves if len(curve) == len(curves[0])]
    if not same:
        return None
    found = 100 - np.array([[_errors(epoch) for epoch in curve] for curve in same], dtype=np.float64)
    return Side(name_of(parse_placement(name)), found[..., 0], found[..., 1])


def _errors(epoch: Mapping[str, Any]) -> tuple[float, float] | None:
    found = epoch.get("train_top1"), epoch.get("clip_top1")
    return None if None in found else found  # type: ignore[return-value]


def section(pairs: Sequence[Pair]) -> Section | None:
    """The claim of the paper, and what this study saw."""
    if not pairs:
        return None
    parts: list[Part] = [
        "A (2+1)D convolution has about as many parameters as the 3D one in its place and twice as many ReLUs. Tran et "
        "al. (CVPR 2018) found it easier to train: not the validation error of R(2+1)D alone is lower than R3D's, its "
        "training error is too. Here are proxies of this study that differ in nothing else.",
        _said(pairs),
        *(Chart(chart_name(number), _about(pair)) for number, pair in enumerate(pairs[:MOST])),
        "Solid: validation, the centre clip of each video. Dashed: training, the clips of the epoch as they were "
        f"trained on, while weights changed. {_bands(pairs)}",
        _table(pairs),
    ]
    return Section("easier", "Is (2+1)D easier to train than 3D?", tuple(parts))


def chart_name(number: int) -> str:
    """Of the picture of a pair."""
    return f"easier{number}"


def _about(pair: Pair) -> str:
    names = " and ".join(side.network for side in pair.sides)
    return f"Training and validation error of {names} over epochs; the table below has those of the last one"


def _said(pairs: Sequence[Pair]) -> str:
    count = len(pairs)
    lower = [sum(p.of_2plus1d.last[at] < p.of_3d.last[at] for p in pairs) for at in (0, 1)]
    first = f"Of {counted(count, 'pair')} (2+1)D ends with the lower training error in {lower[0]}"
    ends = [f"{low:.2f} to {high:.2f}" for low, high in (wilson(found / count, count) for found in lower)]
    few = " One pair says little." if count == 1 else ""
    return (
        f"{first} (95 % interval of the share: {ends[0]}), and with the lower validation error in {lower[1]} "
        f"({ends[1]}), by means over trainings.{few}"
    )


def _bands(pairs: Sequence[Pair]) -> str:
    """What bands are, and where there are none."""
    single = [pair for pair in pairs[:MOST] if min(pair.seeds) < 2]
    drawn = len(pairs[:MOST]) - len(single)
    band = "Lines are means over trainings with other seeds, bands reach from the least to the most of them."
    if not drawn:
        return "Each network was trained once, so there are no bands, and a gap may be the luck of one seed." + _REPEAT
    return band if not single else f"{band} Where a network of the pair was trained once there is no band." + _REPEAT


_REPEAT = " `search.repeat` trains networks again."


def _table(pairs: Sequence[Pair]) -> Part:
    heads = ("training error (%)", "validation error (%)", "trainings")
    columns = [Column("3D"), *(Column(head, number=True) for head in heads)]
    columns += [Column("(2+1)D"), *(Column(head, number=True) for head in heads)]
    rows = []
    for pair in pairs:
        cells: list[str] = []
        for side in pair.sides:
            cells += [side.network, *(f"{error:.1f}" for error in side.last), str(len(side.train))]
        rows.append(cells)
    return table_of("errors of the last epoch", columns, rows, sorts=False)
