"""From a recording's labels to named points: which frames are used, and what must be said."""

from __future__ import annotations

from dataclasses import asdict
import logging
from pathlib import Path

from keypoint_perception.errors import SourceError
from keypoint_perception.evaluation.detections import Track
from keypoint_perception.evaluation.landmark_fit import (
    fit_landmarks,
    LandmarkScore,
    LEAST_EXPLAINED,
    LEAST_FRAMES,
    USUAL_FRAMES,
    WITHIN_PERCENT,
)
from keypoint_perception.evaluation.report import now, without_nan
from keypoint_perception.keypoints import diagonal_px, Fit
from keypoint_perception.landmark_map import Landmarks
from keypoint_perception.sampling import evenly_spaced
import numpy as np

log = logging.getLogger('keypoint_perception')


def name_points(
    track: Track,
    labels: np.ndarray,
    *,
    names: tuple[str, ...],
    network_hw: tuple[int, int],
    path: Path | str,
    frames: int | None = None,
) -> Landmarks:
    """
    Fit named points, with a report of how they were fitted and how good they are.

    Names that are labelled too seldom are left out with a warning, those that the keypoints
    cannot tell are kept with a warning and little confidence.

    :param track: keypoints of the frames in the order of their stamps
    :param labels: (N, L, 2) px of the images, NaN where not labelled
    :param path: the annotation file, for messages
    :param frames: use so many labelled frames, spread evenly, and score the others; None: all
    :raises SourceError: if no name has labels enough, or none can be told
    """
    keypoints, labels, network_diagonal = _in_network_px(track, labels, network_hw)
    labelled = np.flatnonzero(np.isfinite(labels).all(axis=-1).any(axis=1))
    used = labelled if frames is None else evenly_spaced(labelled, frames)
    counts = np.isfinite(labels[used]).all(axis=-1).sum(axis=0)
    kept = [j for j, count in enumerate(counts) if count >= LEAST_FRAMES]
    _check_counts(names, counts, kept, path)
    landmarks, scores = fit_landmarks(
        track.stamps_ns[used],
        keypoints[used],
        labels[used][:, kept],
        names=tuple(names[j] for j in kept),
        diagonal_px=network_diagonal,
    )
    _check_told(scores, path)
    rest = np.setdiff1d(labelled, used)
    away = 100 * np.linalg.norm(
        landmarks.apply(keypoints[rest])[..., :2] - labels[rest][:, kept], axis=-1
    )
    report = {
        'date': now(),
        'annotations': str(path),
        'stamps_ns': track.stamps_ns[used].tolist(),
        'points': [
            asdict(score) | {'held_out_error_percent': _mean(away[:, place] / network_diagonal)}
            for place, score in enumerate(scores)
        ],
        'held_out_frames': len(rest),
        'held_out_error_percent': _mean(away / network_diagonal),
    }
    return Landmarks(
        landmarks.names,
        landmarks.weights,
        landmarks.offset,
        landmarks.trust,
        landmarks.trust_offset,
        report=without_nan(report),
    )


def score_named(
    track: Track,
    labels: np.ndarray,
    landmarks: Landmarks,
    *,
    names: tuple[str, ...],
    network_hw: tuple[int, int],
) -> dict | None:
    """
    Score a model's named points against labels of the same names, frame by frame.

    Frames that the points were fitted on are left out.

    :param labels: (N, L, 2) px of the images, NaN where not labelled
    :param names: names of the labels
    :return: None where no name is labelled in another frame
    """
    keypoints, labels, network_diagonal = _in_network_px(track, labels, network_hw)
    found = landmarks.apply(keypoints)
    fresh = ~np.isin(track.stamps_ns, landmarks.report.get('stamps_ns', []))
    points = []
    for place, name in enumerate(landmarks.names):
        if name not in names:
            continue
        label = labels[fresh, names.index(name)]
        away = 100 * np.linalg.norm(found[fresh, place, :2] - label, axis=-1) / network_diagonal
        seen = np.isfinite(away)
        if seen.any():
            points.append(
                {
                    'name': name,
                    'error_percent': float(away[seen].mean()),
                    'within': float((away[seen] <= WITHIN_PERCENT).mean()),
                    'mean_confidence': float(found[fresh, place, 2][seen].mean()),
                    'frames': int(seen.sum()),
                }
            )
    if not points:
        return None
    error = float(np.mean([point['error_percent'] for point in points]))
    return {'error_percent': error, 'points': points}


def _in_network_px(
    track: Track, labels: np.ndarray, network_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return keypoints, labels and the first picture's diagonal in network px."""
    keypoints, labels = track.keypoints.astype(np.float64), np.array(labels, np.float64)
    fits = [Fit((int(h), int(w)), network_hw) for h, w in track.image_hw]
    for place, fit in enumerate(fits):
        keypoints[place, :, :2] = fit.to_network(keypoints[place, :, :2])
        labels[place] = fit.to_network(labels[place])
    return keypoints, labels, diagonal_px(*fits[0].filled_hw)


def _check_counts(names, counts, kept, path) -> None:
    if not kept:
        most = int(np.argmax(counts))
        msg = (
            f'Annotations {str(path)!r} label no point in enough frames: {names[most]!r} has the '
            f'most, {counts[most]}; expected at least {LEAST_FRAMES}, better {USUAL_FRAMES} to '
            '20, spread over the recording: label more frames.'
        )
        raise SourceError(msg)
    for name, count in zip(names, counts, strict=True):
        if count < LEAST_FRAMES:
            log.warning(
                'The point %r is labelled in %d frames and left out; label at least %d.',
                name,
                count,
                LEAST_FRAMES,
            )
        elif count < USUAL_FRAMES:
            log.warning(
                'The point %r is labelled in %d frames only; its figures are rough, and %d or '
                'more would make it better.',
                name,
                count,
                USUAL_FRAMES,
            )


def _check_told(scores: list[LandmarkScore], path) -> None:
    if not any(score.is_told for score in scores):
        shares = ', '.join(f'{s.name!r} {s.explained:.2f}' for s in scores)
        msg = (
            f'The keypoints tell none of the points of {str(path)!r}: left-out frames explain '
            f'{shares}, expected at least {LEAST_EXPLAINED} of one; label more frames, check that '
            'the labels are on the right places, or train longer or with more --keypoints.'
        )
        raise SourceError(msg)
    for score in scores:
        if not score.is_told:
            log.warning(
                'The point %r cannot be told from the keypoints: of its motion left-out frames '
                'explain %.2f, expected at least %.2f; do not rely on it, its confidence is low.',
                score.name,
                score.explained,
                LEAST_EXPLAINED,
            )


def _mean(values: np.ndarray) -> float:
    good = values[np.isfinite(values)]
    return float(good.mean()) if good.size else float('nan')
