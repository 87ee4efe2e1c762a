"""
How long learned keypoints stay on labelled points.

A recording is cut into clips of L consecutive frames that neither overlap nor cross the end of an
episode; what is left over is not used. In each clip

- the learned points and the labelled points count whose spread over the clip (root mean square
  distance from the mean position) is at least 1 % of the diagonal; a labelled point must be
  labelled in every frame of the clip,
- the cost between a learned and a labelled point is their mean distance over the clip after the
  constant offset between them, the mean difference over the clip, is removed,
- points are assigned one to one at least total cost,
- an assigned pair is a match if that distance stays under eps in every frame.

precision = matches / learned points that move, recall = matches / labelled points that move, each
summed over all clips before dividing.
"""

from __future__ import annotations

from typing import NamedTuple

from keypoint_perception.evaluation.assignment import assign
from keypoint_perception.evaluation.episodes import find_episodes
import numpy as np

CLIP_LENGTHS = (10, 50, 100, 200)
EPSILONS_PERCENT = (2.0, 5.0, 10.0)
LEAST_SPREAD_PERCENT = 1.0


class TrackingScore(NamedTuple):
    """
    Tracking at one clip length and one threshold.

    Precision and recall are NaN where no learned or no labelled point moves in any clip.
    """

    clip_frames: int
    epsilon_percent: float
    precision: float
    recall: float
    clips: int


def score_tracking(
    stamps_ns: np.ndarray,
    keypoints: np.ndarray,
    labels: np.ndarray,
    *,
    diagonal_px: float | np.ndarray,
    clip_lengths: tuple[int, ...] = CLIP_LENGTHS,
) -> list[TrackingScore]:
    """
    Return precision and recall for every clip length and threshold.

    :param stamps_ns: stamps of the frames, increasing, (N,) ns
    :param keypoints: learned points, (N, K, 2) or with confidence (N, K, 3), px
    :param labels: (N, L, 2) px, NaN where not labelled
    :param diagonal_px: diagonal of the images, one for all or (N,)
    """
    diagonal = np.broadcast_to(np.asarray(diagonal_px, np.float64), (len(stamps_ns),))
    learned = np.asarray(keypoints, np.float64)[..., :2] / diagonal[:, None, None]
    labelled = np.asarray(labels, np.float64) / diagonal[:, None, None]
    scores = []
    for frames in clip_lengths:
        clips = cut_clips(stamps_ns, frames)
        counts = [_score_clip(learned[clip], labelled[clip]) for clip in clips]
        moving = np.array([count[:2] for count in counts]).reshape(-1, 2).sum(axis=0)
        worst = np.concatenate([[np.inf], *(count[2] for count in counts)])
        for epsilon in EPSILONS_PERCENT:
            matches = int((100 * worst < epsilon).sum())
            shares = (matches / count if count else float('nan') for count in moving)
            scores.append(TrackingScore(frames, epsilon, *shares, len(clips)))
    return scores


def cut_clips(stamps_ns: np.ndarray, frames: int) -> list[slice]:
    """Return clips of so many frames, without overlap, none across the end of an episode."""
    episodes = find_episodes(stamps_ns)
    clips = []
    for number in np.unique(episodes):
        first, count = int(np.argmax(episodes == number)), int((episodes == number).sum())
        clips += [
            slice(start, start + frames)
            for start in range(first, first + count - frames + 1, frames)
        ]
    return clips


def _score_clip(learned: np.ndarray, labelled: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Return how many learned and labelled points move, and each pair's largest distance."""
    learned, labelled = (
        points[:, 100 * _spread(points) >= LEAST_SPREAD_PERCENT] for points in (learned, labelled)
    )
    if not (learned.shape[1] and labelled.shape[1]):
        return learned.shape[1], labelled.shape[1], np.zeros(0)
    away = learned[:, :, None] - labelled[:, None]  # (frames, K, L, 2)
    distance = np.linalg.norm(away - away.mean(axis=0), axis=-1)
    pairs = assign(distance.mean(axis=0))
    worst = np.array([distance[:, i, j].max() for i, j in pairs])
    return learned.shape[1], labelled.shape[1], worst


def _spread(points: np.ndarray) -> np.ndarray:
    """Return the spread over time of points (frames, P, 2); NaN where one is missing."""
    return np.sqrt(points.var(axis=0).sum(axis=-1))
