"""
Landmarks: points that the user has named, as weighted sums of the learned keypoints.

``landmarks.json`` of a model directory has the sums and their errors on held-out labels. They are
the second output of the exported network, and valid only for the weights that they were fitted
to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any

from keypoint_perception.atomic_files import replace_file
from keypoint_perception.errors import ModelError
from keypoint_perception.json_files import read_json
from keypoint_perception.model_directory import LANDMARKS_NAME
import numpy as np

FORMAT_VERSION = 1
AGAIN = 'delete it, run `export`, then `landmarks` again'
_ARRAYS = ('weights', 'offset', 'trust', 'trust_offset')


@dataclass(frozen=True)
class Landmarks:
    """
    L landmarks as weighted sums of K keypoints.

    Positions are in network px. With the keypoints p and their confidences c::

        u_l, v_l = offset[l] + sum_k weights[l, :, k, :] p_k
        confidence_l = min(1, trust_offset[l] + sum_k trust[l, k] c_k)

    :param names: L names
    :param weights: (L, 2, K, 2)
    :param offset: (L, 2) px
    :param trust: (L, K), not negative
    :param trust_offset: (L,), not negative
    :param network_sha256: digest of the weights that the sums were fitted to
    :param report: how they were fitted and their errors, JSON values only
    """

    names: tuple[str, ...]
    weights: np.ndarray
    offset: np.ndarray
    trust: np.ndarray
    trust_offset: np.ndarray
    network_sha256: str = ''
    report: dict[str, Any] = field(default_factory=dict)

    def apply(self, keypoints: np.ndarray) -> np.ndarray:
        """
        Return the landmarks of keypoints (N, K, 3), (N, L, 3) float32.

        Both are u, v in network px and confidence.
        """
        uv = np.einsum('lakb,nkb->nla', self.weights, keypoints[..., :2]) + self.offset
        confidence = keypoints[..., 2] @ self.trust.T + self.trust_offset
        confidence = np.clip(confidence, 0, 1)[..., None]
        return np.concatenate([uv, confidence], axis=-1).astype(np.float32)


def write_landmarks(model_dir: Path, landmarks: Landmarks) -> Path:
    """Write the landmarks of a model directory and return the file."""
    values = {
        'format_version': FORMAT_VERSION,
        'names': list(landmarks.names),
        'network_sha256': landmarks.network_sha256,
        'report': landmarks.report,
        **{name: getattr(landmarks, name).tolist() for name in _ARRAYS},
    }
    path = Path(model_dir) / LANDMARKS_NAME
    replace_file(path, json.dumps(values, indent=1, allow_nan=False) + '\n')
    return path


def read_landmarks(model_dir: Path) -> Landmarks | None:
    """
    Return the landmarks of a model directory, None if it has none.

    :raises ModelError: if the file cannot be used
    """
    path = Path(model_dir) / LANDMARKS_NAME
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        version = values['format_version']
        names = tuple(str(name) for name in values['names'])
        arrays = {name: np.array(values[name], np.float64) for name in _ARRAYS}
        digest, report = str(values['network_sha256']), dict(values['report'])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        msg = f'{str(path)!r} cannot be read ({error}); {AGAIN}.'
        raise ModelError(msg) from error
    if version != FORMAT_VERSION:
        msg = (
            f'{str(path)!r} has format {version!r}, this package reads {FORMAT_VERSION}; {AGAIN}.'
        )
        raise ModelError(msg)
    found = [arrays[name].shape for name in _ARRAYS]
    count, keypoints = len(names), (arrays['trust'].shape or (0,))[-1]
    wanted = [(count, 2, keypoints, 2), (count, 2), (count, keypoints), (count,)]
    if not names or found != wanted or not all(np.isfinite(a).all() for a in arrays.values()):
        msg = (
            f'{str(path)!r} has {count} names and arrays of {found}, expected {wanted} and '
            f'finite numbers; {AGAIN}.'
        )
        raise ModelError(msg)
    return Landmarks(names, **arrays, network_sha256=digest, report=report)
