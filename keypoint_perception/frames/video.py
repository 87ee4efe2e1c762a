"""Video files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
import logging
from pathlib import Path
import re

import cv2
from keypoint_perception.errors import EncodingError, SourceError
from keypoint_perception.frames.frame import EncodedFrame, Topic
from keypoint_perception.image_headers import check_size, ImageHeader
from keypoint_perception.opencv_files import opencv_name
import numpy as np

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg', '.gif')
ASSUMED_HZ = 30.0
MAX_HZ = 10_000  # of a plausible frame rate
FRAME_BYTES = 8  # that a frame takes at least in a plausible file
# What videos begin with. FFmpeg goes by content, and playlists would make it open other files; it
# takes none of these for one.
CONTAINERS = re.compile(
    rb'\0.{3}[A-Za-z]{4}|.{4}(?:moov|mdat)|RIFF.{4}AVI|\x1a\x45\xdf\xa3|GIF8|'
    rb'\0\0\x01[\xb0\xb3\xb5\xba]|G(?=.{0,3}\0).{187}G.{187}G|FLV\x01|OggS|\x30\x26\xb2\x75',
    re.DOTALL,
)

log = logging.getLogger('keypoint_perception')


class Video:
    """
    A video file; its stamps start with 0 at the first frame.

    :param name: its name in messages
    :raises SourceError: if OpenCV cannot read a frame, or its frames are too large
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.topics: dict[str, Topic] = {}
        size = path.stat().st_size
        with path.open('rb') as stream:
            known = CONTAINERS.match(stream.read(512))
        with self._capture() if known else nullcontext() as capture:
            if capture is not None and capture.isOpened():
                height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
                width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
                check_size(f'Video {name!r}', ImageHeader(height, width))
            if capture is None or not capture.grab():
                msg = (
                    f'Video {name!r} ({size} bytes) has no readable frame; expected a file that '
                    'OpenCV can play; convert it to MP4 (H.264) or copy it again.'
                )
                raise SourceError(msg)
            self.hz = capture.get(cv2.CAP_PROP_FPS)
            announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.announced = announced if 0 < announced <= size / FRAME_BYTES else None

    def count(self, topics: Collection[str]) -> int | None:
        return self.announced

    def frames(self, topics: Collection[str]) -> Iterator[EncodedFrame]:
        """Yield the frames; each can be decoded until the next is requested."""
        hz = self.hz if 0 < self.hz < MAX_HZ else 0.0
        with self._capture() as capture:
            index, last_ns = 0, -1
            while capture.grab():
                stamp_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
                if stamp_ns <= last_ns:  # some containers and backends have no times
                    if not hz:
                        hz = ASSUMED_HZ
                        log.warning('Video %r has no frame rate: %g Hz is assumed.', self.name, hz)
                    stamp_ns = max(last_ns + 1, round(index / hz * 1e9))
                yield EncodedFrame(stamp_ns, '', lambda: _retrieve(capture))
                index, last_ns = index + 1, stamp_ns
        if index < 0.9 * (self.announced or 0):
            text = 'Video %r has %d frames but announces %d; if it was cut short, copy it again.'
            log.warning(text, self.name, index, self.announced)

    @contextmanager
    def _capture(self) -> Iterator[cv2.VideoCapture]:
        with opencv_name(self.path) as name:
            capture = cv2.VideoCapture(name)
            try:
                yield capture
            finally:
                capture.release()


def _retrieve(capture: cv2.VideoCapture) -> np.ndarray:
    retrieved, image = capture.retrieve()
    if not retrieved:
        msg = 'A frame of a video cannot be decoded; convert the video to MP4 (H.264).'
        raise EncodingError(msg)
    code = cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(image, code)
