"""
Landmarks fitted to a few labelled frames: the linear map and its regularisation.

Ten frames give twenty numbers per landmark, but an unconstrained map from K keypoints has 4 K
weights, so a prior favours maps that are plausible for moving objects. With the keypoints p_k and
the landmark y, both in diagonals and centred::

    y = sum_k s_k (w_k I + a W_k) p_k + noise          w_k, W_k ~ N(0, tau^2)
    s_k ~ var(y - p_k)^(-gamma / 2)

w_k is one weight shared by u and v, as if y were rigidly attached to the keypoints (y = p_1 +
offset is w_1 = 1); W_k is an unconstrained 2 x 2 matrix, scaled by ``a``; the larger gamma, the
more weight goes to keypoints at a constant distance from y. For given ``a``, gamma and ridge
lambda = noise / tau^2 this is ridge regression. These hyperparameters are not selected but
averaged, weighted by their evidence, the probability of the labels (MacKay: Bayesian
interpolation, 1992, https://doi.org/10.1162/neco.1992.4.3.415). With ten frames, selection by
cross-validation is dominated by noise and did worse on every recording tried.

The fit is scored by cross-validation over blocks of labelled frames in time. Frames in quick
succession are correlated, and the evidence would count them as independent: for those it is
tempered, raised to a power chosen by cross-validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from keypoint_perception.geometry.point_motion import (
    explained_share,
    MIN_SPREAD_PERCENT,
    spread_percent,
)
from keypoint_perception.landmark_map import Landmarks
import numpy as np

GAMMAS = (0.0, 1.0, 2.0)
MATRIX_SCALES = (0.0, 0.1, 0.3, 1.0)  # values of ``a``
RIDGES = 10.0 ** np.arange(-5, 1.1, 0.5)
EVIDENCE_POWERS = (1.0, 0.3, 0.1, 0.03)
# Floors on the standard deviation of y - p_k and on the label noise, diagonals.
_MIN_DEVIATION, _MIN_NOISE = 0.01, 1e-4

FOLDS = 10
# Frames closer in time are correlated.
CORRELATED_S = 1.0
CORRELATED_FOLDS = 5
MIN_FRAMES = 4
RECOMMENDED_FRAMES = 10
MIN_EXPLAINED = 0.25
WITHIN_PERCENT = 5.0


class LinearMap(NamedTuple):
    """y = offset + sum_k weights[:, k] p_k, of shapes (2,) and (2, K, 2)."""

    weights: np.ndarray
    offset: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Return positions (N, 2) for keypoints (N, K, 2)."""
        mapped: np.ndarray = np.einsum('akb,nkb->na', self.weights, points) + self.offset
        return mapped


@dataclass(frozen=True)
class LandmarkScore:
    """
    The cross-validation of a landmark; distances in % of the diagonal.

    :param frames: frames with this label
    :param trivial_percent: error if the mean label of the other blocks is always predicted
    :param explained: 1 - error / trivial
    :param within: share of frames within 5 %
    :param spread_percent: spread of the labels
    """

    name: str
    frames: int
    error_percent: float
    trivial_percent: float
    explained: float
    within: float
    spread_percent: float

    @property
    def moves(self) -> bool:
        """Return whether the labels spread by at least 1 % of the diagonal."""
        return self.spread_percent >= MIN_SPREAD_PERCENT

    @property
    def is_predictable(self) -> bool:
        """Return whether the point is static or a quarter of its motion is explained."""
        return not self.moves or self.explained >= MIN_EXPLAINED


def fit_landmarks(
    stamps_ns: np.ndarray,
    keypoints: np.ndarray,
    labels: np.ndarray,
    *,
    names: tuple[str, ...],
    diagonal_px: float,
) -> tuple[Landmarks, list[LandmarkScore]]:
    """
    Fit the map from keypoints to landmarks, and score it by cross-validation.

    :param stamps_ns: stamps of the frames, increasing, (N,) ns
    :param keypoints: u, v in network px and confidence, (N, K, 3)
    :param labels: (N, L, 2) network px, NaN where not labelled; at least
        :data:`MIN_FRAMES` of each
    :param diagonal_px: of the image within the network input
    """
    keypoints = np.asarray(keypoints, np.float64)
    points = keypoints[..., :2] / diagonal_px
    targets = np.asarray(labels, np.float64) / diagonal_px
    maps, scores, trusts = [], [], []
    for j, name in enumerate(names):
        labelled = np.isfinite(targets[:, j]).all(axis=-1)
        inputs, target = points[labelled], targets[labelled, j]
        power, score = _cross_validate(name, stamps_ns[labelled], inputs, target)
        maps.append(fit_maps(inputs, target, (power,))[0])
        scores.append(score)
        trusts.append(_trust(maps[-1], score, inputs, keypoints[labelled, :, 2]))
    landmarks = Landmarks(
        names,
        weights=np.stack([m.weights for m in maps]),
        offset=np.stack([m.offset for m in maps]) * diagonal_px,
        trust=np.stack([trust for trust, _ in trusts]),
        trust_offset=np.array([offset for _, offset in trusts]),
    )
    return landmarks, scores


def fit_maps(
    points: np.ndarray, target: np.ndarray, powers: tuple[float, ...] = (1.0,)
) -> list[LinearMap]:
    """
    Return the evidence-weighted mean of the maps to a landmark, for each power of the evidence.

    :param points: keypoints, (n, K, 2) in diagonals
    :param target: (n, 2) in diagonals
    """
    mean, target_mean = points.mean(axis=0), target.mean(axis=0)
    fits = list(_ridge_fits(points - mean, target - target_mean))
    misfit, complexity = np.array([fit[:2] for fit in fits]).T
    maps = []
    for power in powers:
        cost = power * misfit + complexity
        share = np.exp(cost.min() - cost)
        share /= share.sum()
        weights = np.sum([p * f[2] for p, f in zip(share, fits, strict=True) if p > 1e-6], axis=0)
        maps.append(LinearMap(weights, target_mean - np.einsum('akb,kb->a', weights, mean)))
    return maps


