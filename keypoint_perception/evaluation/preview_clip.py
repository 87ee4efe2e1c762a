"""
A short overlay video that a browser plays, to be part of a page.

MP4 with MPEG-4 Part 2, which OpenCV always writes, plays in no browser, and H.264 is in few of its
builds. VP9 is in most: it plays in Chrome, Edge and Firefox, and in Safari since 2020 and 2021.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from keypoint_perception.drawing import draw_keypoints, Edge
from keypoint_perception.evaluation.overlay_video import constant_rate_hz
from keypoint_perception.images import fit_image
from keypoint_perception.keypoints import Fit
from keypoint_perception.sampling import evenly_spaced
import numpy as np

# Codec, ending and kind, the first that this OpenCV has.
_CODECS = (('vp09', '.mp4', 'video/mp4'), ('VP80', '.webm', 'video/webm'))
# VP9 takes its time: some seconds for all of it.
_LONG_SIDE = 360
_SCENES = 3
_SCENE_FRAMES = 40
_TRAIL_FRAMES = 12
_STILLS = 6


class PreviewClip:
    """
    Scenes from a recording with their keypoints.

    Three scenes of 40 frames each, spread over the recording; of one whose length is not known,
    its beginning.

    :param total: frames of the recording, None if not known
    :param skeleton: edges to draw between keypoints
    """

    def __init__(self, total: int | None = None, *, skeleton: Sequence[Edge] = ()) -> None:
        self._skeleton = skeleton
        count = _SCENES * _SCENE_FRAMES
        if total is None or total <= count:
            self._scenes = [range(count)]
        else:
            starts = evenly_spaced(np.arange(total - _SCENE_FRAMES + 1), _SCENES)
            self._scenes = [range(start, start + _SCENE_FRAMES) for start in starts]
        self._seen = 0
        self._trail: deque[np.ndarray] = deque(maxlen=_TRAIL_FRAMES)
        self._pictures: list[np.ndarray] = []  # JPEG, because all are held until the end
        self._stamps_ns: list[int] = []
        self._size_hw: tuple[int, int] | None = None

    def add(self, stamp_ns: int, rgb: np.ndarray, keypoints: np.ndarray) -> None:
        """
        Take in the next frame.

        :param keypoints: u, v in px of ``rgb`` and confidence, (K, 3)
        """
        index, self._seen = self._seen, self._seen + 1
        if not any(index in scene for scene in self._scenes):
            return
        if any(index == scene.start for scene in self._scenes):
            self._trail.clear()
        picture = self._draw(rgb, keypoints)
        self._trail.append(keypoints)
        _, data = cv2.imencode('.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self._pictures.append(data)
        self._stamps_ns.append(stamp_ns)

    def encode(self) -> tuple[bytes, str] | None:
        """Return the film and its kind; None without frames or where OpenCV has no codec."""
        if not self._pictures:
            return None
        height, width = self._size_hw
        rate_hz = constant_rate_hz(self._stamps_ns)
        with TemporaryDirectory() as folder:
            for codec, ending, kind in _CODECS:
                path = Path(folder) / f'film{ending}'
                fourcc = cv2.VideoWriter.fourcc(*codec)
                writer = cv2.VideoWriter(str(path), fourcc, rate_hz, (width, height))
                if not writer.isOpened():
                    continue
                for data in self._pictures:
                    writer.write(cv2.imdecode(data, cv2.IMREAD_COLOR))
                writer.release()
                if path.is_file() and path.stat().st_size:
                    return path.read_bytes(), kind
        return None

    def stills(self) -> list[np.ndarray]:
        """Return some of its pictures, spread evenly, (H, W, 3) uint8 RGB each."""
        chosen = evenly_spaced(np.arange(len(self._pictures)), _STILLS)
        return [
            cv2.cvtColor(cv2.imdecode(self._pictures[i], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            for i in chosen
        ]

    def _draw(self, rgb: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        scale = max(1, round(_LONG_SIDE / max(rgb.shape[:2])))
        drawn = draw_keypoints(
            rgb, keypoints, trails=list(self._trail), skeleton=self._skeleton, scale=scale
        )
        if self._size_hw is None:
            shrink = min(1.0, _LONG_SIDE / max(drawn.shape[:2]))
            # the codecs take even sizes only
            self._size_hw = tuple(2 * max(1, round(side * shrink / 2)) for side in drawn.shape[:2])
        return fit_image(drawn, Fit(drawn.shape[:2], self._size_hw))
