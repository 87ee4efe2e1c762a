"""Bags: rosbag2 directories and the files of rosbag2 and ROS 1."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
import logging
from pathlib import Path
import tempfile

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.bag_directory import (
    BagDirectory,
    open_directory,
    PACKED,
    PACKED_SUFFIXES,
    storage_paths,
)
from keypoint_perception.frames.bag_file import (
    BagFile,
    first_bytes,
    LFS_POINTER,
    MAGICS,
    SALVAGE_READERS,
)
from keypoint_perception.frames.bag_writer import METADATA_NAME
from keypoint_perception.frames.frame import EncodedFrame, Topic, total_count
from keypoint_perception.frames.message import Message
from keypoint_perception.frames.salvage.partial_decompression import decompress_prefix, unpack_file

FILE_SUFFIXES = tuple(SALVAGE_READERS)
# What is read to check the topics that the metadata state: so many files, or if they are packed,
# the beginning of the first.
CHECKED_FILES, CHECKED_BYTES = 32, 1 << 22

log = logging.getLogger('keypoint_perception')


def is_bag(path: Path) -> bool:
    """Return whether a path looks like a bag."""
    if path.is_dir():
        return (path / METADATA_NAME).is_file() or bool(storage_paths(path))
    return path.name.lower().endswith(FILE_SUFFIXES + PACKED_SUFFIXES)


class Bag:
    """
    A recording by rosbag2 or ROS 1's rosbag.

    :param name: its name in messages
    :raises SourceError: if nothing in it can be read
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        directory = open_directory(path, name) if path.is_dir() else BagDirectory([path])
        # what differs from the metadata, which is reported once, when the bag is read
        self._notices, self.paths = directory.notices, directory.paths
        self.topics = self._find_topics(directory.stated)
        if not self.topics:
            msg = f'Bag {name!r} has no topics; expected images; record it again.'
            raise SourceError(msg)

    def count(self, topics: Collection[str]) -> int | None:
        return total_count(self.topics[topic].count for topic in topics)

    def frames(
        self,
        topics: Collection[str],
        listeners: Mapping[str, Callable[[Message], None]] | None = None,
    ) -> Iterator[EncodedFrame]:
        """
        Yield the images of some topics in the order of recording.

        :param listeners: what is called with the messages of other topics, on the way
        """
        listeners = listeners or {}
        for notice in self._notices:
            log.warning(notice)
        given, repeated, reported = _GivenImages(), 0, False
        for path in self.paths:
            try:
                with _decompressed_file(path, self._name_of(path)) as file:
                    if file.path.stat().st_size == 0:
                        log.warning('%r is empty (0 bytes) and has no images.', file.name)
                        reported = True
                        continue
                    given.next_file()
                    for message in file.messages(topics, listeners):
                        if message.topic in listeners:
                            listeners[message.topic](message)
                        elif given.is_new(message):
                            yield EncodedFrame(
                                *(message.stamp_ns, message.topic, message.decode),
                                *(message.time_ns, len(message.data)),
                            )
                    reported = reported or file.damaged
                    repeated += given.repeated
                    if given.repeated:
                        text = '%r repeats %d images of other files of its bag: each is used once.'
                        log.warning(text, file.name, given.repeated)
            except SourceError as error:  # of a packed file
                if len(self.paths) == 1:
                    raise
                log.warning('%s', error)
                reported = True
        announced, count = self.count(topics), len(given.keys) + repeated
        # damage that turns records into others goes unnoticed by all readers
        if announced is not None and count < announced and not reported:
            text = '%r announces %d images on %s but has only %d: %d are missing.'
            log.warning(text, self.name, announced, ', '.join(topics), count, announced - count)

    def _name_of(self, path: Path) -> str:
        return self.name if self.name.endswith(path.name) else str(Path(self.name) / path.name)

    def _find_topics(self, stated: dict[str, Topic] | None) -> dict[str, Topic]:
        """
        Return the topics that the files hold.

        Reading them from many or packed files takes long: then the stated ones are taken if they
        are those of a sample.
        """
        if stated is None:
            return self._read_topics(self.paths)
        packed, step = self.paths[0].suffix.lower() == PACKED, -(-len(self.paths) // CHECKED_FILES)
        sample = self.paths[:1] if packed else self.paths[::step]
        try:
            found = self._read_topics(sample, is_sample=True)
            if (packed or step > 1) and _image_types(found) != _image_types(stated):
                found = self._read_topics(self.paths)
        except SourceError:
            return stated  # reading it all will tell
        lists = [', '.join(_image_types(t)) or 'no image topic' for t in (stated, found)]
        if lists[0] == lists[1]:
            return stated
        self._notices.append(
            f'The {METADATA_NAME} of bag {self.name!r} lists {lists[0]}, its files have '
            f'{lists[1]}: what the files have is used.'
        )
        return {name: topic for name, topic in stated.items() if not topic.count} | found

    def _read_topics(self, paths: Sequence[Path], *, is_sample: bool = False) -> dict[str, Topic]:
        found: list[tuple[str, Topic]] = []
        errors: list[SourceError] = []
        for path in paths:
            try:
                with _decompressed_file(path, self._name_of(path), begin=is_sample) as file:
                    found += file.topics()
            except SourceError as error:
                errors.append(error)
        if errors and len(errors) == len(paths):
            raise errors[0]
        topics: dict[str, Topic] = {}
        for name, topic in found:
            former = [topics[name].count] if name in topics else []
            topics[name] = Topic(topic.msgtype, total_count([*former, topic.count]))
        return topics


def _image_types(topics: dict[str, Topic]) -> list[str]:
    """Return the names of the image topics that have messages, with their types."""
    return sorted(f'{n} ({t.msgtype})' for n, t in topics.items() if t.is_image and t.count != 0)


class _GivenImages:
    """
    The images that the files of a bag have given, eight bytes each.

    They are looked up only in files that overlap former ones in time.
    """

    def __init__(self) -> None:
        self.keys, self.repeated = array('q'), 0
        self._seen, self._seen_count, self._start = set[int](), 0, 0
        self._latest_ns = self._newest_ns = -1

    def next_file(self) -> None:
        self.repeated, self._start, self._latest_ns = 0, len(self.keys), self._newest_ns

    def is_new(self, message: Message) -> bool:
        """Return whether no former file has an image, and keep it."""
        topic, _, _, time_ns, data = message
        key = hash((topic, time_ns, len(data), bytes(data[:1024]), bytes(data[-1024:])))
        if time_ns <= self._latest_ns:
            self._seen.update(self.keys[self._seen_count : self._start])
            self._seen_count = self._start
            if key in self._seen:
                self.repeated += 1
                return False
        self.keys.append(key)
        self._newest_ns = max(self._newest_ns, time_ns)
        return True


@contextmanager
def _decompressed_file(path: Path, name: str, *, begin: bool = False) -> Iterator[BagFile]:
    """Open a storage file; one that is compressed as a whole, or its beginning, temporarily."""
    if path.suffix.lower() != PACKED or first_bytes(path).startswith((*MAGICS, LFS_POINTER)):
        yield BagFile(path, name)
        return
    with tempfile.TemporaryDirectory(prefix='keypoint_perception_') as directory:
        decompressed = Path(directory) / path.stem
        if begin:
            with path.open('rb') as packed:
                piece = packed.read(CHECKED_BYTES)
            decompressed.write_bytes(decompress_prefix(piece, 'zstd', CHECKED_BYTES)[0])
        else:
            unpack_file(path, decompressed, name)
        yield BagFile(decompressed, name)
