"""Chains of transforms by the rules of tf2."""

import math

from keypoint_perception.cdr import MessageHeader
from keypoint_perception.errors import SourceError
from keypoint_perception.robot.robot_messages import StampedTransform
from keypoint_perception.robot.transform_tree import TransformTree
import numpy as np
import pytest

MS = 1_000_000
NO_TURN = (0.0, 0.0, 0.0, 1.0)


def about_z(angle):
    return (0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2))


def tree(*edges):
    """Return a tree of (parent, child, stamp in ms or None if static, translation, rotation)."""
    found = TransformTree()
    for parent, child, stamp_ms, translation, rotation in edges:
        message = StampedTransform(MessageHeader(0, 0, parent), child, translation, rotation)
        found.add(message, (stamp_ms or 0) * MS, static=stamp_ms is None)
    return found


def test_motion_is_interpolated_and_not_extrapolated():
    found = tree(
        ('a', 'b', 100, (0.0, 0, 0), NO_TURN), ('a', 'b', 200, (1.0, 0, 2.0), about_z(1.0))
    )
    at = found.lookup('a', 'b', np.array([99, 100, 125, 200, 201]) * MS)
    assert np.isnan(at[[0, 4]]).all()
    np.testing.assert_allclose(at[1:4, :3, 3], [[0, 0, 0], [0.25, 0, 0.5], [1, 0, 2]])
    angles = np.arctan2(at[1:4, 1, 0], at[1:4, 0, 0])
    np.testing.assert_allclose(angles, [0, 0.25, 1.0], atol=1e-9)


def test_the_shorter_arc_is_taken_whatever_the_sign():
    opposite = tuple(-value for value in about_z(1.0))
    found = tree(('a', 'b', 0, (0.0, 0, 0), NO_TURN), ('a', 'b', 100, (0.0, 0, 0), opposite))
    (half,) = found.lookup('a', 'b', np.array([50 * MS]))
    assert math.atan2(half[1, 0], half[0, 0]) == pytest.approx(0.5)


def test_chains_go_up_and_down():
    found = tree(
        ('world', 'base', None, (1.0, 0, 0), about_z(math.pi / 2)),
        ('/world', '/rail', 0, (0.0, 5.0, 0), NO_TURN),
        ('/world', '/rail', 100, (0.0, 7.0, 0), NO_TURN),
        ('rail', 'camera', None, (0.0, 0, 3.0), NO_TURN),
    )
    (camera,) = found.lookup('base', 'camera', np.array([50 * MS]))
    # in the world: (0, 6, 3); the base is at (1, 0, 0) with its x along the world's y
    np.testing.assert_allclose(camera[:3, 3], [6, 1, 3], atol=1e-12)
    np.testing.assert_allclose(camera[:3, 0], [0, -1, 0], atol=1e-12)
    assert found.ancestors('camera') == ['camera', 'rail', 'world']


def test_times_between_distant_transforms_are_refused():
    found = tree(('a', 'b', 0, (0.0, 0, 0), NO_TURN), ('a', 'b', 1001, (0.0, 0, 0), NO_TURN))
    assert np.isnan(found.lookup('a', 'b', np.array([500 * MS]))).all()


def test_faults_are_named():
    still = (None, (0.0, 0, 0), NO_TURN)
    with pytest.raises(SourceError, match=r"chain from 'b' to 'd' is broken: 'b' ends at 'a' and"):
        tree(('a', 'b', *still), ('c', 'd', *still)).lookup('d', 'b', np.zeros(1, np.int64))
    with pytest.raises(SourceError, match=r"'b' has 2 parents on tf \(a, c\)"):
        tree(('a', 'b', *still), ('c', 'b', *still)).ancestors('b')
    with pytest.raises(SourceError, match=r'form a loop \(a, b, a\)'):
        tree(('a', 'b', *still), ('b', 'a', *still)).ancestors('a')


def test_what_is_no_transform_is_counted():
    found = tree(
        ('a', 'b', None, (math.nan, 0, 0), NO_TURN),
        ('a', 'b', None, (0.0, 0, 0), (0.0, 0, 0, 0.5)),
        ('a', 'a', None, (0.0, 0, 0), NO_TURN),
        ('a', 'b', None, (1.0, 0, 0), (0.0, 0, 0, 1.001)),
    )
    assert found.unusable == 3
    (only,) = found.lookup('a', 'b', np.zeros(1, np.int64))
    np.testing.assert_allclose(only[:3, :3], np.eye(3))
