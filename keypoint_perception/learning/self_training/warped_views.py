"""
The views of a batch: its frames under random warps and colours, and the candidates in them.

Points are in longer image sides from the image's corner, so that they fit images and maps of any
resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.learning.data.photometric import jitter_colours
from keypoint_perception.learning.data.warps import random_warp, Warp, WarpConfig
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.model.layers import map_size
import torch
from torch import Tensor

# Random places of a view, which are negatives and tell whether a keypoint is in view.
PLACES = 32
# A followed point is that candidate of the other view which is this close, longer image sides.
SAME = 0.016


@dataclass(frozen=True)
class Views:
    """
    Views of both frames of each pair; the first B of 2B entries belong to the first frames.

    :param images: in [-1, 1], (2B, 3, H, W)
    :param xy: of the candidates, NaN where there is none in view, (2B, N, 2)
    :param partner: where the first views' candidates are in the second ones, NaN where unknown or
        not in view, (B, N, 2)
    :param places: random places, (2B, R, 2)
    :param frame_xy: the candidates before the warp, (2B, N, 2)
    """

    images: Tensor
    xy: Tensor
    partner: Tensor
    places: Tensor
    frame_xy: Tensor

    def links(self) -> Tensor:
        """Return the candidate of the second view that each of the first is, or -1, (B, N)."""
        away = torch.cdist(self.partner.nan_to_num(-9.0), self.xy[len(self.partner) :])
        away = away.nan_to_num(torch.inf)
        nearest, index = away.min(dim=-1)
        return torch.where(nearest <= SAME, index, -1)

    def only(self, index: Tensor) -> Views:
        """Return the views with some of the candidates, (2B, n) long."""
        chosen = index[..., None].expand(-1, -1, 2)
        partner = self.partner.gather(1, chosen[: len(self.partner)])
        xy, frame_xy = self.xy.gather(1, chosen), self.frame_xy.gather(1, chosen)
        return Views(self.images, xy, partner, self.places, frame_xy)


def draw_views(batch: PairBatch, warps: WarpConfig, colour: float, same: float) -> Views:
    """
    Return random views of the frames of a batch with ``candidates``.

    :param same: share of the pairs in which both views are of the first frame
    """
    extra = batch.extra
    alike = torch.rand(len(batch.image0)).to(batch.image0.device) < same
    image1 = torch.where(alike[:, None, None, None], batch.image0, batch.image1)
    second, followed = (
        torch.where(alike[:, None, None], extra['candidates0'], extra[name])
        for name in ('candidates1', 'followed')
    )
    images = torch.cat([batch.image0, image1])
    points = torch.cat([extra['candidates0'], second])
    hw = map_size(images)
    warp = random_warp(len(images), hw, warps, device=images.device)
    sides = torch.tensor([hw[1], hw[0]], device=images.device) / max(hw)
    return Views(
        jitter_colours(warp.images(images), colour),
        _shares(_warped(warp, points, hw), hw),
        _shares(_warped(Warp(warp.coefficients[len(followed) :]), followed, hw), hw),
        torch.rand(len(images), PLACES, 2).to(images.device) * sides,
        _shares(points, hw),
    )


def _shares(xy: Tensor, hw: tuple[int, int]) -> Tensor:
    return (xy + 0.5) / max(hw)


def _warped(warp: Warp, xy: Tensor, hw: tuple[int, int]) -> Tensor:
    """Return points in the warped images, NaN where they are not in view."""
    known = xy.isfinite().all(dim=-1)
    shown = known & warp.inside(xy.nan_to_num(0.0), hw)
    return torch.where(shown[..., None], warp.points(xy.nan_to_num(0.0), hw), torch.nan)
