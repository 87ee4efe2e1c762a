"""MP4 files, written by OpenCV and checked when they are complete."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import cv2
from keypoint_perception.errors import PerceptionError
from keypoint_perception.opencv_files import opencv_name
import numpy as np

_CODEC = 'mp4v'


class Mp4Writer:
    """
    A video that is being written.

    :param size_hw: of all its frames, even numbers
    :raises PerceptionError: if OpenCV cannot write MP4 here
    """

    def __init__(self, path: Path, rate_hz: float, size_hw: tuple[int, int]) -> None:
        self._path = path
        self._frames = 0
        self._stack = ExitStack()
        name = self._stack.enter_context(opencv_name(path))
        codec, size = cv2.VideoWriter.fourcc(*_CODEC), (size_hw[1], size_hw[0])
        self._writer = cv2.VideoWriter(name, codec, rate_hz, size)
        if not self._writer.isOpened():
            self.abandon()
            msg = (
                f'OpenCV {cv2.__version__} cannot write a video in {str(path.parent)!r} (codec '
                f'{_CODEC}); install opencv-python-headless, which includes the codec, check that '
                'the directory is writable and has room, or omit the video.'
            )
            raise PerceptionError(msg)

    def write(self, rgb: np.ndarray) -> None:
        """Append a frame, (H, W, 3) uint8 RGB."""
        self._writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def abandon(self) -> None:
        """Close the file, whatever it has."""
        self._writer.release()
        self._stack.close()

    def finish(self) -> None:
        """
        Close the file and see that its last frame is there: OpenCV ignores failed writes.

        :raises PerceptionError: if the file is incomplete
        """
        self.abandon()
        with opencv_name(self._path) as name:
            capture = cv2.VideoCapture(name)
            capture.set(cv2.CAP_PROP_POS_FRAMES, self._frames - 1)
            complete = capture.grab()
            capture.release()
        if not complete:
            msg = (
                f'The video of {self._frames} frames in {str(self._path.parent)!r} is incomplete, '
                'as on a full disk; make room, then run the same command again.'
            )
            raise PerceptionError(msg)
