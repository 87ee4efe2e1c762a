"""
A short overlay video that plays in a browser, to embed in a page.

OpenCV always writes MPEG-4 Part 2, but no browser plays it, and few of its builds have H.264. Most
have VP9, which plays in Chrome, Edge, Firefox, and in Safari since 2021.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from keypoint_perception.drawing import draw_keypoints, Edge
from keypoint_perception.evaluation.video.overlay_video import (
    constant_rate_hz,
    even_hw,
    TRAIL_FRAMES,
)
from keypoint_perception.images import fit_image
from keypoint_perception.keypoints import Fit
from keypoint_perception.sampling import evenly_spaced
import numpy as np

# Codec, suffix and MIME type, in order of preference.
_CODECS = (('vp09', '.mp4', 'video/mp4'), ('VP80', '.webm', 'video/webm'))
# Small, because VP9 encodes slowly.
_LONG_SIDE = 360
_SCENES = 3
_SCENE_FRAMES = 40
_STILLS = 6


class PreviewClip:
    """
    Excerpts from a recording with their keypoints.

    Three scenes of 40 frames, evenly spaced over the recording; if its length is unknown, the
    first 120 frames.

    :param total: frames of the recording, None if unknown
    :param skeleton: edges to draw between keypoints
    """

    def __init__(self, total: int | None = None, *, skeleton: Sequence[Edge] = ()) -> None:
        self._skeleton = skeleton
        count = _SCENES * _SCENE_FRAMES
        if total is None or total <= count:
            self._scenes = [range(count)]
        else:
            starts = np.linspace(0, total - _SCENE_FRAMES, _SCENES).round()
            self._scenes = [range(int(s), int(s) + _SCENE_FRAMES) for s in starts]
        self._seen = 0
        self._trail: deque[np.ndarray] = deque(maxlen=TRAIL_FRAMES)
        self._jpegs: list[np.ndarray] = []  # compressed, because all are held until the end
        self._stamps_ns: list[int] = []
        self._size_hw: tuple[int, int] | None = None

    def add(self, stamp_ns: int, rgb: np.ndarray, keypoints: np.ndarray) -> None:
        """
        Offer the next frame.

        :param keypoints: u, v in px of ``rgb`` and confidence, (K, 3)
        """
        index, self._seen = self._seen, self._seen + 1
        if not any(index in scene for scene in self._scenes):
            return
        if any(index == scene.start for scene in self._scenes):
            self._trail.clear()
        image = draw_keypoints(
            rgb,
            keypoints,
            trails=list(self._trail),
            skeleton=self._skeleton,
            scale=max(1, round(_LONG_SIDE / max(rgb.shape[:2]))),
        )
        hw = image.shape[0], image.shape[1]
        self._size_hw = self._size_hw or even_hw(hw, _LONG_SIDE)
        image = fit_image(image, Fit(hw, self._size_hw))
        self._trail.append(keypoints)
        _, data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._jpegs.append(data)
        self._stamps_ns.append(stamp_ns)

    def encode(self) -> tuple[bytes, str] | None:
        """Return the video and its MIME type; None without frames or without a codec."""
        if self._size_hw is None:
            return None
        height, width = self._size_hw
        rate_hz = constant_rate_hz(self._stamps_ns)
        with TemporaryDirectory() as folder:
            for codec, suffix, mime_type in _CODECS:
                path = Path(folder) / f'preview{suffix}'
                fourcc = cv2.VideoWriter.fourcc(*codec)
                writer = cv2.VideoWriter(str(path), fourcc, rate_hz, (width, height))
                if not writer.isOpened():
                    continue
                for jpeg in self._jpegs:
                    writer.write(_decode(jpeg))
                writer.release()
                if path.is_file() and path.stat().st_size:
                    return path.read_bytes(), mime_type
        return None

    def stills(self) -> list[np.ndarray]:
        """Return a few evenly spaced frames, (H, W, 3) uint8 RGB each."""
        chosen = evenly_spaced(np.arange(len(self._jpegs)), _STILLS)
        return [cv2.cvtColor(_decode(self._jpegs[i]), cv2.COLOR_BGR2RGB) for i in chosen]


def _decode(jpeg: np.ndarray) -> np.ndarray:
    image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert image is not None, 'it was encoded here'
    return image
