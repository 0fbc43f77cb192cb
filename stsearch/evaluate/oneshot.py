"""How a supernet is trained once for all networks of a space: the recipe (the work is ``stsearch.nni``'s)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stsearch.evaluate.recipe import Count, TrainRecipe


class OneShotRecipe(TrainRecipe):
    """The ``evaluate:`` section for NNI's one-shot strategies; what ``train`` has holds for the supernet."""

    name: Literal["nni-oneshot"] = "nni-oneshot"  # type: ignore[assignment]
    optimizer: Literal["sgd"] = "sgd"
    strategy: Literal["random", "darts"] = "random"
    """``random``: every step trains one path, drawn evenly; ``darts``: all of them, mixed by learnt weights"""
    arc_lr: Annotated[float, Field(gt=0, le=10)] = 3e-4
    """of ``darts``: learning rate (Adam) of the weights of the mixture"""
    calibrate: Count = 16
    """batches of training clips from which a network's BatchNorm statistics are taken anew (Guo et al., ECCV 2020)"""

    @model_validator(mode="after")
    def _of_the_supernet(self) -> Self:
        if self.label_smoothing or self.residual_scale != 1 or self.stem_channels != 1:
            raise ValueError(
                "a supernet is trained without label_smoothing, its branches begin at a residual_scale of 1, and its "
                f"stem_channels are 1; given {self.label_smoothing:g}, {self.residual_scale:g} and {self.stem_channels}"
            )
        return self
