"""A background is fitted to the light of a frame and to the camera's shake, not to objects."""

import cv2
from keypoint_perception.learning.data.background_fit import (
    apply_fit,
    BackgroundFit,
    fit_background,
    undo_fit,
)
import numpy as np
import pytest
import torch


@pytest.fixture(scope='module')
def scene(texture):
    """A background in [-1, 1], (1, 3, 64, 96)."""
    levels = cv2.GaussianBlur(texture[20:84, 30:126], (0, 0), 1.0)
    return torch.from_numpy(levels).permute(2, 0, 1)[None] / 127.5 - 1


def moved(scene, shift):
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], float)
    image = scene[0].permute(1, 2, 0).numpy()
    warped = cv2.warpAffine(
        image, matrix, (96, 64), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return torch.from_numpy(warped).permute(2, 0, 1)[None]


@pytest.mark.parametrize('shift', [(0.0, 0.0), (0.4, -0.2), (-1.2, 0.9)])
def test_shift_and_light_are_found_beside_a_large_object(scene, shift):
    generator = torch.Generator().manual_seed(0)
    gain, offset = torch.tensor([[1.1, 0.9, 1.0]]), torch.tensor([[0.05, 0.0, -0.1]])
    image = gain[..., None, None] * moved(scene, shift) + offset[..., None, None]
    image[..., 10:50, 30:70] = 0.9  # a quarter of the image
    image = image + 0.01 * torch.randn(image.shape, generator=generator)
    fit = fit_background(image, scene)
    torch.testing.assert_close(fit.shift, torch.tensor([shift]), atol=0.05, rtol=0)
    torch.testing.assert_close(fit.gain, gain, atol=0.02, rtol=0)
    torch.testing.assert_close(fit.offset, offset, atol=0.02, rtol=0)
    error = (apply_fit(scene, fit) - image).abs()
    assert error[..., 2:9, 2:-2].mean() < 0.02


def test_the_fit_of_a_frame_can_be_undone(scene):
    fit = BackgroundFit(
        torch.tensor([[1.2, 0.8, 1.0]]),
        torch.tensor([[0.1, 0.0, -0.1]]),
        torch.tensor([[0.5, 0.25]]),
        torch.linspace(0.8, 1.2, scene.shape[2])[None],
    )
    back = undo_fit(apply_fit(scene, fit), fit)
    assert (back - scene)[..., 2:-2, 2:-2].abs().mean() < 0.01


def test_bands_are_gains_of_rows_against_black(scene):
    rows = torch.arange(scene.shape[2])
    row = 1 + 0.15 * torch.sin(rows / 5)
    image = row[:, None] * (scene + 1) - 1
    image[..., 20:30, 10:30] = 0.9  # a thing, before less than half of some rows
    fit = fit_background(image, scene, bands=True)
    assert (fit.gain - 1).abs().max() < 0.05
    lit = apply_fit(scene, fit)
    error = (lit - image).abs()[..., 3:-3, 40:]
    assert error.mean() < 0.015 and error.max() < 0.1
    # not on request: the bands are left
    without = fit_background(image, scene)
    assert (without.row == 1).all()
    assert (apply_fit(scene, without) - image).abs()[..., 3:-3, 40:].mean() > 0.06


def test_a_plain_image_has_no_shift():
    plain = torch.full((1, 3, 64, 96), -0.2)
    fit = fit_background(plain + 0.1, plain)
    torch.testing.assert_close(fit.shift, torch.zeros(1, 2))
    torch.testing.assert_close(apply_fit(plain, fit), plain + 0.1)
