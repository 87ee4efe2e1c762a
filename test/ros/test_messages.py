"""Keypoints as messages keep their contract and survive a round trip."""

import array
import json

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from builtin_interfaces.msg import Time
import cv2
from fake_engine import FakeEngine
from keypoint_perception.cdr import (
    MessageHeader,
    read_camera_info,
    read_compressed_image,
    read_image,
    read_stamp_ns,
)
from keypoint_perception.errors import EncodingError
from keypoint_perception.point_cloud import serialise_point_cloud
from keypoint_perception.ros.messages import (
    from_point_cloud,
    to_image,
    to_names,
    to_point_cloud,
    to_rgb,
)
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

HEADER = Header(stamp=Time(sec=-3, nanosec=7), frame_id='cam_optical')
KEYPOINTS = np.array([[1.5, 2.25, 0.5], [-0.5, 639.5, 0.125]], np.float32)


def test_layout_is_the_contract():
    cloud = to_point_cloud(HEADER, KEYPOINTS)
    assert cloud.header == HEADER
    assert (cloud.height, cloud.width) == (1, 2)
    assert (cloud.point_step, cloud.row_step) == (24, 48)
    assert not cloud.is_bigendian
    assert not cloud.is_dense
    assert [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields] == [
        (name, 4 * i, PointField.FLOAT32, 1)
        for i, name in enumerate(['x', 'y', 'z', 'u', 'v', 'confidence'])
    ]
    values = np.frombuffer(cloud.data, '<f4').reshape(2, 6)
    assert np.isnan(values[:, :3]).all()
    np.testing.assert_array_equal(values[:, 3:], KEYPOINTS)


@pytest.mark.parametrize('frame_id', ['', 'a', 'ab', 'abc', 'cam_optical', 'caméra'])
@pytest.mark.parametrize('further', [0, 2, 5])
def test_serialised_as_ros_does_it(ros_domain, frame_id, further):
    from rclpy.serialization import deserialize_message, serialize_message

    dice = np.random.default_rng(0)
    for count in (1, 2, 20):
        keypoints, xyz = dice.normal(size=(2, count, 3)).astype(np.float32)
        velocities = dice.normal(size=(count, further)) if further else None
        header = Header(stamp=Time(sec=-3, nanosec=999_999_999), frame_id=frame_id)
        expected = to_point_cloud(header, keypoints, xyz, velocities)
        received = MessageHeader(-3, 999_999_999, frame_id)
        found = serialise_point_cloud(received, keypoints, xyz, velocities)
        assert deserialize_message(found, PointCloud2) == expected
        assert len(found) == len(serialize_message(expected))  # whose padding is chance


def test_round_trip_with_depth():
    xyz = np.array([[0.1, 0.2, 1.0], [np.nan, np.nan, np.nan]], np.float32)
    points = from_point_cloud(to_point_cloud(HEADER, KEYPOINTS, xyz))
    assert points.dtype.names == ('x', 'y', 'z', 'u', 'v', 'confidence')
    np.testing.assert_array_equal(points['z'], xyz[:, 2])
    np.testing.assert_array_equal(points['u'], KEYPOINTS[:, 0])
    np.testing.assert_array_equal(points['v'], KEYPOINTS[:, 1])
    np.testing.assert_array_equal(points['confidence'], KEYPOINTS[:, 2])


@pytest.mark.parametrize('count', [2, 5])
def test_velocity_fields_follow(count):
    velocities = np.arange(2.0 * count).reshape(2, count)
    cloud = to_point_cloud(HEADER, KEYPOINTS, velocities=velocities)
    names = ['velocity_u', 'velocity_v', 'velocity_x', 'velocity_y', 'velocity_z'][:count]
    assert [f.name for f in cloud.fields][6:] == names
    assert [f.offset for f in cloud.fields][6:] == [24 + 4 * i for i in range(count)]
    assert (cloud.point_step, len(cloud.data)) == (24 + 4 * count, 2 * (24 + 4 * count))
    points = from_point_cloud(cloud)
    assert points.dtype.names[6:] == tuple(names)
    np.testing.assert_array_equal(points['velocity_v'], [1, count + 1])
    np.testing.assert_array_equal(points['confidence'], KEYPOINTS[:, 2])


def test_fields_are_found_by_name():
    # another order, a gap, another byte order, rows with padding
    names = ['confidence', 'extra', 'v', 'u', 'z', 'y', 'x']
    values = np.arange(14, dtype='>f4').reshape(2, 7)
    rows = b''.join(row.tobytes() + b'----' for row in values)
    cloud = PointCloud2(height=2, width=1, is_bigendian=True, point_step=28, row_step=32)
    cloud.fields = [
        PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1)
        for i, n in enumerate(names)
    ]
    cloud.data = array.array('B', rows)
    points = from_point_cloud(cloud)
    assert points.dtype['u'] == np.float32
    np.testing.assert_array_equal(points['u'], [3, 10])
    np.testing.assert_array_equal(points['confidence'], [0, 7])


