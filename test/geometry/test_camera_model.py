"""Pixels become rays and rectified pixels as CameraInfo says; the numbers are worked by hand."""

import math
from types import SimpleNamespace

import cv2
from keypoint_perception.errors import CalibrationError
from keypoint_perception.geometry import camera_model
from keypoint_perception.geometry.camera_model import CameraModel
import numpy as np
import pytest

FX, FY, CX, CY = 500.0, 400.0, 319.5, 239.5


def camera_info(*, d=(), model='plumb_bob', k=(FX, FY, CX, CY), p=None, r=None, **fields):
    """Return what a CameraInfo holds; whole windows and no binning unless told otherwise."""
    fx, fy, cx, cy = k
    pfx, pfy, pcx, pcy = p or (0, 0, 0, 0)
    roi = SimpleNamespace(
        **{'x_offset': 0, 'y_offset': 0, 'width': 0, 'height': 0, 'do_rectify': False}
        | fields.pop('roi', {})
    )
    values = {'height': 480, 'width': 640, 'binning_x': 0, 'binning_y': 0, 'roi': roi} | fields
    return SimpleNamespace(
        distortion_model=model,
        d=list(d),
        k=[fx, 0, cx, 0, fy, cy, 0, 0, 1] if fx else [0.0] * 9,
        r=np.zeros(9) if r is None else np.ravel(r),
        p=[pfx, 0, pcx, 0, 0, pfy, pcy, 0, 0, 0, 1 if pfx else 0, 0],
        **values,
    )


def rays(uv, **fields):
    return CameraModel.from_camera_info(camera_info(**fields)).rays(np.array([uv]))[0]


def test_pinhole():
    # (419.5 - 319.5) / 500, (339.5 - 239.5) / 400
    np.testing.assert_allclose(rays((419.5, 339.5)), (0.2, 0.25))
    np.testing.assert_allclose(rays((419.5, 339.5), model='', d=(0, 0)), (0.2, 0.25))


def test_window():
    # column 0 of the window is column 100 of the full image: (100 - 319.5) / 500
    roi = {'x_offset': 100, 'y_offset': 50, 'width': 200, 'height': 100}
    np.testing.assert_allclose(rays((0, 0), roi=roi), (-0.439, -0.47375))


def test_binning():
    # the first of the blocks of 2 x 4 pixels has its centre at (0.5, 1.5) of the full image
    got = rays((0, 0), binning_x=2, binning_y=4)
    np.testing.assert_allclose(got, (-319 / 500, -238 / 400))


def test_window_and_binning():
    # full column: (10 + 0.5) * 2 - 0.5 + 100 = 120.5, row: (20 + 0.5) * 2 - 0.5 + 50 = 90.5
    roi = {'x_offset': 100, 'y_offset': 50, 'width': 200, 'height': 100}
    got = rays((10, 20), roi=roi, binning_x=2, binning_y=2)
    np.testing.assert_allclose(got, (-0.398, -0.3725))


@pytest.mark.parametrize(
    ('model', 'd', 'distorted'),
    [
        # the point (0.3, 0.4) has the radius 0.5: its factor is 1 + 0.1 * 0.25
        ('plumb_bob', (0.1, 0, 0, 0, 0), (0.3075, 0.41)),
        # + 2 p1 x y + p2 (r^2 + 2 x^2) = 0.0024 + 0.0086, + p1 (r^2 + 2 y^2) + 2 p2 x y = 0.0105
        ('plumb_bob', (0.1, 0, 0.01, 0.02, 0), (0.3185, 0.4205)),
        # k2 r^4 = 0.2 / 16, k3 r^6 = 0.64 / 64: the factor is 1.0225
        ('plumb_bob', (0, 0.2, 0, 0, 0.64), (0.30675, 0.409)),
        ('plumb_bob', (0, 0.2, 0, 0), (0.30375, 0.405)),
        # (1 + 0.2 / 4) / (1 + 0.1 / 4)
        ('rational_polynomial', (0.2, 0, 0, 0, 0, 0.1, 0, 0), (0.3 * 1.05 / 1.025, 0.42 / 1.025)),
        # 1 / (1 + 0.16 / 16 + 0.64 / 64)
        ('rational_polynomial', (0, 0, 0, 0, 0, 0, 0.16, 0.64), (0.3 / 1.02, 0.4 / 1.02)),
        ('rational_polynomial', (0,) * 6 + (0.16, 0.64) + (0,) * 6, (0.3 / 1.02, 0.4 / 1.02)),
        # the angle, atan(0.5), instead of its tangent
        ('equidistant', (0, 0, 0, 0), (0.6 * math.atan(0.5), 0.8 * math.atan(0.5))),
    ],
)
def test_distortion_is_inverted(model, d, distorted):
    uv = (FX * distorted[0] + CX, FY * distorted[1] + CY)
    np.testing.assert_allclose(rays(uv, model=model, d=d), (0.3, 0.4), atol=2e-7)


