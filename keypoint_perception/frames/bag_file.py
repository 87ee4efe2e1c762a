"""One storage file of a bag, intact or damaged."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain
import logging
from pathlib import Path

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.frame import Topic
from keypoint_perception.frames.message import Message
from keypoint_perception.frames.salvage.mcap_salvage import McapSalvage
from keypoint_perception.frames.salvage.ros1_salvage import Ros1Salvage
from keypoint_perception.frames.salvage.salvage_reader import SalvageReader
from keypoint_perception.frames.salvage.sqlite_salvage import SqliteSalvage

SALVAGE_READERS: dict[str, type[SalvageReader]] = {
    '.mcap': McapSalvage,
    '.db3': SqliteSalvage,
    '.bag': Ros1Salvage,
    '.bag.active': Ros1Salvage,  # as a recorder that was killed leaves it
}

MAGICS: dict[bytes, type[SalvageReader]] = {
    b'\x89MCAP0\r\n': McapSalvage,
    b'SQLite format 3\0': SqliteSalvage,
    b'#ROSBAG V2': Ros1Salvage,
}
LFS_POINTER = b'version https://git-lfs.github.com/'

log = logging.getLogger('keypoint_perception')


class BagFile:
    """
    One ``.mcap``, ``.db3`` or ROS 1 ``.bag`` file.

    :param path: its first bytes tell the format, or if they are damaged its suffix
    :param name: its name in messages
    :param damaged: whether a damage has been reported
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.damaged = False

    def topics(self) -> list[tuple[str, Topic]]:
        """
        Return the topics.

        :raises SourceError: if nothing in the file can be read
        """
        if self.path.stat().st_size == 0:
            msg = f'{self.name!r} is empty (0 bytes); expected a recording; record it again.'
            raise SourceError(msg)
        salvage = self._reader()
        counts: dict[str, int] | dict[str, None] | None = salvage.announced()
        if counts is None:
            salvage = self._reader()
            for _ in salvage.messages(()):
                pass
            counts = dict.fromkeys(salvage.topics)
        if not salvage.topics:
            reason = salvage.damages[0].reason if salvage.damages else 'it has no topics'
            msg = (
                f'{self.name!r} is unreadable ({reason}); expected a recording in '
                f'{self.path.suffix} format; copy or record it again.'
            )
            raise SourceError(msg)
        return [(name, Topic(kind, counts[name])) for name, kind in salvage.topics.items()]

    def messages(self, topics: Collection[str], beside: Collection[str] = ()) -> Iterator[Message]:
        """
        Yield the messages on some topics by time; damage is reported in one warning.

        :param beside: further topics, which are not counted as images in the warning
        """
        salvage, count = self._reader(), 0
        for message in salvage.messages((*topics, *beside)):
            count += message.topic in topics
            yield message
        self.damaged = bool(salvage.damages)
        if self.damaged:
            log.warning(salvage.report(self.name, count))

    def _reader(self) -> SalvageReader:
        head, name = first_bytes(self.path), self.path.name.lower()
        if head.startswith(LFS_POINTER):
            msg = (
                f'{self.name!r} is a pointer of Git LFS; fetch the recording with `git lfs pull`.'
            )
            raise SourceError(msg)
        by_content = (reader for magic, reader in MAGICS.items() if head.startswith(magic))
        by_name = (r for suffix, r in SALVAGE_READERS.items() if name.endswith(suffix))
        return next(chain(by_content, by_name))(self.path)


def first_bytes(path: Path) -> bytes:
    """Return the bytes that tell the format of a file."""
    with path.open('rb') as stream:
        return stream.read(len(LFS_POINTER))
