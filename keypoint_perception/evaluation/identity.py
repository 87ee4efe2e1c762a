"""
How often a labelled point is handed from one learned point to another.

The identity switches of CLEAR MOT: Bernardin, Stiefelhagen: Evaluating multiple object tracking
performance, 2008, https://doi.org/10.1155/2008/246309. In each frame

- pairs of the frame before stay pairs while they are still close,
- labelled and learned points that are left are assigned one to one at least total distance, and
  close ones become pairs,
- a labelled point whose partner is not its last one has switched.

Close means within 5 % of the diagonal. A learned point need not sit on the labelled one, so the
median difference of the two over the episode is taken off first. Only points count whose spread
within the episode is at least 1 % of the diagonal.
"""

from __future__ import annotations

from typing import NamedTuple

from keypoint_perception.episodes import find_episodes
from keypoint_perception.evaluation.assignment import assign
from keypoint_perception.evaluation.point_motion import LEAST_SPREAD_PERCENT, spread_percent
import numpy as np

EPSILON_PERCENT = 5.0


class IdentityScore(NamedTuple):
    """
    Switches of labelled points from one learned point to another.

    :param switches: of each labelled point, (L,)
    :param matched: frames in which each labelled point had a partner, (L,)
    :param present: frames in which each labelled point was labelled and counted, (L,)
    """

    switches: np.ndarray
    matched: np.ndarray
    present: np.ndarray

    @property
    def per_1000(self) -> float:
        """Return switches for 1000 labelled points with a partner, NaN without any."""
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
    diagonal = np.broadcast_to(np.asarray(diagonal_px, np.float64), (len(stamps_ns),))
    learned = np.asarray(keypoints, np.float64)[..., :2] / diagonal[:, None, None]
    labelled = np.asarray(labels, np.float64) / diagonal[:, None, None]
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
    partner, last = np.full(len(moving), -1), np.full(len(moving), -1)
    for near, far in zip(close, distance, strict=True):
        partner = _pair(near, far, partner)
        paired = partner >= 0
        counts[0, moving] += paired & (last >= 0) & (partner != last)
        counts[1, moving] += paired
        last = np.where(paired, partner, last)
    counts[2, moving] = np.isfinite(labelled[:, moving]).all(axis=-1).sum(axis=0)
    return counts


def _pair(close: np.ndarray, distance: np.ndarray, partner: np.ndarray) -> np.ndarray:
    """
    Return the learned partner of each labelled point, -1 for none, (l,).

    :param close: (k, l) bool
    :param distance: (k, l), NaN where the label is missing
    :param partner: of the frame before, (l,)
    """
    labels = np.arange(len(partner))
    stays = (partner >= 0) & close[partner, labels]
    partner = np.where(stays, partner, -1)
    free = np.setdiff1d(np.arange(len(close)), partner)
    waiting = labels[(partner < 0) & close[free].any(axis=0)]
    if len(waiting):
        # what is not close must never be worth two that are
        cost = np.where(close, distance, 1e3)[np.ix_(free, waiting)]
        for row, column in assign(cost):
            if close[free[row], waiting[column]]:
                partner[waiting[column]] = free[row]
    return partner


def _moves(points: np.ndarray) -> np.ndarray:
    """Return which points (frames, P, 2) move where they are present, (P,)."""
    present = np.isfinite(points).all(axis=-1)  # (frames, P)
    moves = [
        seen.any() and spread_percent(points[seen, p]) >= LEAST_SPREAD_PERCENT
        for p, seen in enumerate(present.T)
    ]
    return np.array(moves, bool)
