"""
Identity switches: how often a labelled point changes its matching learned point.

As in CLEAR MOT: Bernardin, Stiefelhagen: Evaluating multiple object tracking performance, 2008,
https://doi.org/10.1155/2008/246309. In each frame

- matches of the previous frame are kept while they are still close,
- the remaining labelled and learned points are assigned one to one at minimum total distance, and
  close pairs become matches,
- a labelled point whose match differs from its last one has switched.

Close means within 5 % of the diagonal, after subtracting the median offset between the two points
over the episode. Only points that spread by at least 1 % of the diagonal within the episode count.
"""

from __future__ import annotations

from typing import NamedTuple

from keypoint_perception.episodes import find_episodes
from keypoint_perception.evaluation.assignment import assign
from keypoint_perception.geometry.point_motion import does_move, in_diagonals
import numpy as np

EPSILON_PERCENT = 5.0


class IdentityScore(NamedTuple):
    """
    Identity switches of each labelled point.

    :param switches: (L,)
    :param matched: frames in which the point had a match, (L,)
    :param present: frames in which the point was labelled and counted, (L,)
    """

    switches: np.ndarray
    matched: np.ndarray
    present: np.ndarray

    @property
    def per_1000(self) -> float:
        """Return switches per 1000 matched labels, NaN without any."""
        matched = int(self.matched.sum())
        return 1000 * int(self.switches.sum()) / matched if matched else float('nan')


def count_switches(
    stamps_ns: np.ndarray,
    keypoints: np.ndarray,
    labels: np.ndarray,
    *,
    diagonal_px: float | np.ndarray,
) -> IdentityScore:
    """Count over a recording; arguments as ``tracking.score_tracking``."""
    learned = in_diagonals(keypoints, diagonal_px)
    labelled = in_diagonals(labels, diagonal_px)
    counts = np.zeros((3, labelled.shape[1]), np.int64)
    episodes = find_episodes(stamps_ns)
    for number in np.unique(episodes):
        counts += _count_episode(learned[episodes == number], labelled[episodes == number])
    return IdentityScore(*counts)


def _count_episode(learned: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Return switches, matched and present frames of each labelled point, (3, L)."""
    counts = np.zeros((3, labelled.shape[1]), np.int64)
    kept, moving = (np.flatnonzero(_moves(points)) for points in (learned, labelled))
    if not (len(kept) and len(moving)):
        return counts
    away = learned[:, kept, None] - labelled[:, None, moving]  # (frames, k, l, 2)
    distance = np.linalg.norm(away - np.nanmedian(away, axis=0), axis=-1)
    close = 100 * distance <= EPSILON_PERCENT  # False where the label is missing
    match, last = np.full(len(moving), -1), np.full(len(moving), -1)
    for near, far in zip(close, distance, strict=True):
        match = _update_matches(near, far, match)
        matched = match >= 0
        counts[0, moving] += matched & (last >= 0) & (match != last)
        counts[1, moving] += matched
        last = np.where(matched, match, last)
    counts[2, moving] = np.isfinite(labelled[:, moving]).all(axis=-1).sum(axis=0)
    return counts


def _update_matches(close: np.ndarray, distance: np.ndarray, match: np.ndarray) -> np.ndarray:
    """
    Return the learned point matched to each labelled point, -1 for none, (l,).

    :param close: (k, l) bool
    :param distance: (k, l), NaN where the label is missing
    :param match: of the previous frame, (l,)
    """
    labels = np.arange(len(match))
    match = np.where((match >= 0) & close[match, labels], match, -1)
    free = np.setdiff1d(np.arange(len(close)), match)
    unmatched = labels[(match < 0) & close[free].any(axis=0)]
    if len(unmatched):
        # One distant pair must cost more than any number of close ones.
        cost = np.where(close, distance, 1e3)[np.ix_(free, unmatched)]
        for row, column in assign(cost):
            if close[free[row], unmatched[column]]:
                match[unmatched[column]] = free[row]
    return match


def _moves(points: np.ndarray) -> np.ndarray:
    """Return which points (frames, P, 2) move where they are present, (P,)."""
    present = np.isfinite(points).all(axis=-1)  # (frames, P)
    moves = [seen.any() and does_move(points[seen, p]) for p, seen in enumerate(present.T)]
    return np.array(moves, bool)
