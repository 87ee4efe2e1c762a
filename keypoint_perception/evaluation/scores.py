"""All that is measured with labels, as one report."""

from __future__ import annotations

from keypoint_perception.evaluation.backward import score_backward
from keypoint_perception.evaluation.detections import Track
from keypoint_perception.evaluation.identity import count_switches
from keypoint_perception.evaluation.regression import score_regression
from keypoint_perception.evaluation.reliability import measure_reliability
from keypoint_perception.evaluation.report import (
    describe_backward,
    describe_identity,
    describe_regression,
    describe_reliability,
    describe_tracking,
)
from keypoint_perception.evaluation.tracking import score_tracking
import numpy as np


def score_labels(
    track: Track,
    labels: np.ndarray,
    *,
    label_names: tuple[str, ...],
    keypoint_names: tuple[str, ...],
) -> dict:
    """
    Return the figures that need labels.

    ``regressed_error_percent`` and ``explained`` lead from keypoints to labels (forward),
    ``backward`` leads the other way and is None where no two frames have labels in common.

    :param track: keypoints in the order of their stamps
    :param labels: (N, L, 2) px, NaN where not labelled
    """
    found = (track.stamps_ns, track.keypoints, labels)
    diagonal_px = track.diagonal_px
    regression = score_regression(*found, names=label_names, diagonal_px=diagonal_px)
    backward = score_backward(
        *found, label_names=label_names, keypoint_names=keypoint_names, diagonal_px=diagonal_px
    )
    tracking = score_tracking(*found, diagonal_px=diagonal_px)
    reliability = None
    if backward is not None:
        moving = [k for k, point in enumerate(backward.points) if point.moves]
        reliability = describe_reliability(
            measure_reliability(backward.confidence[:, moving], backward.away_percent[:, moving])
        )
    return {
        **describe_regression(regression),
        'backward': None if backward is None else describe_backward(backward),
        'tracking': describe_tracking(tracking, keypoint_names, label_names),
        'identity': describe_identity(
            count_switches(*found, diagonal_px=diagonal_px), label_names
        ),
        'reliability': reliability,
    }
