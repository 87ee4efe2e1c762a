"""
Tracking after regression: how long the labels that are predicted from the keypoints stay right.

The labelled points are predicted from all learned points by the regression of
:mod:`~keypoint_perception.evaluation.regression`, and followed over the clips of
:mod:`~keypoint_perception.evaluation.tracking`, only in frames that the regression was not fitted
on. In each clip a labelled point that moves and is labelled in every frame is followed if the
distance to its prediction, after subtracting the mean offset over the clip, stays under eps in
every frame.

    recall after regression = followed / moving labelled points, summed over all clips

Unlike tracking of single keypoints, it has no bound below 1: a labelled point between keypoints
can be followed, and keypoints without a label of their own cost nothing.
"""

from __future__ import annotations

from keypoint_perception.evaluation.regression import fit_split, predict_labels
from keypoint_perception.evaluation.tracking import CLIP_LENGTHS, cut_clips, EPSILONS_PERCENT
from keypoint_perception.geometry.point_motion import does_move, in_diagonals
import numpy as np


def track_predictions(
    stamps_ns: np.ndarray,
    keypoints: np.ndarray,
    labels: np.ndarray,
    *,
    diagonal_px: float | np.ndarray,
    withheld: np.ndarray | None = None,
    clip_lengths: tuple[int, ...] = CLIP_LENGTHS,
) -> dict[tuple[int, float], float]:
    """
    Return the recall after regression by clip length and threshold, NaN without moving labels.

    :param stamps_ns: stamps of the frames, increasing, (N,) ns
    :param keypoints: learned points, (N, K, 2) or with confidence (N, K, 3), px
    :param labels: (N, L, 2) px, NaN where not labelled
    :param diagonal_px: diagonal of the images, one for all or (N,)
    :param withheld: as in :func:`~keypoint_perception.evaluation.regression.fit_split`
    """
    learned, labelled = (in_diagonals(points, diagonal_px) for points in (keypoints, labels))
    fitting = fit_split(np.isfinite(labelled).all(axis=-1).any(axis=1), withheld)
    predicted = predict_labels(learned.reshape(len(learned), -1), labelled, fitting)[~fitting]
    labelled, stamps_ns = labelled[~fitting], stamps_ns[~fitting]
    recalls = {}
    for frames in clip_lengths:
        worst = np.array(
            [_worst_distances(predicted[c], labelled[c]) for c in cut_clips(stamps_ns, frames)]
        )
        moving = (~np.isnan(worst)).sum()
        for epsilon in EPSILONS_PERCENT:
            followed = (100 * worst < epsilon).sum()  # False for NaN
            recalls[frames, epsilon] = float(followed / moving) if moving else float('nan')
    return recalls


def _worst_distances(predicted: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """
    Return the largest distance of each label over a clip, (L,).

    It is NaN if the label does not count, and infinite if nothing predicts it.
    """
    away = predicted - labelled
    worst = np.linalg.norm(away - away.mean(axis=0), axis=-1).max(axis=0)
    worst = np.where(np.isnan(worst), np.inf, worst)
    return np.where(does_move(labelled), worst, np.nan)
