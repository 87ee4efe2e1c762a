"""The simulated arm as a process: a robot, a camera and a clock on ROS."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('pybullet', reason='PyBullet is not installed: extra `examples`')


def to_ns(stamp) -> int:
    return stamp.sec * 10**9 + stamp.nanosec


def test_the_arm_moves_as_commanded_and_shows_it(peer, start):
    from keypoint_perception.ros.messages import from_point_cloud, to_rgb
    from rclpy.qos import ReliabilityPolicy
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import Image, JointState, PointCloud2
    from std_msgs.msg import Float64MultiArray

    states = peer.collect(JointState, '/joint_states')
    truths = peer.collect(PointCloud2, '/arm/truth')
    clocks = peer.collect(Clock, '/clock')
    images = peer.collect(Image, '/cam/image', reliability=ReliabilityPolicy.BEST_EFFORT)
    arm = start('-m', 'examples.arm_node', '--ros-args', '-r', 'image:=/cam/image')
    commands = peer.publisher(Float64MultiArray, 'forward_position_controller/commands')
    peer.publish_until(
        lambda: 'is ignored' in arm.output,
        commands,
        Float64MultiArray(data=[0.1, 0.2]),
        'a warning about a short command',
        arm,
    )
    goal = [0.2, 1.0, -0.3]
    peer.publish_until(
        lambda: states and np.allclose(states[-1].position, goal, atol=0.01),
        commands,
        Float64MultiArray(data=goal),
        'the goal',
        arm,
    )
    assert list(states[-1].name) == ['shoulder', 'elbow', 'wrist']
    before = len(images), len(truths)
    peer.spin_until(
        lambda: len(images) > before[0] and len(truths) > before[1] + 1, 'a picture', arm
    )
    # the last truth may still be about a picture that is on its way
    image = images[-1]
    (truth,) = [t for t in truths if t.header.stamp == image.header.stamp]
    point = from_point_cloud(truth)[0]
    picture = to_rgb(image).astype(int)
    v, u = np.nonzero(picture[..., 0] > 2.5 * picture[..., 1:].max(axis=-1))
    np.testing.assert_allclose((point['u'], point['v']), (u.mean(), v.mean()), atol=2.5)
    # x = 0.24 cos 0.2 + 0.20 cos 1.2 + 0.14 cos 0.9, and y with sines; the camera is at
    # (0.10, -0.63, 1.06), the tip 0.178 m above the table
    away = np.linalg.norm([0.39472 - 0.10, 0.34376 + 0.63, 0.178 - 1.06])
    assert np.linalg.norm([point['x'], point['y'], point['z']]) == pytest.approx(away, abs=0.01)
    assert image.encoding == 'rgb8'
    assert (image.height, image.width) == (240, 320)
    stamps = [to_ns(s.header.stamp) for s in states]
    assert set(np.diff(stamps)) == {16_666_666}, 'no moment is left out, however slow the machine'
    assert to_ns(clocks[0].clock) >= 10**9
    assert arm.stop() == 0
