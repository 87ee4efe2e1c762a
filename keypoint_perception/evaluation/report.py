"""What was measured, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
import json
import math
import os
from pathlib import Path
import platform

from keypoint_perception import __version__
from keypoint_perception.atomic_files import replace_file
from keypoint_perception.episodes import find_episodes
from keypoint_perception.evaluation.backward import BackwardScore
from keypoint_perception.evaluation.detections import Track
from keypoint_perception.evaluation.identity import EPSILON_PERCENT, IdentityScore
from keypoint_perception.evaluation.regression import PCK_PERCENT, RegressionScore
from keypoint_perception.evaluation.reliability import Reliability, WITHIN_PERCENT
from keypoint_perception.evaluation.tracking import TrackingScore
from keypoint_perception.manifest import Manifest
from keypoint_perception.model_directory import ONNX_NAME
import numpy as np

FORMAT_VERSION = 1


def describe_model(path: Path, manifest: Manifest) -> dict:
    """Return which model was measured; its digest tells apart models of one name."""
    return {
        'path': str(path),
        'sha256': manifest.files[ONNX_NAME],
        'objective': manifest.objective,
        'network': manifest.network,
        'keypoints': list(manifest.keypoint_names),
        'input_hw': list(manifest.input_hw),
        'package_version': manifest.package_version,
    }


def describe_recording(source: Path, track: Track) -> dict:
    """Return what was measured on."""
    sizes = np.unique(track.image_hw, axis=0)
    return {
        'source': str(source),
        'topics': sorted(set(track.topics)),
        'frames': len(track),
        'episodes': int(find_episodes(track.stamps_ns)[-1]) + 1,
        'image_sizes': [f'{width}x{height}' for height, width in sizes],
        'first_stamp_ns': int(track.stamps_ns.min()),
        'last_stamp_ns': int(track.stamps_ns.max()),
    }


def describe_machine() -> dict:
    """Return what a figure of time depends on."""
    return {
        'processor': _processor_name(),
        'cores': os.cpu_count(),
        'system': platform.platform(terse=True),
        'python': platform.python_version(),
        'package_version': __version__,
    }


def now() -> str:
    """Return the date and time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def describe_regression(score: RegressionScore) -> dict:
    """Return the figures of a recording with labels; see the names in ``regression``."""
    return {
        'regressed_error_percent': score.mean_error_percent,
        'trivial_error_percent': score.mean_trivial_percent,
        'explained': score.mean_explained,
        'pck': describe_pck(score.mean_pck),
        'labelled_frames': score.fitted_frames + score.scored_frames,
        'fitted_frames': score.fitted_frames,
        'scored_frames': score.scored_frames,
        'points': [
            {
                'name': point.name,
                'regressed_error_percent': point.error_percent,
                'trivial_error_percent': point.trivial_percent,
                'explained': point.explained,
                'pck': describe_pck(point.pck),
                'moves': point.moves,
                'spread_percent': point.spread_percent,
                'fitted_frames': point.fitted_frames,
                'scored_frames': point.scored_frames,
            }
            for point in score.points
        ],
    }


def describe_pck(shares: tuple[float, ...]) -> dict[str, float]:
    """Return shares of frames by the distance, in % of the diagonal, that they are within."""
    return {f'{limit:g}': share for limit, share in zip(PCK_PERCENT, shares, strict=True)}


def describe_backward(score: BackwardScore) -> dict:
    """Return the figures of the way back, from labels to learned points."""
    return {
        'error_percent': score.mean_error_percent,
        'explained': score.mean_explained,
        'labels': list(score.used_labels),
        'fitted_frames': score.fitted_frames,
        'scored_frames': score.scored_frames,
        'keypoints': [asdict(point) for point in score.points],
    }


def describe_tracking(
    scores: list[TrackingScore], keypoints: tuple[str, ...], labels: tuple[str, ...]
) -> list[dict]:
    """Return precision and recall for every clip length and threshold, and of each point."""
    return [
        score._asdict()
        | {
            'precision_by_keypoint': _by_name(keypoints, score.precision_by_keypoint),
            'recall_by_label': _by_name(labels, score.recall_by_label),
        }
        for score in scores
    ]


def describe_identity(score: IdentityScore, labels: tuple[str, ...]) -> dict:
    """Return identity switches of the recording and of each labelled point."""
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


def describe_reliability(reliability: Reliability) -> dict:
    """Return true error by confidence."""
    return {
        'within_percent': WITHIN_PERCENT,
        'calibration_error': reliability.calibration_error,
        'rank_correlation': reliability.rank_correlation,
        'bins': [b._asdict() for b in reliability.bins],
    }


def _by_name(names: tuple[str, ...], values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def write_json(path: Path, values: dict) -> None:
    """Write a report in one step; what is not a number becomes null, as JSON has no NaN."""
    text = json.dumps(without_nan(values), indent=2, allow_nan=False) + '\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text)


def without_nan(value):
    """Return JSON values with None in the place of what is not a number."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _processor_name() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.machine())
