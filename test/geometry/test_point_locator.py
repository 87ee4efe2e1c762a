"""Points of an image become points in space: worked by hand, with what is missing said."""

import math
import re

import cv2
from keypoint_perception.cdr import (
    CAMERA_INFO_TYPE,
    IMAGE_TYPE,
    MessageHeader,
    read_camera_info,
)
from keypoint_perception.errors import CalibrationError
from keypoint_perception.geometry import camera_model
from keypoint_perception.geometry.camera_model import CameraModel, LatestCameraInfo
from keypoint_perception.geometry.geometry_settings import GeometrySettings
from keypoint_perception.geometry.point_filter import FilterSettings
from keypoint_perception.geometry.point_locator import GRACE_PERIOD_S, PointLocator
import numpy as np
import pytest
from rosbags.typesys import get_typestore, Stores

TYPESTORE = get_typestore(Stores.ROS2_JAZZY)
HW = (48, 64)
FX, FY, CX, CY = 50.0, 40.0, 31.5, 23.5
TOPICS = {'camera_info': '/cam/camera_info', 'depth': '/cam/depth'}
MS = 1_000_000
# ten columns right of the centre and 4 rows below it: the ray (0.2, 0.1)
POINTS = np.array([[41.5, 27.5, 0.9], [31.5, 23.5, 0.8]], np.float32)


def header(stamp_ms, frame_id):
    sec, milliseconds = divmod(stamp_ms, 1000)
    stamp = TYPESTORE.types['builtin_interfaces/msg/Time'](sec, milliseconds * MS)
    return TYPESTORE.types['std_msgs/msg/Header'](stamp, frame_id)


def serialise(kind, **fields):
    return bytes(TYPESTORE.serialize_cdr(TYPESTORE.types[kind](**fields), kind))


