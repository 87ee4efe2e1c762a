"""A model run over a recording: frames in, frames with keypoints out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
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
    batch: list[StampedImage] = []
    size_bytes = 0
    for frame in frames:
        batch.append(frame)
        size_bytes += frame.image.nbytes
        if len(batch) == BATCH or size_bytes >= _BATCH_BYTES:
            yield from _detect_batch(batch, estimate_batch)
            batch, size_bytes = [], 0
    if batch:
        yield from _detect_batch(batch, estimate_batch)


def _detect_batch(
    batch: list[StampedImage], estimate_batch: BatchEstimator
) -> Iterator[Detection]:
    estimates = estimate_batch([frame.image for frame in batch])
    for frame, keypoints in zip(batch, estimates, strict=True):
        yield Detection(frame, np.asarray(keypoints, np.float32))


@dataclass
class KeypointSequence:
    """The keypoints of a recording, without its images."""

    topics: list[str] = field(default_factory=list)
    _stamps_ns: list[int] = field(default_factory=list)
    _keypoints: list[np.ndarray] = field(default_factory=list)
    _image_hw: list[tuple[int, int]] = field(default_factory=list)

    def add(self, detection: Detection) -> None:
        """Append a frame."""
        frame, keypoints = detection
        self.topics.append(frame.topic)
        self._stamps_ns.append(int(frame.stamp_ns))
        self._keypoints.append(keypoints)
        self._image_hw.append((frame.image.shape[0], frame.image.shape[1]))

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._stamps_ns)

    @property
    def stamps_ns(self) -> np.ndarray:
        """Return the stamps, (N,) int64 ns."""
        return np.array(self._stamps_ns, np.int64)

    @property
    def keypoints(self) -> np.ndarray:
        """Return u, v in px and confidence, (N, K, 3) float32."""
        return np.array(self._keypoints, np.float32)

    @property
    def image_hw(self) -> np.ndarray:
        """Return heights and widths, (N, 2) int64 px."""
        return np.array(self._image_hw, np.int64).reshape(-1, 2)

    @property
    def diagonal_px(self) -> np.ndarray:
        """Return the diagonals, (N,) px."""
        return np.array([diagonal_px(*hw) for hw in self._image_hw])

    def in_stamp_order(self) -> KeypointSequence:
        """Return the frames sorted by stamp; the sort is stable."""
        order = np.argsort(self.stamps_ns, kind='stable')
        return KeypointSequence(
            topics=[self.topics[i] for i in order],
            _stamps_ns=[self._stamps_ns[i] for i in order],
            _keypoints=[self._keypoints[i] for i in order],
            _image_hw=[self._image_hw[i] for i in order],
        )

    def rows(self) -> Iterator[tuple[int, str, np.ndarray]]:
        """Yield stamp (ns), topic and keypoints (K, 3) of every frame."""
        yield from zip(self._stamps_ns, self.topics, self._keypoints, strict=True)
