"""Projection agrees with OpenCV's, and is the inverse of the rays."""

import cv2
from keypoint_perception.geometry.camera_model import CameraModel
from keypoint_perception.geometry.projection import project
import numpy as np
import pytest

K = (300.0, 310.0, 320.0, 240.0)
BROWN = (-0.25, 0.08, 0.002, -0.003, 0.01)
RATIONAL = (0.4, -0.1, 0.001, -0.002, 0.02, 0.7, 0.05, 0.01)
FISHEYE = (0.03, -0.01, 0.004, -0.001)
POINTS = np.random.default_rng(0).uniform((-1, -0.8, 1), (1, 0.8, 4), (200, 3))


def camera(distortion='plumb_bob', d=(), **changes):
    return CameraModel(image_hw=(480, 640), k=K, p=K, distortion=distortion, d=d, **changes)


@pytest.mark.parametrize(
    ('distortion', 'd'),
    [('plumb_bob', ()), ('plumb_bob', BROWN), ('rational_polynomial', RATIONAL)],
)
def test_it_agrees_with_opencv(distortion, d):
    matrix = np.array([[K[0], 0, K[2]], [0, K[1], K[3]], [0, 0, 1]])
    expected, _ = cv2.projectPoints(POINTS, np.zeros(3), np.zeros(3), matrix, np.array(d))
    np.testing.assert_allclose(project(camera(distortion, d), POINTS), expected[:, 0], atol=1e-6)


def test_it_agrees_with_the_fisheye_of_opencv():
    matrix = np.array([[K[0], 0, K[2]], [0, K[1], K[3]], [0, 0, 1]])
    expected, _ = cv2.fisheye.projectPoints(
        POINTS[:, None], np.zeros((3, 1)), np.zeros((3, 1)), matrix, np.array(FISHEYE)
    )
    found = project(camera('equidistant', FISHEYE), POINTS)
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-6)


def test_it_inverts_the_rays_of_a_region_with_binning():
    model = camera('plumb_bob', BROWN, offset_uv=(40, 20), binning_uv=(2, 3))
    uv = project(model, POINTS)
    np.testing.assert_allclose(model.rays(uv), POINTS[:, :2] / POINTS[:, 2:], atol=1e-6)
    by_hand = project(camera(offset_uv=(40, 20), binning_uv=(2, 3)), np.array([[0.0, 0, 1]]))
    np.testing.assert_allclose(by_hand, [[(320 + 0.5 - 40) / 2 - 0.5, (240 + 0.5 - 20) / 3 - 0.5]])


def test_a_rectified_image_has_the_matrix_p_and_no_distortion():
    model = CameraModel((480, 640), k=K, p=(200.0, 210.0, 300.0, 200.0), d=BROWN, rectified=True)
    np.testing.assert_allclose(project(model, np.array([[0.5, 0.2, 1]])), [[400, 242]])


def test_points_behind_the_camera_have_no_pixel():
    behind = np.array([[0.1, 0.1, -1], [0.1, 0.1, 0], [0.1, 0.1, np.nan]])
    assert np.isnan(project(camera(), behind)).all()


def test_a_polynomial_that_folds_back_gives_no_pixel():
    """At x / z = 3, the factor 1 - 0.25 * 9 + ... would lead back into the image."""
    model = camera('plumb_bob', (-0.1, 0.0, 0.0, 0.0, 0.0))
    far = np.array([[3.0, 0, 1], [0.5, 0, 1]])
    uv = project(model, far)
    assert np.isnan(uv[0]).all()
    assert uv[1, 0] == pytest.approx(320 + 300 * 0.5 * (1 - 0.1 * 0.25))
