"""Which frames of a recording a model has learned from."""

from __future__ import annotations

from pathlib import Path

from keypoint_perception.holdout import Exposure, find_exposure
from keypoint_perception.manifest import Manifest


def read_exposure(manifest: Manifest, source: Path, stamps: str = '') -> Exposure:
    """
    Return what of a recording a model has learned from, and what was withheld.

    :param source: a recording, or a frame store, which knows the digests of its recordings
    :param stamps: the option ``--stamps``
    """
    from keypoint_perception.frames.digest import source_digest
    from keypoint_perception.frames.store_format import is_store, read_header

    if is_store(source):
        entries = read_header(source).sources
        chosen = {entry.get('stamps') or '' for entry in entries}
        digests = [entry['digest'] for entry in entries]
        return find_exposure(manifest.sources, digests, stamps or ' '.join(sorted(chosen)))
    return find_exposure(manifest.sources, [source_digest(source)], stamps)
