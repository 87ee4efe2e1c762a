"""Where a recording pauses, a new episode begins."""

from __future__ import annotations

import numpy as np

LONGEST_GAP_S = 5.0
LONGEST_GAP_IN_FRAMES = 10.0


def find_episodes(stamps_ns: np.ndarray) -> np.ndarray:
    """
    Return the episode of every frame, (N,) int64 counted from 0.

    An episode ends where the next frame is later by more than 5 s and by more than ten times the
    median gap between frames (so that a slow time lapse is one episode), or where time runs
    backwards.

    :param stamps_ns: stamps of all frames in recorded order, labelled or not, (N,) ns
    """
    gaps = np.diff(np.asarray(stamps_ns, np.int64))
    if not gaps.size:
        return np.zeros(len(stamps_ns), np.int64)
    limit = max(LONGEST_GAP_S * 1e9, LONGEST_GAP_IN_FRAMES * float(np.median(gaps)))
    return np.concatenate([[0], np.cumsum((gaps > limit) | (gaps < 0))])
