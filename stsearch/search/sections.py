"""Sections of a study's YAML, and where a key belongs that was written outside of its section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from stsearch.errors import UserError, unknown
from stsearch.evaluate.evaluators import LookedAt, ScoreName
from stsearch.schema import Strict
from stsearch.search.compared import known_name
from stsearch.search.samplers import SAMPLERS
from stsearch.space.published import find_network

Extent = Annotated[int, Field(ge=1, le=65_536)]


class Target(Strict):
    """The network as it will be used; costs and budgets are these."""

    frames: Extent = 16
    """of one clip"""
    size: Extent = 112
    """height and width of a clip, pixels"""
    classes: Extent | None = None
    """default: the number of classes of the data"""


class Proxy(Strict):
    """Its stand-in that is trained; every field defaults to the target's."""

    frames: Extent | None = None
    """of one clip"""
    size: Extent | None = None
    """height and width of a clip, pixels"""
    width: Annotated[float, Field(gt=0, le=1)] = 1.0
    """share of the channels that every layer keeps"""


class Measure(Strict):
    """How ``latency_ms`` and ``peak_memory_mb`` of the target are measured, where a study asks for them."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto``: bf16 autocast on a GPU that has it, else fp32"""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """torch threads on a CPU"""
    batch: Annotated[int, Field(ge=1, le=65_536)] = 1
    """clips at once; ``latency_ms`` and ``peak_memory_mb`` are of all of them"""
    latency: Literal["each", "composed"] = "each"
    """``each``: every network is timed before it is trained; ``composed``: pieces of networks are timed once, when the
    study begins, and a network's latency is their sum, known beforehand, so that a cap on it is hard"""


class Screen(Strict):
    """The ``search.screen:`` section."""

    score: ScoreName
    """how an untrained network is judged: synflow, naswot or entropy"""
    reduction: Annotated[int, Field(ge=2)] = 3
    """one in so many of the scored networks is trained, rounded up, and besides those that none beats"""
    clips: LookedAt = 32
    """training clips to look at, for ``naswot``; the same for all networks"""

    @property
    def about(self) -> dict[str, Any]:
        """What makes scores comparable, beside what a study may not change."""
        return {"score": self.score, "clips": self.clips}


class Search(Strict):
    """How architectures are proposed."""

    sampler: str = "auto"
    """auto, ehvi, random, tpe, nsga2, gp or exhaustive; auto tries all networks where trials suffice, else ehvi"""
    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 30
    """networks of the space to train; references outside it come on top"""
    repeats: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """trainings, after the search, of networks that cannot be told apart on the front, with further seeds"""
    repeat: dict[str, Annotated[int, Field(ge=1, le=1000)]] = {}
    """further trainings of networks by name, with further seeds, before those of near-ties"""
    start_with: Literal["none", "paper", "paper-all", "balanced"] | list[str] = "paper"
    """what is trained first: nothing, the networks of the paper, also those over the budget, these and a balanced part
    of the space, or networks by name"""
    compare_with: list[Annotated[str, AfterValidator(known_name)]] = []
    """networks to show beside the study's, of the paper, the zoo or by placement: trained as the study's are, never on
    its front unless the space holds them; may be added later"""
    screen: Screen | None = None
    """a score that a network must pass before it is trained"""

    @field_validator("compare_with")
    @classmethod
    def _once(cls, given: list[str]) -> list[str]:
        if twice := [name for name in dict.fromkeys(given) if given.count(name) > 1]:
            raise ValueError(f"names a network once; given twice: {', '.join(twice)}")
        return given

    @field_validator("sampler")
    @classmethod
    def _known(cls, given: str) -> str:
        if given not in SAMPLERS:
            raise ValueError(unknown("sampler", given, SAMPLERS))
        return given

    @field_validator("start_with")
    @classmethod
    def _networks(cls, given: str | list[str]) -> str | list[str]:
        if isinstance(given, list):
            try:
                for name in given:
                    find_network(name)
            except UserError as error:
                raise ValueError(str(error)) from None
        return given


def keys_inside(outer: type[Strict], sections: Mapping[str, type[Strict]]) -> dict[str, str]:
    """Keys of sections, for who leaves the section out: ``trials`` is ``search.trials``; the first section counts."""
    found: dict[str, str] = {}
    for section, model in sections.items():
        for key in model.model_fields:
            found.setdefault(key, f"{section}.{key}")
    return {key: place for key, place in found.items() if key not in outer.model_fields}
