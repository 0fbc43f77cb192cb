"""Names of what effects are of, and lists of them, as people write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stsearch.report.effect_design import Term
from stsearch.space.architecture import GROUPS

ALONE = "it rests on a single network, so its noise cannot be seen"
_KINDS = {"2d": "2D", "3d": "3D", "2plus1d": "(2+1)D", "collapse": "collapsed frames", "time": "time"}


def kind_label(kind: str) -> str:
    """A kind as people write it."""
    return _KINDS.get(kind, kind)


def listed(words: Iterable[str]) -> str:
    """``a, b and c``"""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def terms_in_words(given: Sequence[Term]) -> str:
    """Terms of a regression in words: ``(2+1)D in conv1 and conv2_x``."""
    names = {"depth": "the depth of", "width": "the width", "block": "the type of block"}
    places: dict[str, list[str]] = {}
    for name, group in given:
        places.setdefault(names.get(name, f"{kind_label(name)} in"), []).extend([GROUPS[group]] if group >= 0 else [])
    words = [f"{what} {listed(groups)}" if groups else what for what, groups in places.items()]
    return listed(words) if words else "other choices"
