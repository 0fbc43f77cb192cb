"""What a training is made with: the ``evaluate:`` section of a study."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from stsearch.data.augment import Augment
from stsearch.data.loader import RESIDENT_SHARE
from stsearch.schema import Strict

Count = Annotated[int, Field(ge=1, le=1_000_000)]
CLIPS = 10
"""per video, of video@1"""


OF_OPTIMIZERS: Mapping[str, Mapping[str, float]] = {
    "muon": {
        "batch": 32,
        "lr": 0.06,
        "momentum": 0.6,
        "weight_decay": 0.0,
        "label_smoothing": 0.2,
        "residual_scale": 0.25,
        "stem_channels": 20,
    },
    "adamw": {
        "batch": 32,
        "lr": 0.006,
        "momentum": 0.9,
        "weight_decay": 0.05,
        "label_smoothing": 0.2,
        "residual_scale": 0.25,
        "stem_channels": 20,
    },
    "sgd": {
        "batch": 16,
        "lr": 0.02,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "label_smoothing": 0.0,
        "residual_scale": 1.0,
        "stem_channels": 1,
    },
}
"""What a recipe does not say; docs/decisions/0018-the-recipe.md has what they rest on."""


@dataclass(frozen=True)
class Extras:
    """What the loop can do besides; nothing of it in a search, where networks are compared after short trainings."""

    micro_batch: int | None = None
    """clips per forward pass, whose gradients are added up to those of a batch; ``None``: all of the batch"""
    ema: float = 0.0
    """how much of the moving average of the weights is kept at each step; 0: there is none"""
    mixup: float = 0.0
    """both parameters of the Beta distribution of the share of a clip; 0: none are mixed"""
    cutmix: float = 0.0
    """the same of the area that is kept of a clip"""
    sync_norm: bool | None = None
    """whether BatchNorm sees the clips of all processes; ``None``: where each has few"""

    @property
    def mixes(self) -> bool:
        """Whether clips are mixed with their neighbours."""
        return self.mixup > 0 or self.cutmix > 0


class LoopRecipe(Strict, ABC):
    """What every training is made with, however long it is."""

    OF_ALL: ClassVar[Mapping[str, Any]] = {}
    """defaults that are the same for all optimisers"""
    optimizer: Literal["muon", "adamw", "sgd"] = "muon"
    """``muon``: orthogonalised momentum for convolutions (Jordan et al., 2024), whose weights keep their norm, and
    AdamW for the rest; ``sgd``: Nesterov's momentum, as in the paper (section 4.1)"""
    batch: Annotated[int, Field(ge=2, le=65_536)] = 32
    """clips per step; its default is the optimiser's (``OF_OPTIMIZERS``), as those of the next six"""
    lr: Annotated[float, Field(gt=0, le=100)] = 0.06
    """learning rate at its highest"""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.6
    """not of AdamW"""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """not of what Muon trains"""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """share of the loss that asks for all classes evenly (Szegedy et al., CVPR 2016)"""
    residual_scale: Annotated[float, Field(ge=0, le=1)] = 0.25
    """scale of the last BatchNorm of every residual branch at the start; 1 in the authors' code. With less, a deep
    network begins as a shallow one (Goyal et al., 2017, take 0)"""
    stem_channels: Annotated[int, Field(ge=1, le=4096)] = 20
    """channels, at least, between the two convolutions of a (2+1)D stem that is trained: the authors' code has 45 at
    full width, an eighth of them is five, and with five some trainings lose colours. Costs do not change"""
    paired: bool = True
    """every network of a study sees the same clips in the same order, cut alike; a repeat sees others"""
    schedule: Literal["cosine", "step"] = "cosine"
    """how the learning rate falls: along a cosine to 0, or by 10 after every ``step_epochs``"""
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
    """``auto``: bf16 on a GPU that has it; of a study that is begun on a CPU, bf16 if that is faster there; else fp32.
    A convolution that a CPU computes wrong in bf16 is computed in fp32"""
    trace: Literal["none", "best", "all"] = "none"
    """traces of the profiler, for `profile --open`: of every network, or of those on the front when they are trained"""
    resident_share: Annotated[float, Field(ge=0, le=1)] = RESIDENT_SHARE
    """share of the free memory of a GPU, or of the available memory of the machine, that clips may take"""

    @model_validator(mode="before")
    @classmethod
    def _of_optimizer(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        optimizer = given.get("optimizer", cls.model_fields["optimizer"].default)
        known = OF_OPTIMIZERS.get(optimizer, {}) if isinstance(optimizer, str) else {}
        return {**known, **cls.OF_ALL, **given}

    @model_validator(mode="after")
    def _ten_clips(self) -> Self:
        if self.views == 30 and self.video_clips != CLIPS:
            raise ValueError(f"views: 30 is {CLIPS} clips at three crops; given video_clips {self.video_clips}")
        return self

    @property
    def extras(self) -> Extras:
        """None but in a recipe that names some."""
        return Extras()

    @property
    def full_rate_from(self) -> float:
        """Share of the steps after which the epochs of ``step`` are counted."""
        return 0.0

    @property
    @abstractmethod
    def length(self) -> int:
        """Epochs of a whole training, over which the learning rate is scheduled."""


class TrainRecipe(LoopRecipe):
    """The ``evaluate:`` section for plain training."""

    name: Literal["train"] = "train"
    epochs: Count = 4
    """passes over the training videos; ``auto``: until a network has seen 600 clips of each class"""
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
        counted = step - round(recipe.full_rate_from * total)
        return recipe.lr * 0.1 ** (counted // steps_per_epoch // recipe.step_epochs)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