def test_fisheye_of_45_degrees():
    # t = pi / 4 gives t (1 + 0.1 t^2) = 0.785398 + 0.048447 = 0.833846
    uv = (500 * 0.833846 + CX, CY)
    got = rays(uv, model='equidistant', d=(0.1, 0, 0, 0))
    np.testing.assert_allclose(got, (1, 0), atol=5e-6)


def test_centre_of_a_fisheye_is_its_axis():
    np.testing.assert_array_equal(rays((CX, CY), model='equidistant', d=(0.1, 0, 0, 0)), (0, 0))


STRONG = {
    'plumb_bob': (-0.32, 0.11, 0.0012, -0.0008, -0.014),
    'rational_polynomial': (8.2, 3.4, 0.0005, -0.0002, 0.12, 8.5, 5.6, 0.7),
    'equidistant': (0.013, -0.006, 0.004, -0.001),
}


@pytest.mark.parametrize('model', STRONG)
def test_opencv_reproduces_the_distorted_points(model):
    generator = np.random.default_rng(0)
    uv = generator.uniform((40, 40), (600, 440), (200, 2))
    answers = CameraModel.from_camera_info(camera_info(model=model, d=STRONG[model])).rays(uv)
    assert np.isfinite(answers).all()
    points = np.column_stack([answers, np.ones(len(answers))])[None]
    matrix = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
    project = cv2.fisheye.projectPoints if model == 'equidistant' else cv2.projectPoints
    back, _ = project(points, np.zeros(3), np.zeros(3), matrix, np.array(STRONG[model]))
    np.testing.assert_allclose(back.reshape(-1, 2), uv, atol=1e-3)


def test_tangential_distortion_converges_in_three_iterations(monkeypatch):
    # Newton's method doubles the digits with each; with a wrong slope half of them take five
    monkeypatch.setattr(camera_model, 'ITERATIONS', 3)
    d = (0.1, 0.05, 0.05, 0.08, 0.0)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (200, 2))
    rays = np.column_stack([points, np.ones(200)])
    uv, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), np.eye(3), np.array(d))
    found = camera_model._undistort_brown(uv[:, 0], d)
    np.testing.assert_allclose(found, points, atol=1e-8)


def test_there_is_no_ray_where_the_model_is_not_invertible():
    # r (1 - 0.5 r^2) is 0.544 at 0.8, and never more than 0.5443
    d = (-0.5, 0, 0, 0, 0)
    np.testing.assert_allclose(rays((FX * 0.544 + CX, CY), d=d), (0.8, 0), atol=1e-7)
    assert np.isnan(rays((FX * 0.55 + CX, CY), d=d)).all()


def test_there_is_no_ray_beside_a_fisheye():
    uv = (500 * 1.6 + CX, CY)  # 1.6 rad are more than a right angle
    assert np.isnan(rays(uv, model='equidistant', d=(0, 0, 0, 0))).all()


def test_rectified_pixels_go_through_r_and_p():
    turned = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    model = CameraModel.from_camera_info(
        camera_info(d=(0.1, 0, 0, 0, 0), p=(250, 200, 100, 90), r=turned)
    )
    uv = np.array([[FX * 0.3075 + CX, FY * 0.41 + CY]])
    # the ray (0.3, 0.4) turns to (-0.4, 0.3): -0.4 * 250 + 100, 0.3 * 200 + 90
    np.testing.assert_allclose(model.rectify(uv), [[0, 150]], atol=1e-4)


def test_rectified_pixels_have_the_same_roi_and_binning():
    roi = {'x_offset': 100, 'y_offset': 50, 'width': 200, 'height': 100, 'do_rectify': True}
    info = camera_info(p=(250, 200, 200, 90), roi=roi, binning_x=2, binning_y=2)
    model = CameraModel.from_camera_info(info)
    # ray (-0.398, -0.3725): full (100.5, 15.5), in the window (0.5, -34.5), of blocks (0, -17.5)
    np.testing.assert_allclose(model.rectify(np.array([[10, 20]])), [[0, -17.5]])


