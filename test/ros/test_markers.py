"""Markers show known points and remove unknown ones."""

import pytest

pytest.importorskip('visualization_msgs', reason='visualization_msgs is not installed')

from keypoint_perception.drawing import keypoint_colour
from keypoint_perception.ros.markers import to_markers
import numpy as np
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

HEADER = Header(frame_id='cam_optical')
NAN = float('nan')
KEYPOINTS = np.array([[0.1, 0.2, 1, 0.9], [NAN, NAN, NAN, 1], [3, 2, 1, 0.8], [1, 1, 1, 0.1]])
NONE = KEYPOINTS[:0]


def shown(marker):
    return [(p.x, p.y, p.z) for p in marker.points]


def test_points_and_edges_that_are_known():
    edges = [(0, 1, 1.0), (0, 2, 0.5), (2, 3, 1.0)]
    array = to_markers(HEADER, KEYPOINTS, NONE, skeleton=edges, threshold=0.5)
    points, landmarks, lines = array.markers
    assert (points.type, lines.type) == (Marker.SPHERE_LIST, Marker.LINE_LIST)
    assert shown(points) == [(0.1, 0.2, 1), (3, 2, 1)]
    assert shown(lines) == [(0.1, 0.2, 1), (3, 2, 1)]
    assert [c.a for c in lines.colors] == [0.5, 0.5]
    second = points.colors[1]  # the colour of keypoint 2, on the overlay as here
    assert tuple(round(255 * c) for c in (second.r, second.g, second.b)) == keypoint_colour(2)
    assert all(m.header == HEADER and m.pose.orientation.w == 1 for m in array.markers)
    assert len({(m.ns, m.id) for m in array.markers}) == 3
    assert (points.action, lines.action, landmarks.action) == (
        Marker.ADD,
        Marker.ADD,
        Marker.DELETE,
    )


def test_landmarks_are_spheres_of_their_own():
    array = to_markers(HEADER, KEYPOINTS * NAN, KEYPOINTS[2:3])
    by_name = {m.ns: m for m in array.markers}
    assert shown(by_name['landmarks']) == [(3, 2, 1)]
    assert by_name['landmarks'].scale.x > by_name['keypoints'].scale.x > 0
    assert by_name['keypoints'].action == by_name['skeleton'].action == Marker.DELETE
