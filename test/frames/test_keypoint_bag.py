"""Keypoints written as a rosbag2, as the node would have published them."""

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.keypoint_bag import KEYPOINT_TOPIC, keypoint_topic, KeypointBag
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import get_typestore, Stores

KEYPOINTS = np.array([[1.5, 2.0, 0.25], [30.0, 4.0, 1.0]], np.float32)


def read(path):
    """Return (topic, bag time, message) of every message."""
    with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        return [
            (connection.topic, time_ns, reader.deserialize(data, connection.msgtype))
            for connection, time_ns, data in reader.messages()
        ]


def test_cloud_is_the_node_s_contract(tmp_path):
    path = tmp_path / 'points'
    with KeypointBag(path) as bag:
        bag.write(1_700_000_000_033_333_333, KEYPOINT_TOPIC, KEYPOINTS, frame_id='camera')
    ((topic, time_ns, cloud),) = read(path)
    assert topic == '/perception_node/keypoints'
    assert time_ns == 1_700_000_000_033_333_333
    assert (cloud.header.stamp.sec, cloud.header.stamp.nanosec) == (1_700_000_000, 33_333_333)
    assert cloud.header.frame_id == 'camera'
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 2, 24, 48)
    assert [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields] == [
        ('x', 0, 7, 1),
        ('y', 4, 7, 1),
        ('z', 8, 7, 1),
        ('u', 12, 7, 1),
        ('v', 16, 7, 1),
        ('confidence', 20, 7, 1),
    ]
    assert not cloud.is_bigendian
    assert not cloud.is_dense
    values = cloud.data.tobytes()
    rows = np.frombuffer(values, '<f4').reshape(2, 6)
    assert np.isnan(rows[:, :3]).all()
    np.testing.assert_array_equal(rows[:, 3:], KEYPOINTS)


def test_several_cameras_have_a_topic_each(tmp_path):
    path = tmp_path / 'points'
    with KeypointBag(path) as bag:
        for camera in ('/left/image', '/right/image'):
            bag.write(5, keypoint_topic(camera, cameras=2), KEYPOINTS)
    assert {topic for topic, _, _ in read(path)} == {
        '/perception_node/left/image/keypoints',
        '/perception_node/right/image/keypoints',
    }


def test_files_carry_the_name_of_the_directory(tmp_path):
    with KeypointBag(tmp_path / 'points') as bag:
        bag.write(5, KEYPOINT_TOPIC, KEYPOINTS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['points']
    assert sorted(p.name for p in (tmp_path / 'points').iterdir()) == [
        'metadata.yaml',
        'points.mcap',
    ]


def write_and_fail(path):
    with KeypointBag(path) as bag:
        bag.write(5, KEYPOINT_TOPIC, KEYPOINTS)
        msg = 'stopped halfway'
        raise RuntimeError(msg)


def test_half_a_bag_is_not_left_behind(tmp_path):
    with pytest.raises(RuntimeError, match='stopped halfway'):
        write_and_fail(tmp_path / 'points')
    assert list(tmp_path.iterdir()) == []


def test_bag_is_not_overwritten(tmp_path):
    (tmp_path / 'points').mkdir()
    with pytest.raises(SourceError, match=r"points' exists already and bags are not overwritten"):
        KeypointBag(tmp_path / 'points')


@pytest.mark.parametrize('stamp_ns', [-1, 2**31 * 10**9])
def test_stamp_that_no_header_holds_is_refused(tmp_path, stamp_ns):
    with (
        KeypointBag(tmp_path / 'points') as bag,
        pytest.raises(
            SourceError, match=r'stamp -?\d+ ns, which a bag cannot hold; choose others'
        ),
    ):
        bag.write(stamp_ns, KEYPOINT_TOPIC, KEYPOINTS)
