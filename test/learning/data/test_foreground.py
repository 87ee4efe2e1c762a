"""Foreground is what differs from the background by more than noise."""

from keypoint_perception.learning.data.foreground import foreground_map, foreground_mask
import pytest
import torch


def test_foreground_is_what_noise_does_not_explain():
    images = torch.tensor([0.05, 0.1, -0.15, 0.15]).view(-1, 1, 1, 1).expand(4, 3, 64, 96)
    noise = torch.tensor([0.05, 0.05, 0.05, 0.2]).view(-1, 1, 1, 1).expand(4, 1, 64, 96)
    found = foreground_map(images, torch.zeros_like(images), noise, (8, 12))
    assert found.shape == (4, 8, 12)
    # e / (e + 0.05) from 0.2 to 0.8, with e the difference beyond noise: 0.05 and 0.1
    expected = torch.tensor([0.0, 0.5, (0.1 / 0.15 - 0.2) / 0.6, 0.0])
    torch.testing.assert_close(found, expected.view(-1, 1, 1).expand(4, 8, 12))


def test_an_object_of_two_pixels_by_hand():
    image = torch.zeros(1, 3, 64, 96)
    image[..., 11:13, 19:21] = 0.9  # row 1, column 2
    found = foreground_map(
        image, torch.zeros_like(image), torch.full((1, 1, 64, 96), 0.02), (8, 12)
    )
    # blurred: four ninths of it at 4 pixels, two at 8, one at 4
    square = (4 * (0.4 - 0.02) ** 2 + 8 * (0.2 - 0.02) ** 2 + 4 * (0.1 - 0.02) ** 2) / 64
    expected = (square**0.5 / (square**0.5 + 0.05) - 0.2) / 0.6
    assert found[0, 1, 2].item() == pytest.approx(expected, rel=1e-4)
    assert expected > 0.8
    assert found.sum().item() == pytest.approx(expected, rel=1e-4)


def test_noise_of_neighbours_cancels():
    image = torch.full((1, 3, 64, 96), 0.09)
    image[..., ::2] *= -1
    still = torch.zeros_like(image)
    noise = torch.full((1, 1, 64, 96), 0.03)
    # a third of it is left in three columns, and nothing in two, at the border
    assert foreground_map(image, still, noise, (8, 12)).max() < 1e-3
    assert foreground_map(image.abs(), still, noise, (8, 12)).min() > 0.5


def test_the_cut_out_has_a_margin():
    image = torch.zeros(1, 3, 64, 96)
    image[..., 30:40, 50:60] = 0.5
    image[..., 6, 6] = 0.4  # one pixel, a ninth of it in each of 3 x 3
    noise = torch.full((1, 1, 64, 96), 0.03)
    mask = foreground_mask(image, torch.zeros_like(image), noise)[0, 0]
    # 4 % of 96 are 4 px, of every second pixel; blurred twice, the square shows two beyond it
    assert (mask[26:44, 48:62] == 1).all() and (mask[28:42, 46:64] == 1).all()
    assert mask[23, 55] == 0 and mask[35, 66] == 0 and 0 < mask[24, 55] < 1
    excess = 0.4 / 9 - 0.03
    assert mask[6, 6].item() == pytest.approx((excess / (excess + 0.05) - 0.2) / 0.6, rel=1e-4)
    assert mask[:, 80:].sum() == 0


def test_an_object_of_two_pixels_is_found_wherever_it_is():
    for at in range(8, 12):
        image = torch.zeros(1, 3, 64, 64)
        image[..., at : at + 2, 20 + at : 22 + at] = 0.8
        mask = foreground_mask(image, torch.zeros_like(image), torch.full((1, 1, 64, 64), 0.01))
        assert mask[0, 0, at, 20 + at].item() == 1.0
