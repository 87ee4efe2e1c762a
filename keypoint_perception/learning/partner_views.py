"""
What one frame of a pair shows, in the view of the other.

With a camera that moves, a frame differs from its partner everywhere. The extra ``registration``
(:mod:`.data.registration`) maps cells of the first frames to those of the second ones; the
partner's images, features and bumps are read where it says, so that what is at rest in the world
is at the same place in both. Without it, partners are only swapped.

:math:`H` is that homography, with x a column of cells and 1: ``H x`` is where the second frame
shows what the first one shows at x.
"""

from __future__ import annotations

from keypoint_perception.model.layers import map_size
import torch
from torch import Tensor
from torch.nn import functional


def swap(both: Tensor) -> Tensor:
    """Swap the halves of the first and second frames, (2B, ...)."""
    first, second = both.chunk(2)
    return torch.cat([second, first])


def partner_view(
    both: Tensor, registration: Tensor | None, hw: tuple[int, int], outside: float = 0.0
) -> Tensor:
    """
    Return for each frame the values of its partner in the frame's own view, (2B, c, h', w').

    :param both: of the first frames, then of the second ones
    :param registration: from cells of the first frames to those of the second ones, (B, 3, 3)
    :param hw: number of those cells, which may be others than those of ``both``
    :param outside: value of what the partner does not show
    """
    if registration is None:
        return swap(both)
    read = partner_positions(registration, hw, map_size(both))
    grid = (2 * read + 1) / torch.tensor([*reversed(map_size(both))], device=both.device) - 1
    values = functional.grid_sample(
        swap(both).float(), grid, mode='bilinear', padding_mode='border', align_corners=False
    )
    inside = (grid.abs() <= 1).all(dim=-1)[:, None]
    return torch.where(inside, values, outside).to(both.dtype)


def partner_positions(
    registration: Tensor, hw: tuple[int, int], at: tuple[int, int] | None = None
) -> Tensor:
    """
    Return where each frame's partner shows what the frame shows in each cell, (2B, h, w, 2).

    :param hw: number of the cells that the registration is for
    :param at: number of the cells to return, and to which the positions refer; ``hw`` by default
    """
    height, width = at or hw
    with torch.autocast(registration.device.type, enabled=False):
        scale = torch.tensor([hw[1] / width, hw[0] / height], device=registration.device)
        row, column = torch.meshgrid(
            torch.arange(height, device=scale.device),
            torch.arange(width, device=scale.device),
            indexing='ij',
        )
        cells = (torch.stack([column, row], dim=-1) + 0.5) * scale - 0.5
        homogeneous = functional.pad(cells, (0, 1), value=1.0)  # (h, w, 3)
        maps = torch.cat([registration, torch.linalg.inv(registration)]).float()
        moved = torch.einsum('bij,hwj->bhwi', maps, homogeneous)
        # what is behind the camera is nowhere in view
        depth = moved[..., 2:]
        position = torch.where(depth > 1e-6, moved[..., :2] / depth.clamp(min=1e-6), -1e6)
        return (position + 0.5) / scale - 0.5


def partner_points(points: Tensor, registration: Tensor | None) -> Tensor:
    """Return for each frame the points of its partner in its own view, (2B, K, 2) cells."""
    if registration is None:
        return swap(points)
    with torch.autocast(registration.device.type, enabled=False):
        # the second frames' points are brought back, the first ones' forth
        maps = torch.cat([torch.linalg.inv(registration), registration]).float()
        homogeneous = functional.pad(swap(points).float(), (0, 1), value=1.0)
        moved = torch.einsum('bij,bkj->bki', maps, homogeneous)
        return moved[..., :2] / moved[..., 2:].clamp(min=1e-6)


def partner_seen(registration: Tensor, hw: tuple[int, int], at: tuple[int, int]) -> Tensor:
    """Return which pixels of each frame its partner shows too, (2B, 1, H, W) 0 or 1."""
    read = partner_positions(registration, hw, at)
    limit = torch.tensor([at[1] - 0.5, at[0] - 0.5], device=read.device)
    return ((read >= -0.5) & (read <= limit)).all(dim=-1)[:, None].float()


def camera_flow(registration: Tensor, forward: Tensor, hw: tuple[int, int]) -> Tensor:
    """
    Return the flow of what is at rest in the world, (B, 2, h, w) cells, as of the extra ``flow``.

    :param forward: whether the first frame is the earlier one, (B,) bool
    """
    first, second = partner_positions(registration, hw).chunk(2)
    moved = torch.where(forward[:, None, None, None], first, second)
    still = torch.eye(3, device=registration.device).expand_as(registration)
    return (moved - partner_positions(still, hw).chunk(2)[0]).permute(0, 3, 1, 2)
