"""A search space: which kinds, depths and widths are allowed where, read from YAML.

An architecture of a space is six digits in a mixed radix (width, stem, one option per stage),
so that enumeration, indexing and vectorised cost share one numbering.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator

from stsearch.errors import SpecError, UserError, unknown
from stsearch.schema import Strict, read_yaml, validate
from stsearch.space.architecture import GROUPS, MAX_BLOCKS, MAX_WIDTH, STAGES, Architecture
from stsearch.space.kinds import KINDS, stem_kinds

Value = str | int | float
MAX_OPTIONS = 1_000_000
"""Ways to fill one stage; beyond it a space cannot be tabulated."""


@dataclass(frozen=True)
class Parameter:
    """One decision: a name and its allowed values; ordered values are numbers."""

    name: str
    values: tuple[Value, ...]

    @property
    def ordered(self) -> bool:
        """Whether the values are numbers (depths, widths) rather than kinds."""
        return not isinstance(self.values[0], str)


@dataclass(frozen=True)
class StageChoices:
    """What one stage may be."""

    name: str
    kinds: tuple[str, ...]
    depths: tuple[int, ...]
    per_block: bool

    @property
    def size(self) -> int:
        """Number of distinct stages."""
        return sum(len(self.kinds) ** (depth if self.per_block else 1) for depth in self.depths)

    @cached_property
    def options(self) -> tuple[tuple[str, ...], ...]:
        """Every distinct stage as the kinds of its blocks."""
        if self.per_block:
            return tuple(kinds for depth in self.depths for kinds in product(self.kinds, repeat=depth))
        return tuple((kind,) * depth for depth in self.depths for kind in self.kinds)

    @cached_property
    def places(self) -> dict[tuple[str, ...], int]:
        """Option to its digit."""
        return {option: digit for digit, option in enumerate(self.options)}

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its decisions with more than one allowed value."""
        names = (
            [f"{self.name}.{n}.kind" for n in range(1, max(self.depths) + 1)]
            if self.per_block
            else [f"{self.name}.kind"]
        )
        decisions = [Parameter(f"{self.name}.depth", self.depths), *(Parameter(name, self.kinds) for name in names)]
        return tuple(decision for decision in decisions if len(decision.values) > 1)

    def decode(self, values: Mapping[str, Value]) -> tuple[str, ...]:
        """Values of ``parameters`` to the kinds of the blocks."""
        depth = int(values.get(f"{self.name}.depth", self.depths[0]))
        names = [f"{self.name}.{n}.kind" if self.per_block else f"{self.name}.kind" for n in range(1, depth + 1)]
        return tuple(str(values.get(name, self.kinds[0])) for name in names)

    def encode(self, kinds: tuple[str, ...]) -> dict[str, Value]:
        """The inverse of ``decode``; kinds of blocks beyond the depth take the first kind."""
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.name == f"{self.name}.depth":
                values[parameter.name] = len(kinds)
            elif not self.per_block:
                values[parameter.name] = kinds[0]
            else:
                number = int(parameter.name.split(".")[1])
                values[parameter.name] = kinds[number - 1] if number <= len(kinds) else self.kinds[0]
        return values


