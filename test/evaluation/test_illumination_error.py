"""Keypoints that go by brightness go far in another light; those that go by shape stay."""

from keypoint_perception.evaluation.illumination_error import (
    apply_gains,
    BALANCE,
    EXPOSURE,
    illumination_error,
)
import numpy as np
import pytest

HW = (60, 80)  # a diagonal of 100 px
GREY = 100


def grey_images():
    return [np.full((*HW, 3), GREY, np.uint8) for _ in range(8)]


def at_green(images):
    """Return one keypoint as far to the right as the image is green."""
    return np.array([[(image[0, 0, 1], 5.0, 1.0)] for image in images])


def test_keypoints_that_do_not_see_light_stay():
    assert illumination_error(lambda images: np.ones((len(images), 2, 3)), grey_images()) == 0


def test_keypoints_that_go_by_brightness_by_hand():
    seen = []

    def watched(images):
        seen.append([float(image[0, 0, 1]) for image in images])
        return at_green(images)

    error = illumination_error(watched, grey_images())
    assert error == pytest.approx(np.mean([abs(g - s[0]) for s in seen for g in s[1:]]))
    assert all(s[0] == GREY for s in seen)


def test_lights_are_as_strong_as_said():
    seen = []

    def watched(images):
        seen.extend(images[1:])
        return at_green(images)

    illumination_error(watched, grey_images(), lights=200)
    colours = np.array([image[0, 0] for image in seen]) / GREY
    strongest = EXPOSURE * BALANCE
    assert 1 / strongest - 0.01 <= colours.min() < 1 / strongest + 0.02
    assert strongest - 0.02 < colours.max() <= strongest + 0.01
    ratio = colours[:, 0] / colours[:, 1]
    assert BALANCE**2 - 0.03 < ratio.max() < BALANCE**2 + 0.02


def test_what_is_brighter_than_white_is_white():
    lit = apply_gains(np.full((1, 1, 3), 200, np.uint8), np.array([1.5, 1.0, 0.5]))
    assert lit.tolist() == [[[255, 200, 100]]]


def test_no_images_have_no_error():
    assert np.isnan(illumination_error(at_green, []))
