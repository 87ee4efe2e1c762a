"""
Backward regression: how much of the learned points the labels explain.

Mallis, Sanchez, Bell, Tzimiropoulos: Unsupervised learning of object landmarks via self-training
correspondence, 2020, forward and backward error,
https://papers.nips.cc/paper/2020/file/32508f53f24c46f685870a075eaaa29c-Paper.pdf. The forward
error, from learned points to labels, is that of
:mod:`keypoint_perception.evaluation.regression`; alone it rewards collapsed points, because
redundant ones cost nothing. The backward error, from all labels to each learned point, is large
for a point that jumps or follows nothing labelled.

Ridge, split in time and figures are those of the forward regression. It uses the frames in which
every label of a set is present; starting with all labels, the one missing most often is removed
until at least half of the labelled frames remain.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.episodes import find_episodes
from keypoint_perception.evaluation.regression import (
    fit_split,
    held_out_errors,
    PointPrediction,
    PredictionScore,
)
from keypoint_perception.geometry.point_motion import (
    explained_share,
    in_diagonals,
    mean_spread_percent,
    MIN_SPREAD_PERCENT,
)
import numpy as np

MIN_FRAME_SHARE = 0.5


@dataclass(frozen=True)
class BackwardScore(PredictionScore[PointPrediction]):
    """
    How well the labels predict the learned points.

    :param used_labels: names of the labels used
    :param away_percent: distance of each learned point from its predicted position in the scored
        frames, (frames, K) % of the diagonal
    :param confidence: of the same points, (frames, K); NaN if unavailable
    """

    used_labels: tuple[str, ...]
    away_percent: np.ndarray
    confidence: np.ndarray


def score_backward(
    stamps_ns: np.ndarray,
    keypoints: np.ndarray,
    labels: np.ndarray,
    *,
    label_names: tuple[str, ...],
    keypoint_names: tuple[str, ...],
    diagonal_px: float | np.ndarray,
    withheld: np.ndarray | None = None,
) -> BackwardScore | None:
    """
    Score labels against the learned points of the same frames; arguments as ``score_regression``.

    :return: None if fewer than two frames have labels in common
    """
    learned = in_diagonals(keypoints, diagonal_px)
    targets = in_diagonals(labels, diagonal_px)
    used, frames = select_common_labels(np.asarray(np.isfinite(targets).all(axis=-1)))
    if len(frames) < 2:
        return None
    fitting = fit_split(np.isin(np.arange(len(stamps_ns)), frames), withheld)
    fit, score = frames[fitting[frames]], frames[~fitting[frames]]
    features = targets[:, used].reshape(len(targets), -1)
    away, trivial = held_out_errors(features, learned, fit, score)
    episodes = find_episodes(stamps_ns)
    points = []
    for k, name in enumerate(keypoint_names):
        means = float(away[:, k].mean()), float(trivial[:, k].mean())
        moves = bool(mean_spread_percent(learned[:, k], episodes) >= MIN_SPREAD_PERCENT)
        points.append(PointPrediction(name, *means, explained_share(*means), moves))
    confidence = np.full(away.shape, np.nan)
    if keypoints.shape[-1] > 2:
        confidence = np.asarray(keypoints[score, :, 2], np.float64)
    names = tuple(label_names[j] for j in used)
    return BackwardScore(tuple(points), len(fit), len(score), names, away, confidence)


def select_common_labels(labelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Select labels, and the frames that have all of them.

    :param labelled: whether frame t has label j, (N, L) bool
    :return: indices of labels and of frames, both increasing
    """
    used = np.flatnonzero(labelled.any(axis=0))
    min_frames = MIN_FRAME_SHARE * labelled.any(axis=1).sum()
    while len(used) > 1 and labelled[:, used].all(axis=1).sum() < min_frames:
        used = np.delete(used, labelled[:, used].sum(axis=0).argmin())
    return used, np.flatnonzero(labelled[:, used].all(axis=1)) if len(used) else used
