"""The module that is trained, network and objective, and the average of the network."""

from __future__ import annotations

import copy

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.composite_objective import CompositeObjective
from keypoint_perception.learning.config import NETWORK_SETTINGS, TrainConfig
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.model.layers import normalise
from keypoint_perception.model.network import Keypointer, NetworkConfig
import torch
from torch import nn, Tensor


class Learner(nn.Module):
    """
    Network and objective in one module, so that one wrapper distributes both.

    ``network`` is exported; ``objective`` holds the parts that are only needed for training.
    """

    def __init__(
        self, config: TrainConfig, input_hw: tuple[int, int], statistics: DatasetStatistics
    ) -> None:
        super().__init__()
        network = NetworkConfig(
            input_hw=input_hw,
            keypoints=config.keypoints + config.extra_keypoints,
            **{name: getattr(config, name) for name in NETWORK_SETTINGS},
        )
        self.network = Keypointer(network)
        self.objective = CompositeObjective(config.parts, network, statistics)
        if config.extra_keypoints and self.objective.links:
            msg = (
                f'extra_keypoints: must be 0 for {config.title}, which links all of its '
                f'keypoints, got {config.extra_keypoints}; set keypoints instead.'
            )
            raise ConfigError(msg)

    def forward(
        self, images0: Tensor, images1: Tensor, extra: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """
        Return the objectives' per-sample terms, each (B,).

        :param images0: RGB uint8, (B, H, W, 3), like ``images1``
        :param extra: the batch extras that the objectives need, by name
        """
        image0, image1 = normalise(images0), normalise(images1)
        batch = PairBatch(self.network, image0, image1, extra, one_way=self.objective.one_way)
        terms: dict[str, Tensor] = self.objective(batch)
        return terms


class WeightAverage:
    """
    Exponential moving average of the network, which is evaluated and exported.

    The decay rises with the steps, (1 + step) / (10 + step) up to its value, so that the random
    initial weights do not dominate a short run.
    """

    def __init__(self, network: Keypointer, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards a network."""
        keep = min(self.decay, (1 + step) / (10 + step))
        mine: list[Tensor] = list(self.network.parameters())
        theirs = [parameter.detach() for parameter in network.parameters()]
        torch._foreach_lerp_(mine, theirs, 1 - keep)
        for own, live in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(live)