def _ridge_fits(
    points: np.ndarray, target: np.ndarray
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yield misfit and complexity (negative log evidence) and weights of each combination."""
    count, keypoints, _ = points.shape
    y, dof = target.reshape(-1), 2 * (count - 1)
    design, z = _design(points), y
    if len(design) > design.shape[1]:  # an equivalent problem with fewer rows
        axes, design = np.linalg.qr(design)
        z = axes.T @ y
    variance = (target[:, None] - points).var(axis=0).sum(axis=-1) + _MIN_DEVIATION**2  # (K,)
    for gamma in GAMMAS:
        scale = variance ** (-gamma / 2)
        scale /= np.sqrt(np.mean(scale**2))
        for a in MATRIX_SCALES:
            columns = np.concatenate([scale, np.tile(np.repeat(a * scale, 2), 2)])
            kept = 5 * keypoints if a else keypoints
            left, sizes, right = np.linalg.svd((design * columns)[:, :kept], full_matrices=False)
            along = left.T @ z
            for ridge in RIDGES:
                shrunk = sizes**2 / (sizes**2 + ridge)
                residual = max(y @ y - along**2 @ shrunk, dof * _MIN_NOISE**2)
                complexity = np.log1p(sizes**2 / ridge).sum() / 2
                beta = np.zeros(5 * keypoints)
                beta[:kept] = right.T @ (sizes / (sizes**2 + ridge) * along)
                beta *= columns
                weights = np.einsum('k,ab->akb', beta[:keypoints], np.eye(2))
                weights += beta[keypoints:].reshape(2, keypoints, 2)
                yield dof * np.log(residual) / 2, complexity, weights


def _design(points: np.ndarray) -> np.ndarray:
    """Return the design matrix: rows u and v of each frame, columns [w, W_u, W_v], (2 n, 5 K)."""
    shared = points.transpose(0, 2, 1)  # (n, 2, K)
    flat = points.reshape(len(points), -1)  # (n, 2 K)
    zeros = np.zeros_like(flat)
    free = np.stack([np.hstack([flat, zeros]), np.hstack([zeros, flat])], axis=1)  # (n, 2, 4 K)
    return np.concatenate([shared, free], axis=2).reshape(2 * len(points), -1)


def _cross_validate(
    name: str, stamps_ns: np.ndarray, points: np.ndarray, target: np.ndarray
) -> tuple[float, LandmarkScore]:
    """Return the best power of the evidence, and its score."""
    powers = EVIDENCE_POWERS if are_correlated(stamps_ns) else (1.0,)
    predicted = np.empty((len(powers), *target.shape))
    trivial = np.empty_like(target)
    for block in time_blocks(stamps_ns):
        rest = np.setdiff1d(np.arange(len(target)), block)
        for index, fitted in enumerate(fit_maps(points[rest], target[rest], powers)):
            predicted[index, block] = fitted(points[block])
        trivial[block] = target[rest].mean(axis=0)
    away = 100 * np.linalg.norm(predicted - target, axis=-1)  # (powers, n)
    best = int(away.mean(axis=1).argmin())
    error = float(away[best].mean())
    trivial_error = 100 * float(np.linalg.norm(trivial - target, axis=-1).mean())
    explained = explained_share(error, trivial_error)
    within, spread = float((away[best] <= WITHIN_PERCENT).mean()), float(spread_percent(target))
    return powers[best], LandmarkScore(
        name, len(target), error, trivial_error, explained, within, spread
    )


def time_blocks(stamps_ns: np.ndarray) -> list[np.ndarray]:
    """
    Return the indices of the frames of each cross-validation block.

    Runs of frames less than a second apart, single frames included, are kept together: up to ten
    runs are blocks of their own; more are grouped into ten blocks. Fewer than five runs are split
    into five blocks.
    """
    run = np.concatenate([[0], np.cumsum(np.diff(stamps_ns) >= CORRELATED_S * 1e9)])
    runs = int(run[-1]) + 1
    if runs >= CORRELATED_FOLDS or runs == len(stamps_ns):
        parts = np.array_split(np.arange(runs), min(FOLDS, runs))
        return [np.flatnonzero(np.isin(run, part)) for part in parts]
    folds = min(CORRELATED_FOLDS, len(stamps_ns))
    return np.array_split(np.arange(len(stamps_ns)), folds)


def are_correlated(stamps_ns: np.ndarray) -> bool:
    """Return whether the median gap between labelled frames is less than a second."""
    return len(stamps_ns) > 1 and float(np.median(np.diff(stamps_ns))) < CORRELATED_S * 1e9


def _trust(
    fitted: LinearMap, score: LandmarkScore, points: np.ndarray, confidence: np.ndarray
) -> tuple[np.ndarray, float]:
    """
    Return the weights (K,) and the offset of the confidence.

    A keypoint is weighted by how far it moves the landmark. The mean confidence over the labelled
    frames is the share of held-out frames within 5 %, with one hit and one miss added.
    """
    within = (score.within * score.frames + 1) / (score.frames + 2)
    moved = np.linalg.norm(fitted.weights, axis=(0, 2)) * np.sqrt(points.var(axis=0).sum(axis=-1))
    if not moved.sum() > 1e-9:
        return np.zeros(len(moved)), within
    share = moved / moved.sum()
    return share * within / max(float((confidence @ share).mean()), 1e-3), 0.0