def test_without_p_rectified_pixels_have_the_raw_focal_length():
    model = CameraModel.from_camera_info(camera_info(d=(0.1, 0, 0, 0, 0)))
    uv = np.array([[FX * 0.3075 + CX, FY * 0.41 + CY]])
    np.testing.assert_allclose(model.rectify(uv), [[FX * 0.3 + CX, FY * 0.4 + CY]], atol=1e-4)


def test_rectified_images_have_no_distortion():
    info = camera_info(d=(0.1, 0, 0, 0, 0), p=(250, 200, 100, 90))
    model = CameraModel.from_camera_info(info, rectified=True)
    uv = np.array([[175.0, 170.0]])
    np.testing.assert_allclose(model.rays(uv), [[0.3, 0.4]])
    np.testing.assert_array_equal(model.rectify(uv), uv)
    assert model.focal_px == 225


def test_unknown_distortion_models_are_accepted_for_rectified_images():
    info = camera_info(model='ftheta', d=(1, 2), p=(250, 200, 100, 90))
    assert CameraModel.from_camera_info(info, rectified=True).d == ()


def test_focal_length_is_of_the_received_pixels():
    assert CameraModel.from_camera_info(camera_info(binning_x=2)).focal_px == (250 + 400) / 2


@pytest.mark.parametrize(
    ('fields', 'image_hw'),
    [
        ({}, (480, 640)),
        ({'binning_x': 2, 'binning_y': 4}, (120, 320)),
        ({'binning_x': 3}, (480, 213)),
        ({'roi': {'x_offset': 8, 'y_offset': 6, 'width': 200, 'height': 100}}, (100, 200)),
        ({'roi': {'width': 200, 'height': 100}, 'binning_x': 2, 'binning_y': 2}, (50, 100)),
    ],
)
def test_size_of_the_images(fields, image_hw):
    model = CameraModel.from_camera_info(camera_info(**fields))
    assert model.image_hw == image_hw
    model.check_image(image_hw)


def test_images_of_another_size_are_refused_with_both():
    model = CameraModel.from_camera_info(camera_info(binning_x=2, binning_y=2))
    sentence = 'An image is 640x480, but its camera_info describes images of 320x240'
    with pytest.raises(CalibrationError, match=sentence):
        model.check_image((480, 640))


@pytest.mark.parametrize(
    ('fields', 'sentence'),
    [
        ({'k': (0, 0, 0, 0)}, 'zeros in K, which means that the camera is not calibrated'),
        ({'k': (FX, FY, math.nan, CY)}, 'NaN or infinity in K, D, R or P; expected finite'),
        ({'d': (0.1, math.inf, 0, 0, 0)}, 'NaN or infinity in K, D, R or P'),
        ({'model': 'ftheta', 'd': (1, 2)}, "model 'ftheta'; known: plumb_bob, rational_poly"),
        ({'model': '', 'd': (0.1,)}, "model ''; known"),
        ({'d': (0.1,)}, '1 coefficients of the distortion model plumb_bob, expected 4 or 5'),
        ({'d': (0, 0, 0, 0, 0, 1)}, '6 coefficients of the distortion model plumb_bob'),
        ({'model': 'equidistant'}, '0 coefficients .* model equidistant, expected 4'),
    ],
)
def test_calibrations_that_cannot_be_used(fields, sentence):
    with pytest.raises(CalibrationError, match=sentence):
        CameraModel.from_camera_info(camera_info(**fields))


def test_rectified_images_need_p():
    with pytest.raises(CalibrationError, match='zeros in P, which means'):
        CameraModel.from_camera_info(camera_info(), rectified=True)


def test_sensor_msgs_are_accepted():
    pytest.importorskip('sensor_msgs', reason='sensor_msgs is not installed')
    from sensor_msgs.msg import CameraInfo

    info = CameraInfo(height=480, width=640, distortion_model='plumb_bob')
    with pytest.raises(CalibrationError, match='zeros in K'):
        CameraModel.from_camera_info(info)
    info.k = [FX, 0.0, CX, 0.0, FY, CY, 0.0, 0.0, 1.0]
    info.d = [0.1, 0.0, 0.0, 0.0, 0.0]
    uv = np.array([[FX * 0.3075 + CX, FY * 0.41 + CY]])
    np.testing.assert_allclose(CameraModel.from_camera_info(info).rays(uv), [[0.3, 0.4]])
