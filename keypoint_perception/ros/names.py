"""
``~/names``: which point is which.

A cloud holds numbers in an order; this says what the order means. It is a ``std_msgs/String`` with
JSON, latched (transient local), so that whoever comes later gets it too, and sent anew with every
model. There are messages for such lists (``vision_msgs/LabelInfo``), but not in every ROS
installation, and without room for a skeleton; JSON is read in every language.
"""

from __future__ import annotations

import json

from keypoint_perception.inference.engine import Engine
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

NAMES_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def to_names(engine: Engine, model: str) -> String:
    """
    Return the message about a network's points.

    ``keypoints`` and ``landmarks`` are the names in the order of the clouds on ``~/keypoints`` and
    ``~/landmarks``; ``skeleton`` holds edges between keypoints, each two indices and a weight;
    ``model`` tells one model from another.

    :param model: as on ``/diagnostics``
    """
    names = {
        'model': model,
        'keypoints': list(engine.keypoint_names),
        'landmarks': list(engine.landmark_names),
        'skeleton': [list(edge) for edge in engine.skeleton],
    }
    return String(data=json.dumps(names))
