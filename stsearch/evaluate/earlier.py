"""What studies of earlier versions did and had no key for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BEFORE: Mapping[str, Any] = {
    "optimizer": "sgd",
    "label_smoothing": 0.0,
    "residual_scale": 1.0,
    "stem_channels": 1,
    "paired": False,
}
"""How networks were trained before these could be chosen."""


def as_begun(evaluate: Mapping[str, Any]) -> dict[str, Any]:
    """The ``evaluate`` section as an earlier version stored it, with what that version did."""
    trains = evaluate.get("name") in ("train", "halving", "nni-oneshot")
    return {**BEFORE, **evaluate} if trains else dict(evaluate)


def as_then(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as an earlier version would have stored it, if that had trained like this; else as it is."""
    if not BEFORE.items() <= recipe.items():
        return dict(recipe)
    return {key: value for key, value in recipe.items() if key not in BEFORE}
