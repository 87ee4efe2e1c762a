"""
Descriptors of points: what a point and its surroundings look like, as a vector of length one.

The surroundings are the features that the keypoint network computes its maps from, the details
those of a feature net at a quarter of the resolution. They are sampled at the points, and a small
net makes the descriptor of both::

    features of the network (global) ---.
                                         >- at the points -- 96 -- 64 -- / length
    local features (12 px) -------------'
"""

from __future__ import annotations

from keypoint_perception.model.features import LocalFeatures, PaperFeatures
from keypoint_perception.model.layers import map_size
from keypoint_perception.model.network import NetworkConfig
import torch
from torch import nn, Tensor
from torch.nn import functional

# Numbers of a descriptor, channels of the local features, and their cell, px.
LENGTH, HIDDEN = 64, 96
LOCAL_CHANNELS, LOCAL_STRIDE = 32, 4


class Descriptors(nn.Module):
    """Descriptors of points of images, from the keypoint network's features and local ones."""

    def __init__(self, network: NetworkConfig) -> None:
        super().__init__()
        channels = PaperFeatures.channels if network.network == 'paper' else network.width
        self.local = LocalFeatures(LOCAL_CHANNELS, network.norm, LOCAL_STRIDE)
        self.mix = nn.Sequential(
            nn.Linear(channels + LOCAL_CHANNELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, LENGTH)
        )

    def fields(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return the maps that descriptors are computed from.

        :param images: in [-1, 1], (B, 3, H, W)
        :param features: of the keypoint network, (B, C, h, w)
        """
        return features.float(), self.local(images).float()

    def responses(self, fields: tuple[Tensor, Tensor], xy: Tensor) -> Tensor:
        """
        Return the descriptors of points before their length is made one, (B, N, 64).

        :param xy: longer image sides from the image's corner, (B, N, 2)
        """
        with torch.autocast(xy.device.type, enabled=False):
            sampled = [sample(field, xy) for field in fields]
            mixed: Tensor = self.mix(torch.cat(sampled, dim=-1))
        return mixed

    def forward(self, fields: tuple[Tensor, Tensor], xy: Tensor) -> Tensor:
        """Return the descriptors of points, (B, N, 64), likewise."""
        return functional.normalize(self.responses(fields, xy), dim=-1)


def sample(maps: Tensor, xy: Tensor) -> Tensor:
    """
    Return the values of maps at points, interpolated between cells, (B, N, C).

    :param maps: (B, C, h, w)
    :param xy: in longer sides from the image's corner; NaN has the value at the corner, (B, N, 2)
    """
    h, w = map_size(maps)
    share = xy.nan_to_num(0.0) * max(h, w) / torch.tensor([w, h], device=xy.device)
    grid = (2 * share - 1)[:, None]  # (B, 1, N, 2)
    found = functional.grid_sample(maps, grid, padding_mode='border', align_corners=False)
    return found[:, :, 0].transpose(1, 2)
