"""Frame stores: frames at the working size, memory-mapped."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from keypoint_perception.cdr import IMAGE_TYPE
from keypoint_perception.errors import SourceError
from keypoint_perception.frames.frame import EncodedFrame, Topic
from keypoint_perception.frames.store_format import (
    check_contents,
    IMAGES_NAME,
    INDEX_DTYPE,
    INDEX_NAME,
    read_header,
    StoreHeader,
)
import numpy as np


class FrameStore:
    """
    A frame store, read-only.

    ``images`` (N, H, W, 3) uint8 is mapped from disk; ``stamps_ns`` (N,) int64; ``camera`` and
    ``source`` (N,) int32 are indices into ``cameras`` (topic names) and ``sources``; ``image_hw``
    (N, 2) int32 is the size of the original image, px; ``network_hw`` the working size, px.
    """

    def __init__(self, path: Path, header: StoreHeader) -> None:
        self.path = path
        self.network_hw = header.network_hw
        self.cameras = tuple(header.cameras)
        self.sources = tuple(header.sources)
        shape = (header.frames, *header.network_hw, 3)
        self.images = np.memmap(path / IMAGES_NAME, np.uint8, 'r', shape=shape)
        index = np.fromfile(path / INDEX_NAME, INDEX_DTYPE, header.frames)
        self.stamps_ns = index['stamp_ns'].astype(np.int64)
        self.camera = index['camera'].astype(np.int32)
        self.source = index['source'].astype(np.int32)
        self.image_hw = np.stack([index['h'], index['w']], axis=1).astype(np.int32)

    @classmethod
    def open(cls, path: Path | str) -> FrameStore:
        """
        Open a complete store.

        :raises SourceError: if it is no store, incomplete, or changed since it was written
        """
        path = Path(path)
        header = read_header(path)
        if header.unfinished or not header.frames:
            names = ', '.join(source['name'] for source in header.unfinished) or 'its sources'
            msg = (
                f'Frame store {str(path)!r} is incomplete ({header.frames} frames, interrupted in '
                f'{names}); run the same `extract` again to complete it.'
            )
            raise SourceError(msg)
        check_contents(path, header)
        return cls(path, header)

    def __len__(self) -> int:
        return len(self.stamps_ns)


class StoreSource:
    """
    A frame store as a source of frames at its working size.

    :param name: its name in messages
    :raises SourceError: as :meth:`FrameStore.open`
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._store = FrameStore.open(path)
        cameras = self._store.cameras
        counts = np.bincount(self._store.camera, minlength=len(cameras))
        self.topics = {
            camera: Topic(IMAGE_TYPE, int(count))
            for camera, count in zip(cameras, counts, strict=True)
        }
        if cameras == ('',):  # all from sources without topics
            self.topics = {}

    def count(self, topics: Collection[str]) -> int:
        return len(self._indices(topics))

    def frames(self, topics: Collection[str]) -> Iterator[EncodedFrame]:
        store = self._store
        for index in self._indices(topics):
            camera, stamp_ns = store.cameras[store.camera[index]], int(store.stamps_ns[index])
            yield EncodedFrame(stamp_ns, camera, partial(store.images.__getitem__, index))

    def _indices(self, topics: Collection[str]) -> np.ndarray:
        chosen = [n for n, camera in enumerate(self._store.cameras) if camera in topics]
        return np.flatnonzero(np.isin(self._store.camera, chosen))
