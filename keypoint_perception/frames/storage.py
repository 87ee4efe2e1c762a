"""
One storage file of a bag, whole or damaged.

Whole files are read by rosbags. Where it gives up (a checksum, a missing footer or index), the
salvage reader of that format goes on with the messages that rosbags had not yet given.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
import logging
from pathlib import Path
from typing import NamedTuple

from keypoint_perception.cdr import IMAGE_TYPES
from keypoint_perception.errors import SourceError
from keypoint_perception.frames.message import Message, normal_type
from keypoint_perception.frames.salvage.damage import damage_sentence
from keypoint_perception.frames.salvage.mcap_salvage import McapSalvage
from keypoint_perception.frames.salvage.partial_decompression import ZSTD_MAGIC, zstd_module
from keypoint_perception.frames.salvage.ros1_salvage import Ros1Salvage
from keypoint_perception.frames.salvage.sqlite_salvage import SqliteSalvage

SALVAGES = {'.mcap': McapSalvage, '.db3': SqliteSalvage, '.bag': Ros1Salvage}

log = logging.getLogger('keypoint_perception')


class Topic(NamedTuple):
    """
    One topic of a bag.

    :param count: its messages, None where only reading the whole file would tell
    """

    msgtype: str
    count: int | None

    @property
    def is_image(self) -> bool:
        """Return whether images can be read from it."""
        return self.msgtype in IMAGE_TYPES


class StorageFile:
    """
    One ``.mcap``, ``.db3`` or ROS 1 ``.bag`` file.

    :param path: the file; its suffix tells the format
    :param name: what to call it in messages
    :param damaged: whether a damage was warned of
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.damaged = False

    def topics(self) -> dict[str, Topic]:
        """
        Return the topics by name.

        :raises SourceError: if nothing in the file can be read
        """
        if self.path.stat().st_size == 0:
            msg = f'{self.name!r} is empty (0 bytes); expected a recording; record it again.'
            raise SourceError(msg)
        try:
            with self._open_reader() as reader:
                topics = _topics_of(reader.connections)
            if topics:
                return topics
        # rosbags raises whatever its parsing meets: struct.error, KeyError, AssertionError ...
        except Exception as error:
            log.debug('rosbags cannot open %s: %r', self.name, error)
        salvage = SALVAGES[self.path.suffix](self.path)
        for _ in salvage.messages():
            pass
        if not salvage.topics:
            reason = salvage.damages[0].reason if salvage.damages else 'it holds no topic'
            msg = (
                f'Nothing in {self.name!r} can be read ({reason}); expected a recording in '
                f'{self.path.suffix} format; copy or record it again.'
            )
            raise SourceError(msg)
        return {name: Topic(msgtype, None) for name, msgtype in salvage.topics.items()}

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """Yield the messages of some topics by time; damage is warned of in one sentence."""
        given = array('q')  # eight bytes a message: what the salvage reader must not repeat
        try:
            for message in self._healthy_messages(topics):
                given.append(_key(message))
                yield message
        # as above; an error of whoever uses the message does not come by here
        except Exception as error:
            log.debug('rosbags gives up on %s: %r', self.name, error)
        else:
            return
        yield from self._salvaged_messages(topics, Counter(given))

    def _healthy_messages(self, topics: Collection[str]) -> Iterator[Message]:
        with self._open_reader() as reader:
            connections = [c for c in reader.connections if c.topic in topics]
            if not connections:
                return
            kinds = {c.id: (normal_type(c.msgtype), _serialization(c)) for c in connections}
            for connection, time_ns, data in reader.messages(connections):
                msgtype, serialization = kinds[connection.id]
                data = _unpacked(data, serialization)
                yield Message(connection.topic, msgtype, serialization, time_ns, data)

    def _salvaged_messages(self, topics: Collection[str], given: Counter) -> Iterator[Message]:
        salvage = SALVAGES[self.path.suffix](self.path)
        count = given.total()
        for message in salvage.messages():
            if message.topic not in topics:
                continue
            key = _key(message)
            if given[key]:
                given[key] -= 1
                continue
            count += 1
            yield message._replace(data=_unpacked(message.data, message.serialization))
        self.damaged = bool(salvage.damages)
        if self.damaged:
            log.warning(damage_sentence(self.name, salvage.damages, count))

    @contextmanager
    def _open_reader(self):
        """Open the file with rosbags; raises whatever rosbags raises."""
        if self.path.suffix == '.bag':
            from rosbags.rosbag1 import Reader
        else:
            from rosbags.rosbag2 import Reader
        log_file = self.path.with_name(self.path.name + '-wal')
        if log_file.is_file() and log_file.stat().st_size:
            msg = 'rosbags does not read rows in a write-ahead log'
            raise SourceError(msg)
        with Reader(self.path) as reader:
            yield reader


def _key(message: Message) -> int:
    return hash((message.topic, message.time_ns))


def _topics_of(connections) -> dict[str, Topic]:
    topics: dict[str, Topic] = {}
    for connection in connections:
        known = topics.get(connection.topic, Topic('', 0))
        count = known.count + connection.msgcount
        topics[connection.topic] = Topic(normal_type(connection.msgtype), count)
    return topics


def _serialization(connection) -> str:
    return getattr(connection.ext, 'serialization_format', 'ros1')


def _unpacked(data: bytes, serialization: str) -> bytes:
    """Return a message without its own compression, which a bare file does not announce."""
    if serialization == 'cdr' and data[:4] == ZSTD_MAGIC:
        zstd = zstd_module()
        try:
            return zstd.decompress(data)
        except zstd.ZstdError:
            return b''  # its decoding fails and is counted
    return data
