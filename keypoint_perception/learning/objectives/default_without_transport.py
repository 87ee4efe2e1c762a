"""
The terms of the default objective, with a bottleneck of descriptors in place of transport.

A frame is reconstructed from another frame's appearance at the keypoints and its own keypoints
alone, as in Zhang et al., Unsupervised discovery of object landmarks as structural
representations, 2018, https://arxiv.org/abs/1804.04412, which describes each keypoint by the
features that its map gathers; here they are gathered in the other frame of the pair, as Jakab et
al. 2018, https://arxiv.org/abs/1806.07823, take appearance from another frame. With Phi the
features, p_k the maps and b_k the bumps at the keypoints::

    f_k        = sum_u sg(p_k(u; x_s)) Phi(u; x_s)              appearance, of the source
    difference = refine(sum_k b_k(x_t) (f_k + e_k))             e_k learned for each keypoint
    x_t        = difference + median

No features of the target enter, and none are moved or erased. All other terms are those of
:mod:`.default`; the README says why there are two.
"""

from __future__ import annotations

from keypoint_perception.learning.objectives.default import Default, DefaultConfig
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.learning.partner_views import swap
from keypoint_perception.model.network import NetworkConfig
import torch
from torch import nn, Tensor


class DefaultWithoutTransport(Default):
    """The default objective without transport."""

    def __init__(
        self, config: DefaultConfig, network: NetworkConfig, statistics: DatasetStatistics
    ) -> None:
        super().__init__(config, network, statistics)
        self.embedding = nn.Parameter(torch.zeros(network.keypoints, self.features.channels))

    def differences(self, batch: PairBatch) -> Tensor:
        """Return each frame's difference from its background, from the other, (2B, 3, H, W)."""
        features = self.features(batch.images)
        maps = batch.maps.detach().to(features.dtype)
        described = swap(torch.einsum('bkhw,bchw->bkc', maps, features)) + self.embedding
        bumps = batch.bumps(self.config.sigma).to(features.dtype)
        difference: Tensor = self.refine(torch.einsum('bkhw,bkc->bchw', bumps, described))
        return difference
