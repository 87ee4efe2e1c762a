"""The newest camera_info, kept as it came until somebody asks what it says."""

from __future__ import annotations

import struct

from keypoint_perception.errors import CalibrationError
from keypoint_perception.geometry.camera_model import CameraModel
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

# Encapsulation, stamp, and the length of frame_id: CDR as in :mod:`keypoint_perception.cdr`.
HEADER_BYTES = 4 + 8 + 4


class LatestCameraInfo:
    """
    The calibration of one camera.

    A camera sends it with every image and hardly ever changes it, so that only what differs apart
    from its header is deserialised. It need not come together with an image.
    """

    def __init__(self) -> None:
        self._newest: bytes | None = None
        self._known: tuple[bytes, bool] | None = None
        self._answer: CameraModel | CalibrationError | None = None

    def put(self, serialised: bytes) -> None:
        """Leave a serialised CameraInfo."""
        self._newest = serialised

    @property
    def came(self) -> bool:
        """Return whether any has come."""
        return self._newest is not None

    def model(self, *, rectified: bool = False) -> CameraModel | None:
        """
        Return the model of the newest camera_info; None if none has come.

        It is the same object until the calibration changes.

        :param rectified: whether the images are rectified already
        :raises CalibrationError: if it cannot be used
        """
        newest = self._newest
        if newest is None:
            return None
        known = (_without_header(newest), rectified)
        if known != self._known:
            answer, self._known = _understand(newest, rectified), known
            if answer != self._answer:  # bytes that only fill gaps may differ too
                self._answer = answer
        if isinstance(self._answer, CalibrationError):
            raise CalibrationError(str(self._answer))
        return self._answer


def _understand(serialised: bytes, rectified: bool) -> CameraModel | CalibrationError:
    try:
        info = deserialize_message(serialised, CameraInfo)
    except Exception as error:  # the middleware's own
        return CalibrationError(f'A camera_info cannot be read ({error}); check its publisher.')
    try:
        return CameraModel.from_camera_info(info, rectified=rectified)
    except CalibrationError as error:
        return error


def _without_header(serialised: bytes) -> bytes:
    """Return a message without its stamp and frame_id, to be compared."""
    if len(serialised) < HEADER_BYTES:
        return serialised
    order = '<' if serialised[1] & 1 else '>'
    (length,) = struct.unpack_from(order + 'I', serialised, HEADER_BYTES - 4)
    return serialised[HEADER_BYTES + length :]
