"""An architecture is plain frozen data: which kind every block has, how many blocks, how wide.

Its ``id`` is a readable string that loses nothing: ``3d-3dx2-2dx2-2dx2-2dx2`` is MC3-18, stem
first, then conv2_x to conv5_x as kind x blocks (``3d.2d`` where the blocks of a stage differ),
``@bottleneck`` and ``@w0.5`` appended where the block or the width is not the usual one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import groupby

from stsearch.errors import UserError, brief, unknown
from stsearch.space.kinds import KINDS, STEMS
from stsearch.texts import DIGITS, parse_json

STAGES = ("conv2_x", "conv3_x", "conv4_x", "conv5_x")
GROUPS = ("conv1", *STAGES)
"""The five placement groups; conv1 is the stem."""
BLOCKS = ("basic", "bottleneck", "basic_se", "bottleneck_se")
"""With ``_se``: with squeeze-and-excitation"""
DEPTHS: dict[int, tuple[str, tuple[int, int, int, int]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
"""Layers to block and blocks per stage (He et al., CVPR 2016, table 1)."""

_RUN = re.compile(r"(?P<kind>[a-z0-9_]+?)(?:[x*](?P<times>[1-9]\d*))?")
MAX_BLOCKS = 256
"""Blocks in one stage; ResNet-152's longest stage has 36."""
MAX_WIDTH = 64.0


