"""
Where a recording is interrupted, an episode ends.

Learning pairs frames of one episode, and evaluation measures motion within episodes, because the
scene may have been rearranged during the interruption. An episode ends after 5 s without an image:

- Rearranging a scene takes a person longer than that.
- Dropouts of a few seconds, by a slow disk or a reconnecting camera, leave the scene as it is.
  Splitting episodes there would leave them too short for a median image that shows the background
  and for tracking clips of 100 or 200 frames.
- If a scene does change within 5 s, little is lost: frames are paired by their stamps and not by
  their order, at most ``max_gap_s`` apart.

``docs/experiments.md`` compares limits of 1 s and 5 s.
"""

from __future__ import annotations

import numpy as np

LONGEST_GAP_S = 5.0
# A slow time lapse is one episode: a gap must also be this many times the median gap.
LONGEST_GAP_IN_FRAMES = 10.0
# Neighbouring images may arrive in the wrong order; a clock that was reset jumps back further.
LONGEST_STEP_BACK_IN_FRAMES = 2.0


def find_episodes(stamps_ns: np.ndarray, *streams: np.ndarray) -> np.ndarray:
    """
    Return the episode of every frame, (N,) int64 counted from 0.

    An episode ends where the next frame of its stream is later by more than 5 s and by more than
    ten times the median gap, or where its clock was reset.

    :param stamps_ns: stamps of all frames in recorded order, labelled or not, (N,) ns
    :param streams: recording, camera or the like of each frame, each (N,) int; frames that differ
        in any of them belong to different episodes
    """
    stamps_ns = np.asarray(stamps_ns, np.int64)
    keys = np.stack([np.zeros(len(stamps_ns), np.int64), *streams], axis=1)
    episodes = np.empty(len(stamps_ns), np.int64)
    count = 0
    for key in np.unique(keys, axis=0):
        members = np.flatnonzero((keys == key).all(axis=1))
        gaps = np.diff(stamps_ns[members])
        usual = float(np.median(np.abs(gaps))) if gaps.size else 0.0
        interrupted = gaps > max(LONGEST_GAP_S * 1e9, LONGEST_GAP_IN_FRAMES * usual)
        reset = gaps < -LONGEST_STEP_BACK_IN_FRAMES * usual
        episodes[members] = count + np.cumsum(np.concatenate([[False], interrupted | reset]))
        count = episodes[members[-1]] + 1
    return episodes
