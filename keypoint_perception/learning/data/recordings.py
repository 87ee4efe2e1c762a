"""The frames of a run: its own frame store, or a given one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import logging
from pathlib import Path
import shutil

from keypoint_perception.errors import ConfigError
from keypoint_perception.frames.digest import source_digest
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.frames.store_format import is_store, read_header
from keypoint_perception.model_directory import FRAME_STORE_NAME
from lightning_fabric import Fabric

log = logging.getLogger('keypoint_perception')


def prepare_frames(
    fabric: Fabric,
    sources: Sequence[str],
    topics: Sequence[str],
    out: Path,
    *,
    size: int,
    stamps: str,
    resume: bool,
    progress: Callable[[int, int | None], None],
) -> FrameStore:
    """
    Return the frames to train on, extracted to ``out/frames`` if necessary.

    A single source that is a frame store is used in place. With several processes, the first
    extracts and the others wait.

    :param stamps: as in :func:`keypoint_perception.frames.source.read_frames`
    :param resume: whether a run is resumed, whose recordings must all be there already
    :raises SourceError: if a recording cannot be used
    :raises ConfigError: if ``out/frames`` holds the frames of other recordings
    """
    if len(sources) == 1 and is_store(Path(sources[0])):
        store = FrameStore.open(sources[0])
        height, width = store.network_hw
        if stamps or (store.topics and topics and {*topics} != {*store.topics}):
            msg = (
                f'Frame store {str(sources[0])!r} keeps the stamps and topics that it was '
                'extracted with; give --stamps and --topic to `extract`, with another --out.'
            )
            raise ConfigError(msg)
        if (held := max(height, width)) != size:
            # a resumed run keeps its size
            other = '' if resume else f'use --size {held}, or '
            msg = (
                f'Frame store {str(sources[0])!r} holds frames of {width}x{height}, not of a long '
                f'side of {size} px; {other}extract into another store with --size {size}.'
            )
            raise ConfigError(msg)
        return store
    place = out / FRAME_STORE_NAME
    if fabric.is_global_zero:
        if is_store(place):
            _check_recordings(place, sources, topics, complete=resume)
            if not resume and max(read_header(place).network_hw) != size:
                log.info(
                    'The frames in %r are of another size and are extracted again.', str(place)
                )
                shutil.rmtree(place)
        # loads rosbags, which is not needed to train on a store
        from keypoint_perception.frames.extraction import extract_frames

        extract_frames(sources, topics, place, size=size, stamps=stamps, progress=progress)
    fabric.barrier()
    return FrameStore.open(place)


def settings_of_store(sources: Sequence[str]) -> dict[str, int]:
    """Return the settings derived from a single given frame store, which are its size."""
    if len(sources) != 1 or not is_store(Path(sources[0])):
        return {}
    size = max(FrameStore.open(sources[0]).network_hw)
    if size % 8:
        low = size // 8 * 8
        msg = (
            f'Frame store {str(sources[0])!r} holds frames with a long side of {size} px; '
            f'training needs a multiple of 8: extract into another store with --size {low} or '
            f'{low + 8}.'
        )
        raise ConfigError(msg)
    return {'size': size}


def _check_recordings(
    place: Path, sources: Sequence[str], topics: Sequence[str], *, complete: bool
) -> None:
    from keypoint_perception.frames.source import choose_topics, open_recordings

    chosen = choose_topics(open_recordings(sources), topics)
    given = [(source_digest(Path(s)), list(t)) for s, t in zip(sources, chosen, strict=True)]
    entries = read_header(place).sources
    held = [(source['digest'], source['topics']) for source in entries]
    others = [source for source in held if source not in given]
    added = [source for source in given if source not in held]
    if others or (complete and added):
        names = ', '.join(' '.join([s['name'], *filter(None, s['topics'])]) for s in entries)
        msg = (
            f'{str(place)!r} holds the frames of {names}, not the requested ones; give the same '
            'recordings and topics as before, or train into another --out.'
        )
        raise ConfigError(msg)
