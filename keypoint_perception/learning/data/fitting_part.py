"""
The part of the frames that is learned from: all but the holdout.

The last frames in time of each camera of each recording are withheld. Everything in learning gets
the remaining frames as its whole store: pairs, labels and those that are favoured, the mean change
of a pair, backgrounds, flow, overlays, the frames that select keypoints and calibrate their
confidence, and those of the parity check. None of it can reach a withheld frame.
"""

from __future__ import annotations

from typing import Any

from keypoint_perception.errors import TrainingError
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.holdout import count_fitted, HOLDOUT, LEARNED, WITHHELD
import numpy as np

LEAST_FRAMES = 2


def fitting_part(store: FrameStore, holdout: float) -> FrameStore:
    """
    Return the frames of a store to learn from; the store itself without a holdout.

    :param holdout: share of the frames to withhold
    :raises TrainingError: if a camera of a recording has too few frames to withhold some
    """
    if not holdout:
        return store
    withheld = np.zeros(len(store), bool)
    for mine in _streams(store):
        stamps_ns = np.sort(store.stamps_ns[mine])
        first_ns = stamps_ns[min(count_fitted(len(mine), holdout), len(mine) - 1)]
        late = store.stamps_ns[mine] >= first_ns
        _check_length(store, mine, late, holdout)
        withheld[mine] = late
    return store.select(np.flatnonzero(~withheld))


def recorded_sources(part: FrameStore) -> list[dict[str, Any]]:
    """
    Return the recordings of a fitting part, with the stamps on either side of the holdout.

    ``learned_ns`` and ``withheld_ns`` are the first and last stamp by topic.
    """
    whole, sources = part.whole, [dict(source) for source in part.sources]
    if len(part) == len(whole):
        return sources
    learned = np.isin(np.arange(len(whole)), part.selected)
    for mine in _streams(whole):
        entry, topic = sources[whole.source[mine[0]]], whole.cameras[whole.camera[mine[0]]]
        for key, chosen in ((LEARNED, mine[learned[mine]]), (WITHHELD, mine[~learned[mine]])):
            stamps_ns = whole.stamps_ns[chosen]
            spans: dict[str, list[int]] = entry.setdefault(key, {})
            spans[topic] = [int(stamps_ns.min()), int(stamps_ns.max())]
    return sources


def _streams(store: FrameStore) -> list[np.ndarray]:
    """Return the frames of each camera of each recording, as indices."""
    views = np.stack([store.source, store.camera], axis=1)
    return [np.flatnonzero((views == view).all(axis=1)) for view in np.unique(views, axis=0)]


def _check_length(store: FrameStore, mine: np.ndarray, late: np.ndarray, holdout: float) -> None:
    left, withheld = int((~late).sum()), int(late.sum())
    if left >= LEAST_FRAMES and withheld >= LEAST_FRAMES:
        return
    source, topic = store.sources[store.source[mine[0]]], store.cameras[store.camera[mine[0]]]
    name = f'{source["name"]} {topic}'.strip()
    msg = (
        f'holdout: withholding {holdout:g} of the {len(mine)} frames of {name!r} leaves {left} to '
        f'learn from and {withheld} to score; at least {LEAST_FRAMES} of each are needed: record '
        f'for longer, or choose a share nearer to {HOLDOUT:g}, or 0 to learn from all frames.'
    )
    raise TrainingError(msg)
