"""A model run over a recording: frames in, frames with keypoints out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from keypoint_perception.keypoints import diagonal_px
import numpy as np

BATCH = 16
# Batches of large images are smaller, so that memory is bounded.
_BATCH_BYTES = 64 << 20

BatchEstimator = Callable[[list[np.ndarray]], list[np.ndarray]]


class StampedImage(Protocol):
    """The attributes of a frame that detection needs."""

    @property
    def stamp_ns(self) -> int: ...
    @property
    def topic(self) -> str: ...
    @property
    def image(self) -> np.ndarray: ...


class Detection(NamedTuple):
    """
    A frame and its keypoints.

    :param keypoints: u, v in px of ``frame.image`` and confidence, (K, 3) float32
    """

    frame: StampedImage
    keypoints: np.ndarray


def detect_frames(
    frames: Iterable[StampedImage], estimate_batch: BatchEstimator
) -> Iterator[Detection]:
    """
    Yield every frame with its keypoints, in order.

    Frames are processed in batches of up to 16, fewer if images are large.

    :param estimate_batch: list of B RGB images -> B arrays (K, 3)
    """
    for batch in _batches(frames):
        estimates = estimate_batch([frame.image for frame in batch])
        for frame, keypoints in zip(batch, estimates, strict=True):
            yield Detection(frame, np.asarray(keypoints, np.float32))


def _batches(frames: Iterable[StampedImage]) -> Iterator[list[StampedImage]]:
    batch: list[StampedImage] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == BATCH or sum(f.image.nbytes for f in batch) >= _BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


class KeypointSequence:
    """The keypoints of a recording, without its images."""

    def __init__(self) -> None:
        # stamp in ns, topic, keypoints and image size
        self._frames: list[tuple[int, str, np.ndarray, tuple[int, int]]] = []

    def add(self, detection: Detection) -> None:
        """Append a frame."""
        frame, keypoints = detection
        hw = frame.image.shape[0], frame.image.shape[1]
        self._frames.append((int(frame.stamp_ns), frame.topic, keypoints, hw))

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._frames)

    @property
    def topics(self) -> list[str]:
        """Return the topic of every frame."""
        return [frame[1] for frame in self._frames]

    @property
    def stamps_ns(self) -> np.ndarray:
        """Return the stamps, (N,) int64 ns."""
        return np.array([frame[0] for frame in self._frames], np.int64)

    @property
    def keypoints(self) -> np.ndarray:
        """Return u, v in px and confidence, (N, K, 3) float32."""
        return np.array([frame[2] for frame in self._frames], np.float32)

    @property
    def image_hw(self) -> np.ndarray:
        """Return heights and widths, (N, 2) int64 px."""
        return np.array([frame[3] for frame in self._frames], np.int64).reshape(-1, 2)

    @property
    def diagonal_px(self) -> np.ndarray:
        """Return the diagonals, (N,) px."""
        return np.array([diagonal_px(*frame[3]) for frame in self._frames])

    def in_stamp_order(self) -> KeypointSequence:
        """Return the frames sorted by stamp; the sort is stable."""
        ordered = KeypointSequence()
        ordered._frames = sorted(self._frames, key=lambda frame: frame[0])
        return ordered

    def rows(self) -> Iterator[tuple[int, str, np.ndarray]]:
        """Yield stamp (ns), topic and keypoints (K, 3) of every frame."""
        yield from (frame[:3] for frame in self._frames)
