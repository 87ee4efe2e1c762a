"""Everything measured with labels, as one report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from keypoint_perception.evaluation.background_points import near_labels
from keypoint_perception.evaluation.backward import BackwardScore, score_backward
from keypoint_perception.evaluation.detections import KeypointSequence
from keypoint_perception.evaluation.identity import (
    count_switches,
    EPSILON_PERCENT,
    IdentityScore,
)
from keypoint_perception.evaluation.regressed_tracking import track_predictions
from keypoint_perception.evaluation.regression import (
    PCK_PERCENT,
    RegressionScore,
    score_regression,
)
from keypoint_perception.evaluation.reliability import measure_reliability, WITHIN_PERCENT
from keypoint_perception.evaluation.tracking import score_tracking, TrackingScore
import numpy as np


def score_labels(
    sequence: KeypointSequence,
    labels: np.ndarray,
    *,
    label_names: tuple[str, ...],
    keypoint_names: tuple[str, ...],
    withheld: np.ndarray | None = None,
) -> dict[str, Any]:
    """
    Return all measures that need labels.

    ``backward`` and ``reliability`` are None if fewer than two frames have labels in common.

    :param sequence: keypoints, sorted by stamp
    Regressions are fitted on frames that the model has learned from and scored on withheld ones,
    and tracking and identity are of withheld frames only, if some of these are labelled.

    :param labels: (N, L, 2) px, NaN where not labelled
    :param withheld: whether each frame was withheld from the model, (N,) bool; None: none was
    """
    found = (sequence.stamps_ns, sequence.keypoints, labels)
    diagonal_px = sequence.diagonal_px
    regression = score_regression(
        *found, names=label_names, diagonal_px=diagonal_px, withheld=withheld
    )
    backward = score_backward(
        *found,
        label_names=label_names,
        keypoint_names=keypoint_names,
        diagonal_px=diagonal_px,
        withheld=withheld,
    )
    after_regression = track_predictions(*found, diagonal_px=diagonal_px, withheld=withheld)
    scored = scored_frames(labels, withheld)
    tracked = (sequence.stamps_ns[scored], sequence.keypoints[scored], labels[scored])
    tracking = score_tracking(*tracked, diagonal_px=diagonal_px[scored])
    identity = count_switches(*tracked, diagonal_px=diagonal_px[scored])
    return {
        **describe_regression(regression),
        **(describe_backward(backward) if backward else {'backward': None, 'reliability': None}),
        'tracking': describe_tracking(tracking, after_regression, keypoint_names, label_names),
        'tracked_frames': int(scored.sum()),
        'near_label_keypoints': [
            keypoint_names[k] for k in near_labels(*tracked[1:], diagonal_px[scored])
        ],
        'identity': describe_identity(identity, label_names),
    }


def plain_background_share(report: dict[str, Any]) -> float:
    """
    Return the share of keypoints that are background points and not near a labelled point.

    Things at rest before a camera on a robot's hand do not move in the world; labels say that they
    matter.
    """
    measures = report['label_free']
    plain = set(measures['background_keypoints']) - set(report['near_label_keypoints'])
    known = np.isfinite(measures['background_share'])
    return len(plain) / len(measures['keypoints']) if known else float('nan')


def scored_frames(labels: np.ndarray, withheld: np.ndarray | None) -> np.ndarray:
    """Return which frames are tracked, (N,) bool: the withheld ones if some are labelled."""
    labelled = np.isfinite(labels).all(axis=-1).any(axis=1)
    if withheld is not None and (labelled & withheld).any():
        return withheld
    return np.ones(len(labels), bool)


def describe_regression(score: RegressionScore) -> dict[str, Any]:
    """Return the forward regression."""

    def errors(
        error: float, trivial: float, explained: float, pck: tuple[float, ...]
    ) -> dict[str, Any]:
        return {
            'regressed_error_percent': error,
            'trivial_error_percent': trivial,
            'explained': explained,
            'pck': {f'{limit:g}': share for limit, share in zip(PCK_PERCENT, pck, strict=True)},
        }

    means = score.mean_error_percent, score.mean_trivial_percent, score.mean_explained
    return {
        **errors(*means, score.mean_pck),
        'labelled_frames': score.fitted_frames + score.scored_frames,
        'fitted_frames': score.fitted_frames,
        'scored_frames': score.scored_frames,
        'points': [
            {
                'name': p.name,
                **errors(p.error_percent, p.trivial_percent, p.explained, p.pck),
                'moves': p.moves,
                'spread_percent': p.spread_percent,
                'fitted_frames': p.fitted_frames,
                'scored_frames': p.scored_frames,
            }
            for p in score.points
        ],
    }


def describe_backward(score: BackwardScore) -> dict[str, Any]:
    """Return the backward regression, and the reliability of the confidence by its errors."""
    moving = [k for k, point in enumerate(score.points) if point.moves]
    found = measure_reliability(score.confidence[:, moving], score.away_percent[:, moving])
    return {
        'backward': {
            'error_percent': score.mean_error_percent,
            'explained': score.mean_explained,
            'labels': list(score.used_labels),
            'fitted_frames': score.fitted_frames,
            'scored_frames': score.scored_frames,
            'keypoints': [asdict(point) for point in score.points],
        },
        'reliability': {
            'within_percent': WITHIN_PERCENT,
            'calibration_error': found.calibration_error,
            'rank_correlation': found.rank_correlation,
            'bins': [asdict(b) for b in found.bins],
        },
    }


def describe_tracking(
    scores: list[TrackingScore],
    after_regression: Mapping[tuple[int, float], float],
    keypoints: tuple[str, ...],
    labels: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Return precision and recall for every clip length and threshold."""
    return [
        score._asdict()
        | {
            'recall_after_regression': after_regression[score.clip_frames, score.epsilon_percent],
            'precision_by_keypoint': _by_name(keypoints, score.precision_by_keypoint),
            'recall_by_label': _by_name(labels, score.recall_by_label),
        }
        for score in scores
    ]


def describe_identity(score: IdentityScore, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return identity switches, in total and of each labelled point."""
    matched, present = int(score.matched.sum()), int(score.present.sum())
    return {
        'epsilon_percent': EPSILON_PERCENT,
        'switches': int(score.switches.sum()),
        'switches_per_1000': score.per_1000,
        'matched_share': matched / present if present else float('nan'),
        'points': [
            {'name': name, 'switches': int(s), 'matched_frames': int(m), 'frames': int(p)}
            for name, s, m, p in zip(labels, *score, strict=True)
        ],
    }


def _by_name(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
