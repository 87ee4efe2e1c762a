"""The newest camera_info of a camera, parsed when its calibration is needed."""

from __future__ import annotations

from keypoint_perception.cdr import read_camera_info
from keypoint_perception.errors import CalibrationError, EncodingError
from keypoint_perception.geometry.camera_model import CameraModel


class LatestCameraInfo:
    """
    The calibration of one camera.

    A camera publishes it with every image and hardly ever changes it, so the model is built anew
    only when something other than the header changes.
    """

    def __init__(self) -> None:
        self._newest: bytes | None = None
        self._described: tuple[object, ...] = ()
        self._model: CameraModel | None = None

    def put(self, serialised: bytes) -> None:
        """Store a serialised CameraInfo."""
        self._newest = serialised

    @property
    def received(self) -> bool:
        """Return whether any CameraInfo has been received."""
        return self._newest is not None

    def model(self, *, rectified: bool = False) -> CameraModel | None:
        """
        Return the model of the newest CameraInfo, None if there is none yet.

        It is the same object until the calibration changes.

        :param rectified: whether the images are rectified already
        :raises CalibrationError: if the CameraInfo cannot be used
        """
        if self._newest is None:
            return None
        try:
            info = read_camera_info(self._newest)
        except EncodingError as error:
            raise CalibrationError(str(error)) from error
        described = (rectified, *info[1:])
        if described != self._described:
            self._model = CameraModel.from_camera_info(info, rectified=rectified)
            self._described = described
        return self._model
