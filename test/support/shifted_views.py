"""Views of a camera that moved by whole cells, found by slicing and without a homography."""

from __future__ import annotations

from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.learning.reconstruction import motion_weight
import torch
from torch import Tensor

# How far each pair's second frame shows everything from where the first one does: columns, rows.
SHIFTS = ((2, 1), (-3, 0), (0, -2))
# Pixels along a side of a cell.
CELL = 8


def shift_registration() -> Tensor:
    """Return the homographies from cells of the first frames to those of the second ones."""
    registration = torch.eye(3).repeat(len(SHIFTS), 1, 1)
    registration[:, :2, 2] = torch.tensor(SHIFTS).float()
    return registration


def shifted_view(values: Tensor, sign: int, scale: int = 1) -> Tensor:
    """
    Return values of one frame of each pair in the view of the other, (3, c, h, w); 0 outside.

    :param sign: 1 for the first frames' in the view of the second ones, -1 the other way round
    :param scale: values along a side of a cell
    """
    views = []
    for value, shift in zip(values, SHIFTS, strict=True):
        right, down = (sign * scale * cells for cells in shift)
        view = torch.roll(value, (down, right), (-2, -1))
        row, column = (torch.arange(side) for side in value.shape[-2:])
        from_row, from_column = row - down, column - right
        known = ((from_row >= 0) & (from_row < len(row)))[:, None]
        known = known & (from_column >= 0) & (from_column < len(column))
        views.append(torch.where(known, view, 0.0))
    return torch.stack(views)


def shifted_points(points: Tensor, sign: int) -> Tensor:
    """Return points, (3, K, 2) cells, of one frame of each pair in the view of the other."""
    return points + sign * torch.tensor(SHIFTS)[:, None]


def shifted_errors(batch: PairBatch, answers: list[Tensor], still_weight: float) -> Tensor:
    """
    Return the weighted squared errors of reconstructed second and first frames, (2, 3).

    :param answers: reconstructions of the second and of the first frames, (3, 3, H, W) each
    """
    errors = []
    pairs = (batch.image1, batch.image0, 1), (batch.image0, batch.image1, -1)
    for answer, (image, partner, sign) in zip(answers, pairs, strict=True):
        seen = shifted_view(torch.ones_like(partner[:, :1]), sign, CELL)
        weight = seen * motion_weight(image, shifted_view(partner, sign, CELL), still_weight)
        errors.append((weight * (answer - image) ** 2).mean(dim=(1, 2, 3)))
    return torch.stack(errors)
