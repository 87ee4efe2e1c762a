"""
A first head for features that were learned before: the keypoints of a run at its first step.

The features F of the package tell the points of things apart in any pose
(``pretraining/correspondence.py``). With f the feature at a point, the map ``softmax_u <A f + b,
F(u)> / sqrt(c)`` finds the point again in another image, so that ``(A f + b) / sqrt(c)`` is a row
of the head. The K rows are made from

- the mean features of labelled points, for objectives that learn labelled points alone;
- the mean features of K clusters of the foreground otherwise: spherical k-means from seeds that
  are likely far apart (Arthur and Vassilvitskii, k-means++, 2007).
"""

from __future__ import annotations

import math

import torch
from torch import nn, Tensor
from torch.nn import functional

ROUNDS = 20
# A cell is clustered from this certainty that it shows foreground.
CERTAIN = 0.5
# Most cells that are clustered, and least per cluster.
MOST_CELLS, LEAST_CELLS = 20_000, 4


class PointQueries(nn.Module):
    """
    Makes rows of a head from features at points.

    :param width: channels of the features, c
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return the rows of a head for features at points, both (..., c)."""
        rows: Tensor = self.linear(features) / math.sqrt(features.shape[-1])
        return rows


def sample(features: Tensor, cells: Tensor) -> Tensor:
    """Return features (B, c, h, w) at points (B, N, 2) cells, (B, N, c)."""
    height, width = features.shape[-2:]
    grid = (cells + 0.5) / torch.tensor([width, height], device=cells.device) * 2 - 1
    found = functional.grid_sample(
        features, grid[:, None], padding_mode='border', align_corners=False
    )
    return found[:, :, 0].transpose(1, 2)


def labelled_features(features: Tensor, cells: Tensor) -> Tensor:
    """
    Return the mean feature of each labelled point, (L, c); NaN if it is labelled nowhere.

    :param features: (N, c, h, w)
    :param cells: (N, L, 2), NaN where not labelled
    """
    known = cells.isfinite().all(dim=-1)[..., None]  # (N, L, 1)
    found = sample(features, cells.nan_to_num()) * known
    return found.sum(dim=0) / known.sum(dim=0)


def cluster_features(
    features: Tensor, foreground: Tensor, count: int, generator: torch.Generator
) -> Tensor | None:
    """
    Return the mean features of clusters of the foreground, (count, c), or None if it is too small.

    :param features: (N, c, h, w)
    :param foreground: how certainly each cell shows foreground, (N, h, w)
    """
    found = features.permute(0, 2, 3, 1)[foreground > CERTAIN]  # (n, c)
    if len(found) < LEAST_CELLS * count:
        return None
    found = found[torch.randperm(len(found), generator=generator)[:MOST_CELLS]]
    unit = functional.normalize(found, dim=1)
    centres = _seeds(unit, count, generator)
    for _ in range(ROUNDS):
        nearest = (unit @ centres.T).argmax(dim=1)
        centres = functional.normalize(_means(unit, nearest, centres), dim=1)
    nearest = (unit @ centres.T).argmax(dim=1)
    return _means(found, nearest, centres * found.norm(dim=1).mean())


def _seeds(unit: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return some of the points, each likely far from those before it, (count, c)."""
    seeds = [unit[int(torch.randint(len(unit), (), generator=generator))]]
    distance = torch.full((len(unit),), torch.inf)
    for _ in range(count - 1):
        distance = torch.minimum(distance, (1 - unit @ seeds[-1]).clamp(min=1e-9))
        seeds.append(unit[int(torch.multinomial(distance.square(), 1, generator=generator))])
    return torch.stack(seeds)


def _means(values: Tensor, nearest: Tensor, empty: Tensor) -> Tensor:
    """Return the mean of each cluster's values, and of an empty one what is given."""
    members = functional.one_hot(nearest, len(empty)).to(values.dtype)  # (n, count)
    sizes = members.sum(dim=0)[:, None]
    return torch.where(sizes > 0, members.T @ values / sizes.clamp(min=1), empty)
