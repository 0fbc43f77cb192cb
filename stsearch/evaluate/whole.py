"""Recipes for the network that was chosen: the loop of the search, for longer and with all that it can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from stsearch.evaluate.recipe import Count, Extras, LoopRecipe


class WholeRecipe(LoopRecipe):
    """What ``stsearch train`` trains with: a file of these keys, or one of ``RECIPES``."""

    MEANT: ClassVar[Mapping[str, str]] = {"repeats": "--seed", "rungs": "epochs"}
    OF_ALL: ClassVar[Mapping[str, Any]] = {"stem_channels": 1}
    name: Literal["train"] = "train"
    stem_channels: Literal[1] = 1
    """the network itself is trained, and nothing in its place"""
    epochs: Count = 45
    """one clip of each training video is an epoch"""
    micro_batch: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """clips per forward pass; the gradients of a batch are added up. Default: the whole batch"""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """with 0.999, say, the network that is kept has the moving average of the weights, and BatchNorm statistics that
    are computed for it"""
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0
    """of 0.2, say: clips are added to their neighbours in the batch, in shares that follow Beta(0.2, 0.2)"""
    cutmix: Annotated[float, Field(ge=0, le=10)] = 0.0
    """of 1, say: a box of each clip, in all frames, is that of its neighbour; its area follows Beta(1, 1)"""

    sync_norm: bool | None = None
    """of several processes (``torchrun``): whether BatchNorm sees the clips of all of them, so that the training is
    that of one process; with false every process has statistics of its own. Default: true below 32 clips a process"""

    @property
    def length(self) -> int:
        """``epochs``."""
        return self.epochs

    @property
    def extras(self) -> Extras:
        """As the keys say."""
        return Extras(self.micro_batch, self.ema, self.mixup, self.cutmix, self.sync_norm)

    @property
    def full_rate_from(self) -> float:
        """The epochs of ``step`` begin when the learning rate has risen."""
        return self.warmup


RECIPES: Mapping[str, Mapping[str, Any]] = {
    "paper": {
        "optimizer": "sgd",
        "epochs": 45,
        "batch": 32,
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "schedule": "step",
        "step_epochs": 10,
        "warmup": 10 / 45,
    },
    "quick": {},
}
"""``paper``: Tran et al. (CVPR 2018), section 4.1, on one device: 45 epochs, learning rate 0.01 for 32 clips, which
rises over 10 epochs and is divided by 10 after each further 10. ``quick``: that of the search, as long as there."""
