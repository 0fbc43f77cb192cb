"""What a training is made with: the ``evaluate:`` section of a study."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stsearch.data.augment import Augment
from stsearch.data.loader import RESIDENT_SHARE
from stsearch.schema import Strict

Count = Annotated[int, Field(ge=1, le=1_000_000)]
CLIPS = 10
"""per video, of video@1"""


class LoopRecipe(Strict, ABC):
    """What every training is made with, however long it is."""

    batch: Annotated[int, Field(ge=2, le=65_536)] = 16
    lr: Annotated[float, Field(gt=0, le=100)] = 0.02
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4
    schedule: Literal["cosine", "step"] = "cosine"
    step_epochs: Count = 10
    """for ``step``: epochs between divisions of the learning rate by 10"""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    """share of the steps over which the learning rate rises linearly"""
    augment: Augment = Augment()
    video_clips: Annotated[int, Field(ge=1, le=1000)] = CLIPS
    """clips per video of video@1 and video@5"""
    views: Literal[10, 30] = 10
    """30: each of 10 clips at three crops along the longer side; 10: ``video_clips`` clips, the middle of each"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto``: bf16 autocast on a GPU that has it, else fp32"""
    trace: Literal["none", "best", "all"] = "none"
    """traces for the TensorBoard profiler: of every network, or of those on the front when they are trained"""
    resident_share: Annotated[float, Field(ge=0, le=1)] = RESIDENT_SHARE
    """share of the free memory of a GPU, or of the available memory of the machine, that clips may take"""

    @model_validator(mode="after")
    def _ten_clips(self) -> Self:
        if self.views == 30 and self.video_clips != CLIPS:
            raise ValueError(f"views: 30 is {CLIPS} clips at three crops; given video_clips {self.video_clips}")
        return self

    @property
    @abstractmethod
    def length(self) -> int:
        """Epochs of a whole training, over which the learning rate is scheduled."""


class TrainRecipe(LoopRecipe):
    """The ``evaluate:`` section for plain training."""

    name: Literal["train"] = "train"
    epochs: Count = 4
    repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """trainings with different seeds; a trial's accuracy is their mean"""

    @property
    def length(self) -> int:
        """``epochs``."""
        return self.epochs


def learning_rate(recipe: LoopRecipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of step ``step`` (from 0)."""
    total = recipe.length * steps_per_epoch
    warm = round(recipe.warmup * total)
    if step < warm:
        return recipe.lr * (step + 1) / warm
    if recipe.schedule == "step":
        return recipe.lr * 0.1 ** (step // steps_per_epoch // recipe.step_epochs)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