def test_other_clouds_are_rejected():
    cloud = to_point_cloud(HEADER, KEYPOINTS)
    cloud.fields = cloud.fields[:3]
    with pytest.raises(
        EncodingError, match='fields x, y, z contains no keypoints; expected the F'
    ):
        from_point_cloud(cloud)


def test_truncated_cloud_is_rejected():
    cloud = to_point_cloud(HEADER, KEYPOINTS)
    cloud.data = cloud.data[:-1]
    with pytest.raises(EncodingError, match='2 points has only 47 bytes; it is truncated'):
        from_point_cloud(cloud)


def test_images_there_and_back():
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    message = to_image(HEADER, rgb)
    assert message.header == HEADER
    assert (message.encoding, message.step, message.is_bigendian) == ('rgb8', 9, 0)
    np.testing.assert_array_equal(to_rgb(message), rgb)
    np.testing.assert_array_equal(to_rgb(to_image(HEADER, rgb[:, ::-1])), rgb[:, ::-1])


def test_image_fields_reach_the_decoder():
    message = Image(height=1, width=2, encoding='mono16', is_bigendian=1, step=6)
    message.data = array.array('B', [200, 0, 100, 255, 9, 9])
    np.testing.assert_array_equal(to_rgb(message)[0, :, 0], [200, 100])


def test_compressed_images_are_decoded():
    rgb = np.zeros((8, 6, 3), np.uint8)
    rgb[..., 0] = 250
    png = cv2.imencode('.png', rgb[..., ::-1])[1]
    message = CompressedImage(format='rgb8; png compressed bgr8', data=png.tobytes())
    np.testing.assert_array_equal(to_rgb(message), rgb)


def test_names_are_in_the_order_of_the_clouds():
    engine = FakeEngine(
        lambda images: None,
        keypoint_names=('kp0', 'b', 'a'),
        landmark_names=('tip', 'été'),
        skeleton=((0, 2, 0.5),),
    )
    assert json.loads(to_names(engine, 'arm (3 keypoints)').data) == {
        'model': 'arm (3 keypoints)',
        'keypoints': ['kp0', 'b', 'a'],
        'landmarks': ['tip', 'été'],
        'skeleton': [[0, 2, 0.5]],
    }


@pytest.mark.parametrize('frame_id', ['', 'a', 'ab', 'abc', 'caméra'])
@pytest.mark.parametrize('encoding', ['', 'rgb8', 'mono16'])
def test_image_as_ros_writes_it(ros_domain, frame_id, encoding):
    from rclpy.serialization import serialize_message

    message = Image(height=3, width=4, step=12, is_bigendian=1, encoding=encoding)
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, 999_999_999
    message.data = array.array('B', range(36))
    image = read_image(serialize_message(message))
    assert image.header.stamp_ns == 1_700_000_000_999_999_999
    assert (image.header.frame_id, image.encoding) == (frame_id, encoding)
    assert (image.height, image.width, image.step, image.is_bigendian) == (3, 4, 12, 1)
    assert bytes(image.data) == bytes(range(36))

    compressed = CompressedImage(header=message.header, format=encoding, data=message.data)
    image = read_compressed_image(serialize_message(compressed))
    assert (image.header.frame_id, image.format) == (frame_id, encoding)
    assert bytes(image.data) == bytes(range(36))


@pytest.mark.parametrize('coefficients', [0, 4, 5])
@pytest.mark.parametrize('frame_id', ['', 'a', 'ab', 'abc', 'abcd'])
def test_camera_info_as_ros_writes_it(ros_domain, frame_id, coefficients):
    from rclpy.serialization import serialize_message

    message = CameraInfo(height=3, width=4, distortion_model='equidistant', binning_y=2)
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = -7, 9
    message.d = [0.5 + i for i in range(coefficients)]
    message.k, message.r, message.p = ([i + 0.25 for i in range(n)] for n in (9, 9, 12))
    message.roi.x_offset, message.roi.width, message.roi.do_rectify = 5, 6, True
    content = serialize_message(message)
    info = read_camera_info(content)
    assert info.header == (-7, 9, frame_id)
    assert read_stamp_ns(content) == -6_999_999_991
    for name in ('d', 'k', 'r', 'p'):
        assert list(getattr(info, name)) == list(getattr(message, name))
    assert info[1:4] == (3, 4, 'equidistant')
    assert info[8:] == (0, 2, (5, 0, 0, 6, True))
