"""Foreground is what differs from the background."""

from keypoint_perception.learning.data.foreground import foreground_map, foreground_mask
import pytest
import torch


def test_foreground_is_where_a_frame_differs_from_the_background():
    image = torch.zeros(1, 3, 64, 96)
    image[..., 8:16, 16:24] = 0.5  # row 1, column 2
    image[..., 24:32, 0:8] = 0.05  # 0.05 / 0.1 = 0.5 -> (0.5 - 0.2) / 0.6
    noise = torch.full_like(image[:, :1], 0.05)
    found = foreground_map(image, torch.zeros_like(image), noise, (8, 12))
    assert found.shape == (1, 8, 12)
    assert found[0, 1, 2] == 1.0
    assert found[0, 3, 0].item() == pytest.approx(0.5)
    assert found.sum().item() == pytest.approx(1.5)
    noise[..., 16:24] = 0.5  # 0.5 / 1 = 0.5
    found = foreground_map(image, torch.zeros_like(image), noise, (8, 12))
    assert found[0, 1, 2].item() == pytest.approx(0.5)
    assert found.sum().item() == pytest.approx(1.0)


def test_the_cut_out_has_a_margin():
    image = torch.zeros(1, 3, 64, 96)
    image[..., 30:40, 50:60] = 0.5
    image[..., 5, 5] = 0.4  # one pixel, a ninth of it in each of 3 x 3: 0.044 / 0.094 -> 0.45
    mask = foreground_mask(image, torch.zeros_like(image), torch.full_like(image[:, :1], 0.05))
    mask = mask[0, 0]
    # 4 % of 96 are 4 px; a ninth, or three of nine pixels, of the square show one pixel beyond it
    assert (mask[26:44, 46:64] == 1).all()
    assert mask[24, 55] == 0 and mask[35, 66] == 0
    assert mask[5, 5].item() == pytest.approx((0.4 / 9 / (0.4 / 9 + 0.05) - 0.2) / 0.6)
    assert mask[:, 80:].sum() == 0
