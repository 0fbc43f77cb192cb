"""Latency that a study knows of every network of its space before one is built: ``measure.latency: composed``.

A space has few pieces: the stem, residual units of a kind, a width and a shape of what enters them, the head. Each is
timed within a few whole networks, by marks between them, where caches and memory are as in use. Of all others the
latency is known then, without a measurement. FBNet (Wu et al., CVPR 2019) has such a table of single operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from optuna.storages import RDBStorage
from optuna.study import Study as OptunaStudy

from stsearch.data.cache import Progress
from stsearch.errors import UserError
from stsearch.profiling.device import Setting, with_threads
from stsearch.profiling.measure import occupied, quick, shorter
from stsearch.profiling.pieces import timed_pieces
from stsearch.search.attributes import COMPOSED
from stsearch.search.metrics import LATENCY
from stsearch.search.spec import Study
from stsearch.search.storage import opening
from stsearch.space.architecture import Architecture
from stsearch.space.table import CostTable, Piece

TWICE = 2
"""Networks in which each piece is timed, at least, where the space has so many with it."""
CHECKED = 5
"""Further networks that are timed as a whole, to see how far sums are off."""
_DRAWN = 500
"""Networks among which those to be timed are chosen."""
_SAYS = "timing pieces of networks"


@dataclass(frozen=True)
class Composed:
    """Times of a space's pieces on one device."""

    pieces_ms: tuple[float, ...]
    """in the order of ``CostTable.pieces``; what a whole network takes beside its pieces is with its head"""
    networks: int
    """in which they were timed"""
    errors: tuple[float, ...]
    """of networks that were not among these: predicted over measured, less 1"""
    busy: str
    """what to say of a machine that did other things meanwhile; empty where it did not, and on a GPU"""

    @classmethod
    def of(cls, known: Mapping[str, Any]) -> Composed:
        """From what ``as_dict`` gave."""
        return cls(tuple(known["pieces_ms"]), known["networks"], tuple(known["errors"]), known["busy"])

    def as_dict(self) -> dict[str, Any]:
        """Plain data, to be stored."""
        return asdict(self)

    def enter(self, table: CostTable) -> None:
        """Let ``table`` know the latency in ms of every network of the space that the times are of."""
        took = dict(zip(table.pieces(), self.pieces_ms, strict=True))
        table.add(LATENCY, took.__getitem__)

    @property
    def said(self) -> str:
        """In words: how it was made, and how far it is off."""
        made = f"summed from {len(self.pieces_ms)} pieces of the space, timed within {self.networks} networks"
        if off := [abs(error) for error in self.errors]:
            made += (
                f"; {len(off)} others, timed as a whole, differ from their sums by {median(off):.1%} (median), "
                f"{max(off):.1%} at most"
            )
        return made + (f"; {self.busy}" if self.busy else "")


def compose(table: CostTable, setting: Setting, progress: Progress, seed: int = 0) -> Composed:
    """Time the pieces of the networks of ``table``'s space: forward passes of the setting's first batch size.

    ``progress`` is told what is done, how much of it, and of how much. Raises ``WorldError`` when memory runs out and
    ``StsearchError`` when a network cannot be built or run.
    """
    to_time, others = chosen_in(table, seed, lambda: progress(_SAYS, 0, 1))
    total = len(to_time) + len(others)
    brief, busy = shorter(setting), occupied(setting)
    found: dict[Piece, list[float]] = {}
    rests, errors = [], []
    with with_threads(brief):
        for done, (network, pieces) in enumerate(to_time.items()):
            progress(_SAYS, done, total)
            whole, parts = timed_pieces(network, table.clip, table.classes, brief)
            for piece, ms in zip(pieces, parts, strict=True):
                found.setdefault(piece, []).append(ms)
            rests.append(whole - sum(parts))
    took = {piece: median(times) for piece, times in found.items()}
    for head in {pieces[-1] for pieces in to_time.values()}:
        took[head] += median(rests)
    for done, (network, pieces) in enumerate(others.items(), len(to_time)):
        progress(_SAYS, done, total)
        measured = quick(network, table.clip, table.classes, brief)[LATENCY]
        errors.append(sum(map(took.__getitem__, pieces)) / measured - 1)
    progress(_SAYS, total, total)
    return Composed(tuple(took[piece] for piece in table.pieces()), len(to_time), tuple(errors), busy())


def chosen_in(
    table: CostTable, seed: int, waiting: Callable[[], None] = lambda: None
) -> tuple[dict[Architecture, list[Piece]], dict[Architecture, list[Piece]]]:
    """Networks with their pieces: some that have every piece, ``TWICE`` where there are so many, and some others.

    ``waiting`` is called now and then. ``UserError`` for a space of which a piece is in none of the networks drawn.
    """
    place = {piece: number for number, piece in enumerate(table.pieces())}
    drawn: dict[Architecture, frozenset[int]] = {}
    unseen = set(place.values())
    for network in _drawn(table, seed):
        if len(drawn) >= _DRAWN and not unseen:
            break
        waiting()
        drawn[network] = frozenset(place[piece] for piece in table.pieces_of(network))
        unseen -= drawn[network]
    if unseen:
        raise UserError(
            f"measure.latency: {len(unseen)} of {len(place)} pieces of the space {table.space.name!r} are in none of "
            f"{len(drawn):,} networks that were drawn; with `each` networks are timed one by one"
        )
    lacking = dict.fromkeys(place.values(), TWICE)
    chosen = []
    while drawn:
        waiting()
        network = max(drawn, key=lambda one: sum(lacking[piece] > 0 for piece in drawn[one]))
        if all(lacking[piece] <= 0 for piece in drawn[network]):
            break
        chosen.append(network)
        for piece in drawn.pop(network):
            lacking[piece] -= 1
    others = list(drawn)[:CHECKED]
    return {one: table.pieces_of(one) for one in chosen}, {one: table.pieces_of(one) for one in others}


def _drawn(table: CostTable, seed: int) -> Iterator[Architecture]:
    digits, _ = table.population(seed)
    for row in np.random.default_rng(seed).permutation(len(digits)):
        yield table.space.from_digits(tuple(digits[row].tolist()))


def composed_of(attributes: Mapping[str, Any]) -> Composed | None:
    """What the attributes of a study say of it; ``None`` where its networks are timed one by one, or not at all."""
    return Composed.of(attributes[COMPOSED]) if COMPOSED in attributes else None


def composed_for(
    study: Study, storage: RDBStorage | None, table: CostTable, setting: Setting, progress: Progress
) -> Composed | None:
    """The times of pieces that ``study`` was begun with, else measured now; ``table`` knows the latency afterwards.

    ``None``, and nothing known, where the study does not ask for it.
    """
    if not study.composed:
        return None
    with opening(study.storage_url):
        known = storage.get_all_studies() if storage is not None else []
    attributes = next((one.user_attrs for one in known if one.study_name == study.name), {})
    composed = composed_of(attributes) or compose(table, setting, progress, study.spec.seed)
    composed.enter(table)
    table.check_budget(study.hard_budget(table.names))
    return composed


def keep_composed(optuna_study: OptunaStudy, composed: Composed) -> Composed:
    """Store it, and give what is stored: another process may have been quicker. The caller holds the study's lock."""
    kept = composed_of(optuna_study.user_attrs)
    if kept is None:
        optuna_study.set_user_attr(COMPOSED, composed.as_dict())
    return kept or composed
