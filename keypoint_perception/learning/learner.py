"""The module that is trained, network and objective, and the average of the network."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

from keypoint_perception.errors import ConfigError, ModelError
from keypoint_perception.learning.composite_objective import CompositeObjective
from keypoint_perception.learning.config import NETWORK_SETTINGS, TrainConfig
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.model.checkpoint import load_network
from keypoint_perception.model.layers import normalise
from keypoint_perception.model.network import Keypointer, NetworkConfig
import torch
from torch import nn, Tensor

log = logging.getLogger('keypoint_perception')


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


def load_initial_weights(network: Keypointer, model_dir: Path) -> None:
    """
    Copy those weights of a model whose names and shapes match, and log the others.

    :raises ModelError: if there is no such model, or none of its weights match
    """
    source = load_network(model_dir)
    theirs, mine = source.state_dict(), network.state_dict()
    for weights in (theirs, mine):
        del weights['calibration']  # of the confidence; it is not learned
    matching = {n: t for n, t in theirs.items() if n in mine and mine[n].shape == t.shape}
    if not matching:
        msg = (
            f'init: none of the weights of {str(model_dir)!r} (network {source.config.network}, '
            f'width {source.config.width}) match the network {network.config.network} of width '
            f'{network.config.width}; omit network and width to use those of the model.'
        )
        raise ModelError(msg)
    network.load_state_dict(mine | matching, strict=False)
    before, now = (
        {n: 'x'.join(map(str, t.shape)) for n, t in weights.items()} for weights in (theirs, mine)
    )
    others = [f'{n} {before.get(n, "none")} -> {now[n]}' for n in mine if n not in matching]
    random = f'; initialised at random: {", ".join(others)}' if others else ''
    log.info(
        'Initial weights: %d of %d copied from %s%s.', len(matching), len(mine), model_dir, random
    )
