"""The message about names says what the order of the points means."""

import json

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from keypoint_perception.inference.fake_engine import FakeEngine
from keypoint_perception.ros.names import to_names


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
