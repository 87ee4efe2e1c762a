"""Frame stores: frames at the working size, memory-mapped."""

from __future__ import annotations

from collections.abc import Collection, Iterator
import copy
from functools import partial
from pathlib import Path
from typing import Any, cast

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
    A frame store, read-only, and as a source of frames at its working size.

    ``images`` (N, H, W, 3) uint8 is mapped from disk; ``stamps_ns`` (N,) int64; ``camera`` and
    ``source`` (N,) int32 are indices into ``cameras`` (topic names) and ``sources``; ``image_hw``
    (N, 2) int32 is the size of the original image, px; ``network_hw`` the working size, px.

    A selection of its frames, from :meth:`select`, is such a store too: ``whole`` is the store
    that it is of and ``selected`` (N,) the indices of its frames there.
    """

    def __init__(self, path: Path | str, header: StoreHeader) -> None:
        self.path, self.name = Path(path), str(path)
        self.network_hw = header.network_hw
        self.cameras = tuple(header.cameras)
        self.sources = tuple(header.sources)
        shape = (header.frames, *header.network_hw, 3)
        self.images: np.ndarray = np.memmap(self.path / IMAGES_NAME, np.uint8, 'r', shape=shape)
        index = np.fromfile(self.path / INDEX_NAME, INDEX_DTYPE, header.frames)
        self.stamps_ns = index['stamp_ns'].astype(np.int64)
        self.camera = index['camera'].astype(np.int32)
        self.source = index['source'].astype(np.int32)
        self.image_hw = np.stack([index['h'], index['w']], axis=1).astype(np.int32)
        for column, values in ((self.camera, self.cameras), (self.source, self.sources)):
            if not ((column >= 0) & (column < len(values))).all():
                msg = (
                    f'Frame store {self.name!r} has frames of no camera or source; delete the '
                    'store and extract it again.'
                )
                raise SourceError(msg)
        counts = np.bincount(self.camera, minlength=len(self.cameras)).tolist()
        topics = zip(self.cameras, counts, strict=True)
        self.topics = {camera: Topic(IMAGE_TYPE, count) for camera, count in topics}
        if self.cameras == ('',):  # all from sources without topics
            self.topics = {}
        self.whole, self.selected = self, np.arange(header.frames)

    @classmethod
    def open(cls, path: Path | str) -> FrameStore:
        """
        Open a complete store.

        :raises SourceError: if it is no store, incomplete, or changed since it was written
        """
        header = read_header(Path(path))
        if header.unfinished or not header.frames:
            names = ', '.join(source['name'] for source in header.unfinished) or 'its sources'
            msg = (
                f'Frame store {str(path)!r} is incomplete ({header.frames} frames, interrupted in '
                f'{names}); run the same `extract` again to complete it.'
            )
            raise SourceError(msg)
        check_contents(Path(path), header)
        return cls(path, header)

    def select(self, indices: np.ndarray) -> FrameStore:
        """Return a selection of the frames, (M,) indices in increasing order."""
        chosen = copy.copy(self)
        for name in ('stamps_ns', 'camera', 'source', 'image_hw', 'selected'):
            setattr(chosen, name, getattr(self, name)[indices])
        # indexed like an array, which would hold all images in memory
        chosen.images = cast(np.ndarray, _SelectedImages(self.images, indices))
        return chosen

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def count(self, topics: Collection[str]) -> int:
        return len(self._indices(topics))

    def frames(self, topics: Collection[str]) -> Iterator[EncodedFrame]:
        for index in self._indices(topics):
            camera, stamp_ns = self.cameras[self.camera[index]], int(self.stamps_ns[index])
            yield EncodedFrame(stamp_ns, camera, partial(self.images.__getitem__, index))

    def _indices(self, topics: Collection[str]) -> np.ndarray:
        chosen = [n for n, camera in enumerate(self.cameras) if camera in topics]
        return np.flatnonzero(np.isin(self.camera, chosen))


class _SelectedImages:
    """Some of the images of a store, read as they are indexed."""

    def __init__(self, images: np.ndarray, indices: np.ndarray) -> None:
        self._images, self._indices = images, indices
        self.shape, self.dtype = (len(indices), *images.shape[1:]), images.dtype
        self.ndim = images.ndim

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> np.ndarray:
        frames, *rest = index if isinstance(index, tuple) else (index,)
        found: np.ndarray = self._images[(self._indices[frames], *rest)]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)
