"""``stsearch calibrate``: which ways to train are tried next, by what the trainings so far say, and what they say.

A race in rounds. In the first every way trains every network once; into the next ones go the study's own, the longest
and what ``stsearch.stats.calibration.stays`` leaves of the others. A round of a way is only begun where it is expected
to fit into the time that is left, and the first round takes at most half of all the time, unless the study's own and
the longest need more. What enters a round follows from the records of the rounds before it, so a race that was cut off
goes on as it would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from stsearch.report.learning import Verdict, learning_of_records
from stsearch.search.audit import Found
from stsearch.search.calibrated import Calibrated
from stsearch.search.calibration import Calibration, Way
from stsearch.search.reading import Record
from stsearch.space.architecture import Architecture, parse_placement
from stsearch.space.cost import network_cost
from stsearch.stats.accuracy import Floats
from stsearch.stats.calibration import (
    Agreement,
    Candidate,
    Standing,
    pick,
    seed_to_seed,
    settles,
    standings,
    stays,
    with_reference,
)
from stsearch.stats.draws import measured

FIRST_SHARE = 0.5
"""Of all the time, what the first rounds may take; the study's own and the longest are in any case tried"""

LEAST_ROUNDS = 2
"""Rounds without which nothing is known of the noise"""
Heat = tuple[Way, int]
"""A way and one round of it"""


@dataclass(frozen=True)
class Tried:
    """What is known of one way."""

    way: Way
    rounds: int
    """that all networks were trained in"""
    networks: int
    """of them, those that did not fail"""
    trainings: int
    """that have ended, those of rounds that have not among them"""
    failed: tuple[tuple[str, str], ...]
    """network, reason"""
    seconds: float | None
    """per training"""
    top1: float | None
    """mean over networks and trainings, per cent"""
    seeds: Agreement
    """from one seed to the next"""
    longest: Agreement
    """with the longest; of that itself ``seeds``"""
    settles: float | None
    """points of difference that tell two networks apart, each trained once; ``None`` before it has several rounds"""
    verdict: Verdict
    """whether it learnt, see ``stsearch.report.learning``"""
    standing: Standing | None
    """among the others; ``None`` before it has a round"""
    stopped: int | None
    """the round that it did not enter, from 1, since another one is better; ``None`` where it still may"""


