"""
Tracking precision and recall: how long learned keypoints stay on labelled points.

A recording is cut into non-overlapping clips of L consecutive frames within an episode; remaining
frames are not used. In each clip

- only moving points count: those that spread by at least 1 % of the diagonal; a labelled point
  must be labelled in every frame,
- the cost between a learned and a labelled point is their mean distance after subtracting their
  mean offset over the clip,
- points are assigned one to one at minimum total cost,
- an assigned pair is a match if its distance stays under eps in every frame.

precision = matches / moving learned points, recall = matches / moving labelled points, each summed
over all clips before dividing.

One-to-one matching bounds precision: with K keypoints and a clip in which l labelled points move
and are complete, no more than l of them can match. So precision is held against

    bound = mean over clips of min(K, l) / K        share of the bound = precision / bound

K counts all keypoints and precision only those that move, so that the share exceeds 1 where
keypoints stand still and the others match every label.
"""

from __future__ import annotations

from typing import NamedTuple

from keypoint_perception.episodes import find_episodes
from keypoint_perception.evaluation.assignment import assign
from keypoint_perception.geometry.point_motion import does_move, in_diagonals
import numpy as np

CLIP_LENGTHS = (10, 50, 100, 200)
EPSILONS_PERCENT = (2.0, 5.0, 10.0)


class TrackingScore(NamedTuple):
    """
    Tracking at one clip length and one threshold.

    Both are NaN if no labelled point moves in any clip, and precision if no learned point does.

    :param precision_bound: what one-to-one matching allows, NaN without clips
    :param share_of_bound: precision / bound, NaN if the bound is 0
    :param precision_by_keypoint: matches / clips in which the learned point moves, (K,)
    :param recall_by_label: the same for each labelled point, (L,)
    """

    clip_frames: int
    epsilon_percent: float
    precision: float
    recall: float
    clips: int
    precision_bound: float
    share_of_bound: float
    precision_by_keypoint: np.ndarray
    recall_by_label: np.ndarray


class ClipMatches(NamedTuple):
    """
    The assignment of one clip.

    :param moving: which learned points move, (K,), and which labelled points move, (L,)
    :param pairs: learned and labelled point of each assignment, (P, 2)
    :param worst: their largest distance, (P,) in diagonals
    """

    moving: tuple[np.ndarray, np.ndarray]
    pairs: np.ndarray
    worst: np.ndarray


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
    learned = in_diagonals(keypoints, diagonal_px)
    labelled = in_diagonals(labels, diagonal_px)
    scores = []
    for frames in clip_lengths:
        clips = [_match_clip(learned[c], labelled[c]) for c in cut_clips(stamps_ns, frames)]
        for epsilon in EPSILONS_PERCENT:
            scores.append(_score_clips(frames, epsilon, clips, learned, labelled))
    return scores


def cut_clips(stamps_ns: np.ndarray, frames: int) -> list[slice]:
    """Return non-overlapping clips within episodes."""
    episodes = find_episodes(stamps_ns)
    clips = []
    for number in np.unique(episodes):
        first, count = int(np.argmax(episodes == number)), int((episodes == number).sum())
        starts = range(first, first + count - frames + 1, frames)
        clips += [slice(start, start + frames) for start in starts]
    return clips


def _score_clips(
    frames: int,
    epsilon: float,
    clips: list[ClipMatches],
    learned: np.ndarray,
    labelled: np.ndarray,
) -> TrackingScore:
    shares, by_point = [], []
    for side, points in enumerate((learned, labelled)):
        matched = np.zeros(points.shape[1])
        for clip in clips:
            good = clip.pairs[100 * clip.worst < epsilon]
            matched[good[:, side]] += 1  # one to one: no index repeats
        moving = sum((clip.moving[side] for clip in clips), np.zeros(points.shape[1]))
        shares.append(float(matched.sum() / moving.sum()) if moving.any() else float('nan'))
        by_point.append(
            np.divide(matched, moving, where=moving > 0, out=np.full(len(moving), np.nan))
        )
    precision, recall = shares
    if np.isnan(recall):
        precision = float('nan')
    bound = _precision_bound(clips)
    share = precision / bound if bound > 0 else float('nan')
    return TrackingScore(frames, epsilon, precision, recall, len(clips), bound, share, *by_point)


def _precision_bound(clips: list[ClipMatches]) -> float:
    shares = [
        min(1.0, labels.sum() / len(learned)) for learned, labels in (c.moving for c in clips)
    ]
    return float(np.mean(shares)) if shares else float('nan')


def _match_clip(learned: np.ndarray, labelled: np.ndarray) -> ClipMatches:
    """Assign the moving points of a clip, (frames, K, 2) and (frames, L, 2) in diagonals."""
    moving = does_move(learned), does_move(labelled)
    rows, columns = (np.flatnonzero(m) for m in moving)
    if not (len(rows) and len(columns)):
        return ClipMatches(moving, np.zeros((0, 2), int), np.zeros(0))
    away = learned[:, rows, None] - labelled[:, None, columns]  # (frames, k, l, 2)
    distance = np.linalg.norm(away - away.mean(axis=0), axis=-1)
    assigned = assign(distance.mean(axis=0))
    worst = np.array([distance[:, i, j].max() for i, j in assigned])
    pairs = np.array([(rows[i], columns[j]) for i, j in assigned])
    return ClipMatches(moving, pairs, worst)
