"""
Keypoints, their names, and images as ROS messages.

:mod:`keypoint_perception.point_cloud` describes ``~/keypoints``.

``~/names`` tells which point is which. It is a ``std_msgs/String`` with JSON, latched (transient
local) for late subscribers, and published again with every model. ``vision_msgs/LabelInfo`` would
be an alternative, but is not part of every ROS installation and has no skeleton.
"""

from __future__ import annotations

import array
import json

from builtin_interfaces.msg import Time
from keypoint_perception.cdr import CompressedImageMessage, ImageMessage, MessageHeader
from keypoint_perception.errors import EncodingError
from keypoint_perception.images import open_message
from keypoint_perception.inference.engine import Engine
from keypoint_perception.point_cloud import (
    cloud_points,
    FIELD_BYTES,
    FIELD_NAMES,
    FIELDS,
    VELOCITY_NAMES,
)
import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header, String

POINT_FIELDS = tuple(
    PointField(name=name, offset=offset, datatype=PointField.FLOAT32, count=1)
    for name, offset in FIELDS
)

NAMES_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def to_header(header: MessageHeader) -> Header:
    """Return a received header as a message, unchanged."""
    return Header(stamp=Time(sec=header.sec, nanosec=header.nanosec), frame_id=header.frame_id)


def to_point_cloud(
    header: Header,
    keypoints: np.ndarray,
    xyz: np.ndarray | None = None,
    velocities: np.ndarray | None = None,
) -> PointCloud2:
    """
    Return keypoints as a message.

    :param header: the image's header, copied verbatim
    :param keypoints: u, v in px of the image and confidence, (K, 3)
    :param xyz: positions in metres in the optical frame, (K, 3); NaN by default
    :param velocities: of u, v in px/s and optionally of x, y, z in m/s, (K, 2) or (K, 5); by
        default there are no such fields
    """
    points = cloud_points(keypoints, xyz, velocities)
    count, fields = points.shape
    message = PointCloud2(header=header, height=1, width=count, fields=list(POINT_FIELDS[:fields]))
    message.point_step = FIELD_BYTES * fields
    message.row_step = message.point_step * count
    message.is_dense = False
    message.data = _octets(points)
    return message


def from_point_cloud(message: PointCloud2) -> np.ndarray:
    """
    Return the keypoints of a message.

    Fields are found by name, so that clouds with additional fields can be read too.

    :return: a copy: (K,) records of float32 with the fields of :data:`FIELD_NAMES` and those of
        :data:`VELOCITY_NAMES` that the message has; ``points['u']`` is (K,)
    :raises EncodingError: if the message is no cloud of keypoints
    """
    fields = {field.name: field for field in message.fields}
    missing = [name for name in FIELD_NAMES if not _is_float(fields.get(name))]
    count = message.width * message.height
    if missing or message.row_step < message.width * message.point_step or count == 0:
        msg = (
            f'A cloud of {message.width} x {message.height} points with the fields '
            f'{", ".join(fields) or "none"} contains no keypoints; expected the FLOAT32 fields '
            f'{", ".join(FIELD_NAMES)}; subscribe to ~/keypoints.'
        )
        raise EncodingError(msg)
    names = [*FIELD_NAMES, *(n for n in VELOCITY_NAMES if _is_float(fields.get(n)))]
    formats = ['>f4' if message.is_bigendian else '<f4'] * len(names)
    offsets = [fields[name].offset for name in names]
    kind = np.dtype(
        {'names': names, 'formats': formats, 'offsets': offsets, 'itemsize': message.point_step}
    )
    shape, strides = (message.height, message.width), (message.row_step, message.point_step)
    if len(message.data) < (message.height - 1) * strides[0] + message.width * strides[1]:
        msg = f'A cloud of {count} points has only {len(message.data)} bytes; it is truncated.'
        raise EncodingError(msg)
    points = np.ndarray(shape, kind, np.frombuffer(message.data, np.uint8), strides=strides)
    return points.reshape(-1).astype([(name, np.float32) for name in names])


def _is_float(field: PointField | None) -> bool:
    return field is not None and field.datatype == PointField.FLOAT32


def to_rgb(message: Image | CompressedImage) -> np.ndarray:
    """Return the image of a message as RGB, (H, W, 3) uint8; EncodingError if unreadable."""
    kind = CompressedImageMessage if isinstance(message, CompressedImage) else ImageMessage
    return open_message(kind(*(getattr(message, name) for name in kind._fields))).to_rgb()


def to_image(header: Header, rgb: np.ndarray) -> Image:
    """Return an RGB image, (H, W, 3) uint8, as a message."""
    height, width = rgb.shape[:2]
    size = {'height': height, 'width': width, 'step': 3 * width}
    return Image(header=header, encoding='rgb8', data=_octets(rgb), **size)


def _octets(values: np.ndarray) -> array.array[int]:
    """Return the bytes in the type that rclpy takes fast; it copies an ndarray by the element."""
    octets = array.array('B')
    octets.frombytes(np.ascontiguousarray(values).data.cast('B'))
    return octets


def to_names(engine: Engine, model: str) -> String:
    """
    Return the message about the names of a network's points.

    ``keypoints`` and ``landmarks`` are names in the order of ``~/keypoints`` and ``~/landmarks``;
    ``skeleton`` lists edges between keypoints, two indices and a weight each; ``model`` identifies
    the model, as on ``/diagnostics``.
    """
    names = {
        'model': model,
        'keypoints': list(engine.keypoint_names),
        'landmarks': list(engine.landmark_names),
        'skeleton': [list(edge) for edge in engine.skeleton],
    }
    return String(data=json.dumps(names))
