"""
Points in space as markers, for RViz.

Spheres for the keypoints and for the named landmarks, lines for the skeleton, in the optical frame
at the image's stamp. A point has the colour that it has on the overlay. What is not known is left
out, because RViz refuses markers with NaN: for numbers there are the clouds.
"""

from __future__ import annotations

from collections.abc import Sequence

from geometry_msgs.msg import Point, Vector3
from keypoint_perception.drawing import Edge, EDGE_COLOUR, keypoint_colour
import numpy as np
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

KEYPOINT_M = 0.02
LANDMARK_M = 0.03
EDGE_M = 0.006


def to_markers(
    header: Header,
    keypoints: np.ndarray,
    landmarks: np.ndarray,
    *,
    skeleton: Sequence[Edge] = (),
    threshold: float = 0.0,
) -> MarkerArray:
    """
    Return the markers of one image; each takes the place of its predecessor.

    :param header: the image's header
    :param keypoints: x, y, z in metres and confidence, (K, 4); NaN where unknown
    :param landmarks: the same of the named points, (L, 4)
    :param skeleton: edges between keypoints
    :param threshold: points below this confidence are left out
    """
    shown, named = _shown(keypoints, threshold), _shown(landmarks, threshold)
    spheres = [_list(header, 'keypoints', Marker.SPHERE_LIST, KEYPOINT_M)]
    spheres += [_list(header, 'landmarks', Marker.SPHERE_LIST, LANDMARK_M)]
    for marker, points, indices in zip(
        spheres, (keypoints, landmarks), (shown, named), strict=True
    ):
        for index in indices:
            _add(marker, points[index], keypoint_colour(index))
    lines = _list(header, 'skeleton', Marker.LINE_LIST, EDGE_M)
    for first, second, weight in skeleton:
        if first in shown and second in shown:
            for index in (first, second):
                _add(lines, keypoints[index], EDGE_COLOUR, weight)
    return MarkerArray(markers=[_or_nothing(marker) for marker in (*spheres, lines)])


def _shown(points: np.ndarray, threshold: float) -> list[int]:
    good = np.isfinite(points[:, :3]).all(1) & (points[:, 3] >= threshold)
    return np.flatnonzero(good).tolist()


def _list(header: Header, namespace: str, kind: int, size_m: float) -> Marker:
    marker = Marker(header=header, ns=namespace, type=kind, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    marker.scale = Vector3(x=size_m, y=size_m, z=size_m)
    return marker


def _add(marker: Marker, point: np.ndarray, colour: Sequence[int], alpha: float = 1.0) -> None:
    x, y, z = (float(value) for value in point[:3])
    red, green, blue = (channel / 255 for channel in colour)
    marker.points.append(Point(x=x, y=y, z=z))
    marker.colors.append(ColorRGBA(r=red, g=green, b=blue, a=float(alpha)))


def _or_nothing(marker: Marker) -> Marker:
    """Let an empty list take away what was shown before: RViz warns of empty ones."""
    if not marker.points:
        marker.action = Marker.DELETE
    return marker
