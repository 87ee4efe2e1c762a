"""Foreground is what differs from the background, and keypoints are asked to lie on it."""

from keypoint_perception.learning.data.foreground import (
    background_share,
    foreground_map,
    foreground_mask,
    foreground_share,
    uncovered_share,
)
import pytest
import torch


def test_foreground_is_where_a_frame_differs_from_the_background():
    image = torch.zeros(1, 3, 64, 96)
    image[..., 8:16, 16:24] = 0.5  # row 1, column 2
    image[..., 24:32, 0:8] = 0.05  # 0.05 / 0.1 = 0.5 -> (0.5 - 0.2) / 0.6
    found = foreground_map(image, torch.zeros_like(image), (8, 12))
    assert found.shape == (1, 8, 12)
    assert found[0, 1, 2] == 1.0
    assert found[0, 3, 0].item() == pytest.approx(0.5)
    assert found.sum().item() == pytest.approx(1.5)


def test_keypoints_on_the_foreground_cost_nothing(peak):
    foreground = torch.zeros(1, 8, 12)
    foreground[0, 2, 7] = 1.0
    torch.testing.assert_close(
        background_share(foreground_share(peak(7, 2), foreground), foreground), torch.zeros(1)
    )
    # off it everything, times 1 / (1 + 1) for there being one cell of foreground
    torch.testing.assert_close(
        background_share(foreground_share(peak(2, 7), foreground), foreground), torch.tensor([0.5])
    )
    torch.testing.assert_close(
        background_share(foreground_share(peak(2, 7), foreground), foreground * 0), torch.zeros(1)
    )


def test_uncovered_share_by_hand():
    foreground = torch.zeros(1, 8, 12)
    foreground[0, 2, 7], foreground[0, 5, 1] = 1.0, 1.0
    covered = torch.zeros(1, 1, 8, 12)
    covered[0, 0, 2, 7] = 0.75
    # (0.25 + 1) / (2 + 1)
    torch.testing.assert_close(uncovered_share(covered, foreground), torch.tensor([1.25 / 3]))


def test_the_cut_out_has_a_margin():
    image = torch.zeros(1, 3, 64, 96)
    image[..., 30:40, 50:60] = 0.5
    image[..., 5, 5] = 0.4  # one pixel, a ninth of it in each of 3 x 3: 0.044 / 0.094 -> 0.45
    mask = foreground_mask(image, torch.zeros_like(image))[0, 0]
    # 4 % of 96 are 4 px; a ninth, or three of nine pixels, of the square show one pixel beyond it
    assert (mask[26:44, 46:64] == 1).all()
    assert mask[24, 55] == 0 and mask[35, 66] == 0
    assert mask[5, 5].item() == pytest.approx((0.4 / 9 / (0.4 / 9 + 0.05) - 0.2) / 0.6)
    assert mask[:, 80:].sum() == 0
