"""
Which keypoints an image shows, and where those that it does not show should be.

A network puts every keypoint somewhere, hidden or not. The poses of the training recording, a
Gaussian over all K positions, say where a keypoint should be given the others (conditional
Gaussian: Bishop, *Pattern Recognition and Machine Learning*, 2006, section 2.3). A detection y_k
with confidence c_k is right, then within a few pixels of the true position x_k, or wrong, then
anywhere in the image of area A. The probability that it is right, its presence, is::

    p_k = c_k N(y_k; e_k, V_k) / (c_k N(y_k; e_k, V_k) + (1 - c_k) / A)

with the position e_k that the other keypoints predict and the covariance V_k of this prediction
and of a right detection. Each of the others counts with the variance noise^2 / p_j. Where any p_k
is low, p begins with the confidence and is computed anew a few times with less and less noise:
iteratively reweighted least squares with graduated non-convexity (Black and Rangarajan, IJCV 1996,
https://doi.org/10.1007/BF00131148). All e_k and V_k come from one inverse (Rasmussen and Williams,
*Gaussian Processes for Machine Learning*, 2006, equations 5.10 to 5.12).

A keypoint whose presence is below :data:`LEAST_PRESENCE` is hidden. It is replaced by the mean of
x_k given all detections with these variances, and its confidence is :data:`HIDDEN_CONFIDENCE`,
which no detection has.

In frames withheld from the learning of six recordings, patches of 15 to 30 % of the image's side
were painted for a second. Keypoints under patches of background were then 9.1 % of the diagonal
away from where the network saw them without the patch, and 8.0 % with this replacement; under
grey patches, which disturb the whole network, 6.9 and 4.5 %. Of these 13 and 15 % were called
hidden, those furthest away; of the keypoints of unchanged frames, 0.5 %. Means of the nearest
poses of the recording predicted worse than the Gaussian on two of three recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import NamedTuple

from keypoint_perception.atomic_files import replace_file
from keypoint_perception.errors import ModelError
from keypoint_perception.json_files import read_json
from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.manifest import Manifest
from keypoint_perception.model_directory import POSE_PRIOR_NAME
import numpy as np

FORMAT_VERSION = 1
AGAIN = 'delete it and run `export`, after which hidden keypoints are not predicted'
# Presence below which a keypoint is hidden, and the confidence that it is given.
LEAST_PRESENCE, HIDDEN_CONFIDENCE = 0.2, 0.0
# Standard deviation of a right detection, as a share of the diagonal.
NOISE = 0.02
# Confidences beyond these are not believed.
LEAST_CONFIDENCE, LARGEST_CONFIDENCE = 0.01, 0.99
# Confidence from which a detection is used to learn poses.
SURE = 0.5
# Noise of the rounds, of which the last is the true one: from a coarse scale on, the least
# confident of keypoints that disagree becomes the one that counts least.
COARSE_TO_FINE = 0.16, 0.08, 0.04, NOISE


class Presence(NamedTuple):
    """
    What the poses say of the keypoints of an image.

    :param probability: that the detection is right, (K,)
    :param predicted: positions given all detections and poses, (K, 2) network px
    """

    probability: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class PosePrior:
    """
    The poses of a recording as a Gaussian, in network px.

    :param input_hw: height and width of the network input, px
    :param mean: (K, 2)
    :param covariance: of u0, v0, u1, ..., (2K, 2K), positive semidefinite
    :param network_sha256: digest of the weights whose detections it was fitted to
    """

    input_hw: tuple[int, int]
    mean: np.ndarray
    covariance: np.ndarray
    network_sha256: str = ''

    def presence(self, points: np.ndarray) -> Presence:
        """
        Return the presence of the keypoints of one image.

        :param points: u, v in network px and confidence, (K, 3)
        """
        points = np.asarray(points, np.float64)
        confidence = points[:, 2].clip(LEAST_CONFIDENCE, LARGEST_CONFIDENCE)
        found = self._reweighted(points[:, :2], confidence, confidence, NOISE)
        if (found.probability > 0.5).all():
            return found  # the usual case
        probability = confidence
        for noise in COARSE_TO_FINE:
            found = self._reweighted(points[:, :2], confidence, probability, noise)
            probability = found.probability
        return found

    def _reweighted(
        self, uv: np.ndarray, confidence: np.ndarray, probability: np.ndarray, noise: float
    ) -> Presence:
        """
        Return the presence given a first estimate of its probability.

        :param noise: standard deviation of a right detection, as a share of the diagonal
        """
        variance = (noise * diagonal_px(*self.input_hw)) ** 2
        variances = variance / probability
        pull, own = self._pull(uv, variances)
        spread = own + (variance - variances)[:, None, None] * np.eye(2)
        away = (own @ pull[..., None])[..., 0]  # from the prediction of the others
        again = _probability(confidence, away, spread, self.input_hw)
        return Presence(again, uv - variances[:, None] * pull)

    def replace_hidden(self, points: np.ndarray) -> bool:
        """
        Replace the keypoints that are hidden by predictions, in place; return whether any are.

        :param points: u, v in network px and confidence, (K, 3)
        """
        found = self.presence(points)
        hidden = found.probability < LEAST_PRESENCE
        height, width = self.input_hw
        points[hidden, :2] = found.predicted[hidden].clip(0, (width - 1, height - 1))
        points[hidden, 2] = HIDDEN_CONFIDENCE
        return bool(hidden.any())

    def _pull(self, uv: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """
        Return how the other keypoints and the poses pull at each detection.

        :param uv: (K, 2) px
        :param variances: of the detections, (K,) px^2
        :return: the pull, (K, 2) 1/px, and the inverse precision of each detection, (K, 2, 2)
            px^2, whose product is the distance from where the others predict it
        """
        count = len(uv)
        precision = np.linalg.inv(self.covariance + np.diag(np.repeat(variances, 2)))
        blocks = precision.reshape(count, 2, count, 2)
        own = np.linalg.inv(blocks[np.arange(count), :, np.arange(count), :])
        return (precision @ (uv - self.mean).reshape(-1)).reshape(count, 2), own


def _probability(
    confidence: np.ndarray, away: np.ndarray, spread: np.ndarray, input_hw: tuple[int, int]
) -> np.ndarray:
    """Return the probability that detections are right, (K,)."""
    squared = np.einsum('ki,kij,kj->k', away, np.linalg.inv(spread), away)
    density = np.exp(-squared / 2) / (2 * np.pi * np.sqrt(np.linalg.det(spread)))
    right, wrong = confidence * density, (1 - confidence) / (input_hw[0] * input_hw[1])
    share: np.ndarray = right / (right + wrong)
    return share.clip(1e-3)


def fit_pose_prior(
    points: np.ndarray, input_hw: tuple[int, int], network_sha256: str = ''
) -> PosePrior:
    """
    Return the Gaussian of the detected poses of a recording.

    A keypoint takes no part in frames where its confidence is below :data:`SURE`.

    :param points: u, v in network px and confidence, (N, K, 3)
    """
    rows = points[..., :2].reshape(len(points), -1).astype(np.float64)
    # a little weight for the others, so that a keypoint that is never sure has a mean too
    weights = np.repeat((points[..., 2] >= SURE) + 1e-3, 2, axis=1)
    mean = (weights * rows).sum(axis=0) / weights.sum(axis=0)
    away = weights * (rows - mean)
    values, vectors = np.linalg.eigh(away.T @ away / (weights.T @ weights))
    # products of pairs that are not all seen in the same frames may not be positive
    covariance = (vectors * values.clip(0)) @ vectors.T
    return PosePrior(input_hw, mean.reshape(-1, 2), covariance, network_sha256)


def write_pose_prior(model_dir: Path, prior: PosePrior) -> Path:
    """Write the poses of a model directory and return the file."""
    values = {
        'format_version': FORMAT_VERSION,
        'network_sha256': prior.network_sha256,
        'input_hw': list(prior.input_hw),
        'mean': prior.mean.round(3).tolist(),
        'covariance': prior.covariance.round(4).tolist(),
    }
    path = Path(model_dir) / POSE_PRIOR_NAME
    replace_file(path, json.dumps(values, allow_nan=False) + '\n')
    return path


def read_pose_prior(model_dir: Path) -> PosePrior | None:
    """
    Return the poses of a model directory, None if it has none.

    :raises ModelError: if the file cannot be used
    """
    path = Path(model_dir) / POSE_PRIOR_NAME
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        version, digest = values['format_version'], str(values['network_sha256'])
        mean, covariance = (np.array(values[n], np.float64) for n in ('mean', 'covariance'))
        height, width = (int(side) for side in values['input_hw'])
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        msg = f'{str(path)!r} cannot be read ({error}); {AGAIN}.'
        raise ModelError(msg) from error
    size = mean.size
    if (
        version != FORMAT_VERSION
        or mean.shape != (size // 2, 2)
        or covariance.shape != (size, size)
        or not size
        or not min(height, width) > 0
        or not (np.isfinite(mean).all() and np.isfinite(covariance).all())
    ):
        msg = (
            f'{str(path)!r} has format {version!r}, a mean of {mean.shape} and a covariance of '
            f'{covariance.shape}, expected format {FORMAT_VERSION}, (K, 2), (2K, 2K) and finite '
            f'numbers; {AGAIN}.'
        )
        raise ModelError(msg)
    return PosePrior((height, width), mean, covariance, digest)


def listed_pose_prior(model_dir: Path, manifest: Manifest) -> PosePrior | None:
    """
    Return the poses that a manifest lists, None if it lists none.

    :raises ModelError: if the file cannot be used, or is of another network
    """
    prior = read_pose_prior(model_dir) if POSE_PRIOR_NAME in manifest.files else None
    if prior is None:
        return None
    found, expected = (
        (*prior.input_hw, len(prior.mean)),
        (*manifest.input_hw, manifest.keypoint_count),
    )
    if found != expected:
        msg = (
            f'{str(Path(model_dir) / POSE_PRIOR_NAME)!r} is for height, width and keypoints '
            f'{found}, expected {expected} as in the manifest; {AGAIN}.'
        )
        raise ModelError(msg)
    return prior