class Race:
    """A calibration as far as it has come."""

    def __init__(self, calibration: Calibration, found: Found) -> None:
        self.calibration, self.found = calibration, found
        self.ways = calibration.ways
        self.longest = next(way for way in self.ways if way.role == "longest")

    def missing(self, heat: Heat) -> int:
        """Trainings of a round that have neither ended nor failed."""
        keys = [(work.part, work.architecture) for work in self.calibration.works([heat])]
        return sum(key not in self.found.records and key not in self.found.failed for key in keys)

    def done(self, way: Way) -> int:
        """Rounds that are whole, from the first."""
        return next((k for k in range(self.calibration.rounds) if self.missing((way, k))), self.calibration.rounds)

    def records(self, way: Way, architecture: str) -> list[Mapping[str, Any]]:
        """Of a network's trainings, in the order of rounds."""
        keys = [(way.part(number), architecture) for number in range(self.calibration.rounds)]
        return [self.found.records[key] for key in keys if key in self.found.records]

    def seconds(self, way: Way) -> float | None:
        """Per training, of all that have ended."""
        found = [r["evaluation"]["seconds"] for a, _ in self.calibration.networks for r in self.records(way, a)]
        return sum(found) / len(found) if found else None

    @property
    def spent(self) -> float:
        """Seconds of all trainings that have ended, one after the other."""
        return float(sum(record["evaluation"]["seconds"] for record in self.found.records.values()))

    def values(self, way: Way, rounds: int) -> dict[str, list[float]]:
        """Accuracies, per cent, of the first ``rounds`` trainings of the networks that have them."""
        parts = [way.part(number) for number in range(rounds)]
        return {
            a: [float(self.found.records[part, a]["evaluation"]["video_top1"]) for part in parts]
            for a, _ in self.calibration.networks
            if all((part, a) in self.found.records for part in parts)
        }

    def agreements(self, way: Way, most: int) -> tuple[Agreement, Agreement]:
        """From seed to seed, and with the longest, by the first ``most`` rounds of both."""
        own, reference = (self.values(one, min(most, self.done(one))) for one in (way, self.longest))
        seeds = seed_to_seed(_array(own, list(own)))
        if way is self.longest:
            return seeds, seeds
        both = [a for a in own if a in reference]
        return seeds, with_reference(_array(own, both), _array(reference, both))

    def standings(self, most: int) -> dict[str, Standing]:
        """By label, of the ways that have a round, as the first ``most`` rounds of each have it."""
        tried = [way for way in self.ways if self.done(way)]
        known = bool(self.done(self.longest))
        rows = []
        for way in tried:
            seeds, longest = self.agreements(way, most)
            learnt = self.verdict(way, most) != "not learnt"
            rows.append(Candidate(self.seconds(way) or 0.0, longest if known else seeds, seeds, learnt))
        return {way.label: standing for way, standing in zip(tried, standings(rows), strict=True)}

    def verdict(self, way: Way, most: int) -> Verdict:
        """Whether most of its networks have learnt."""
        details, records = [], []
        for number, (architecture, network) in enumerate(self.calibration.networks):
            if kept := self.records(way, architecture)[:most]:
                trainings = [training for record in kept for training in record["evaluation"]["trainings"]]
                details.append({"trainings": trainings})
                records.append(Record(number, architecture, network, {}, True))
        classes = len(self.calibration.data.classes)
        return learning_of_records(records, details, classes, way.study.proxy_clip(), way.recipe.model_dump()).verdict

    def entrants(self, number: int) -> list[Way]:
        """Ways of round ``number``, from 0: the study's own first, the longest last once it has a round."""
        if number == 0:
            return list(self.ways)
        before = [way for way in self.entrants(number - 1) if self.done(way) >= number]
        standing = self.standings(number)
        kept = dict(zip(standing, stays(list(standing.values())), strict=True))
        others = [way for way in before if way.role == "other" and kept.get(way.label, False)]
        others.sort(key=lambda way: self.seconds(way) or 0.0)
        own, longest = ([way for way in before if way.role == role] for role in ("own", "longest"))
        return [*own, *others, *longest]

    def expected(self, heat: Heat) -> float | None:
        """Seconds of what is missing of a round, one training after the other; ``None`` before the first has ended."""
        way, _ = heat
        each = self.seconds(way)
        if each is None:
            rates = [(s, one) for one in self.ways if (s := self.seconds(one)) is not None]
            if not rates:
                return None
            seconds, known = rates[0]
            each = seconds * self._work(way) / self._work(known)
        return each * self.missing(heat)

    def _work(self, way: Way) -> float:
        splits = self.calibration.data.splits
        return way.work(self._parsed, len(splits["train"]), len(splits["val"]))

    @cached_property
    def _parsed(self) -> list[Architecture]:
        return [parse_placement(architecture) for architecture, _ in self.calibration.networks]

    def next_heats(self, left: float, total: float) -> list[Heat]:
        """What to train next in ``left`` of ``total`` seconds of work; empty where nothing fits or is wanted."""
        for number in range(self.calibration.rounds):
            heats = [(way, number) for way in self.entrants(number) if self.missing((way, number))]
            if heats and self.expected(heats[0]) is None:
                return heats[:1]
            chosen, planned = list[Heat](), 0.0
            for heat in heats:
                first_of_others = number == 0 and heat[0].role == "other"
                allowed = min(left, left - (1 - FIRST_SHARE) * total) if first_of_others else left
                needed = self.expected(heat) or 0.0
                if planned + needed <= allowed:
                    chosen.append(heat)
                    planned += needed
            if chosen:
                return chosen
        return []

    def tried(self) -> list[Tried]:
        """All ways, in their order."""
        standing = self.standings(self.calibration.rounds)
        return [self._tried(way, standing.get(way.label)) for way in self.ways]

    def _tried(self, way: Way, standing: Standing | None) -> Tried:
        rounds = self.done(way)
        seeds, longest = self.agreements(way, self.calibration.rounds)
        values = self.values(way, rounds) if rounds else {}
        ended = [len(self.records(way, a)) for a, _ in self.calibration.networks]
        names = dict(self.calibration.networks)
        parts = {way.part(number) for number in range(self.calibration.rounds)}
        failed = tuple((names[a], why) for (part, a), why in self.found.failed.items() if part in parts and a in names)
        return Tried(
            way=way,
            rounds=rounds,
            networks=len(values),
            trainings=sum(ended),
            failed=failed,
            seconds=self.seconds(way),
            top1=float(np.mean(list(values.values()))) if values else None,
            seeds=seeds,
            longest=longest,
            settles=self._settles(values),
            verdict=self.verdict(way, self.calibration.rounds),
            standing=standing,
            stopped=self._stopped(way, rounds),
        )

    def _stopped(self, way: Way, rounds: int) -> int | None:
        if not 0 < rounds < self.calibration.rounds or way in self.entrants(rounds):
            return None
        return rounds + 1

    def _settles(self, values: Mapping[str, Sequence[float]]) -> float | None:
        """By the one theory of noise, on the target's multiply-adds."""
        if len(next(iter(values.values()), ())) < LEAST_ROUNDS:
            return None
        clip, classes = self.calibration.own.target_clip(), len(self.calibration.data.classes)
        costs = [[network_cost(parse_placement(a), clip, classes).total.macs / 1e9] for a in values]
        videos = len(self.calibration.data.splits["val"])
        return settles(measured(np.array(costs), list(values.values()), videos))

    def picked(self) -> Tried | None:
        """The cheapest way that ranks, see ``stsearch.stats.calibration.pick``; ``None`` where there is none."""
        tried = [one for one in self.tried() if one.standing is not None]
        number = pick([one.standing for one in tried if one.standing is not None])
        return None if number is None else tried[number]

    def fingerprint(self, way: Way) -> str | None:
        """Of the clips that a way was trained on; ``None`` before it was."""
        found = (record for a, _ in self.calibration.networks for record in self.records(way, a))
        record = next(found, None)
        return None if record is None else str(record["data_fingerprint"])


def _array(values: Mapping[str, Sequence[float]], networks: Sequence[str]) -> Floats:
    """``(n, s)``; ``(0, 0)`` for none."""
    rows = [values[architecture] for architecture in networks]
    return np.array(rows, dtype=np.float64) if rows else np.zeros((0, 0))


def calibrated(tried: Tried, date: str) -> Calibrated | None:
    """What is kept of a way; ``None`` before it was trained with several seeds."""
    tau = tried.seeds.tau
    if tau.value is None or tried.settles is None or tried.seconds is None:
        return None
    return Calibrated(
        date=date,
        tau=tau.value,
        low=tau.low,
        high=tau.high,
        longest=tried.longest.tau.value,
        settles=tried.settles,
        learnt=tried.verdict,
        networks=tried.networks,
        rounds=tried.rounds,
        seconds=tried.seconds,
    )
