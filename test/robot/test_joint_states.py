"""Joint states between two messages, and where there are none."""

import math

from keypoint_perception.cdr import MessageHeader
from keypoint_perception.robot.joint_states import JointStates
from keypoint_perception.robot.robot_messages import JointStateMessage
import numpy as np

HEADER = MessageHeader(0, 0, '')
MS = 1_000_000


def states(*rows):
    found = JointStates()
    for stamp_ms, names, positions in rows:
        found.add(JointStateMessage(HEADER, tuple(names), tuple(positions)), stamp_ms * MS)
    return found


def test_positions_are_interpolated_and_not_extrapolated():
    joints = states((100, 'a', [1.0]), (120, 'a', [2.0]), (170, 'a', [0.0]))
    at = joints.at('a', np.array([99, 100, 105, 120, 145, 170, 171]) * MS)
    np.testing.assert_allclose(at, [np.nan, 1.0, 1.25, 2.0, 1.0, 0.0, np.nan])


def test_a_gap_of_more_than_50_ms_is_refused_but_for_its_ends():
    joints = states((100, 'a', [1.0]), (151, 'a', [2.0]))
    np.testing.assert_array_equal(
        joints.at('a', np.array([100, 125, 151]) * MS), [1.0, np.nan, 2.0]
    )


def test_continuous_joints_take_the_shorter_way():
    joints = states((0, 'a', [3.1]), (10, 'a', [-3.1]))
    turn = joints.at('a', np.array([5 * MS]), wraps=True)
    np.testing.assert_allclose(np.cos(turn), -1)
    np.testing.assert_allclose(joints.at('a', np.array([5 * MS])), 0, atol=1e-12)


def test_order_and_repetition_of_messages_do_not_matter():
    joints = states((20, 'ab', [2.0, 9.0]), (0, 'ba', [8.0, 0.0]), (20, 'a', [4.0]))
    stamps, positions = joints.series('a')
    assert (stamps.tolist(), positions.tolist()) == ([0, 20 * MS], [0.0, 4.0])
    assert joints.names == ('a', 'b')
    assert joints.span_ns('ab') == (0, 20 * MS)


def test_what_is_unusable_is_counted():
    joints = states((0, 'ab', [1.0]), (1, 'ab', [math.nan, 1.0]), (2, 'ab', []))
    assert (joints.unequal, joints.unusable, joints.count) == (1, 1, 1)
    assert joints.names == ('b',)