@dataclass(frozen=True)
class SearchSpace:
    """All architectures that a search may propose."""

    name: str
    block: str
    widths: tuple[float, ...]
    stems: tuple[str, ...]
    stages: tuple[StageChoices, ...]
    plugins: tuple[str, ...] = ()
    folder: str = ""
    """where the YAML file stood; plug-ins beside it are importable"""

    @property
    def radix(self) -> tuple[int, ...]:
        """Number of options per digit: width, stem, four stages."""
        return (len(self.widths), len(self.stems), *(stage.size for stage in self.stages))

    @property
    def size(self) -> int:
        """Number of architectures."""
        return prod(self.radix)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The decisions of a search; those with one allowed value are left out."""
        own = [Parameter("width", self.widths), Parameter("stem", self.stems)]
        decisions = (p for p in own if len(p.values) > 1)
        return (*decisions, *(p for stage in self.stages for p in stage.parameters))

    @property
    def fingerprint(self) -> str:
        """Changes when the set of architectures does, or what a kind means; not with the name."""
        stages = [(s.kinds, s.depths, s.per_block) for s in self.stages]
        kinds = sorted({kind for stage in self.stages for kind in stage.kinds})
        meaning = [repr((KINDS[kind](8, 8, 1), KINDS[kind](8, 16, 2))) for kind in kinds]
        text = json.dumps([self.block, self.widths, self.stems, stages, meaning])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def definition(self) -> dict[str, Any]:
        """The mapping of its YAML, so that it can be made again where there is no such file."""
        stages = {stage.name: {"kind": list(stage.kinds), "depth": list(stage.depths)} for stage in self.stages}
        per_block = any(stage.per_block for stage in self.stages)
        return {
            "name": self.name,
            "block": self.block,
            "width": list(self.widths),
            "granularity": "block" if per_block else "stage",
            "stem": {"kind": list(self.stems)},
            "stages": stages,
            "plugins": list(self.plugins),
        }

    def scaled(self, width: float) -> SearchSpace:
        """The same space with every stage ``width`` times as wide, as ``Architecture.scaled``."""
        return replace(self, widths=tuple(own * width for own in self.widths))

    def decode(self, values: Mapping[str, Value]) -> Architecture:
        """Values of ``parameters`` to an architecture."""
        return Architecture(
            stem=str(values.get("stem", self.stems[0])),
            stages=tuple(stage.decode(values) for stage in self.stages),
            block=self.block,
            width=float(values.get("width", self.widths[0])),
        )

    def encode(self, architecture: Architecture) -> dict[str, Value]:
        """Values of ``parameters`` that ``decode`` turns into ``architecture``."""
        self.digits(architecture)
        values: dict[str, Value] = {}
        if len(self.widths) > 1:
            values["width"] = architecture.width
        if len(self.stems) > 1:
            values["stem"] = architecture.stem
        for stage, kinds in zip(self.stages, architecture.stages, strict=True):
            values |= stage.encode(kinds)
        return values

    def __contains__(self, architecture: object) -> bool:
        if not isinstance(architecture, Architecture) or architecture.block != self.block:
            return False
        return (
            architecture.width in self.widths
            and architecture.stem in self.stems
            and all(kinds in stage.places for stage, kinds in zip(self.stages, architecture.stages, strict=True))
        )

    def digits(self, architecture: Architecture) -> tuple[int, ...]:
        """The digits of an architecture of this space (``UserError`` for others)."""
        if architecture not in self:
            raise UserError(f"the space {self.name!r} does not contain {architecture.id}")
        return (
            self.widths.index(architecture.width),
            self.stems.index(architecture.stem),
            *(stage.places[kinds] for stage, kinds in zip(self.stages, architecture.stages, strict=True)),
        )

    def from_digits(self, digits: tuple[int, ...]) -> Architecture:
        """The architecture of six digits."""
        width, stem, *stages = digits
        kinds = tuple(choices.options[digit] for choices, digit in zip(self.stages, stages, strict=True))
        return Architecture(self.stems[stem], kinds, self.block, self.widths[width])

    def index(self, architecture: Architecture) -> int:
        """The number of an architecture in the order of ``enumerate``."""
        number = 0
        for digit, radix in zip(self.digits(architecture), self.radix, strict=True):
            number = number * radix + digit
        return number

    def architecture(self, index: int) -> Architecture:
        """The architecture with number ``index``."""
        digits = []
        for radix in reversed(self.radix):
            index, digit = divmod(index, radix)
            digits.append(digit)
        return self.from_digits(tuple(reversed(digits)))

    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture once, in the order of ``index``."""
        return (self.architecture(index) for index in range(self.size))

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Architectures that differ in one decision: a kind, a depth by one step, a width by one step."""
        found: dict[Architecture, None] = {}
        values = self.encode(architecture)
        for parameter in self.parameters:
            place = parameter.values.index(values[parameter.name])
            steps = (place - 1, place + 1) if parameter.ordered else range(len(parameter.values))
            for step in steps:
                if 0 <= step < len(parameter.values) and step != place:
                    found[self.decode({**values, parameter.name: parameter.values[step]})] = None
        found.pop(architecture, None)
        return list(found)


def _kinds(given: str | list[str], allowed: list[str], what: str) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else given
    wrong = [name for name in names if name not in allowed]
    if wrong:
        raise ValueError(" ".join(unknown(what, name, allowed) for name in wrong))
    return _distinct(names)


def _distinct(values: list[Any]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("at least one value is needed; given an empty list")
    if len(set(values)) < len(values):
        raise ValueError(f"values must differ; given {values}")
    return tuple(values)


class _Stem(Strict):
    """The first convolution."""

    kind: str | list[str]
    """of the first convolution; several: the search chooses"""

    @field_validator("kind")
    @classmethod
    def _known(cls, given: str | list[str]) -> str | list[str]:
        _kinds(given, stem_kinds(), "stem kind")
        return given


class _Stage(Strict):
    """What one stage may be."""

    kind: str | list[str]
    """of its blocks; several: the search chooses"""
    depth: int | list[int]
    """number of blocks; several: the search chooses"""

    @field_validator("kind")
    @classmethod
    def _known(cls, given: str | list[str]) -> str | list[str]:
        _kinds(given, KINDS.names(), "kind")
        return given

    @field_validator("depth")
    @classmethod
    def _positive(cls, given: int | list[int]) -> int | list[int]:
        depths = _distinct([given] if isinstance(given, int) else given)
        if not all(1 <= depth <= MAX_BLOCKS for depth in depths):
            raise ValueError(f"a depth is 1 to {MAX_BLOCKS} blocks; given {given}")
        return given


class _Stages(Strict):
    """The four stages of a residual network."""

    conv2_x: _Stage
    conv3_x: _Stage
    conv4_x: _Stage
    conv5_x: _Stage


class SpaceSpec(Strict):
    """The YAML of a search space."""

    name: str
    """how it is called in tables"""
    block: Literal["basic", "bottleneck", "basic_se", "bottleneck_se"] = "basic"
    """residual block; ``_se``: with squeeze and excitation"""
    width: float | list[float] = 1.0
    """channels, as a multiple of the standard ones; several: the search chooses"""
    granularity: Literal["stage", "block"] = "stage"
    """whether all blocks of a stage have one kind, or each its own"""
    stem: _Stem
    stages: _Stages
    plugins: list[str] = []
    """Python modules that register kinds or metrics"""

    @field_validator("width")
    @classmethod
    def _positive(cls, given: float | list[float]) -> float | list[float]:
        widths = _distinct([given] if isinstance(given, float | int) else given)
        if not all(0 < width <= MAX_WIDTH for width in widths):
            raise ValueError(f"a width multiplier is above 0, at most {MAX_WIDTH:g}; given {given}")
        return given

    def space(self, folder: str, source: str) -> SearchSpace:
        """The space that this spec describes; ``SpecError`` if a stage has too many forms."""

        def listed(value: Any) -> list[Any]:
            return value if isinstance(value, list) else [value]

        stages = tuple(
            StageChoices(
                name, tuple(listed(stage.kind)), tuple(sorted(listed(stage.depth))), self.granularity == "block"
            )
            for name, stage in ((name, getattr(self.stages, name)) for name in STAGES)
        )
        faults = [
            f"stages.{stage.name}: {stage.size:,} forms of one stage; at most {MAX_OPTIONS:,} are allowed, "
            "so take fewer kinds, fewer blocks or granularity: stage"
            for stage in stages
            if stage.size > MAX_OPTIONS
        ]
        if faults:
            raise SpecError(source, faults)
        widths = tuple(sorted(float(width) for width in listed(self.width)))
        return SearchSpace(
            self.name, self.block, widths, tuple(listed(self.stem.kind)), stages, tuple(self.plugins), folder
        )


def load_plugins(modules: Any, folder: str, source: str) -> None:
    """Import the modules that register further kinds; they may stand in ``folder``."""
    if not isinstance(modules, list):
        return
    faults = []
    sys.path.insert(0, folder or ".")
    try:
        for number, module in enumerate(modules):
            try:
                importlib.import_module(str(module))
            except Exception as error:  # whatever a user's module raises is a fault of the file that names it
                faults.append(f"plugins[{number}]: cannot import {module!r}: {type(error).__name__}: {error}")
    finally:
        sys.path.pop(0)
    if faults:
        raise SpecError(source, faults)


def space_from_data(data: Mapping[str, Any], folder: str = "", source: str = "space") -> SearchSpace:
    """A space from the mapping of a YAML file."""
    load_plugins(data.get("plugins"), folder, source)
    return validate(SpaceSpec, data, source).space(folder, source)


def load_space(path: Path) -> SearchSpace:
    """A space from a YAML file; ``SpecError`` lists all faults."""
    return space_from_data(read_yaml(path), str(path.parent.resolve()), str(path))


assert GROUPS[1:] == STAGES
