"""Recordings -> frame store: extract once, learn many times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
import logging
from pathlib import Path

from keypoint_perception.errors import ConfigError, SourceError
from keypoint_perception.frames.digest import source_digest
from keypoint_perception.frames.frame import EncodedFrame
from keypoint_perception.frames.frame_store import check_contents, FrameStore
from keypoint_perception.frames.source import (
    choose_topics,
    DecodingTally,
    FrameSource,
    open_recordings,
    Source,
)
from keypoint_perception.frames.store_files import (
    FILE_NAMES,
    is_store,
    read_header,
    StoreHeader,
    StoreWriter,
)
from keypoint_perception.images import fit_image
from keypoint_perception.keypoints import Fit

__all__ = ['FrameStore', 'extract_frames', 'working_size']

BLOCK_FRAMES = 512  # frames lost at most when extraction is killed
SMALLEST_SIZE, LARGEST_SIZE = 16, 4096

Progress = Callable[[int, int | None], None]

log = logging.getLogger('keypoint_perception')


def working_size(image_hw: tuple[int, int], size: int) -> tuple[int, int]:
    """
    Return the working size of images: the long side is ``size``, the short one as it follows.

    The short side is rounded up to a multiple of 8, and never above ``size``: 640 x 480 at 128
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
    progress: Progress | None = None,
) -> FrameStore:
    """
    Write the frames of recordings into a store, or add those that it lacks.

    Recordings that the store holds already (by digest and topics) are not read again, and an
    interrupted extraction goes on behind the last committed frame.

    :param topics: as :func:`keypoint_perception.frames.source.read_frames`
    :param out: the store's directory
    :param size: long side of the working size, px; the short one follows from the first image
    :param network_hw: working size instead of ``size``
    :param progress: called with the frames done and their total, which may be unknown
    :raises SourceError: if a source or the store cannot be used
    :raises ConfigError: if the size is out of range
    """
    lengths = network_hw if network_hw is not None else (size,)
    if not all(SMALLEST_SIZE <= length <= LARGEST_SIZE for length in lengths):
        got = ' x '.join(str(length) for length in lengths)
        msg = f'size must be between {SMALLEST_SIZE} and {LARGEST_SIZE} px, got {got}.'
        raise ConfigError(msg)
    recordings = open_recordings(sources)
    if any(Path(recording.name).resolve() == Path(out).resolve() for recording in recordings):
        msg = f'Frame store {str(out)!r} cannot be added to itself; name another directory.'
        raise SourceError(msg)
    chosen = choose_topics(recordings, topics)
    extraction = _Extraction(Path(out), size, network_hw, progress)
    try:
        with extraction:
            extraction.add_all(recordings, chosen)
    except OSError as error:
        msg = f'Frame store {str(out)!r} cannot be written ({error.strerror or error}).'
        raise SourceError(msg) from error
    return FrameStore(Path(out), extraction.header)


