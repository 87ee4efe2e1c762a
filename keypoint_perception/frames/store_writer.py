"""Writing of frame stores: a store that is interrupted keeps its committed frames."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
import json
import os
from pathlib import Path
import zlib

from keypoint_perception.atomic_files import replace_file, sole_writer
from keypoint_perception.errors import SourceError
from keypoint_perception.frames.frame import EncodedFrame
from keypoint_perception.frames.store_format import (
    check_contents,
    HEADER_NAME,
    IMAGES_NAME,
    INDEX_DTYPE,
    INDEX_NAME,
    is_store,
    read_header,
    SourceEntry,
    StoreHeader,
)
from keypoint_perception.images import fit_image
from keypoint_perception.keypoints import Fit
import numpy as np

BLOCK_FRAMES = 512  # the most frames that are lost when the process is killed
# What a killed extraction may leave in a directory; the last is from version 0.1.0.
FILE_NAMES = (HEADER_NAME, IMAGES_NAME, INDEX_NAME, '.store.part.json', 'store.json.part')


class StoreWriter:
    """
    Appends frames to a store, in blocks.

    As a context manager, it commits the current block when the work is interrupted.

    :param path: the store's directory
    :param header: what the store holds so far
    :raises PerceptionError: if another process is writing the store, or has changed it
    """

    def __init__(self, path: Path, header: StoreHeader) -> None:
        self.path = path
        self.header = header
        path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as files:
            files.enter_context(sole_writer(path))
            # frames that another process has added since the header was read would be truncated
            if (read_header(path).blocks if is_store(path) else []) != header.blocks:
                msg = f'Frame store {str(path)!r} was changed by another process; run this again.'
                raise SourceError(msg)
            self._images = files.enter_context((path / IMAGES_NAME).open('ab'))
            self._index = files.enter_context((path / INDEX_NAME).open('ab'))
            self._images.truncate(header.frames * header.frame_bytes)
            self._index.truncate(header.frames * INDEX_DTYPE.itemsize)
            self._files = files.pop_all()
        self._fit = cache(lambda image_hw: Fit(image_hw, header.network_hw))
        # index records of the current block, each with the CRC-32 of the images up to it
        self._block: list[tuple[tuple[int, ...], int]] = []

    def append(self, image: np.ndarray, encoded: EncodedFrame, entry: SourceEntry) -> None:
        """Fit an image, RGB (H, W, 3) uint8, to the working size and add it to the block."""
        if len(self._block) >= BLOCK_FRAMES:
            self.commit()
        header = self.header
        if entry not in header.sources:
            header.sources.append(entry)
        if encoded.topic not in header.cameras:
            header.cameras.append(encoded.topic)
        height, width, _ = image.shape
        fitted = fit_image(image, self._fit((height, width)))
        camera, source = header.cameras.index(encoded.topic), header.sources.index(entry)
        self._images.write(fitted.data)
        images_crc = zlib.crc32(fitted.data, self._block[-1][1] if self._block else 0)
        self._block.append(((encoded.stamp_ns, camera, source, height, width), images_crc))
        entry['frames'] += 1

    def commit(self) -> None:
        """Sync the current block and the header to disk."""
        index = np.array([record for record, _ in self._block], INDEX_DTYPE).tobytes()
        self._index.write(index)
        for stream in (self._images, self._index):
            stream.flush()
            os.fsync(stream.fileno())
        if self._block:
            self.header.blocks.append((len(self._block), self._block[-1][1], zlib.crc32(index)))
        self._block = []
        text = json.dumps(asdict(self.header), indent=1)
        replace_file(self.path / HEADER_NAME, text, durable=True)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._files:
            if kind is not None:
                self.commit()


def header_to_extend(
    path: Path, *, size: int, network_hw: tuple[int, int] | None
) -> StoreHeader | None:
    """
    Return the header of the store at a path, or None if there is none yet.

    :param size: long side of the working size, px
    :param network_hw: working size instead of ``size``, px
    :raises SourceError: if the path holds something else, or the store is damaged or has another
        working size
    """
    if not is_store(path):
        if path.exists() and not path.is_dir():
            msg = f'{str(path)!r} is a file; expected a directory for the frame store.'
            raise SourceError(msg)
        others = path.iterdir() if path.exists() else iter(())
        other = next((p.name for p in others if p.name not in FILE_NAMES), None)
        if other is not None:
            msg = (
                f'{str(path)!r} is not empty and not a frame store (it holds {other!r}); specify '
                'a new directory.'
            )
            raise SourceError(msg)
        return None
    header = read_header(path)
    height, width = header.network_hw
    if network_hw != (height, width) and (network_hw or size != max(height, width)):
        wanted = f'{network_hw[1]}x{network_hw[0]}' if network_hw else f'a long side of {size}'
        msg = (
            f'Frame store {str(path)!r} has a working size of {width}x{height} px, expected '
            f'{wanted} px; delete it, or choose another --out or the same size.'
        )
        raise SourceError(msg)
    check_contents(path, header)
    return header
