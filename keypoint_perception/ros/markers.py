"""
Points in space as markers for RViz.

Spheres for keypoints and landmarks and lines for the skeleton, in the optical frame and with the
image's stamp. Colours are those of the overlay. Points without a position are omitted, because
RViz rejects markers with NaN; the clouds contain all points.
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
    skeleton: Sequence[Edge] = (),
    threshold: float = 0.0,
) -> MarkerArray:
    """
    Return the markers of one image, which replace those of the previous image.

    :param keypoints: x, y, z in metres and confidence, (K, 4); NaN where unknown
    :param landmarks: likewise, (L, 4)
    :param skeleton: edges between keypoints
    :param threshold: points below this confidence are omitted
    """
    shown = _visible(keypoints, threshold)
    keypoint_spheres = _marker(header, 'keypoints', Marker.SPHERE_LIST, KEYPOINT_M)
    for index in shown:
        _add(keypoint_spheres, keypoints[index], keypoint_colour(index))
    landmark_spheres = _marker(header, 'landmarks', Marker.SPHERE_LIST, LANDMARK_M)
    for index in _visible(landmarks, threshold):
        _add(landmark_spheres, landmarks[index], keypoint_colour(index))
    lines = _marker(header, 'skeleton', Marker.LINE_LIST, EDGE_M)
    for first, second, weight in skeleton:
        if first in shown and second in shown:
            for index in (first, second):
                _add(lines, keypoints[index], EDGE_COLOUR, weight)
    markers = [keypoint_spheres, landmark_spheres, lines]
    for marker in markers:
        if not marker.points:  # RViz warns about empty lists
            marker.action = Marker.DELETE
    return MarkerArray(markers=markers)


def _visible(points: np.ndarray, threshold: float) -> list[int]:
    good = np.isfinite(points[:, :3]).all(1) & (points[:, 3] >= threshold)
    return [int(index) for index in np.flatnonzero(good)]


def _marker(header: Header, namespace: str, kind: int, size_m: float) -> Marker:
    marker = Marker(header=header, ns=namespace, type=kind, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    marker.scale = Vector3(x=size_m, y=size_m, z=size_m)
    return marker


def _add(marker: Marker, point: np.ndarray, colour: Sequence[int], alpha: float = 1.0) -> None:
    x, y, z = (float(value) for value in point[:3])
    red, green, blue = (channel / 255 for channel in colour)
    marker.points.append(Point(x=x, y=y, z=z))
    marker.colors.append(ColorRGBA(r=red, g=green, b=blue, a=float(alpha)))
