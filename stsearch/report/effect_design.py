"""Networks as integer codes, so that 100,000 of them are grouped and compared by numpy.

A *form* is what one placement group holds: the kinds of its blocks. A study has few forms and
many networks, so forms are parsed once and a network is five small integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stsearch.space.architecture import GROUPS, Architecture, parse_placement
from stsearch.space.blueprint import ClipShape, sees_order
from stsearch.space.kinds import KINDS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Form = tuple[str, ...]
Pair = tuple[int, str, str]
"""number of a group, a kind, the kind it is held against"""
Term = tuple[str, int]
"""a kind of group n, or a covariate: ``("depth", n)``, ``("width", -1)``, ``("block", -1)``"""


@dataclass(frozen=True)
class Design:
    """Placements of N networks."""

    forms: tuple[tuple[Form, ...], ...]
    """for conv1, conv2_x .. conv5_x the distinct forms"""
    codes: Ints
    """``(N, 5)``: the form of every group"""
    frames: tuple[tuple[str, float], ...]
    """distinct (block, width)"""
    frame: Ints
    """``(N,)``"""

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: Ints) -> Design:
        """The networks ``rows``."""
        return replace(self, codes=self.codes[rows], frame=self.frame[rows])

    def architecture(self, row: int) -> Architecture:
        """Network number ``row``."""
        stem, *stages = (forms[code] for forms, code in zip(self.forms, self.codes[row], strict=True))
        return Architecture(stem[0], tuple(stages), *self.frames[self.frame[row]])

    @cached_property
    def kinds(self) -> tuple[Form, ...]:
        """For every group the kinds that occur there, simplest first."""
        known = KINDS.names()
        found = []
        for group, forms in enumerate(self.forms):
            used = {kind for code in np.unique(self.codes[:, group]) for kind in forms[code]}
            found.append(tuple(sorted(used, key=lambda kind: (known.index(kind) if kind in known else 99, kind))))
        return tuple(found)

    @property
    def pairs(self) -> list[Pair]:
        """Every pair of kinds of every group, the simpler one second."""
        return [
            (group, kind, against)
            for group, kinds in enumerate(self.kinds)
            for place, against in enumerate(kinds)
            for kind in kinds[place + 1 :]
        ]

    def depth(self, group: int) -> Ints:
        """Blocks of a group ``(N,)``."""
        return np.array([len(form) for form in self.forms[group]], dtype=np.int64)[self.codes[:, group]]

    def share(self, group: int, kind: str) -> Floats:
        """The share of a group's blocks that are of ``kind`` ``(N,)``."""
        return np.array([form.count(kind) / len(form) for form in self.forms[group]])[self.codes[:, group]]

    @cached_property
    def blind(self) -> npt.NDArray[np.bool_]:
        """Which networks treat frames one by one, in every group ``(N,)``."""
        return np.asarray(~self.seen.any(1))

    @cached_property
    def seen(self) -> npt.NDArray[np.bool_]:
        """In which groups each network sees the order of frames ``(N, 5)``."""
        found = [np.array([_sees(g, form) for form in forms], dtype=bool) for g, forms in enumerate(self.forms)]
        return np.stack([sees[self.codes[:, g]] for g, sees in enumerate(found)], axis=1)

    @cached_property
    def contexts(self) -> tuple[Ints, ...]:
        """For every group a number ``(N,)`` that is equal where two networks differ at most in its kinds."""
        return tuple(
            joined([self.frame, self.depth(group), *(self.codes[:, other] for other in range(5) if other != group)])
            for group in range(len(GROUPS))
        )


def _sees(group: int, form: Form) -> bool:
    """Whether a group that holds ``form`` sees the order of frames."""
    stages = tuple(form if group == number else ("2d",) for number in range(1, 5))
    return sees_order(Architecture(form[0] if group == 0 else "2d", stages), ClipShape())


def joined(columns: Sequence[Ints]) -> Ints:
    """One dense code per row ``(N,)`` of several codes; re-coded step by step, so it cannot overflow."""
    code: Ints = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        _, dense = np.unique(column, return_inverse=True)
        if dense.size and dense.max() > 0:
            _, code = np.unique(code * (dense.max() + 1) + dense, return_inverse=True)
    return code


def design_of(architectures: Iterable[Architecture]) -> Design:
    """Code architectures."""
    seen: list[dict[Form, int]] = [{} for _ in GROUPS]
    frames: dict[tuple[str, float], int] = {}
    stem, *rest = seen
    codes = [
        (
            stem.setdefault((a.stem,), len(stem)),
            *(forms.setdefault(kinds, len(forms)) for forms, kinds in zip(rest, a.stages, strict=True)),
            frames.setdefault((a.block, a.width), len(frames)),
        )
        for a in architectures
    ]
    return _design(seen, frames, codes)


def design_of_ids(ids: Iterable[str]) -> Design:
    """Code architecture ids; each distinct stage is parsed once. ``UserError`` for what is no id."""
    seen: list[dict[Form, int]] = [{} for _ in GROUPS]
    frames: dict[tuple[str, float], int] = {}
    parsed: dict[tuple[int, str, str], int] = {}
    codes = []
    for text in ids:
        body, _, suffix = text.partition("@")
        parts = body.split("-")
        if len(parts) != len(GROUPS):
            parse_placement(text)
        row = []
        for group, part in enumerate(parts):
            code = parsed.get((group, part, suffix))
            if code is None:
                form, frame = _parsed(group, part, suffix)
                code = parsed[group, part, suffix] = seen[group].setdefault(form, len(seen[group]))
                parsed[-1, "", suffix] = frames.setdefault(frame, len(frames))
            row.append(code)
        codes.append((*row, parsed[-1, "", suffix]))
    return _design(seen, frames, codes)


def _parsed(group: int, part: str, suffix: str) -> tuple[Form, tuple[str, float]]:
    """The form and the frame of one part of an id, read among parts known to be right."""
    parts = ["2d"] * len(GROUPS)
    parts[group] = part
    a = parse_placement("-".join(parts) + (f"@{suffix}" if suffix else ""))
    return ((a.stem,), *a.stages)[group], (a.block, a.width)


def _design(seen: list[dict[Form, int]], frames: dict[tuple[str, float], int], codes: list[tuple[int, ...]]) -> Design:
    table = np.array(codes, dtype=np.int64).reshape(-1, len(GROUPS) + 1)
    return Design(tuple(map(tuple, seen)), table[:, :-1], tuple(frames), table[:, -1])


def merged(design: Design, values: Floats) -> tuple[Design, Floats]:
    """One row per distinct network, in the order of first appearance; ``values`` ``(N, K)`` are averaged."""
    code = joined([design.frame, *design.codes.T])
    _, first, group = np.unique(code, return_index=True, return_inverse=True)
    counts = np.bincount(group, minlength=len(first))
    means = np.stack([np.bincount(group, column, len(first)) / counts for column in values.T], axis=1)
    order = np.argsort(first)
    return design.take(first[order]), means[order]
