"""
One storage file of a bag, intact or damaged.

Intact files are read by rosbags. When it fails (a checksum, a missing footer or index), the
salvage reader of the format continues with the messages that rosbags has not yet returned.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
import logging
from pathlib import Path
from typing import Any

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.frame import Topic
from keypoint_perception.frames.message import Message, normal_type
from keypoint_perception.frames.salvage.mcap_salvage import McapSalvage
from keypoint_perception.frames.salvage.partial_decompression import ZSTD_MAGIC, zstd_module
from keypoint_perception.frames.salvage.ros1_salvage import Ros1Salvage
from keypoint_perception.frames.salvage.salvage_reader import SalvageReader
from keypoint_perception.frames.salvage.sqlite_salvage import SqliteSalvage

SALVAGE_READERS: dict[str, type[SalvageReader]] = {
    '.mcap': McapSalvage,
    '.db3': SqliteSalvage,
    '.bag': Ros1Salvage,
}

log = logging.getLogger('keypoint_perception')


class BagFile:
    """
    One ``.mcap``, ``.db3`` or ROS 1 ``.bag`` file.

    :param path: its suffix tells the format
    :param name: its name in messages
    :param damaged: whether a damage has been reported
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.damaged = False

    def topics(self) -> list[tuple[str, Topic]]:
        """
        Return the topics, one of several publishers more than once.

        :raises SourceError: if nothing in the file can be read
        """
        if self.path.stat().st_size == 0:
            msg = f'{self.name!r} is empty (0 bytes); expected a recording; record it again.'
            raise SourceError(msg)
        try:
            with self._open_reader() as reader:
                found = reader.connections
                topics = [(c.topic, Topic(normal_type(c.msgtype), c.msgcount)) for c in found]
            if topics:
                return topics
        # rosbags raises whatever its parsers meet: struct.error, KeyError, AssertionError ...
        except Exception as error:
            log.debug('rosbags cannot open %s: %r', self.name, error)
        salvage = SALVAGE_READERS[self.path.suffix](self.path)
        for _ in salvage.messages():
            pass
        if not salvage.topics:
            reason = salvage.damages[0].reason if salvage.damages else 'it has no topics'
            msg = (
                f'{self.name!r} is unreadable ({reason}); expected a recording in '
                f'{self.path.suffix} format; copy or record it again.'
            )
            raise SourceError(msg)
        return [(name, Topic(msgtype, None)) for name, msgtype in salvage.topics.items()]

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """Yield the messages on some topics by time; damage is reported in one warning."""
        given = array('q')  # eight bytes per message that the salvage reader must not repeat
        try:
            for message in self._intact_messages(topics):
                given.append(_key(message))
                yield message
        # as above; errors of the caller do not pass through here
        except Exception as error:
            log.debug('rosbags fails on %s: %r', self.name, error)
        else:
            return
        yield from self._salvaged_messages(topics, Counter(given))

    def _intact_messages(self, topics: Collection[str]) -> Iterator[Message]:
        with self._open_reader() as reader:
            connections = [c for c in reader.connections if c.topic in topics]
            if not connections:
                return
            kinds = {
                c.id: (normal_type(c.msgtype), getattr(c.ext, 'serialization_format', 'ros1'))
                for c in connections
            }
            for connection, time_ns, data in reader.messages(connections):
                msgtype, serialization = kinds[connection.id]
                data = _decompressed(data, serialization)
                yield Message(connection.topic, msgtype, serialization, time_ns, data)

    def _salvaged_messages(
        self, topics: Collection[str], given: Counter[int]
    ) -> Iterator[Message]:
        salvage = SALVAGE_READERS[self.path.suffix](self.path)
        count = given.total()
        for message in salvage.messages():
            if message.topic not in topics:
                continue
            key = _key(message)
            if given[key]:
                given[key] -= 1
                continue
            count += 1
            yield message._replace(data=_decompressed(message.data, message.serialization))
        self.damaged = bool(salvage.damages)
        if self.damaged:
            log.warning(salvage.report(self.name, count))

    @contextmanager
    def _open_reader(self) -> Iterator[Any]:
        """Open the file with one of rosbags' readers; raises whatever that raises."""
        if self.path.suffix == '.bag':
            from rosbags.rosbag1 import Reader as Reader1

            reader: Any = Reader1(self.path)
        else:
            from rosbags.rosbag2 import Reader as Reader2

            reader = Reader2(self.path)
        log_file = self.path.with_name(self.path.name + '-wal')
        if log_file.is_file() and log_file.stat().st_size:
            msg = 'rosbags does not read rows in a write-ahead log'
            raise SourceError(msg)
        with reader:
            yield reader


def _key(message: Message) -> int:
    return hash((message.topic, message.time_ns))


def _decompressed(data: bytes, serialization: str) -> bytes:
    """Return a message without compression of its own, which a bare file does not announce."""
    if serialization == 'cdr' and data[:4] == ZSTD_MAGIC:
        zstd = zstd_module()
        try:
            return bytes(zstd.decompress(data))
        except zstd.ZstdError:
            return b''  # decoding it fails and is counted
    return data
