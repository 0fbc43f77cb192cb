"""The moving average of a network's weights, with BatchNorm statistics of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn


class Average:
    """Follows a network in training: at each step ``decay`` of the old average and the rest of the new weights."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        averaging = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._model = AveragedModel(network, multi_avg_fn=averaging)

    def follow(self, network: nn.Module) -> None:
        """Take the weights of one more step in."""
        self._model.update_parameters(network)

    def settle(self, network: nn.Module, clips: Iterable[torch.Tensor]) -> None:
        """Give ``network`` the averaged weights, and BatchNorm statistics of ``clips``, each normalised float32.

        Those that the average holds are the live network's: they do not fit its weights.
        """
        network.load_state_dict(self._model.module.state_dict())
        update_bn(clips, network)

    def state_dict(self) -> dict[str, Any]:
        """All that ``load_state_dict`` needs."""
        return self._model.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``."""
        self._model.load_state_dict(state)
