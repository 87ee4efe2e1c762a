"""
Extraction: recordings -> frame store, read once to train from many times.

Each image goes source -> :class:`FrameDecoder` -> :class:`StoreWriter`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
import logging
from pathlib import Path
from typing import NamedTuple

from keypoint_perception.errors import ConfigError, SourceError
from keypoint_perception.faults import fault_sentence
from keypoint_perception.frames.decoding import FrameDecoder
from keypoint_perception.frames.digest import source_digest
from keypoint_perception.frames.frame import total_count
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.frames.source import choose_topics, FrameSource, open_recordings, Source
from keypoint_perception.frames.stamps import checked_stamps, stamped_frames
from keypoint_perception.frames.store_format import SourceEntry, StoreHeader
from keypoint_perception.frames.store_writer import header_to_extend, StoreWriter
from keypoint_perception.grey_range import measure_range, stored_range

MIN_SIZE, MAX_SIZE = 16, 4096

Progress = Callable[[int, int | None], None]

log = logging.getLogger('keypoint_perception')


class _Job(NamedTuple):
    recording: FrameSource
    topics: tuple[str, ...]
    entry: SourceEntry


def working_size(image_hw: tuple[int, int], size: int) -> tuple[int, int]:
    """
    Return the working size for images: the long side is ``size``, the aspect ratio is kept.

    The short side is rounded up to a multiple of 8, but not above ``size``: 640 x 480 at 128
    gives 128 x 96, 160 x 210 gives 104 x 128.

    :param image_hw: size of the first image, px
    :return: height and width, px
    """
    eighths = -(-min(image_hw) * size // (8 * max(image_hw)))
    short = min(size, 8 * eighths)
    return (short, size) if image_hw[0] <= image_hw[1] else (size, short)


def extract_frames(
    sources: Sequence[Source],
    topics: Iterable[str],
    out: Path | str,
    *,
    size: int = 128,
    network_hw: tuple[int, int] | None = None,
    stamps: str = '',
    progress: Progress | None = None,
) -> FrameStore:
    """
    Write the frames of recordings to a store, or add those that it lacks.

    Recordings that the store contains already (by digest and topics) are not read again, and an
    interrupted extraction continues after the last committed frame.

    :param topics: as in :func:`keypoint_perception.frames.source.read_frames`
    :param out: the store's directory
    :param size: long side of the working size, px; the short one follows from the first image
    :param network_hw: working size instead of ``size``
    :param stamps: as in :func:`keypoint_perception.frames.source.read_frames`; the default for
        what the store has already is what it was extracted with
    :param progress: called with the number of images read and the total, if that is known
    :raises SourceError: if a source or the store cannot be used
    :raises ConfigError: if the size is out of range
    """
    lengths = network_hw if network_hw is not None else (size,)
    if not all(MIN_SIZE <= length <= MAX_SIZE for length in lengths):
        got = ' x '.join(str(length) for length in lengths)
        msg = f'size must be between {MIN_SIZE} and {MAX_SIZE} px, got {got}.'
        raise ConfigError(msg)
    out, stamps = Path(out), checked_stamps(stamps)
    recordings = open_recordings(sources)
    if any(Path(recording.name).resolve() == out.resolve() for recording in recordings):
        msg = f'Frame store {str(out)!r} cannot be added to itself; specify another directory.'
        raise SourceError(msg)
    chosen = choose_topics(recordings, topics)
    try:
        header = header_to_extend(out, size=size, network_hw=network_hw)
        jobs = _plan(recordings, chosen, header, out, stamps)
        with ExitStack() as stack:
            extraction = _Extraction(out, header, network_hw or size, progress, stack)
            extraction.run(jobs)
    except OSError as error:
        msg = f'Frame store {str(out)!r} cannot be written: {fault_sentence(error)}'
        raise SourceError(msg) from error
    assert extraction.header is not None
    return FrameStore(out, extraction.header)


def _plan(
    recordings: list[FrameSource],
    chosen: list[tuple[str, ...]],
    header: StoreHeader | None,
    out: Path,
    stamps: str,
) -> list[_Job]:
    """Return the recordings with their entries in the store, new ones where it has none."""
    held = header.sources if header else []
    jobs = []
    for recording, topics in zip(recordings, chosen, strict=True):
        new = SourceEntry(
            name=recording.name,
            digest=source_digest(Path(recording.name)),
            topics=list(topics),
            frames=0,
            position=0,
            failed=0,
            complete=False,
            grey_range=None,
            stamps=stamps,
        )
        same = (e for e in held if all(e[key] == new[key] for key in ('digest', 'topics')))
        entry = next(same, new)
        if stamps not in ('', before := entry.get('stamps', '')):
            how = f'with --stamps {before}' if before else 'without --stamps'
            msg = (
                f'Frame store {str(out)!r} holds {recording.name!r} extracted {how}, not with '
                f'--stamps {stamps}; do as before, or choose another --out.'
            )
            raise SourceError(msg)
        jobs.append(_Job(recording, topics, entry))
    for entry in header.unfinished if header else ():
        if entry not in [job.entry for job in jobs]:
            msg = (
                f'Frame store {str(out)!r} is incomplete: {entry["name"]!r} was interrupted and '
                'is not among the sources, or has changed; run its `extract` again first or, if '
                'it has changed, delete the store.'
            )
            raise SourceError(msg)
    return jobs


@dataclass
class _Extraction:
    """
    One run over some recordings; the store is created with the first image.

    :param size: long side of the working size, or all of it, px
    :param stack: closes the store
    :param read: number of images read so far
    """

    out: Path
    header: StoreHeader | None
    size: int | tuple[int, int]
    progress: Progress | None
    stack: ExitStack
    read: int = 0
    writer: StoreWriter | None = None

    def run(self, jobs: list[_Job]) -> None:
        total = total_count(recording.count(topics) for recording, topics, _ in jobs)
        known = stored_range(self.header.sources) if self.header else None
        measure = cache(lambda: known or measure_range(job[:2] for job in jobs))
        for job in jobs:
            if job.entry['complete']:
                log.info('%r is already in the store and is not read again.', job.recording.name)
                self.read += job.entry['position']
            else:
                self._extract(job, total, measure)

    def _extract(
        self, job: _Job, total: int | None, measure: Callable[[], tuple[int, int]]
    ) -> None:
        recording, topics, entry = job
        name, decoded, failed = recording.name, entry['frames'], entry['failed']
        decoder = FrameDecoder(name, topics, measure, decoded=decoded, failed=failed)
        sizes = _ImageSizes(name)
        committed = entry['position']
        frames = stamped_frames(name, recording.frames(topics), entry.get('stamps', ''))
        for position, encoded in enumerate(frames):
            self.read += 1
            if position < committed:
                continue
            image = decoder.decode(encoded)
            entry['failed'] = decoder.failed
            if image is not None:
                entry['grey_range'] = decoder.grey_range or entry.get('grey_range')
                image_hw = image.shape[0], image.shape[1]
                sizes.add(encoded.topic, image_hw, encoded.stamp_ns)
                if self.header is None:
                    size = self.size
                    hw = working_size(image_hw, size) if isinstance(size, int) else size
                    self.header = StoreHeader(hw)
                self._open(self.header).append(image, encoded, entry)
            entry['position'] = position + 1
            if self.progress is not None:
                self.progress(self.read, total)
        decoder.close()
        entry['complete'] = True
        assert self.header is not None  # there was an image, or the decoder would have raised
        sizes.report(self.header.network_hw)
        self._open(self.header).commit()

    def _open(self, header: StoreHeader) -> StoreWriter:
        if self.writer is None:
            self.writer = self.stack.enter_context(StoreWriter(self.out, header))
        return self.writer


class _ImageSizes:
    """Reports cameras whose images change size."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.first_hw: dict[str, tuple[int, int]] = {}
        # number of images of another size, and height, width and stamp of the first of them
        self.changed: dict[str, list[int]] = {}

    def add(self, topic: str, image_hw: tuple[int, int], stamp_ns: int) -> None:
        if self.first_hw.setdefault(topic, image_hw) != image_hw:
            self.changed.setdefault(topic, [0, *image_hw, stamp_ns])[0] += 1

    def report(self, network_hw: tuple[int, int]) -> None:
        for topic, (count, height, width, stamp_ns) in self.changed.items():
            source = f'{self.name!r} on {topic}' if topic else repr(self.name)
            log.warning(
                '%d images of %s have another size than the first, %dx%d (%dx%d at stamp %d): '
                'each is fitted to %dx%d on its own.',
                *(count, source, *self.first_hw[topic][::-1]),
                *(width, height, stamp_ns, *network_hw[::-1]),
            )
