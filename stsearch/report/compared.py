"""Networks that a study is compared with (``search.compare_with``): what is known of them, and how they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stsearch.search.attributes import ARCHITECTURE, REASON, REFERENCE, STOPPED
from stsearch.search.compared import too_small
from stsearch.search.state import State
from stsearch.search.stored import Record, StoredStudy
from stsearch.space.architecture import Architecture
from stsearch.space.blueprint import AnyNetwork
from stsearch.space.cost import COSTS, network_cost
from stsearch.space.literature import Printed, printed_of
from stsearch.space.zoo import find_any

NOTE = (
    "published: top-1 of others, on other data, from other clips, views and trainings; it is on another scale than "
    "this study's accuracies, and stands in no axis of theirs"
)


@dataclass(frozen=True)
class Compared:
    """One network that ``search.compare_with`` names."""

    name: str
    network: AnyNetwork
    costs: Mapping[str, float]
    """of the target's clip"""
    record: Record | None
    """of its training at the study's fidelity; ``None`` where there is none"""
    why: str
    """why there is none, in words; empty where there is one"""
    printed: Printed | None

    @property
    def placed(self) -> bool:
        """Whether it has a placement, as networks of spaces have; those of the zoo have none."""
        return isinstance(self.network, Architecture)

    @property
    def published(self) -> str:
        """What others measured, in words; empty where nobody did."""
        return self.printed.said if self.printed else ""

    @property
    def metrics(self) -> Mapping[str, float]:
        """What is known of it: exact costs, and what a training of the study found."""
        return self.record.metrics if self.record else self.costs

    def as_dict(self) -> dict[str, Any]:
        """Its part of the JSON of ``pareto``, without how it stands."""
        printed = self.printed
        return {
            "network": self.name,
            "architecture": self.network.id,
            "trial": self.record.trial if self.record else None,
            "trained": self.record is not None,
            "why_not": self.why,
            **self.metrics,
            "published": printed
            and {
                "top1": printed.top1,
                "dataset": printed.dataset,
                "pretrain": printed.pretrain,
                "source": printed.source,
            },
        }


def compared_of(stored: StoredStudy) -> tuple[Compared, ...]:
    """The networks that a study names now, in its order; those that it named once are not shown."""
    named = {name: find_any(name) for name in stored.resolved["search"].get("compare_with", ())}
    if not named:
        return ()
    outside = {record.architecture: record for record in stored.references()}
    inside = dict(_trials(stored, [network.id for network in named.values()]))
    found = []
    for name, network in named.items():
        record, why = inside.get(network.id, (None, ""))
        if record is None:
            record = outside.get(network.id)
        why = "" if record else why or _why(stored, name, network)
        total = network_cost(network, stored.target_clip, stored.classes).total
        costs = {cost: measure(total) for cost, measure in COSTS.items()}
        found.append(Compared(name, network, costs, record, why, printed_of(network)))
    return tuple(found)


def _trials(stored: StoredStudy, names: list[str]) -> Iterator[tuple[str, tuple[Record | None, str]]]:
    """Architecture to what its last trial is or why it is none, for those of the space."""
    rows = stored.find(ARCHITECTURE, names)
    for row, known in zip(rows, stored.attributes([ARCHITECTURE, REASON, STOPPED], rows), strict=True):
        state = stored.states[row]
        if row in stored.complete:
            (record,) = stored.records(rows[rows == row])
            yield known[ARCHITECTURE], (record, "")
        else:
            said = f"{state}: {known[REASON]}" if REASON in known else _WORDS.get(state, str(state))
            yield known[ARCHITECTURE], (None, said)


_WORDS = {State.OPEN: "waits for its turn", State.RUNNING: "in training", State.INTERRUPTED: "waits for its turn"}


def _why(stored: StoredStudy, name: str, network: AnyNetwork) -> str:
    if why := too_small(network, stored.proxy_clip):
        return f"not trained: {why}"
    known = stored.user_attributes.get(REFERENCE + name, {})
    state = known.get("state", State.OPEN)
    return f"failed: {known[REASON]}" if REASON in known else _WORDS.get(state, str(state))
