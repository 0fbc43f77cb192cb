"""Sections of a study's YAML, and where a key belongs that was written outside of its section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from stsearch.schema import Strict

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


def keys_inside(outer: type[Strict], sections: Mapping[str, type[Strict]]) -> dict[str, str]:
    """Keys of sections, for who leaves the section out: ``trials`` is ``search.trials``; the first section counts."""
    found: dict[str, str] = {}
    for section, model in sections.items():
        for key in model.model_fields:
            found.setdefault(key, f"{section}.{key}")
    return {key: place for key, place in found.items() if key not in outer.model_fields}
