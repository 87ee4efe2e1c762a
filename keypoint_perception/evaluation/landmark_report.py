"""Landmarks from the labels of a recording: selection of frames, warnings and the report."""

from __future__ import annotations

from dataclasses import asdict, replace
import logging
from pathlib import Path
from typing import Any

from keypoint_perception.errors import SourceError
from keypoint_perception.evaluation.detections import KeypointSequence
from keypoint_perception.evaluation.report import now, without_nan
from keypoint_perception.geometry.landmark_fit import (
    fit_landmarks,
    LandmarkScore,
    MIN_EXPLAINED,
    MIN_FRAMES,
    RECOMMENDED_FRAMES,
    WITHIN_PERCENT,
)
from keypoint_perception.keypoints import diagonal_px, Fit
from keypoint_perception.landmark_map import Landmarks
from keypoint_perception.sampling import evenly_spaced
import numpy as np

log = logging.getLogger('keypoint_perception')


def build_landmarks(
    sequence: KeypointSequence,
    labels: np.ndarray,
    *,
    names: tuple[str, ...],
    network_hw: tuple[int, int],
    path: Path | str,
    frames: int | None = None,
) -> Landmarks:
    """
    Fit landmarks, with a report of the fit.

    Names with too few labels are omitted with a warning; those that the keypoints do not predict
    are kept with a warning and a low confidence.

    :param sequence: sorted by stamp
    :param labels: (N, L, 2) px of the images, NaN where not labelled
    :param path: the annotation file
    :param frames: fit on this many evenly spaced labelled frames, score the others; None: all
    :raises SourceError: if no name has enough labels, or none can be predicted
    """
    keypoints, labels, network_diagonal = _in_network_px(sequence, labels, network_hw)
    labelled = np.flatnonzero(np.isfinite(labels).all(axis=-1).any(axis=1))
    used = labelled if frames is None else evenly_spaced(labelled, frames)
    counts = np.isfinite(labels[used]).all(axis=-1).sum(axis=0)
    kept = [j for j, count in enumerate(counts) if count >= MIN_FRAMES]
    _check_counts(names, counts, kept, path)
    landmarks, scores = fit_landmarks(
        sequence.stamps_ns[used],
        keypoints[used],
        labels[used][:, kept],
        names=tuple(names[j] for j in kept),
        diagonal_px=network_diagonal,
    )
    _check_predictable(scores, path)
    held_out = np.setdiff1d(labelled, used)
    away = 100 * np.linalg.norm(
        landmarks.apply(keypoints[held_out])[..., :2] - labels[held_out][:, kept], axis=-1
    )
    report = {
        'date': now(),
        'annotations': str(path),
        'stamps_ns': sequence.stamps_ns[used].tolist(),
        'points': [
            asdict(score) | {'held_out_error_percent': _mean(away[:, index] / network_diagonal)}
            for index, score in enumerate(scores)
        ],
        'held_out_frames': len(held_out),
        'held_out_error_percent': _mean(away / network_diagonal),
    }
    return replace(landmarks, report=without_nan(report))


def score_landmarks(
    sequence: KeypointSequence,
    labels: np.ndarray,
    landmarks: Landmarks,
    *,
    names: tuple[str, ...],
    network_hw: tuple[int, int],
    withheld: np.ndarray | None = None,
) -> dict[str, Any] | None:
    """
    Score a model's landmarks against labels of the same names.

    Frames that the landmarks were fitted on are excluded, and all that the network has learned
    from if there are others.

    :param labels: (N, L, 2) px of the images, NaN where not labelled
    :param names: names of the labels
    :param withheld: whether each frame was withheld from the network, (N,) bool; None: none was
    :return: None if no landmark is labelled in another frame
    """
    keypoints, labels, network_diagonal = _in_network_px(sequence, labels, network_hw)
    predicted = landmarks.apply(keypoints)
    held_out = ~np.isin(sequence.stamps_ns, landmarks.report.get('stamps_ns', []))
    if withheld is not None and withheld.any():
        held_out &= withheld
    points = []
    for index, name in enumerate(landmarks.names):
        if name not in names:
            continue
        label = labels[held_out, names.index(name)]
        away = 100 * np.linalg.norm(predicted[held_out, index, :2] - label, axis=-1)
        away /= network_diagonal
        labelled = np.isfinite(away)
        if labelled.any():
            points.append(
                {
                    'name': name,
                    'error_percent': float(away[labelled].mean()),
                    'within': float((away[labelled] <= WITHIN_PERCENT).mean()),
                    'mean_confidence': float(predicted[held_out, index, 2][labelled].mean()),
                    'frames': int(labelled.sum()),
                }
            )
    if not points:
        return None
    error = float(np.mean([point['error_percent'] for point in points]))
    return {'error_percent': error, 'points': points}


def _in_network_px(
    sequence: KeypointSequence, labels: np.ndarray, network_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return keypoints, labels and the diagonal of the first image in network px."""
    keypoints, labels = sequence.keypoints.astype(np.float64), np.array(labels, np.float64)
    fits = [Fit((int(h), int(w)), network_hw) for h, w in sequence.image_hw]
    for index, fit in enumerate(fits):
        keypoints[index, :, :2] = fit.to_network(keypoints[index, :, :2])
        labels[index] = fit.to_network(labels[index])
    return keypoints, labels, diagonal_px(*fits[0].filled_hw)


def _check_counts(
    names: tuple[str, ...], counts: np.ndarray, kept: list[int], path: Path | str
) -> None:
    if not kept:
        most = int(np.argmax(counts))
        msg = (
            f'No point of {str(path)!r} is labelled in enough frames: {names[most]!r} has the '
            f'most, {counts[most]}; expected at least {MIN_FRAMES}, preferably '
            f'{RECOMMENDED_FRAMES} to 20 spread over the recording: label more frames.'
        )
        raise SourceError(msg)
    for name, count in zip(names, counts, strict=True):
        if count < MIN_FRAMES:
            text = 'Landmark %r is omitted: it is labelled in %d frames; label at least %d.'
            log.warning(text, name, count, MIN_FRAMES)
        elif count < RECOMMENDED_FRAMES:
            text = (
                'Landmark %r is labelled in only %d frames, so its scores are rough; %d or more '
                'would improve it.'
            )
            log.warning(text, name, count, RECOMMENDED_FRAMES)


def _check_predictable(scores: list[LandmarkScore], path: Path | str) -> None:
    if not any(score.is_predictable for score in scores):
        shares = ', '.join(f'{s.name!r} {s.explained:.2f}' for s in scores)
        msg = (
            f'The keypoints predict none of the points of {str(path)!r}: explained motion in '
            f'held-out frames is {shares}; expected at least {MIN_EXPLAINED} for one of them: '
            'label more frames, check the labels, or train longer or with more --keypoints.'
        )
        raise SourceError(msg)
    for score in scores:
        if not score.is_predictable:
            text = (
                'The keypoints do not predict landmark %r: explained motion in held-out frames is '
                '%.2f, expected at least %.2f; do not rely on it, its confidence is low.'
            )
            log.warning(text, score.name, score.explained, MIN_EXPLAINED)


def _mean(values: np.ndarray) -> float:
    good = values[np.isfinite(values)]
    return float(good.mean()) if good.size else float('nan')
