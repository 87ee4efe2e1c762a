"""Frames at the working size, memory-mapped."""

from __future__ import annotations

from pathlib import Path
import zlib

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.store_files import (
    HEADER_NAME,
    IMAGES_NAME,
    INDEX_DTYPE,
    INDEX_NAME,
    read_header,
    StoreHeader,
)
from keypoint_perception.sampling import evenly_spaced
import numpy as np

# Opening compares all checksums of a store up to this size, and 32 blocks of a larger one.
FULLY_CHECKED_BYTES = 512 << 20
SPOT_CHECKS = 32


class FrameStore:
    """
    A frame store, read-only.

    ``images`` (N, H, W, 3) uint8 lies on disk and is mapped; ``stamps_ns`` (N,) int64; ``camera``
    and ``source`` (N,) int32 are indices into ``cameras`` (topic names) and ``sources``
    (dictionaries: name, digest, topics, frames); ``image_hw`` (N, 2) int32 is the size of the
    original image, px; ``network_hw`` the working size, px.
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
        Open a store that `extract` finished.

        :raises SourceError: if it is no store, half-written, or changed since it was written
        """
        path = Path(path)
        header = read_header(path)
        if header.unfinished or not header.frames:
            names = ', '.join(source['name'] for source in header.unfinished) or 'its sources'
            msg = (
                f'Frame store {str(path)!r} is half-written ({header.frames} frames, '
                f'interrupted in {names}); run the same `extract` again, which goes on where it '
                'stopped.'
            )
            raise SourceError(msg)
        check_contents(path, header)
        return cls(path, header)

    def __len__(self) -> int:
        return len(self.stamps_ns)


def check_contents(path: Path, header: StoreHeader) -> None:
    """
    Compare a store's files with what its header says; bytes behind the committed are ignored.

    :raises SourceError: if a file is missing, too short, or changed
    """
    sizes = {
        IMAGES_NAME: header.frames * header.frame_bytes,
        INDEX_NAME: header.frames * INDEX_DTYPE.itemsize,
    }
    for name, size in sizes.items():
        found = (path / name).stat().st_size if (path / name).is_file() else 0
        if found < size:
            raise SourceError(_changed(path, f'{name} has {found} bytes instead of {size}'))
    checked = np.arange(len(header.blocks))
    if sizes[IMAGES_NAME] > FULLY_CHECKED_BYTES:
        checked = evenly_spaced(checked, SPOT_CHECKS)
    starts = np.cumsum([0, *(block[0] for block in header.blocks)])
    with (path / IMAGES_NAME).open('rb') as images, (path / INDEX_NAME).open('rb') as index:
        for number in checked:
            frames, images_crc, index_crc = header.blocks[number]
            for stream, size, crc in (
                (images, header.frame_bytes, images_crc),
                (index, INDEX_DTYPE.itemsize, index_crc),
            ):
                stream.seek(int(starts[number]) * size)
                if zlib.crc32(stream.read(frames * size)) != crc:
                    name = Path(stream.name).name
                    reason = f'{name} differs from what was written at frame {starts[number]}'
                    raise SourceError(_changed(path, reason + ' or after'))


def _changed(path: Path, reason: str) -> str:
    return (
        f'Frame store {str(path)!r} does not match its {HEADER_NAME} ({reason}); delete the store '
        'and extract it again.'
    )
