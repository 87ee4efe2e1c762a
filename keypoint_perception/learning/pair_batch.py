"""
What an objective is given: two frames of a scene, and what the network says of them, once.

Objectives that are learned together share the passes of the network through one
:class:`PairBatch`; what none of them asks for is never computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from keypoint_perception.model.heatmaps import softmax_2d
from keypoint_perception.model.network import Keypointer
import torch
from torch import Tensor


@dataclass(frozen=True)
class DatasetStatistics:
    """
    What an objective is told of the recording when it is made.

    :param change: mean squared difference of the two frames of a pair, in units of [-1, 1]; 1
        where frames do not go in pairs
    :param label_names: names of the annotated points, where there are annotations
    """

    change: float
    label_names: tuple[str, ...] = ()


class PairBatch:
    """
    A batch of pairs. The first B entries of everything that has 2B are of the first frames.

    :ivar network: the network that learns
    :ivar image0: first frames in [-1, 1], (B, 3, H, W)
    :ivar image1: second frames in [-1, 1], (B, 3, H, W)
    :ivar extra: what the objective named in its ``needs``, by name
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
        """
        Take a batch of pairs; nothing is computed yet.

        :param one_way: the first frames are only shown: no gradient flows through what the
            network says of them, which saves half of its backward pass
        """
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
        """The maps of each of the network's stacks, the last one's being the logits."""
        if not self._one_way:
            return self.network.stacks(self.images)
        with torch.no_grad():
            first = self.network.stacks(self.image0)
        second = self.network.stacks(self.image1)
        return [torch.cat(both) for both in zip(first, second, strict=True)]

    @cached_property
    def maps(self) -> Tensor:
        """The network's maps, each summing to one, (2B, K, h, w)."""
        return softmax_2d(self.logits)

    @cached_property
    def points(self) -> Tensor:
        """The keypoints that learning moves, (2B, K, 2) cells."""
        return self.network.points(self.logits)

    @property
    def half_side(self) -> float:
        """Half the longer side of a map, cells; widths and distances are stated in it."""
        return max(self.logits.shape[-2:]) / 2
