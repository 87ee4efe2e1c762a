"""Detectors respond to corners, not to edges, noise or the border, and to colour alone."""

import cv2
from keypoint_perception.learning.self_training.detectors import (
    adapted_corners,
    corners,
    peaks,
    texture,
)
import numpy as np
import pytest

GREY = (120, 120, 120)


def scene(colour=(240, 60, 30), ground=GREY):
    """A rectangle from column 40 to 69 and row 20 to 44, in an image of 96 x 64."""
    image = np.full((64, 96, 3), ground, np.uint8)
    image[20:45, 40:70] = colour
    return image


CORNERS = np.array([[40, 20], [69, 20], [40, 44], [69, 44]])


def nearest(found, points):
    """Return the distance of each of the points from the nearest found one."""
    return np.linalg.norm(found[:, None, :2] - points, axis=-1).min(axis=0)


@pytest.mark.parametrize('detector', [corners, adapted_corners])
def test_the_corners_of_a_rectangle_and_nothing_else(detector):
    found = peaks(detector(scene()), count=64, spacing=4)
    strong = found[found[:, 2] > 0.25]
    assert (nearest(strong, CORNERS) < 2).all()
    # and each of them is at one
    assert (nearest(CORNERS.astype(float), strong[:, :2]) < 3).all()


def test_a_corner_without_contrast_in_grey():
    # red on green of the same luma, 0.299 R + 0.587 G + 0.114 B
    image = scene((200, 30, 40), ground=(30, 117, 40))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    assert np.ptp(grey) <= 1
    assert (nearest(peaks(corners(image), count=64, spacing=4), CORNERS) < 2).all()


def test_edges_have_texture_but_are_no_corners():
    image = np.full((64, 96, 3), 60, np.uint8)
    # a slanting edge with steps of a pixel
    for row in range(64):
        image[row, 40 + row // 5 :] = 200
    assert not corners(image)[10:54].any()
    assert texture(image)[10:54].any()


@pytest.mark.parametrize('detector', [corners, texture])
def test_noise_is_no_corner(detector):
    noise = np.random.default_rng(0).normal(120, 1.5, (64, 96, 3))
    noisy = np.clip(noise, 0, 255).astype(np.uint8)
    assert len(peaks(detector(noisy), count=64, spacing=4)) <= 2


def test_strength_goes_from_noise_to_full_contrast():
    faint, strong = (corners(scene(colour)).max() for colour in ((130,) * 3, (255, 255, 255)))
    assert 0.2 < faint < 0.6 < strong <= 1


def test_the_response_of_warped_copies_is_the_share_that_agrees():
    response = adapted_corners(scene())
    assert response.max() <= 1
    assert (response[CORNERS[:, 1], CORNERS[:, 0]] > 0.4).all()
    assert response[50:, :30].max() < 0.1  # plain ground
    np.testing.assert_array_equal(response, adapted_corners(scene()))


def test_peaks_are_ordered_apart_and_between_pixels():
    response = np.zeros((20, 30), np.float32)
    response[10, 7:10] = 0.5, 0.9, 0.7  # the vertex of the parabola is right of the middle
    response[10, 20] = 1.0
    response[12, 22] = 0.8  # within three pixels of a larger one
    found = peaks(response, count=9, spacing=3)
    np.testing.assert_allclose(found[:, :2], [[20, 10], [8 + 0.2 / 1.2, 10]], atol=1e-6)
    np.testing.assert_allclose(found[:, 2], [1.0, 0.9])
    assert len(peaks(response, count=9, spacing=2)) == 3
    assert len(peaks(response, count=1, spacing=2)) == 1


def test_the_border_has_no_peaks():
    response = np.zeros((20, 30), np.float32)
    response[1, 15] = response[10, 0] = 1.0
    assert peaks(response, count=9, spacing=3).shape == (0, 3)
