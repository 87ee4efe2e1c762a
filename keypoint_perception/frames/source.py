"""
Sources of recorded images, opened and read as stamped RGB frames.

A source is a rosbag2 directory, an ``.mcap``, ``.db3`` or ROS 1 ``.bag`` file, a video file, a
folder of images, or a frame store. All are streamed; at most one chunk of a bag is in memory, and
images of up to 64 MB, whose stamps are judged first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
import logging
from pathlib import Path
import stat
from typing import Protocol

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.bag import Bag, FILE_SUFFIXES, is_bag
from keypoint_perception.frames.decoding import FrameDecoder
from keypoint_perception.frames.folder import Folder
from keypoint_perception.frames.frame import EncodedFrame, Frame, Topic, total_count
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.frames.stamps import checked_stamps, stamped_frames
from keypoint_perception.frames.store_format import is_store
from keypoint_perception.frames.video import Video, VIDEO_SUFFIXES
from keypoint_perception.grey_range import measure_range

Source = str | Path

log = logging.getLogger('keypoint_perception')


class FrameSource(Protocol):
    """An opened source; ``topics`` are all its topics by name, none for a video."""

    name: str
    topics: dict[str, Topic]

    def count(self, topics: Collection[str]) -> int | None:
        """Return the number of images on some topics, None if only reading would tell."""

    def frames(self, topics: Collection[str]) -> Iterator[EncodedFrame]:
        """Yield the images of some topics in the order of recording."""


def open_recording(source: Source) -> FrameSource:
    """
    Open a source.

    :raises SourceError: if it is missing, of an unknown format, or unreadable
    """
    path, name = Path(source), str(source)
    try:
        _check_kind(path, name)
        if is_store(path):
            return FrameStore.open(name)
        if is_bag(path):
            return Bag(path, name)
        if path.is_dir():
            return Folder(path, name)
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return Video(path, name)
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        msg = f'{name!r} cannot be opened ({reason}); check its path and permissions.'
        raise SourceError(msg) from error
    msg = (
        f'{name!r} has an unknown format; expected a rosbag2 directory, a folder of images, a '
        f'frame store or a file ending in one of {", ".join((*FILE_SUFFIXES, *VIDEO_SUFFIXES))}.'
    )
    raise SourceError(msg)


def _check_kind(path: Path, name: str) -> None:
    """Refuse what does not exist, and pipes and devices, which may never end, unopened."""
    expected = 'expected a bag, video, folder of images or frame store'
    if not name:
        msg = f'A source has an empty name; {expected}; check the command for an unset variable.'
        raise SourceError(msg)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        msg = f'{name!r} does not exist; {expected}.'
        raise SourceError(msg) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        msg = f'{name!r} is neither a file nor a directory; {expected}; copy it to a file.'
        raise SourceError(msg)


def open_recordings(sources: Sequence[Source] | Source) -> list[FrameSource]:
    """
    Open one or several sources.

    :raises SourceError: as :func:`open_recording`, if there is none, or one is given twice
    """
    if isinstance(sources, str | Path):
        sources = [sources]
    if not sources:
        msg = 'No source was given; expected at least one recording.'
        raise SourceError(msg)
    recordings = [open_recording(source) for source in sources]
    given = dict[tuple[int, int], FrameSource]()
    for recording in recordings:
        for path in recording.paths if isinstance(recording, Bag) else [Path(recording.name)]:
            place = path.stat()
            first = given.setdefault((place.st_dev, place.st_ino), recording)
            if first is not recording:
                msg = (
                    f'{recording.name!r} holds the same as {first.name!r}; give each source once.'
                )
                raise SourceError(msg)
    return recordings


def list_image_topics(source: Source | FrameSource) -> list[str]:
    """
    Return the image topics of a source, opened or not; empty if it has no topics.

    :raises SourceError: if the source cannot be read
    """
    recording = open_recording(source) if isinstance(source, str | Path) else source
    return sorted(name for name, topic in recording.topics.items() if topic.is_image)


def choose_topics(
    recordings: Sequence[FrameSource], topics: Iterable[str]
) -> list[tuple[str, ...]]:
    """
    Return the topics to read from each recording.

    Each topic must exist in at least one recording, and each recording that has topics must have
    at least one of them.

    :param topics: names; if empty, each recording must have exactly one image topic
    :raises SourceError: if a topic is missing or is no image topic, or the choice is ambiguous
    """
    wanted = tuple(dict.fromkeys(topics))
    chosen: list[tuple[str, ...]] = []
    for recording in recordings:
        if not recording.topics:
            chosen.append(('',))
        elif not wanted:
            chosen.append((_only_topic(recording),))
        else:
            chosen.append(_given_topics(recording, wanted))
    if wanted and all(topics == ('',) for topics in chosen):
        log.warning('The sources have no topics: --topic %s is ignored.', ' '.join(wanted))
        return chosen
    for topic in wanted:
        if not any(topic in topics for topics in chosen):
            _refuse_topic(recordings[0], topic)
    return chosen


def _only_topic(recording: FrameSource) -> str:
    found = list_image_topics(recording)
    if len(found) == 1:
        return found[0]
    if not found:
        others = ', '.join(sorted(recording.topics))
        msg = f'{recording.name!r} has no image topic (topics: {others}); record a camera topic.'
    else:
        msg = (
            f'{recording.name!r} has {len(found)} image topics ({", ".join(found)}); choose with '
            '--topic.'
        )
    raise SourceError(msg)


def _given_topics(recording: FrameSource, wanted: tuple[str, ...]) -> tuple[str, ...]:
    there = tuple(topic for topic in wanted if topic in recording.topics)
    for topic in there or wanted:
        if topic not in recording.topics or not recording.topics[topic].is_image:
            _refuse_topic(recording, topic)
    return there


def _refuse_topic(recording: FrameSource, topic: str) -> None:
    found = ', '.join(list_image_topics(recording))
    if topic in recording.topics:
        msgtype = recording.topics[topic].msgtype
        problem = f'Topic {topic!r} of {recording.name!r} is not an image topic but {msgtype}'
    else:
        problem = f'{recording.name!r} has no topic {topic!r}'
    choice = f'image topics: {found}; choose one of these with --topic.'
    raise SourceError(f'{problem}; {choice if found else "record a camera topic."}')


def count_frames(sources: Sequence[Source] | Source, topics: Iterable[str] = ()) -> int | None:
    """
    Return the number of images in the sources, None if only reading them would tell.

    :raises SourceError: as :func:`read_frames`
    """
    recordings = open_recordings(sources)
    chosen = choose_topics(recordings, topics)
    return total_count(r.count(names) for r, names in zip(recordings, chosen, strict=True))


def read_frames(
    sources: Sequence[Source] | Source,
    topics: Iterable[str] = (),
    grey_range: tuple[int, int] | None = None,
    stamps: str = '',
) -> Iterator[Frame]:
    """
    Yield the frames of the sources, one source after another, each in the order of recording.

    Images that cannot be decoded are skipped, and counted in one warning per source.

    :param topics: image topics; may be omitted if each source has exactly one
    :param grey_range: 16-bit intensities that become black and white; measured if not given
    :param stamps: ``header``, ``bag`` or ``index:HZ``, default: what is found best
    :raises SourceError: if a source cannot be read, has no image, or the topics are wrong
    :raises EncodingError: if no image of a source can be decoded
    """
    recordings = open_recordings(sources)
    return _read(recordings, choose_topics(recordings, topics), grey_range, checked_stamps(stamps))


def _read(
    recordings: list[FrameSource],
    chosen: list[tuple[str, ...]],
    grey_range: tuple[int, int] | None,
    stamps: str,
) -> Iterator[Frame]:
    jobs = list(zip(recordings, chosen, strict=True))
    measure = cache(lambda: grey_range or measure_range(jobs))
    for recording, topics in jobs:
        decoder = FrameDecoder(recording.name, topics, measure)
        for encoded in stamped_frames(recording.name, recording.frames(topics), stamps):
            image = decoder.decode(encoded)
            if image is not None:
                yield Frame(encoded.stamp_ns, encoded.topic, recording.name, image)
        decoder.close()
