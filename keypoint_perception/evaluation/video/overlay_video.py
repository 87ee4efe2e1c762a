"""A recording with its keypoints drawn on it: a video and a contact sheet."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import cv2
from keypoint_perception.atomic_files import PendingFile, replace_file
from keypoint_perception.drawing import draw_keypoints, Edge, tile_images
from keypoint_perception.episodes import LONGEST_GAP_S
from keypoint_perception.errors import PerceptionError
from keypoint_perception.evaluation.stream_samples import EvenSample
from keypoint_perception.evaluation.video.mp4_writer import Mp4Writer
from keypoint_perception.images import fit_image
from keypoint_perception.keypoints import Fit
import numpy as np

# Long sides: smaller images are enlarged by a whole factor up to the first; larger ones are
# shrunk to the second, because frames are held in memory.
_TARGET_PX = 640
_MAX_PX = 1920
_SHEET_PX = 480
TRAIL_FRAMES = 12
# Frames held back before the file is opened, to estimate the frame rate.
_HELD_FRAMES = 24
_RATES_HZ = (1.0, 120.0)


class OverlayVideo(AbstractContextManager['OverlayVideo']):
    """
    An MP4 of a recording with its keypoints and their short trails, as a context manager.

    The frame rate is constant: that of the median gap between the first 24 stamps, clamped to 1
    to 120 Hz. Pauses in the recording are skipped. Later images of a different size are fitted to
    the first one's. A contact sheet of the whole recording is written beside it as ``NAME.png``.
    Both files appear only when they are complete.

    :param threshold: keypoints less confident than this are drawn as rings
    :param skeleton: edges to draw between confident keypoints
    :raises PerceptionError: if OpenCV cannot write MP4 here
    """

    def __init__(
        self, path: Path | str, *, threshold: float = 0.0, skeleton: Sequence[Edge] = ()
    ) -> None:
        self.path = Path(path)
        self.sheet_path = self.path.with_suffix('.png')
        self._threshold, self._skeleton = threshold, skeleton
        self._pending = PendingFile(self.path)
        self._trail: deque[np.ndarray] = deque(maxlen=TRAIL_FRAMES)
        self._sheet = ContactSheet()
        self._held: list[np.ndarray] = []
        self._stamps_ns: list[int] = []
        self._last_ns: int | None = None
        self._size_hw: tuple[int, int] | None = None
        self._writer: Mp4Writer | None = None
        check_video_path(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        Mp4Writer(self._pending.part, 10.0, (64, 64)).abandon()
        self._pending.discard()

    def add(self, stamp_ns: int, rgb: np.ndarray, keypoints: np.ndarray) -> None:
        """
        Draw and write the next frame.

        :param keypoints: u, v in px of ``rgb`` and confidence, (K, 3)
        """
        if self._last_ns is not None and not 0 <= stamp_ns - self._last_ns < LONGEST_GAP_S * 1e9:
            self._trail.clear()
        self._last_ns = stamp_ns
        image = draw_keypoints(
            rgb,
            keypoints,
            threshold=self._threshold,
            trails=list(self._trail),
            skeleton=self._skeleton,
            scale=enlargement((rgb.shape[0], rgb.shape[1])),
        )
        hw = image.shape[0], image.shape[1]
        self._trail.append(keypoints)
        self._size_hw = self._size_hw or even_hw(hw, _MAX_PX)
        self._sheet.add(image)
        self._held.append(
            image if hw == self._size_hw else fit_image(image, Fit(hw, self._size_hw))
        )
        if self._writer is None:
            self._stamps_ns.append(stamp_ns)
        if self._writer is not None or len(self._held) == _HELD_FRAMES:
            self._write_held()

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        """Finish the video, or abandon it on an error; without frames no file is written."""
        try:
            if kind is None and self._held:
                self._write_held()
            if kind is None and self._writer is not None:
                self._writer.finish()
                self._pending.commit()
                self._sheet.write(self.sheet_path)
        finally:
            if self._writer is not None:
                self._writer.abandon()
            self._pending.discard()

    def _write_held(self) -> None:
        if self._writer is None:
            assert self._size_hw is not None
            rate_hz = constant_rate_hz(self._stamps_ns)
            self._writer = Mp4Writer(self._pending.part, rate_hz, self._size_hw)
        for image in self._held:
            self._writer.write(image)
        self._held = []


class OverlayVideos(ExitStack):
    """
    One overlay video per camera, as a context manager.

    A single camera is written to the given path; of several, ``/left/image`` is written to
    ``NAME_left_image.mp4``.

    :param topics: the cameras; may be empty if there is only one
    :param skeleton: edges to draw between keypoints
    """

    def __init__(
        self, path: Path | str, topics: Sequence[str] = (), *, skeleton: Sequence[Edge] = ()
    ) -> None:
        super().__init__()
        path = Path(path)
        check_video_path(path)
        paths = {t: _camera_path(path, t) for t in topics} if len(topics) > 1 else {'': path}
        self._videos = {
            t: self.enter_context(OverlayVideo(p, skeleton=skeleton)) for t, p in paths.items()
        }

    def add(self, stamp_ns: int, topic: str, rgb: np.ndarray, keypoints: np.ndarray) -> None:
        """Draw and write the next frame of a camera; see :meth:`OverlayVideo.add`."""
        video = self._videos.get(topic) or self._videos['']
        video.add(stamp_ns, rgb, keypoints)

    @property
    def paths(self) -> list[Path]:
        """Return the videos and contact sheets."""
        return [path for v in self._videos.values() for path in (v.path, v.sheet_path)]


class ContactSheet:
    """Frames evenly spaced over a recording, tiled into one image."""

    def __init__(self, *, columns: int = 4, rows: int = 3) -> None:
        self._columns = columns
        self._sample: EvenSample[np.ndarray] = EvenSample(columns * rows)

    def add(self, image: np.ndarray) -> None:
        """Offer the next image, (H, W, 3) uint8 RGB."""
        hw = image.shape[0], image.shape[1]
        self._sample.add(lambda: fit_image(image, Fit(hw, _shrunk_hw(hw, _SHEET_PX))))

    def image(self) -> np.ndarray:
        """Return the sheet, (H, W, 3) uint8 RGB."""
        return tile_images(self._sample.items(), self._columns)

    def write(self, path: Path) -> None:
        """Write the sheet as PNG."""
        _, data = cv2.imencode('.png', cv2.cvtColor(self.image(), cv2.COLOR_RGB2BGR))
        replace_file(path, data.tobytes())


def constant_rate_hz(stamps_ns: list[int]) -> float:
    """Return the frame rate of the median gap, clamped to 1 to 120 Hz; 10 Hz without a gap."""
    gaps = np.diff(np.sort(np.asarray(stamps_ns, np.int64)))
    gaps = gaps[gaps > 0]
    rate_hz = 1e9 / float(np.median(gaps)) if gaps.size else 10.0
    return float(np.clip(rate_hz, *_RATES_HZ))


def _camera_path(path: Path, camera: str) -> Path:
    return path.with_stem(f'{path.stem}_{camera.strip("/").replace("/", "_")}')


def enlargement(image_hw: tuple[int, int]) -> int:
    """Return the factor by which an image smaller than 640 px is enlarged."""
    return max(1, _TARGET_PX // max(image_hw))


def _shrunk_hw(hw: tuple[int, int], max_px: int) -> tuple[int, int]:
    """Return a height and width whose longer side is at most ``max_px``."""
    scale = min(1.0, max_px / max(hw))
    return max(1, round(hw[0] * scale)), max(1, round(hw[1] * scale))


def even_hw(hw: tuple[int, int], max_px: int) -> tuple[int, int]:
    """Return the same, rounded up to even numbers as codecs require."""
    height, width = _shrunk_hw(hw, max_px)
    return height + height % 2, width + width % 2


def check_video_path(path: Path) -> None:
    """Reject a path that is not MP4."""
    if path.suffix.lower() != '.mp4':
        msg = f'Video {str(path)!r} does not end in .mp4; only MP4 can be written: rename it.'
        raise PerceptionError(msg)
