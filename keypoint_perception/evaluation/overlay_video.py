"""Keypoints over their recording, to be watched: a video and a contact sheet."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import cv2
from keypoint_perception.atomic_files import PendingFile, replace_file
from keypoint_perception.drawing import draw_keypoints, Edge, tile_images
from keypoint_perception.episodes import LONGEST_GAP_S
from keypoint_perception.errors import PerceptionError
from keypoint_perception.images import fit_image
from keypoint_perception.keypoints import Fit
from keypoint_perception.sampling import evenly_spaced
import numpy as np

# A player shows this size well; smaller images are enlarged by a whole number up to it, and
# larger ones than the other are shrunk, because pictures are held in memory.
_WATCHABLE_PX = 640
_LARGEST_PX = 1920
_SHEET_PX = 480
_TRAIL_FRAMES = 12
# The rate must be known before the first picture is written: so many are held back for it.
_HELD_FRAMES = 24
_RATES_HZ = (1.0, 120.0)
_CODEC = 'mp4v'


class OverlayVideo:
    """
    An MP4 of a recording with its keypoints and their short trails.

    The video runs at a constant rate, that of the median gap between the first 24 stamps, held
    between 1 and 120 Hz; pauses of the recording are not shown. Pictures of another size than the
    first are fitted into it. The file has its name only when it is complete: it is written to
    ``.NAME.part.mp4`` first, which is removed if anything goes wrong. A contact sheet of pictures
    from the whole recording is written beside it as ``NAME.png``.

    Use as a context manager.

    :param threshold: keypoints less confident than this are drawn as rings
    :param skeleton: edges to draw between confident keypoints
    :raises PerceptionError: if this OpenCV cannot write MP4, or the place cannot be written to
    """

    def __init__(
        self, path: Path | str, *, threshold: float = 0.0, skeleton: Sequence[Edge] = ()
    ) -> None:
        self.path = Path(path)
        self.sheet_path = self.path.with_suffix('.png')
        self._threshold, self._skeleton = threshold, skeleton
        self._pending = PendingFile(self.path)
        self._trail: deque[np.ndarray] = deque(maxlen=_TRAIL_FRAMES)
        self._sheet = ContactSheet()
        self._held: list[np.ndarray] = []
        self._stamps_ns: list[int] = []
        self._last_ns: int | None = None
        self._size_hw: tuple[int, int] | None = None
        self._writer: cv2.VideoWriter | None = None
        check_video_path(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _open_writer(self._pending, 10.0, (64, 64)).release()
        self._pending.discard()

    def add(self, stamp_ns: int, rgb: np.ndarray, keypoints: np.ndarray) -> None:
        """
        Draw and write the next frame.

        :param keypoints: u, v in px of ``rgb`` and confidence, (K, 3)
        """
        if self._last_ns is not None and not 0 <= stamp_ns - self._last_ns < LONGEST_GAP_S * 1e9:
            self._trail.clear()
        self._last_ns = stamp_ns
        picture = draw_keypoints(
            rgb,
            keypoints,
            threshold=self._threshold,
            trails=list(self._trail),
            skeleton=self._skeleton,
            scale=watchable_scale(rgb.shape[:2]),
        )
        self._trail.append(keypoints)
        if self._size_hw is None:
            # The codec takes even sizes only.
            self._size_hw = tuple(side + side % 2 for side in _within(picture, _LARGEST_PX))
        self._sheet.add(picture)
        if picture.shape[:2] != self._size_hw:
            picture = fit_image(picture, Fit(picture.shape[:2], self._size_hw))
        if self._writer is None:
            self._held.append(picture)
            self._stamps_ns.append(stamp_ns)
            if len(self._held) == _HELD_FRAMES:
                self._start()
            return
        self._write(picture)

    def close(self) -> None:
        """Finish the file and give it its name; without a frame there is no file."""
        if self._held:
            self._start()
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        self._pending.commit()
        self._sheet.write(self.sheet_path)

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        self._held = []
        self._pending.discard()

    def __enter__(self) -> OverlayVideo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _start(self) -> None:
        assert self._size_hw is not None
        rate_hz = constant_rate_hz(self._stamps_ns)
        self._writer = _open_writer(self._pending, rate_hz, self._size_hw)
        for picture in self._held:
            self._write(picture)
        self._held = []

    def _write(self, picture: np.ndarray) -> None:
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


class OverlayVideos:
    """
    One overlay video a camera.

    With one camera it has the name given; with several, ``/left/image`` is in
    ``NAME_left_image.mp4``. Use as a context manager.

    :param topics: the cameras, empty where there is but one
    :param skeleton: edges to draw between keypoints
    """

    def __init__(
        self, path: Path | str, topics: Sequence[str] = (), *, skeleton: Sequence[Edge] = ()
    ) -> None:
        path = Path(path)
        check_video_path(path)
        cameras = topics if len(topics) > 1 else [None]
        self._open = ExitStack()
        self._videos = {
            camera: OverlayVideo(
                path if camera is None else _camera_path(path, camera), skeleton=skeleton
            )
            for camera in cameras
        }

    def add(self, stamp_ns: int, topic: str, rgb: np.ndarray, keypoints: np.ndarray) -> None:
        """Draw and write the next frame of a camera; see :meth:`OverlayVideo.add`."""
        video = self._videos.get(topic) or self._videos[None]
        video.add(stamp_ns, rgb, keypoints)

    @property
    def paths(self) -> list[Path]:
        """Return the videos and contact sheets."""
        return [path for v in self._videos.values() for path in (v.path, v.sheet_path)]

    def __enter__(self) -> OverlayVideos:
        for video in self._videos.values():
            self._open.enter_context(video)
        return self

    def __exit__(self, *reason) -> None:
        self._open.__exit__(*reason)


class ContactSheet:
    """
    Pictures spread evenly over a recording of unknown length, on one sheet.

    Holds at most twice as many pictures as the sheet has places: when they are full, every second
    one goes, and from then on every second one is taken.
    """

    def __init__(self, *, columns: int = 4, rows: int = 3) -> None:
        self._columns = columns
        self._places = columns * rows
        self._every = 1
        self._seen = 0
        self._pictures: list[np.ndarray] = []

    def add(self, picture: np.ndarray) -> None:
        """Take in the next picture, (H, W, 3) uint8 RGB."""
        if self._seen % self._every == 0:
            if len(self._pictures) == 2 * self._places:
                self._pictures = self._pictures[::2]
                self._every *= 2
            if self._seen % self._every == 0:
                size_hw = _within(picture, _SHEET_PX)
                self._pictures.append(fit_image(picture, Fit(picture.shape[:2], size_hw)))
        self._seen += 1

    def picture(self) -> np.ndarray:
        """Return the sheet, (H, W, 3) uint8 RGB."""
        chosen = evenly_spaced(np.arange(len(self._pictures)), self._places)
        return tile_images([self._pictures[i] for i in chosen], self._columns)

    def write(self, path: Path) -> None:
        """Write the sheet as PNG, in one step."""
        _, data = cv2.imencode('.png', cv2.cvtColor(self.picture(), cv2.COLOR_RGB2BGR))
        replace_file(path, data.tobytes())


def constant_rate_hz(stamps_ns: list[int]) -> float:
    """Return the rate of the median gap, between 1 and 120 Hz; 10 Hz where there is no gap."""
    gaps = np.diff(np.sort(np.asarray(stamps_ns, np.int64)))
    gaps = gaps[gaps > 0]
    rate_hz = 1e9 / float(np.median(gaps)) if gaps.size else 10.0
    return float(np.clip(rate_hz, *_RATES_HZ))


def _camera_path(path: Path, camera: str) -> Path:
    return path.with_stem(f'{path.stem}_{camera.strip("/").replace("/", "_")}')


def watchable_scale(image_hw: tuple[int, int]) -> int:
    """Return by how much a small image is enlarged; images of 640 px and more are not."""
    return max(1, _WATCHABLE_PX // max(image_hw))


def _within(picture: np.ndarray, longest_px: int) -> tuple[int, int]:
    """Return a picture's height and width, shrunk to a long side where it is larger."""
    shrink = min(1.0, longest_px / max(picture.shape[:2]))
    height, width = (max(1, round(side * shrink)) for side in picture.shape[:2])
    return height, width


def check_video_path(path: Path) -> None:
    """Refuse a video file that is not MP4, before anything is computed."""
    if path.suffix.lower() != '.mp4':
        msg = f'Video {str(path)!r} does not end in .mp4; only MP4 is written: rename it.'
        raise PerceptionError(msg)


def _open_writer(video: PendingFile, rate_hz: float, size_hw: tuple[int, int]) -> cv2.VideoWriter:
    codec = cv2.VideoWriter.fourcc(*_CODEC)
    writer = cv2.VideoWriter(str(video.part), codec, rate_hz, (size_hw[1], size_hw[0]))
    if writer.isOpened():
        return writer
    msg = (
        f'OpenCV {cv2.__version__} of this machine cannot write the video {str(video.path)!r} '
        f'(codec {_CODEC}); install opencv-python-headless, which brings it, check that the '
        'directory can be written to, or go on without a video.'
    )
    raise PerceptionError(msg)
