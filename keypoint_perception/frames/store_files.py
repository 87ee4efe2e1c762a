"""
The files of a frame store, and how they are written so that half is never taken for whole.

    store.json    what the store holds: sizes, cameras, sources, committed blocks
    images.bin    frames one behind another, (H, W, 3) uint8 each
    index.bin     one :data:`INDEX_DTYPE` record a frame

Frames are appended in blocks. A block counts once ``store.json`` names it with its checksums, and
that file is replaced at once after the data is on disk: what lies behind the last named block is
cut off before anything is appended. A source is marked complete with its last block.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
import json
import os
from pathlib import Path
import zlib

from keypoint_perception.atomic_files import replace_file
from keypoint_perception.errors import SourceError
from keypoint_perception.sole_writer import sole_writer
import numpy as np

FORMAT_VERSION = 1
HEADER_NAME = 'store.json'
IMAGES_NAME = 'images.bin'
INDEX_NAME = 'index.bin'
# What a killed extraction may leave; the last is of version 0.1.0.
FILE_NAMES = (HEADER_NAME, IMAGES_NAME, INDEX_NAME, '.store.part.json', 'store.json.part')
INDEX_DTYPE = np.dtype(
    [('stamp_ns', '<i8'), ('camera', '<i4'), ('source', '<i4'), ('h', '<i4'), ('w', '<i4')]
)


@dataclass
class StoreHeader:
    """
    What ``store.json`` says.

    :param network_hw: working size, px
    :param cameras: topic names; ``''`` for sources without topics
    :param sources: one dictionary a source: name, digest, topics, frames, position (images of the
        recording used or left out so far), failed (of these), complete
    :param blocks: frames, CRC-32 of the images and of the index records of each commit
    """

    network_hw: tuple[int, int]
    cameras: list[str] = field(default_factory=list)
    sources: list[dict] = field(default_factory=list)
    blocks: list[tuple[int, int, int]] = field(default_factory=list)
    format_version: int = FORMAT_VERSION

    @property
    def frames(self) -> int:
        """Return how many frames are committed."""
        return sum(block[0] for block in self.blocks)

    @property
    def frame_bytes(self) -> int:
        """Return the size of one frame."""
        return 3 * self.network_hw[0] * self.network_hw[1]

    @property
    def unfinished(self) -> list[dict]:
        """Return the sources whose extraction was interrupted."""
        return [source for source in self.sources if not source['complete']]


def is_store(path: Path) -> bool:
    """Return whether a path looks like a frame store."""
    return (path / HEADER_NAME).is_file()


def read_header(path: Path) -> StoreHeader:
    """
    Read what a frame store says of itself.

    :raises SourceError: if it is no frame store, or one of a newer format
    """
    try:
        values = json.loads((path / HEADER_NAME).read_text())
        version = values['format_version']
        if version != FORMAT_VERSION:
            msg = (
                f'Frame store {str(path)!r} has format {version!r}, this package reads '
                f'{FORMAT_VERSION}; extract it again.'
            )
            raise SourceError(msg)
        header = StoreHeader(**values)
        header.network_hw = tuple(int(length) for length in header.network_hw)
        header.blocks = [tuple(block) for block in header.blocks]
        if header.frames < 0 or header.frame_bytes <= 0 or len(header.network_hw) != 2:
            msg = 'its sizes make no sense'
            raise ValueError(msg)
    except FileNotFoundError as error:
        msg = (
            f'{str(path)!r} is not a frame store (it has no {HEADER_NAME}); expected a directory '
            'that `extract` wrote.'
        )
        raise SourceError(msg) from error
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        msg = (
            f'Frame store {str(path)!r} has a damaged {HEADER_NAME} ({error}); delete the store '
            'and extract it again.'
        )
        raise SourceError(msg) from error
    return header


class StoreWriter:
    """
    Appends frames to a store.

    :param path: the store's directory
    :param header: what it holds so far
    :raises PerceptionError: if another process writes there, or has done so in the meantime
    """

    def __init__(self, path: Path, header: StoreHeader) -> None:
        self.path = path
        self.header = header
        path.mkdir(parents=True, exist_ok=True)
        self._lock = ExitStack()
        self._lock.enter_context(sole_writer(path))
        # what another process has added since the header was read would be cut off here
        if (read_header(path).blocks if is_store(path) else []) != header.blocks:
            self._lock.close()
            msg = f'Frame store {str(path)!r} was changed by another process; run this again.'
            raise SourceError(msg)
        self._images = (path / IMAGES_NAME).open('ab')
        self._index = (path / INDEX_NAME).open('ab')
        self._images.truncate(header.frames * header.frame_bytes)
        self._index.truncate(header.frames * INDEX_DTYPE.itemsize)
        self._records: list[tuple] = []
        self._images_crc = 0

    def append(self, image: np.ndarray, record: tuple) -> None:
        """
        Add one frame to the current block.

        :param image: contiguous, of the working size
        :param record: values for :data:`INDEX_DTYPE`
        """
        self._images.write(image.data)
        self._images_crc = zlib.crc32(image.data, self._images_crc)
        self._records.append(record)

    @property
    def uncommitted(self) -> int:
        """Return how many frames the current block has."""
        return len(self._records)

    def commit(self) -> None:
        """Put the current block and the header on disk."""
        index = np.array(self._records, INDEX_DTYPE).tobytes()
        self._index.write(index)
        for stream in (self._images, self._index):
            stream.flush()
            os.fsync(stream.fileno())
        if self._records:
            block = (len(self._records), self._images_crc, zlib.crc32(index))
            self.header.blocks.append(block)
        self._records, self._images_crc = [], 0
        self._write_header()

    def _write_header(self) -> None:
        text = json.dumps(asdict(self.header), indent=1)
        replace_file(self.path / HEADER_NAME, text, durable=True)

    def close(self) -> None:
        """Close the files; what was not committed will be cut off."""
        self._images.close()
        self._index.close()
        self._lock.close()
