"""
Layout of a frame store on disk.

    store.json    header: working size, cameras, sources, committed blocks
    images.bin    frames, (H, W, 3) uint8 each
    index.bin     one :data:`INDEX_DTYPE` record per frame

Frames are appended in blocks. A block is committed when ``store.json``, which is replaced in one
step, lists it with its checksums; data behind the last committed block is ignored and truncated
before the next append. A source is marked complete together with its last block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict
import zlib

from keypoint_perception.errors import SourceError
from keypoint_perception.json_files import read_json
from keypoint_perception.manifest import MAX_SIDE
import numpy as np

FORMAT_VERSION = 1
HEADER_NAME = 'store.json'
IMAGES_NAME = 'images.bin'
INDEX_NAME = 'index.bin'
INDEX_DTYPE = np.dtype(
    [('stamp_ns', '<i8'), ('camera', '<i4'), ('source', '<i4'), ('h', '<i4'), ('w', '<i4')]
)
# Up to this size all checksums are verified on opening, above it those of a few blocks.
FULLY_CHECKED_BYTES = 512 << 20
CHECKED_BLOCKS = 32


class SourceEntry(TypedDict):
    """
    A recording: of the first ``position`` images ``frames`` are stored, ``failed`` broken.

    Its ``grey_range`` are the 16-bit intensities that are black and white, None without any; its
    ``stamps`` are those that were asked for, empty or missing for what was found best.
    """

    name: str
    digest: str
    topics: list[str]
    frames: int
    position: int
    failed: int
    complete: bool
    grey_range: tuple[int, int] | None
    stamps: str


@dataclass
class StoreHeader:
    """
    The content of ``store.json``.

    :param network_hw: working size, px
    :param cameras: topic names; ``''`` for sources without topics
    :param blocks: number of frames, CRC-32 of the images and of the index records
    """

    network_hw: tuple[int, int]
    cameras: list[str] = field(default_factory=list)
    sources: list[SourceEntry] = field(default_factory=list)
    blocks: list[tuple[int, int, int]] = field(default_factory=list)
    format_version: int = FORMAT_VERSION

    @property
    def frames(self) -> int:
        """Return the number of committed frames."""
        return sum(block[0] for block in self.blocks)

    @property
    def frame_bytes(self) -> int:
        """Return the size of one frame."""
        return 3 * self.network_hw[0] * self.network_hw[1]

    @property
    def unfinished(self) -> list[SourceEntry]:
        """Return the sources whose extraction was interrupted."""
        return [source for source in self.sources if not source['complete']]


def is_store(path: Path) -> bool:
    """Return whether a path looks like a frame store."""
    return (path / HEADER_NAME).is_file()


def read_header(path: Path) -> StoreHeader:
    """
    Read the header of a frame store.

    :raises SourceError: if there is none, it is damaged, or of another format version
    """
    try:
        values = read_json(path / HEADER_NAME)
        version = values['format_version']
        if version != FORMAT_VERSION:
            msg = (
                f'Frame store {str(path)!r} has format {version!r}, this package reads '
                f'{FORMAT_VERSION}; delete the store and extract it again.'
            )
            raise SourceError(msg)
        header = StoreHeader(**values)
        _check_types(header)
        header.network_hw = header.network_hw[0], header.network_hw[1]
        header.blocks = [(frames, images, index) for frames, images, index in header.blocks]
    except FileNotFoundError as error:
        msg = (
            f'{str(path)!r} is not a frame store (it has no {HEADER_NAME}); expected a directory '
            'that `extract` wrote.'
        )
        raise SourceError(msg) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = (
            f'Frame store {str(path)!r} has a damaged {HEADER_NAME} ({error}); delete the store '
            'and extract it again.'
        )
        raise SourceError(msg) from error
    return header


def _check_types(header: StoreHeader) -> None:
    """Raise ValueError, or TypeError for what is no list, if a value cannot be meant."""
    numbers = [*header.network_hw, *(number for block in header.blocks for number in block)]
    texts = [*header.cameras]
    for source in header.sources:
        numbers += [source['frames'], source['position'], source['failed']]
        texts += [source['name'], source['digest'], *source['topics']]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError('a number is not a whole one, 0 or more')
    if not all(isinstance(text, str) for text in texts):
        raise ValueError('a name is no text')
    if not all(type(source['complete']) is bool for source in header.sources):
        raise ValueError('a source is neither complete nor incomplete')
    if len(header.network_hw) != 2 or not all(0 < side <= MAX_SIDE for side in header.network_hw):
        raise ValueError(f'network_hw is not two sides from 1 to {MAX_SIDE}')


def check_contents(path: Path, header: StoreHeader) -> None:
    """
    Verify a store's data files against its header; uncommitted data is ignored.

    :raises SourceError: if a file is missing, too short, or changed
    """
    sizes = {IMAGES_NAME: header.frame_bytes, INDEX_NAME: INDEX_DTYPE.itemsize}
    for name, frame_bytes in sizes.items():
        expected = header.frames * frame_bytes
        found = (path / name).stat().st_size if (path / name).is_file() else 0
        if found < expected:
            _refuse(path, f'{name} has {found} bytes instead of {expected}')
    checked: Iterable[int] = range(len(header.blocks))
    if header.frames * header.frame_bytes > FULLY_CHECKED_BYTES:
        checked = {round(n) for n in np.linspace(0, len(header.blocks) - 1, CHECKED_BLOCKS)}
    starts = np.cumsum([0, *(block[0] for block in header.blocks)])
    for column, (name, frame_bytes) in enumerate(sizes.items(), start=1):
        with (path / name).open('rb') as stream:
            for number in sorted(checked):
                block, start = header.blocks[number], int(starts[number])
                stream.seek(start * frame_bytes)
                checksum = 0
                for _ in range(block[0]):
                    checksum = zlib.crc32(stream.read(frame_bytes), checksum)
                if checksum != block[column]:
                    reason = f'{name} differs from what was written at frame {start} or after'
                    _refuse(path, reason)


def _refuse(path: Path, reason: str) -> None:
    msg = (
        f'Frame store {str(path)!r} does not match its {HEADER_NAME} ({reason}); delete the store '
        'and extract it again.'
    )
    raise SourceError(msg)