def camera_info(**fields):
    values = {
        'd': [0.0] * 5,
        'k': [FX, 0.0, CX, 0.0, FY, CY, 0.0, 0.0, 1.0],
        'r': [0.0] * 9,
        'p': [25.0, 0.0, 10.0, 0.0, 0.0, 20.0, 5.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
    values |= {name: np.array(fields.pop(name, value)) for name, value in values.items()}
    values |= {'height': HW[0], 'width': HW[1], 'binning_x': 0, 'binning_y': 0}
    values |= {'header': header(7000, '')} | fields
    roi = TYPESTORE.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, do_rectify=False)
    return serialise(
        CAMERA_INFO_TYPE,
        distortion_model='plumb_bob',
        roi=roi,
        **values,
    )


def depth_image(metres, stamp_ms=0, frame_id='cam', **fields):
    pixels = np.broadcast_to(np.float32(metres), HW)
    values = {'height': HW[0], 'width': HW[1], 'encoding': '32FC1', 'step': 4 * HW[1]}
    values |= {'is_bigendian': 0, 'data': pixels.tobytes()} | fields
    values['data'] = np.frombuffer(values['data'], np.uint8)
    return serialise(IMAGE_TYPE, header=header(stamp_ms, frame_id), **values)


def at(stamp_ms):
    sec, milliseconds = divmod(stamp_ms, 1000)
    return MessageHeader(sec, milliseconds * MS, 'cam')


class Reported(dict):
    """What was noted: the last sentence of each kind."""

    now = 0.0

    def add(self, kind, sentence):
        self[kind] = sentence


@pytest.fixture
def reported():
    return Reported()


@pytest.fixture
def make(reported):
    """Return a function that makes a geometry and feeds it."""

    def geometry(*messages, **settings):
        settings = GeometrySettings(**{'depth': True} | settings)
        made = PointLocator(settings, TOPICS, reported.add, clock=lambda: reported.now)
        for message in messages:
            put = made.camera_info.put if b'plumb_bob' in message else made.put_depth
            put(message)
        return made

    return geometry


def test_depth_times_ray(make, reported):
    located = make(camera_info(), depth_image(2.0)).locate(at(0), HW, POINTS)
    np.testing.assert_allclose(located.xyz, [[0.4, 0.2, 2], [0, 0, 2]], atol=1e-6)
    np.testing.assert_array_equal(located.points, POINTS)
    assert located.points.dtype == np.float32
    assert located.velocities is None
    assert reported == {}


def test_a_tilted_wall_through_a_real_lens(make):
    # the wall is all points with x / 4 - y / 5 + z = 2 m; the depth image has half the resolution
    lens = [-0.3, 0.1, 0.002, -0.001, -0.01]
    matrix = np.array([[100, 0, CX], [0, 100, CY], [0, 0, 1.0]])
    made = make(message := camera_info(d=lens, k=list(matrix.ravel())))
    model = CameraModel.from_camera_info(read_camera_info(message))
    half = (HW[0] // 2, HW[1] // 2)
    v, u = np.mgrid[: half[0], : half[1]] * 2.0 + 0.5  # where their centres are in the picture
    rays = model.rays(np.column_stack([u.ravel(), v.ravel()]))
    metres = np.float32(2 / (rays @ (0.25, -0.2) + 1)).reshape(half)
    fields = {'height': half[0], 'width': half[1], 'step': 4 * half[1]}
    made.put_depth(depth_image(0, **fields, data=metres.tobytes()))
    places = np.random.default_rng(0).uniform((4, 4), (60, 44), (50, 2))
    points = np.column_stack([places, np.ones(50)]).astype(np.float32)
    xyz = made.locate(at(0), HW, points).xyz
    np.testing.assert_allclose(xyz @ (0.25, -0.2, 1), 2, atol=5e-4)
    back, _ = cv2.projectPoints(xyz[None], np.zeros(3), np.zeros(3), matrix, np.array(lens))
    np.testing.assert_allclose(back[:, 0], places, atol=1e-4)


def test_millimetres(make):
    pixels = np.full(HW, 1500, np.uint16)
    millimetres = depth_image(0, encoding='16UC1', step=2 * HW[1], data=pixels.tobytes())
    located = make(camera_info(), millimetres).locate(at(0), HW, POINTS)
    np.testing.assert_allclose(located.xyz[0], [0.3, 0.15, 1.5], atol=1e-6)


def test_points_are_unchanged_without_any_processing(make, reported):
    located = make(depth=False).locate(at(0), HW, POINTS)
    assert located.points is POINTS
    assert (located.xyz, located.velocities) == (None, None)


def test_points_are_rectified_only_on_request(make):
    # the ray (0.2, 0.1): 25 * 0.2 + 10, 20 * 0.1 + 5
    located = make(camera_info(), undistort=True, depth=False).locate(at(0), HW, POINTS)
    np.testing.assert_allclose(located.points, [[15, 7, 0.9], [10, 5, 0.8]], rtol=1e-6)
    np.testing.assert_array_equal(located.image_points, POINTS)
    assert located.xyz is None
    located = make(undistort=True, depth=False).locate(at(0), HW, POINTS)
    assert np.isnan(located.points[:, :2]).all()
    np.testing.assert_array_equal(located.points[:, 2], POINTS[:, 2])


def test_rays_of_rectified_images_come_from_p(make):
    geometry = make(camera_info(), depth_image(2.0), rectified=True)
    # (41.5 - 10) / 25, (27.5 - 5) / 20
    np.testing.assert_allclose(geometry.locate(at(0), HW, POINTS).xyz[0], [2.52, 2.25, 2])


def test_the_nearest_depth_within_the_tolerance_is_used(make, reported):
    images = [depth_image(1.0, 0), depth_image(2.0, 30), depth_image(3.0, 60)]
    geometry = make(camera_info(), *images, depth_tolerance_s=0.01)
    assert geometry.locate(at(35), HW, POINTS).xyz[0, 2] == 2
    assert np.isnan(geometry.locate(at(45), HW, POINTS).xyz).all()
    assert reported == {}
    reported.now = GRACE_PERIOD_S + 1
    geometry.locate(at(80), HW, POINTS)
    assert reported['no depth at the time'].startswith(
        'The stamps of the nearest depth image and its image differ by 20 ms, expected at most 10'
    )


def test_missing_inputs_are_reported_after_the_grace_period(make, reported):
    geometry = make(depth_image(2.0))
    located = geometry.locate(at(0), HW, POINTS)
    assert np.isnan(located.xyz).all()
    assert reported == {}
    reported.now = GRACE_PERIOD_S + 1
    geometry.locate(at(0), HW, POINTS)
    sentence = (
        'No camera_info was received on /cam/camera_info, so x, y, z are NaN; remap camera_in'
    )
    assert reported['no camera_info'].startswith(sentence)
    geometry = make(camera_info())
    geometry.locate(at(0), HW, POINTS)
    reported.now *= 2
    geometry.resume()
    geometry.locate(at(0), HW, POINTS)
    assert 'no depth' not in reported
    reported.now *= 2
    geometry.locate(at(0), HW, POINTS)
    assert reported['no depth'].startswith('No depth was received on /cam/depth')


def test_reports_list_the_unknown_coordinates(make, reported):
    for settings, unknown in (
        ({'undistort': True}, 'u, v, x, y, z are NaN'),
        ({'undistort': True, 'depth': False}, 'u, v are NaN'),
        ({}, 'x, y, z are NaN'),
    ):
        geometry = make(camera_info(width=32), **settings)
        geometry.locate(at(0), HW, POINTS)
        assert reported['camera_info not usable'].endswith(f' Until then, {unknown}.')
    geometry = make(camera_info(), undistort=True)
    geometry.locate(at(0), HW, POINTS)
    reported.now = GRACE_PERIOD_S + 1
    geometry.locate(at(0), HW, POINTS)
    assert ', so x, y, z are NaN; remap depth' in reported['no depth']


def truncated_depth_image():
    return depth_image(1)[:50]


@pytest.mark.parametrize(
    ('message', 'kind', 'sentence'),
    [
        (lambda: camera_info(k=[0.0] * 9), 'camera_info not usable', 'has zeros in K'),
        (
            lambda: camera_info(width=32),
            'camera_info not usable',
            'is 64x48, but .* images of 32x48',
        ),
        (lambda: camera_info()[:60], 'camera_info not usable', 'CameraInfo message is truncated'),
        (
            lambda: depth_image(1, encoding='rgb8'),
            'depth image not usable',
            "encoding 'rgb8', expected",
        ),
        (
            lambda: depth_image(1, height=24),
            'depth image not usable',
            'is 64x24 and its colour image 64x48',
        ),
        (lambda: depth_image(1, step=9), 'depth image not usable', 'has a step of 9 bytes'),
        (truncated_depth_image, 'depth image not usable', 'is truncated'),
    ],
    ids=['uncalibrated', 'size', 'cut', 'encoding', 'proportions', 'step', 'cut depth'],
)
def test_unusable_inputs_are_reported_and_u_v_are_unaffected(
    make, reported, message, kind, sentence
):
    geometry = make(camera_info(), depth_image(2.0), message())
    located = geometry.locate(at(0), HW, POINTS)
    if message is not truncated_depth_image:  # which leaves the image before it in its place
        assert np.isnan(located.xyz).all()
    np.testing.assert_array_equal(located.points, POINTS)
    assert reported.keys() == {kind}
    assert re.search(sentence, reported[kind])
    for good in (camera_info(), depth_image(2.0)):
        (geometry.camera_info.put if b'plumb_bob' in good else geometry.put_depth)(good)
    assert geometry.locate(at(0), HW, POINTS).xyz[0, 2] == 2


def test_depth_of_another_frame_is_reported_once(make, reported):
    geometry = make(camera_info(), depth_image(2.0, frame_id='infrared'))
    assert geometry.locate(at(0), HW, POINTS).xyz[0, 2] == 2
    sentence = reported.pop('depth of another frame')
    assert sentence.startswith("The frame of the depth image is 'infrared' and that of its")
    geometry.locate(at(0), HW, POINTS)
    assert reported == {}


def test_random_bytes_are_only_reported(make, reported):
    generator = np.random.default_rng(0)
    geometry = make()
    info, depth = camera_info(), depth_image(2.0)
    for size in range(1000):
        junk = (b'', b'\0\1\0\0', info[:60], depth[:60])[size % 4] + generator.bytes(size % 300)
        geometry.camera_info.put(junk)
        geometry.put_depth(junk)
        geometry.locate(at(0), HW, POINTS)
    assert reported.keys() <= {'camera_info not usable', 'depth image not usable'}
    geometry.camera_info.put(info)
    geometry.put_depth(depth)
    assert geometry.locate(at(0), HW, POINTS).xyz[0, 2] == 2


def test_an_unchanged_camera_info_is_parsed_once(monkeypatch):
    parsed = []

    def read(serialised):
        parsed.append(serialised)
        return read_camera_info(serialised)

    def refused(serialised):
        latest.put(serialised)
        with pytest.raises(CalibrationError, match='zeros in K'):
            latest.model()

    monkeypatch.setattr(camera_model, 'read_camera_info', read)
    latest = LatestCameraInfo()
    models = []
    for stamp_ms, frame_id in [
        (0, 'cam'),
        (33, 'cam'),
        (67, 'cam'),
        (100, 'camera'),
        (133, 'cam'),
    ]:
        latest.put(camera_info(header=header(stamp_ms, frame_id)))
        models.append(latest.model())
    assert all(model is models[0] for model in models)
    assert len(parsed) == 3  # another frame_id may move all that follows
    assert latest.model(rectified=True).rectified
    assert len(parsed) == 4
    for stamp_ms in (167, 200):
        refused(camera_info(k=[0.0] * 9, header=header(stamp_ms, 'cam')))
    assert len(parsed) == 5
    latest.put(camera_info())
    assert latest.model().k == (FX, FY, CX, CY)


def test_a_new_calibration_is_applied(make):
    geometry = make(camera_info(), depth_image(2.0))
    geometry.locate(at(0), HW, POINTS)
    geometry.camera_info.put(camera_info(k=[100.0, 0.0, CX, 0.0, FY, CY, 0.0, 0.0, 1.0]))
    np.testing.assert_allclose(geometry.locate(at(0), HW, POINTS).xyz[0, 0], 0.2)


class Unlimited(FilterSettings):
    """Settings beyond those that users may choose."""

    def __post_init__(self):
        """Accept all."""


def moving(kind='one_euro', **settings):
    # without smoothing: the cutoffs let everything through
    return Unlimited(kind, 1e9, 0.0, 1e9, gap_s=1.0, **settings)


def test_velocities_in_the_image_and_in_space(make, reported):
    geometry = make(camera_info(), depth_image(2.0), filter=moving())
    first = geometry.locate(at(0), HW, POINTS)
    np.testing.assert_array_equal(first.velocities, np.zeros((2, 5)))
    # in 100 ms one column right and away by the factor 1.02: 2 m * ln 1.02 / 0.1 s
    geometry.put_depth(depth_image(2.04, 100))
    located = geometry.locate(at(100), HW, POINTS + np.float32([1, 0, 0]))
    away = 2.04 * math.log(1.02) / 0.1
    x = 2.04 * 10 / FX + 0.22 * away  # the ray turns by 10 px/s and is (0.22, 0.1, 1)
    np.testing.assert_allclose(located.velocities[0], [10, 0, x, 0.1 * away, away], rtol=1e-5)
    np.testing.assert_allclose(located.xyz[0], [0.22 * 2.04, 0.1 * 2.04, 2.04], rtol=1e-5)
    assert reported == {}


def test_velocities_of_rectified_places(make):
    geometry = make(camera_info(), filter=moving(), undistort=True, depth=False)
    geometry.locate(at(0), HW, POINTS)
    located = geometry.locate(at(100), HW, POINTS + np.float32([1, 0, 0]))
    np.testing.assert_allclose(located.velocities, [[5, 0], [5, 0]], atol=1e-4)


def test_a_filter_smooths_in_space_too(make):
    settings = FilterSettings('one_euro', 1 / math.pi, 0.0, 1 / math.pi, gap_s=1.0)
    geometry = make(camera_info(), depth_image(2.0), filter=settings)
    geometry.locate(at(0), HW, POINTS)
    geometry.put_depth(depth_image(8.0, 500))
    # after half a second a is 1/2: half a column, and half of the way from ln 2 to ln 8
    located = geometry.locate(at(500), HW, POINTS + np.float32([2, 0, 0]))
    np.testing.assert_allclose(located.points[0], [42.5, 27.5, 0.9], rtol=1e-6)
    np.testing.assert_allclose(located.xyz[0], [0.22 * 4, 0.4, 4], rtol=1e-6)
    np.testing.assert_array_equal(located.image_points, located.points)
    # depths are filtered by the focal length: with another one they begin anew
    geometry.camera_info.put(camera_info(k=[100.0, 0.0, CX, 0.0, FY, CY, 0.0, 0.0, 1.0]))
    located = geometry.locate(at(540), HW, POINTS)
    np.testing.assert_allclose(located.xyz[:, 2], 8, rtol=1e-6)
    np.testing.assert_array_equal(located.velocities[:, 4], 0)


def test_velocities_have_their_fields_while_there_is_no_depth(make):
    geometry = make(filter=moving())
    located = geometry.locate(at(0), HW, POINTS)
    np.testing.assert_array_equal(located.velocities[:, :2], 0)
    assert np.isnan(located.velocities[:, 2:]).all()
    assert located.velocities.shape == (2, 5)


@pytest.mark.parametrize(
    ('second_ms', 'kind', 'sentence'),
    [
        (400, 'stamps went back', 'Stamps went back by 0.100 s'),
        (500, 'stamps stand still', 'Two images have the stamp 0.500 s'),
    ],
)
def test_stamps_that_restart_the_filter_are_reported(make, reported, second_ms, kind, sentence):
    geometry = make(filter=FilterSettings('constant_velocity'), depth=False)
    geometry.locate(at(500), HW, POINTS)
    located = geometry.locate(at(second_ms), HW, POINTS + np.float32([9, 9, 0]))
    np.testing.assert_allclose(located.points, POINTS + np.float32([9, 9, 0]))
    np.testing.assert_array_equal(located.velocities, 0)
    assert reported[kind].startswith(sentence)


def test_reset_restarts_the_filter(make):
    geometry = make(filter=FilterSettings('constant_velocity'), depth=False)
    geometry.locate(at(500), HW, POINTS)
    geometry.reset()
    located = geometry.locate(at(600), HW, POINTS + np.float32([9, 9, 0]))
    np.testing.assert_allclose(located.points, POINTS + np.float32([9, 9, 0]))


def test_rows():
    geometry = GeometrySettings()
    assert not geometry.needs_calibration
    located = PointLocator(geometry, TOPICS, print).locate(at(0), HW, POINTS).rows(slice(1, 2))
    np.testing.assert_array_equal(located.points, POINTS[1:])
    assert located.xyz is None
