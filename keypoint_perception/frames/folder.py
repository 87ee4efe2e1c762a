"""
Folders of images.

Names are sorted naturally (2 before 10). If all names are integers at least 0.1 ms apart, they are
stamps in nanoseconds; otherwise, as for counters, 30 Hz is assumed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
import logging
from pathlib import Path

from keypoint_perception.compressed import open_compressed
from keypoint_perception.encodings import EncodedImage
from keypoint_perception.errors import EncodingError, SourceError
from keypoint_perception.frames.bag_directory import natural_key
from keypoint_perception.frames.frame import EncodedFrame, Topic
from keypoint_perception.image_headers import count_images, READABLE
from keypoint_perception.limits import check_file_size
import numpy as np

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.pgm', '.ppm')
# Files of these kinds beside images are not missed.
COMPANIONS = ('', '.csv', '.db', '.html', '.ini', '.json', '.log', '.md', '.txt', '.yaml', '.yml')
ASSUMED_HZ = 30
MIN_GAP_NS = 100_000

log = logging.getLogger('keypoint_perception')


class Folder:
    """
    A folder of images.

    :param name: its name in messages
    :raises SourceError: if it has no images
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.topics: dict[str, Topic] = {}
        found, others = list[Path](), Counter[str]()
        for entry in path.iterdir():
            suffix, is_file = entry.suffix.lower(), entry.is_file()
            if entry.name.startswith('.') or (is_file and suffix in COMPANIONS):
                continue  # macOS, for one, puts ``._NAME`` beside each ``NAME``
            if is_file and suffix in IMAGE_SUFFIXES:
                found.append(entry)
            else:
                kind = 'folders' if entry.is_dir() else 'broken links or pipes'
                others[suffix if is_file else kind] += 1
        self.unread = ', '.join(f'{count} {kind}' for kind, count in others.most_common())
        if not found:
            also = f', but {self.unread}' if self.unread else ''
            msg = (
                f'Folder {name!r} has neither images ({", ".join(IMAGE_SUFFIXES)}) nor a bag nor '
                f'a frame store{also}; convert images to PNG, or specify the folder that does.'
            )
            raise SourceError(msg)
        self.paths = sorted(found, key=lambda path: natural_key(path.name))
        self.stamps_ns = _stamps_from_names(self.paths)

    def count(self, topics: Collection[str]) -> int:
        return len(self.paths)

    def frames(self, topics: Collection[str]) -> Iterator[EncodedFrame]:
        stamps_ns = self.stamps_ns
        if stamps_ns is None:
            stamps_ns = [index * 10**9 // ASSUMED_HZ for index in range(len(self.paths))]
            text = 'The names of the images in %r are not stamps in ns: %d Hz is assumed.'
            log.warning(text, self.name, ASSUMED_HZ)
        several = dict[str, int]()  # images by file
        for stamp_ns, path in zip(stamps_ns, self.paths, strict=True):
            yield EncodedFrame(stamp_ns, '', partial(_read, path, several))
        if several:
            log.warning(
                '%d pages or frames in %r are left out, because only the first image of a file is '
                'read, as of %r; save each as a file, or all as a video.',
                *(sum(several.values()) - len(several), self.name, min(several)),
            )
        if self.unread:
            log.warning(
                'Folder %r also holds %s, which are not read; convert images to PNG, specify '
                'folders and videos as sources, or move away what is none.',
                *(self.name, self.unread),
            )


def _stamps_from_names(paths: list[Path]) -> list[int] | None:
    if not all(path.stem.isdecimal() and path.stem.isascii() for path in paths):
        return None
    stamps_ns = [int(path.stem) for path in paths]
    gaps = np.diff(np.array(stamps_ns, np.float64))
    if (len(gaps) and gaps.min() < MIN_GAP_NS) or max(stamps_ns) >= 2**63:
        return None
    return stamps_ns if len(gaps) or stamps_ns[0] >= MIN_GAP_NS else None


def _read(path: Path, several: dict[str, int]) -> EncodedImage:
    try:
        check_file_size(path, 'max_message_mb')
        content = path.read_bytes()
        image = open_compressed(content, formats=READABLE)
        if (count := count_images(content)) > 1:
            several[path.name] = count
        return image
    except (OSError, ValueError, EncodingError) as error:
        msg = f'The image {str(path)!r} cannot be read ({error}); replace or remove it.'
        raise EncodingError(msg) from error