class _Extraction:
    """The store being written; whatever ends it, committed frames stay usable."""

    def __init__(self, out, size, network_hw, progress) -> None:
        self.out = out
        self.size = size
        self.network_hw = tuple(network_hw) if network_hw is not None else None
        self.progress = progress or (lambda done, total: None)
        self.header = _existing_header(out, size, self.network_hw)
        self.writer: StoreWriter | None = None
        self.fits: dict[tuple[int, int], Fit] = {}
        self.done = 0

    def __enter__(self) -> _Extraction:
        return self

    def __exit__(self, kind, *_error) -> None:
        if self.writer is not None:
            if kind is not None:
                self.writer.commit()
            self.writer.close()

    def add_all(self, recordings: list[FrameSource], chosen: list[tuple[str, ...]]) -> None:
        digests = [source_digest(Path(recording.name)) for recording in recordings]
        jobs = list(zip(recordings, chosen, digests, strict=True))
        self._check_unfinished(jobs)
        counts = [recording.count(topics) for recording, topics, _ in jobs]
        self.total = None if None in counts else sum(counts)
        for recording, topics, digest in jobs:
            self._add(recording, topics, self._entry(recording, topics, digest))

    def _check_unfinished(self, jobs: list[tuple]) -> None:
        given = [(digest, list(topics)) for _, topics, digest in jobs]
        for source in self.header.unfinished if self.header else ():
            if (source['digest'], source['topics']) not in given:
                msg = (
                    f'Frame store {str(self.out)!r} is half-written: {source["name"]!r} was '
                    'interrupted and is not among the sources as it was then; run its `extract` '
                    'again first, or delete the store.'
                )
                raise SourceError(msg)

    def _entry(self, recording: FrameSource, topics: tuple[str, ...], digest: str) -> dict:
        """Return what the store knows of a recording."""
        for source in self.header.sources if self.header else ():
            if source['digest'] == digest and source['topics'] == list(topics):
                return source
        return {
            'name': recording.name,
            'digest': digest,
            'topics': list(topics),
            'frames': 0,
            'position': 0,
            'failed': 0,
            'complete': False,
        }

    def _add(self, recording: FrameSource, topics: tuple[str, ...], entry: dict) -> None:
        if entry['complete']:
            log.info('%r is in the store already and is not read again.', recording.name)
            self.done += entry['position']
            return
        tally = DecodingTally(
            recording.name, topics, decoded=entry['frames'], failed=entry['failed']
        )
        sizes = _SizeWatch(recording.name)
        committed = entry['position']
        for position, encoded in enumerate(recording.frames(topics)):
            self.done += 1
            if position < committed:
                continue
            self._add_frame(encoded, tally, sizes, entry)
            entry['position'] = position + 1
            if self.writer is not None and self.writer.uncommitted >= BLOCK_FRAMES:
                self.writer.commit()
            self.progress(self.done, self.total)
        tally.close()
        sizes.close(self.header.network_hw)
        entry['complete'] = True
        self._open_writer().commit()

    def _add_frame(
        self, encoded: EncodedFrame, tally: DecodingTally, sizes: _SizeWatch, entry: dict
    ) -> None:
        image = tally.decode(encoded)
        entry['failed'] = tally.failed
        if image is None:
            return
        image_hw = image.shape[:2]
        sizes.see(encoded.topic, image_hw, encoded.stamp_ns)
        if self.header is None:
            self.header = StoreHeader(self.network_hw or working_size(image_hw, self.size))
        if entry not in self.header.sources:
            self.header.sources.append(entry)
        if encoded.topic not in self.header.cameras:
            self.header.cameras.append(encoded.topic)
        if image_hw not in self.fits:
            self.fits[image_hw] = Fit(image_hw, self.header.network_hw)
        camera = self.header.cameras.index(encoded.topic)
        source = self.header.sources.index(entry)
        fitted = fit_image(image, self.fits[image_hw])
        self._open_writer().append(fitted, (encoded.stamp_ns, camera, source, *image_hw))
        entry['frames'] += 1

    def _open_writer(self) -> StoreWriter:
        if self.writer is None:
            self.writer = StoreWriter(self.out, self.header)
        return self.writer


def _existing_header(out: Path, size: int, network_hw) -> StoreHeader | None:
    """Return the header of a store to go on with, None if there is none yet."""
    if not is_store(out):
        if out.exists() and not out.is_dir():
            msg = f'{str(out)!r} is a file; expected a directory for the frame store.'
            raise SourceError(msg)
        others = (
            [p.name for p in out.iterdir() if p.name not in FILE_NAMES] if out.exists() else []
        )
        if others:
            msg = (
                f'{str(out)!r} is not empty and not a frame store (it holds {others[0]!r}); name '
                'a new directory.'
            )
            raise SourceError(msg)
        return None
    header = read_header(out)
    have = header.network_hw
    if (network_hw or have) != have or (network_hw is None and max(have) != size):
        wanted = f'{network_hw[1]}x{network_hw[0]}' if network_hw else f'a long side of {size}'
        msg = (
            f'Frame store {str(out)!r} has a working size of {have[1]}x{have[0]}, asked for was '
            f'{wanted} px; name another directory or ask for the same size.'
        )
        raise SourceError(msg)
    check_contents(out, header)
    return header


class _SizeWatch:
    """Notices cameras whose images change size midway."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.first_hw: dict[str, tuple[int, int]] = {}
        self.changes: dict[str, list] = {}

    def see(self, topic: str, image_hw: tuple[int, int], stamp_ns: int) -> None:
        if self.first_hw.setdefault(topic, image_hw) != image_hw:
            change = self.changes.setdefault(topic, [0, image_hw, stamp_ns])
            change[0] += 1

    def close(self, network_hw: tuple[int, int]) -> None:
        for topic, (count, (height, width), stamp_ns) in self.changes.items():
            first_height, first_width = self.first_hw[topic]
            log.warning(
                '%d images of %r%s are not %dx%d as the first but another size (%dx%d at stamp '
                '%d): each is fitted into %dx%d on its own.',
                count,
                self.name,
                f' on {topic}' if topic else '',
                first_width,
                first_height,
                width,
                height,
                stamp_ns,
                network_hw[1],
                network_hw[0],
            )