@dataclass(frozen=True)
class Architecture:
    """A residual video network before it is built."""

    stem: str
    """kind of conv1"""
    stages: tuple[tuple[str, ...], ...]
    """for conv2_x .. conv5_x the kind of every block"""
    block: str = "basic"
    width: float = 1.0
    """multiplier of the widths 64, 64, 128, 256, 512"""

    def __post_init__(self) -> None:
        if self.stem not in STEMS:
            raise UserError(unknown("stem", self.stem, STEMS.names()))
        if self.block not in BLOCKS:
            raise UserError(unknown("block", self.block, BLOCKS))
        if len(self.stages) != len(STAGES):
            raise UserError(f"an architecture has 4 stages, {STAGES[0]} to {STAGES[-1]}; given {len(self.stages)}")
        for name, kinds in zip(STAGES, self.stages, strict=True):
            if not 1 <= len(kinds) <= MAX_BLOCKS:
                raise UserError(f"{name} has 1 to {MAX_BLOCKS} blocks; given {len(kinds)}")
            for token in kinds:
                if token not in KINDS:
                    raise UserError(unknown("kind", token, KINDS.names()))
        if isinstance(self.width, bool) or not 0 < self.width <= MAX_WIDTH:
            raise UserError(f"width is a number above 0, at most {MAX_WIDTH:g}; given {self.width!r}")
        object.__setattr__(self, "width", float(self.width))

    @property
    def depths(self) -> tuple[int, ...]:
        """Blocks per stage."""
        return tuple(len(kinds) for kinds in self.stages)

    @property
    def id(self) -> str:
        """The lossless readable name; equal architectures have equal ids."""
        text = "-".join([self.stem, *(_runs(kinds) for kinds in self.stages)])
        if self.block != "basic":
            text += f"@{self.block}"
        return text if self.width == 1.0 else f"{text}@w{self.width!r}"

    @property
    def placement(self) -> str:
        """Kinds alone, stem first: ``3d-3d-2d-2d-2d``; mixed stages as in ``id``."""
        return "-".join([self.stem, *(kinds[0] if len(set(kinds)) == 1 else _runs(kinds) for kinds in self.stages)])

    def scaled(self, width: float) -> Architecture:
        """The same placement with every stage ``width`` times as wide."""
        return replace(self, width=self.width * width)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        data = {"block": self.block, "stages": self.stages, "stem": self.stem, "width": self.width}
        return json.dumps(data, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Read ``to_json`` back; ``UserError`` says what is wrong with the text."""
        try:
            data = parse_json(text)
        except ValueError as error:
            raise UserError(f"not JSON: {error}") from None
        fields = ("stem", "stages", "block", "width")
        if not isinstance(data, dict):
            raise UserError(f"an architecture is a JSON object with {', '.join(fields)}; given {type(data).__name__}")
        for key in data:
            if key not in fields:
                raise UserError(unknown("field", key, fields))
        for key in ("stem", "stages"):
            if key not in data:
                raise UserError(f"the field {key!r} is missing")
        stages, width = data["stages"], data.get("width", 1.0)
        lists = isinstance(stages, list) and all(isinstance(kinds, list) for kinds in stages)
        if not lists or not all(isinstance(kind, str) for kinds in stages for kind in kinds):
            raise UserError(f"stages is a list of 4 lists of kinds; given {brief(stages)}")
        for key in ("stem", "block"):
            if not isinstance(data.get(key, ""), str):
                raise UserError(f"{key} is a name; given {brief(data[key])}")
        if isinstance(width, bool) or not isinstance(width, int | float):
            raise UserError(f"width is a number; given {brief(width)}")
        return cls(data["stem"], tuple(map(tuple, stages)), data.get("block", "basic"), width)


def _runs(kinds: tuple[str, ...]) -> str:
    return ".".join(f"{name}x{n}" if (n := len(list(run))) > 1 else name for name, run in groupby(kinds))


def uniform(placement: tuple[str, ...], layers: int, width: float = 1.0) -> Architecture:
    """``placement`` (stem and four stages) at 18, 34, 50, 101 or 152 layers."""
    if layers not in DEPTHS:
        raise UserError(unknown("number of layers", str(layers), map(str, DEPTHS)))
    block, depths = DEPTHS[layers]
    stem, *kinds = placement
    return Architecture(stem, tuple((k,) * n for k, n in zip(kinds, depths, strict=True)), block, width)


def layers_of(architecture: Architecture) -> int | None:
    """18, 34, 50, 101 or 152 if the depths are those, else ``None``."""
    for layers, (block, depths) in DEPTHS.items():
        if architecture.block == block and architecture.depths == depths:
            return layers
    return None


def parse_placement(text: str) -> Architecture:
    """``3d-3d-2d-2plus1d-2d@18`` or an architecture id; ``UserError`` otherwise."""
    body, *suffixes = text.split("@")
    given: dict[str, str] = {}
    for suffix in suffixes:
        if suffix in BLOCKS:
            what = "block"
        elif suffix.isdecimal() and suffix.isascii() and len(suffix) <= DIGITS:
            what = "layers"
        elif re.fullmatch(r"w\d+(\.\d+)?(e-?\d+)?", suffix):
            what = "width"
        else:
            raise UserError(
                f"after '@' stand layers ({', '.join(map(str, DEPTHS))}), 'bottleneck' or a width "
                f"such as 'w0.5'; given {brief(suffix)}"
            )
        if what in given or {what, *given} >= {"layers", "block"}:
            raise UserError(
                f"'@' gives layers, 'bottleneck' or a width once, and layers imply the block; given {brief(text)}"
            )
        given[what] = suffix
    block, width = given.get("block", "basic"), float(given.get("width", "w1")[1:])
    layers = int(given["layers"]) if "layers" in given else None
    groups = body.split("-")
    if len(groups) != len(GROUPS):
        raise UserError(f"a placement names 5 groups, {' '.join(GROUPS)}; given {len(groups)} in {brief(text)}")
    stem, *stages = groups
    parsed = [_parse_stage(stage) for stage in stages]
    if layers is not None:
        if any(len(kinds) != 1 for kinds in parsed):
            raise UserError(f"with '@{layers}' every group is one kind; given {brief(text)}")
        return uniform((stem, *(kinds[0] for kinds in parsed)), layers, width)
    return Architecture(stem, tuple(parsed), block, width)


def _parse_stage(text: str) -> tuple[str, ...]:
    kinds: list[str] = []
    for part in text.split("."):
        match = _RUN.fullmatch(part)
        if match is None:
            raise UserError(f"a stage is written kind or kind x blocks, as in '3dx2' or '3d.2d'; given {brief(text)}")
        written = match["times"] or "1"
        times = int(written) if len(written) <= DIGITS else MAX_BLOCKS + 1
        if times > MAX_BLOCKS:
            raise UserError(f"a stage has at most {MAX_BLOCKS} blocks; given {brief(text)}")
        kinds += [match["kind"]] * times
    return tuple(kinds)
