"""Keypoints must move with the image."""

from keypoint_perception.evaluation.equivariance_error import (
    draw_warp,
    equivariance_error,
    warp_image,
    warp_positions,
    WarpRange,
)
import numpy as np
import pytest

SHIFT_ONLY = WarpRange(rotation_deg=0, log_scale=0, shift=0.1)


def spot(u, v, *, height=60, width=80):
    """Return an image with a bright, smooth spot, whose centre of mass is (u, v)."""
    rows, columns = np.mgrid[:height, :width]
    away = (columns - u) ** 2 + (rows - v) ** 2
    grey = (250 * np.exp(-away / (2 * 3.0**2))).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def find_spot(images):
    """Return the centre of mass as keypoint 0, and a corner that never moves as keypoint 1."""
    found = []
    for image in images:
        grey = image[..., 0].astype(float)
        rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]]
        centre = (grey * columns).sum() / grey.sum(), (grey * rows).sum() / grey.sum()
        found.append([[*centre, 1.0], [10.0, 10.0, 1.0]])
    return np.array(found)


def test_detector_that_follows_the_image_has_next_to_no_error():
    # whole warps: a pixel convention that is off by half a pixel would cost 0.2 % at 10 % scale
    result = equivariance_error(find_spot, [spot(44, 25)] * 4, warps=8, seed=1)
    assert result.by_keypoint[0] < 0.05
    assert result.pairs == 64


def test_known_value_for_a_point_that_stays_behind():
    # The diagonal of 80 x 60 is 100 px. With shifts alone a point that stays where it is errs by
    # the shift itself, whose direction is along the image: du in +-8 px, dv in +-6 px.
    generator = np.random.default_rng(5)
    warps = [draw_warp((60, 80), SHIFT_ONLY, generator) for _ in range(6)]
    expected = np.mean([np.hypot(*w[:, 2]) for w in warps])
    result = equivariance_error(find_spot, [spot(40, 30)], warps=6, within=SHIFT_ONLY, seed=5)
    assert result.by_keypoint[1] == pytest.approx(expected)
    assert result.percent == pytest.approx((result.by_keypoint[0] + expected) / 2)


def test_points_warped_out_of_the_image_are_left_out():
    def corner(images):
        return np.array([[[0.0, 0.0, 1.0], [40.0, 30.0, 1.0]]] * len(images))

    generator = np.random.default_rng(0)
    warps = [draw_warp((60, 80), SHIFT_ONLY, generator) for _ in range(20)]
    inside = sum(bool((w[:, 2] >= -0.5).all()) for w in warps)
    result = equivariance_error(corner, [spot(40, 30)], warps=20, within=SHIFT_ONLY)
    assert 0 < inside < 20
    assert result.pairs == inside + 20


def test_no_images_no_figure():
    result = equivariance_error(find_spot, [])
    assert np.isnan(result.percent)
    assert result.pairs == 0


def test_warps_stay_within_their_range():
    generator = np.random.default_rng(0)
    within = WarpRange(rotation_deg=15, log_scale=0.1, shift=0.05)
    centre = np.array([39.5, 29.5])
    for _ in range(200):
        warp = draw_warp((60, 80), within, generator)
        scale = np.sqrt(np.linalg.det(warp[:, :2]))
        assert np.exp(-0.1) <= scale <= np.exp(0.1)
        assert abs(np.rad2deg(np.arctan2(warp[1, 0], warp[0, 0]))) <= 15
        assert (np.abs(warp_positions(centre, warp) - centre) <= [4, 3]).all()


def test_image_and_positions_are_warped_alike():
    # a quarter turn about the centre of a 5 x 5 image: (4, 1) -> (3, 4)
    turn = np.array([[0.0, -1.0, 4.0], [1.0, 0.0, 0.0]])
    image = np.zeros((5, 5, 3), np.uint8)
    image[1, 4] = 255
    assert tuple(np.argwhere(warp_image(image, turn)[..., 0] == 255)[0]) == (4, 3)
    np.testing.assert_allclose(warp_positions(np.array([[4.0, 1.0]]), turn), [[3.0, 4.0]])
