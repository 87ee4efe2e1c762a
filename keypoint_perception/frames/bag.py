"""
Bags: rosbag2 directories and the files of rosbag2 and ROS 1.

A recorder that crashed leaves no ``metadata.yaml``, or one that lists fewer files than there are:
then the files of the directory are used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
import logging
from pathlib import Path
import re
import tempfile

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.bag_file import BagFile, SALVAGE_READERS
from keypoint_perception.frames.bag_writer import METADATA_NAME
from keypoint_perception.frames.frame import EncodedFrame, Topic, total_count
from keypoint_perception.frames.message import normal_type
from keypoint_perception.frames.salvage.partial_decompression import zstd_module

FILE_SUFFIXES = tuple(SALVAGE_READERS)
PACKED_SUFFIXES = ('.mcap.zstd', '.db3.zstd')
COPY_PIECE = 1 << 20

log = logging.getLogger('keypoint_perception')


def is_bag(path: Path) -> bool:
    """Return whether a path looks like a bag."""
    if path.is_dir():
        return (path / METADATA_NAME).is_file() or bool(_storage_paths(path))
    return path.name.endswith(FILE_SUFFIXES + PACKED_SUFFIXES)


class Bag:
    """
    A recording by rosbag2 or ROS 1's rosbag.

    :param name: its name in messages
    :raises SourceError: if nothing in it can be read
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        # irregularities of the directory, which are reported once, when it is read
        self._notices: list[str] = []
        self.paths, listed = self._files(path)
        self.topics = listed if listed is not None else self._read_topics()
        if not self.topics:
            msg = f'Bag {name!r} has no topics; expected images; record it again.'
            raise SourceError(msg)

    def count(self, topics: Collection[str]) -> int | None:
        return total_count(self.topics[topic].count for topic in topics)

    def frames(self, topics: Collection[str]) -> Iterator[EncodedFrame]:
        for notice in self._notices:
            log.warning(notice)
        given, reported = 0, False
        for path in self.paths:
            with _decompressed_file(path, self._name_of(path)) as file:
                if file.path.stat().st_size == 0:
                    log.warning('%r is empty (0 bytes) and has no images.', file.name)
                    reported = True
                    continue
                for message in file.messages(topics):
                    given += 1
                    yield EncodedFrame(message.stamp_ns, message.topic, message.decode)
                reported = reported or file.damaged
        announced = self.count(topics)
        # damage that turns records into others goes unnoticed by all readers
        if announced is not None and given < announced and not reported:
            text = '%r announces %d images on %s but has only %d: %d are lost.'
            names, lost = ', '.join(topics), announced - given
            log.warning(text, self.name, announced, names, given, lost)

    def _name_of(self, path: Path) -> str:
        return self.name if self.name.endswith(path.name) else str(Path(self.name) / path.name)

    def _read_topics(self) -> dict[str, Topic]:
        found: list[tuple[str, Topic]] = []
        errors: list[SourceError] = []
        for path in self.paths:
            try:
                with _decompressed_file(path, self._name_of(path)) as file:
                    found += file.topics()
            except SourceError as error:
                errors.append(error)
        if errors and len(errors) == len(self.paths):
            raise errors[0]
        return {
            name: Topic(topic.msgtype, total_count(t.count for n, t in found if n == name))
            for name, topic in found
        }

    def _files(self, path: Path) -> tuple[list[Path], dict[str, Topic] | None]:
        """Return the storage files in order, and the topics if the metadata is reliable."""
        if not path.is_dir():
            return [path], None
        present = _storage_paths(path)
        names, topics = self._metadata(path / METADATA_NAME)
        listed = [path / name for name in names if (path / name).is_file()]
        missing = ', '.join(name for name in names if not (path / name).is_file())
        unlisted = [p for p in present if p not in listed]
        if not present:
            msg = (
                f'Bag {self.name!r} lacks its storage ({missing or "a .mcap or .db3 file"}); copy '
                'the whole directory again.'
            )
            raise SourceError(msg)
        if missing:
            self._notices.append(f'Bag {self.name!r} lacks {missing}: its images are lost.')
        if names and unlisted:
            self._notices.append(
                f'Bag {self.name!r} has files that its {METADATA_NAME} does not list, as after a '
                f'crash of the recorder; they are read too: {", ".join(p.name for p in unlisted)}.'
            )
        return listed + unlisted, None if missing or unlisted else topics

    def _metadata(self, path: Path) -> tuple[list[str], dict[str, Topic] | None]:
        """Return the names of the files and the topics, or neither if it is unusable."""
        from ruamel.yaml import YAML

        try:
            values = YAML(typ='safe').load(path.read_text())['rosbag2_bagfile_information']
            names = [Path(str(name)).name for name in values['relative_file_paths']]
            counts = [
                (entry['topic_metadata'], entry['message_count'])
                for entry in values['topics_with_message_count']
            ]
            return names, {t['name']: Topic(normal_type(t['type']), int(n)) for t, n in counts}
        except FileNotFoundError:
            problem = f'has no {METADATA_NAME}, as after a crash of the recorder'
        # errors of the YAML library, and whatever other content leads to
        except Exception as error:
            reason = ' '.join(str(error).split())[:120]
            problem = f'has an unusable {METADATA_NAME} ({reason})'
        self._notices.append(f'Bag {self.name!r} {problem}: its storage files are read directly.')
        return [], None


def natural_key(name: str) -> list[int | str]:
    """Return a sorting key that puts 2 before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', name)]


def visible_files(directory: Path) -> list[Path]:
    """
    Return the files of a directory whose names do not begin with a dot.

    Those that do are no recordings: macOS, for one, puts ``._NAME`` beside each ``NAME``.
    """
    return [p for p in directory.iterdir() if not p.name.startswith('.') and p.is_file()]


def _storage_paths(directory: Path) -> list[Path]:
    suffixes = ('.mcap', '.db3', *PACKED_SUFFIXES)
    found = [p for p in visible_files(directory) if p.name.endswith(suffixes)]
    return sorted(found, key=lambda path: natural_key(path.name))


@contextmanager
def _decompressed_file(path: Path, name: str) -> Iterator[BagFile]:
    """Open a storage file, in a temporary file if it is compressed as a whole."""
    if path.suffix != '.zstd':
        yield BagFile(path, name)
        return
    with tempfile.TemporaryDirectory(prefix='keypoint_perception_') as directory:
        decompressed = Path(directory) / path.stem
        _decompress(path, decompressed, name)
        yield BagFile(decompressed, name)


def _decompress(path: Path, decompressed: Path, name: str) -> None:
    zstd = zstd_module()
    decompressor = zstd.ZstdDecompressor()
    with path.open('rb') as packed, decompressed.open('wb') as out:
        try:
            while not decompressor.eof:
                piece = packed.read(COPY_PIECE) if decompressor.needs_input else b''
                if not piece and decompressor.needs_input:
                    log.warning('%r has truncated zstd data: the rest is lost.', name)
                    return
                out.write(decompressor.decompress(piece, COPY_PIECE))
        except zstd.ZstdError as error:
            place = f'{name!r} is damaged near byte {packed.tell()}'
            log.warning('%s (%s): everything after it is lost.', place, error)
