"""
Learn labelled points: the upper limit for training without labels.

Newell, Yang, Deng: Stacked hourglass networks for human pose estimation, 2016,
https://arxiv.org/abs/1603.06937. Each map is compared with a bump at the labelled point, at every
stack of the network (intermediate supervision). With the labelled point u_k in cells, the maps
p_k = softmax of the logits over the cells, and the bump t_k of standard deviation ``sigma``,
normalised to sum to one::

    map   = mean_k sum_u t_k(u) (log t_k(u) - log p_k(u))
    point = mean_k | sum_u p_k(u) u  -  u_k | / half image side

Both are means over the labelled points of the two frames of a pair and over the stacks; frames and
points without a label contribute nothing, and both terms are zero if nothing is labelled.

Departures, with their reasons:

- The paper uses the squared difference of maps whose peak is one. The robot reads a softmax, which
  the Kullback-Leibler divergence from a normalised bump trains directly; it does not vanish where
  nearly all cells are background.
- ``point`` is the error of the mean of the map (Nibali et al. 2018,
  https://arxiv.org/abs/1801.07372, combine the two likewise): ``map`` does not depend on how far
  away a wrong peak is.
- Each image is warped and recoloured on its own, and its labels are warped with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.errors import ConfigError
from keypoint_perception.keypoints import network_to_cells
from keypoint_perception.learning.data.photometric import ColourConfig, jitter_colours
from keypoint_perception.learning.data.warps import random_warp, WarpConfig
from keypoint_perception.learning.loss_terms import masked_mean
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.model.heatmaps import divergence, expectation, softmax_2d
from keypoint_perception.model.layers import map_size
from keypoint_perception.model.network import NetworkConfig
from keypoint_perception.settings import setting
import torch
from torch import nn, Tensor


@dataclass(frozen=True)
class SupervisedConfig(ColourConfig, WarpConfig):
    """Settings of learning from labels."""

    angle: float = 10.0
    scale: float = 0.1
    bend: float = 0.0
    colour: float = 0.1
    sigma: float = setting(1.0, low=0.3, high=10, help='Standard deviation of a bump, cells.')
    fraction: float = setting(
        1.0, above=0, high=1, help='Share of the labelled frames to use, the first ones in time.'
    )

    @property
    def warps(self) -> bool:
        """Return whether images are warped at all."""
        return max(self.angle, self.scale, self.shift, self.bend) > 0


class Supervised(nn.Module):
    """Comparison of the maps with labelled points, at every stack."""

    Config = SupervisedConfig
    weights = {'map': 1.0, 'point': 1.0}  # noqa: RUF012 a constant, overridden by configuration
    needs: tuple[str, ...] = ('labels',)

    def __init__(
        self, config: SupervisedConfig, network: NetworkConfig, statistics: DatasetStatistics
    ) -> None:
        super().__init__()
        self.config = config
        if network.keypoints != len(statistics.label_names):
            msg = (
                f'keypoints: the annotations name {len(statistics.label_names)} points '
                f'({", ".join(statistics.label_names)}), but the network has '
                f'{network.keypoints} keypoints; omit --keypoints.'
            )
            raise ConfigError(msg)

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the per-sample terms, each (B,)."""
        labels = torch.cat([batch.extra['labels0'], batch.extra['labels1']])
        stacks, labels = self._augment(batch, labels)
        xy = network_to_cells(labels, batch.network.stride)
        labelled = xy.isfinite().all(dim=-1)  # (2B, L)
        xy = torch.where(labelled[..., None], xy, 0.0)
        terms = [self._terms(maps, xy) for maps in stacks]
        return {
            name: _labelled_mean(torch.stack([term[name] for term in terms]).mean(dim=0), labelled)
            for name in self.weights
        }

    def _augment(self, batch: PairBatch, labels: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the maps of augmented images, and the labels in those."""
        config = self.config
        if not config.warps and not config.colour:
            return batch.stacks, labels  # the pass that other objectives share
        images = jitter_colours(batch.images, config.colour)
        if config.warps:
            hw = map_size(images)
            warp = random_warp(len(images), hw, config, device=images.device)
            images = warp.images(images)
            shown = warp.inside(labels, hw)
            labels = torch.where(shown[..., None], warp.points(labels, hw), torch.nan)
        return batch.network.stacks(images), labels

    def _terms(self, logits: Tensor, xy: Tensor) -> dict[str, Tensor]:
        """Return both terms of every point of one stack, each (2B, L)."""
        away = expectation(softmax_2d(logits)) - xy
        distance = (away.square().sum(dim=-1) + 1e-12).sqrt()
        half_side = max(logits.shape[-2:]) / 2
        return {'map': divergence(logits, xy, self.config.sigma), 'point': distance / half_side}


def _labelled_mean(values: Tensor, labelled: Tensor) -> Tensor:
    """Return the mean over the labelled points of both frames of a pair, (2B, L) -> (B,)."""
    return masked_mean(torch.cat(values.chunk(2), dim=1), torch.cat(labelled.chunk(2), dim=1))
