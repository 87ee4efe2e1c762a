"""
The input of an objective: pairs of frames, and the network's output on them.

Objectives that are trained together share the passes of the network through one
:class:`PairBatch`; outputs that none of them uses are never computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from keypoint_perception.learning.partner_views import (
    partner_points,
    partner_seen,
    partner_view,
)
from keypoint_perception.model.heatmaps import gaussian_maps, softmax_2d
from keypoint_perception.model.layers import map_size
from keypoint_perception.model.network import Keypointer
import torch
from torch import Tensor


@dataclass(frozen=True)
class DatasetStatistics:
    """
    Statistics of the recording that an objective is made with.

    :param change: mean squared difference between the frames of a pair, in units of [-1, 1]; 1
        if frames are not paired
    :param label_names: names of the annotated points, if there are annotations
    """

    change: float
    label_names: tuple[str, ...] = ()


class PairBatch:
    """
    A batch of pairs. The first B of 2B entries belong to the first frames.

    :ivar image0: first frames in [-1, 1], (B, 3, H, W); ``image1`` are the second frames
    :ivar extra: the batch extras in the ``needs`` of the objectives, by name
    :param one_way: whether no gradient flows through the network's output on the first frames,
        which saves half of its backward pass
    """

    def __init__(
        self,
        network: Keypointer,
        image0: Tensor,
        image1: Tensor,
        extra: Mapping[str, Tensor] | None = None,
        *,
        one_way: bool = False,
    ) -> None:
        self.network, self.image0, self.image1 = network, image0, image1
        self.extra = extra or {}
        self._one_way = one_way

    @cached_property
    def images(self) -> Tensor:
        """Both frames, (2B, 3, H, W)."""
        return torch.cat([self.image0, self.image1])

    @cached_property
    def logits(self) -> Tensor:
        """The network's maps before the softmax, (2B, K, h, w)."""
        return self.stacks[-1]

    @cached_property
    def stacks(self) -> list[Tensor]:
        """The maps of each of the network's stacks; the last are the logits."""
        if not self._one_way:
            return self.network.stacks(self.images)
        with torch.no_grad():
            first = self.network.stacks(self.image0)
        second = self.network.stacks(self.image1)
        return [torch.cat(both) for both in zip(first, second, strict=True)]

    @cached_property
    def maps(self) -> Tensor:
        """The network's maps after the softmax, each summing to one, (2B, K, h, w)."""
        return softmax_2d(self.logits)

    @cached_property
    def points(self) -> Tensor:
        """The keypoints, differentiable, (2B, K, 2) cells."""
        return self.network.points(self.logits)

    def bumps(self, sigma: float) -> Tensor:
        """Return bumps of a width in half image sides at the keypoints, (2B, K, h, w)."""
        return gaussian_maps(self.points, *self.hw, sigma * self.half_side)

    @property
    def registration(self) -> Tensor | None:
        """The camera's motion, from cells of first frames to second ones, (B, 3, 3); or None."""
        return self.extra.get('registration')

    def partner(self, both: Tensor, outside: float = 0.0) -> Tensor:
        """
        Return for each frame its partner's values in the frame's own view, (2B, c, h, w).

        :param outside: value of what the partner does not show
        """
        return partner_view(both, self.registration, self.hw, outside)

    def partner_points(self) -> Tensor:
        """Return for each frame its partner's keypoints in the frame's own view, (2B, K, 2)."""
        return partner_points(self.points, self.registration)

    @cached_property
    def seen(self) -> Tensor:
        """Which pixels of each frame its partner shows too, (2B, 1, H, W) 0 or 1."""
        if self.registration is None:
            return torch.ones_like(self.images[:, :1])
        return partner_seen(self.registration, self.hw, map_size(self.images))

    @property
    def half_side(self) -> float:
        """Half the longer side of a map, cells, the unit of widths and distances."""
        return max(self.hw) / 2

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width of the maps, cells."""
        return map_size(self.logits)


def pair_mean(values: Tensor) -> Tensor:
    """Return the means over the two frames of each pair, (2B, ...) -> (B, ...)."""
    return torch.stack(values.chunk(2)).mean(dim=0)
