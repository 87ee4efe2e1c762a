"""A frame store as a source of frames."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from keypoint_perception.cdr import IMAGE_TYPE
from keypoint_perception.frames.frame import EncodedFrame
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.frames.storage import Topic
import numpy as np


class StoredFrames:
    """
    The frames of a store, in its working size.

    :param path: the store's directory
    :param name: what to call it in messages
    :raises SourceError: if the store is half-written or changed
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.store = FrameStore.open(path)
        counts = np.bincount(self.store.camera, minlength=len(self.store.cameras))
        self.topics = {
            camera: Topic(IMAGE_TYPE, int(count))
            for camera, count in zip(self.store.cameras, counts, strict=True)
        }
        if set(self.topics) == {''}:  # all from sources without topics
            self.topics = {}

    def count(self, topics: Collection[str]) -> int:
        """Return how many frames the cameras have."""
        return int(np.isin(self.store.camera, self._chosen(topics)).sum())

    def frames(self, topics: Collection[str]) -> Iterator[EncodedFrame]:
        """Yield the frames of some cameras in the order of the store."""
        for index in np.flatnonzero(np.isin(self.store.camera, self._chosen(topics))):
            camera = self.store.cameras[self.store.camera[index]]
            stamp_ns = int(self.store.stamps_ns[index])
            yield EncodedFrame(stamp_ns, camera, lambda index=index: self.store.images[index])

    def _chosen(self, topics: Collection[str]) -> list[int]:
        return [n for n, camera in enumerate(self.store.cameras) if camera in topics]
