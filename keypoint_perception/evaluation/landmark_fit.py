"""
Named points from a handful of labelled frames: the linear map and the strength of its ridge.

Ten frames give twenty numbers for each named point, while a free map from K keypoints has 4 K
weights. So the weights are drawn towards what moving things do. With the keypoints p_k and the
named point y, both in diagonals and centred::

    y = sum_k s_k (w_k I + a W_k) p_k + noise          w_k, W_k ~ N(0, tau^2)
    s_k ~ var(y - p_k)^(-gamma / 2)

w_k is one weight for u and v alike, as if y were carried by the keypoints (y = p_1 + offset is
w_1 = 1); W_k is a free 2 x 2 matrix, ``a`` times as likely to be large; keypoints that keep their
distance from y may weigh more, the more the larger gamma is. For given ``a``, gamma and ridge
lambda = noise / tau^2 this is ridge regression. Their values are not chosen but averaged over,
each with its evidence (MacKay: Bayesian interpolation, 1992,
https://doi.org/10.1162/neco.1992.4.3.415), which is the probability of the labels under it. From
ten frames a choice by left-out frames is a matter of luck, and was worse on all recordings tried.

How good the result is, frames say that it was not fitted on: the labelled frames are cut into
blocks in time, and each block is predicted from the others. Frames that follow each other closely
are nearly copies, which the evidence would count as so many witnesses: there its power is chosen
by the left-out blocks, 1 for independent frames and less for copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from keypoint_perception.evaluation.point_motion import LEAST_SPREAD_PERCENT, spread_percent
from keypoint_perception.evaluation.regression import explained_share
from keypoint_perception.landmark_map import Landmarks
import numpy as np

GAMMAS = (0.0, 1.0, 2.0)
FREEDOMS = (0.0, 0.1, 0.3, 1.0)  # of ``a``
RIDGES = 10.0 ** np.arange(-5, 1.1, 0.5)
POWERS_OF_COPIES = (1.0, 0.3, 0.1, 0.03)
# Two keypoints are not told apart by keeping their distance to better than this, diagonals.
_LIKE = 0.01
# Labels are not taken to be better than this, diagonals.
_NOISE = 1e-4

FOLDS = 10
# Frames closer in time are nearly copies.
COPIES_S = 1.0
FOLDS_OF_COPIES = 5
LEAST_FRAMES = 4
USUAL_FRAMES = 10
LEAST_EXPLAINED = 0.25
WITHIN_PERCENT = 5.0


class LinearMap(NamedTuple):
    """
    y = offset + sum_k weights[:, k] p_k.

    :param weights: (2, K, 2)
    :param offset: (2,)
    """

    weights: np.ndarray
    offset: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Return positions (N, 2) for keypoints (N, K, 2)."""
        return np.einsum('akb,nkb->na', self.weights, points) + self.offset


@dataclass(frozen=True)
class LandmarkScore:
    """
    How well a named point is told by frames that it was not fitted on.

    :param frames: labelled frames of this point
    :param error_percent: mean distance, % of the diagonal
    :param trivial_percent: the same, always answering the mean label of the other blocks
    :param explained: 1 - error / trivial
    :param within: share of frames within 5 % of the diagonal
    :param spread_percent: root mean square distance of the labels from their mean
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
        return self.spread_percent >= LEAST_SPREAD_PERCENT

    @property
    def is_told(self) -> bool:
        """Return whether the point stands still or a quarter of its motion is explained."""
        return not self.moves or self.explained >= LEAST_EXPLAINED


def fit_landmarks(
    stamps_ns: np.ndarray,
    keypoints: np.ndarray,
    labels: np.ndarray,
    *,
    names: tuple[str, ...],
    diagonal_px: float,
) -> tuple[Landmarks, list[LandmarkScore]]:
    """
    Fit the map from keypoints to named points, and say how good it is.

    :param stamps_ns: stamps of the frames, increasing, (N,) ns
    :param keypoints: u, v in network px and confidence, (N, K, 3)
    :param labels: (N, L, 2) network px, NaN where not labelled; at least
        :data:`LEAST_FRAMES` of each
    :param diagonal_px: of the picture in the network input
    """
    keypoints = np.asarray(keypoints, np.float64)
    points = keypoints[..., :2] / diagonal_px
    targets = np.asarray(labels, np.float64) / diagonal_px
    maps, scores, trusts = [], [], []
    for j, name in enumerate(names):
        seen = np.isfinite(targets[:, j]).all(axis=-1)
        place, target = points[seen], targets[seen, j]
        power, score = _score(name, stamps_ns[seen], place, target)
        maps.append(fit_maps(place, target, (power,))[0])
        scores.append(score)
        trusts.append(_trust(maps[-1], scores[-1], place, keypoints[seen, :, 2]))
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
    Return the mean of the maps that explain a named point, each weighted by its evidence.

    :param points: keypoints, (n, K, 2) in diagonals
    :param target: (n, 2) in diagonals
    :param powers: of the labels' probability; a map for each
    """
    mean, target_mean = points.mean(axis=0), target.mean(axis=0)
    settings = list(_settings(points - mean, target - target_mean))
    misfit, room = np.array([s[:2] for s in settings]).T
    maps = []
    for power in powers:
        cost = power * misfit + room
        share = np.exp(cost.min() - cost)
        share /= share.sum()
        weights = sum(part * s[2] for part, s in zip(share, settings, strict=True) if part > 1e-6)
        maps.append(LinearMap(weights, target_mean - np.einsum('akb,kb->a', weights, mean)))
    return maps


def _settings(points: np.ndarray, target: np.ndarray) -> Iterator[tuple[float, float, np.ndarray]]:
    """
    Yield for every setting the two parts of its negative log evidence and the weights.

    The parts are the cost of what is not explained and of the room that the map had; the weights
    are (2, K, 2).
    """
    count, keypoints, _ = points.shape
    y, freedom = target.reshape(-1), 2 * (count - 1)
    design, z = _design(points), y
    if len(design) > design.shape[1]:  # the same problem in fewer rows
        axes, design = np.linalg.qr(design)
        z = axes.T @ y
    away = (target[:, None] - points).var(axis=0).sum(axis=-1) + _LIKE**2  # (K,)
    for gamma in GAMMAS:
        scale = away ** (-gamma / 2)
        scale /= np.sqrt(np.mean(scale**2))
        for a in FREEDOMS:
            columns = np.concatenate([scale, np.tile(np.repeat(a * scale, 2), 2)])
            kept = 5 * keypoints if a else keypoints
            left, sizes, right = np.linalg.svd((design * columns)[:, :kept], full_matrices=False)
            along = left.T @ z
            for ridge in RIDGES:
                shrunk = sizes**2 / (sizes**2 + ridge)
                rest = max(y @ y - along**2 @ shrunk, freedom * _NOISE**2)
                room = np.log1p(sizes**2 / ridge).sum() / 2
                beta = np.zeros(5 * keypoints)
                beta[:kept] = right.T @ (sizes / (sizes**2 + ridge) * along)
                beta *= columns
                weights = np.einsum('k,ab->akb', beta[:keypoints], np.eye(2))
                weights += beta[keypoints:].reshape(2, keypoints, 2)
                yield freedom * np.log(rest) / 2, room, weights


def _design(points: np.ndarray) -> np.ndarray:
    """Return the rows u and v of each frame for the weights [w, W of u, W of v], (2 n, 5 K)."""
    shared = points.transpose(0, 2, 1)  # (n, 2, K)
    flat = points.reshape(len(points), -1)  # (n, 2 K)
    none = np.zeros_like(flat)
    free = np.stack([np.hstack([flat, none]), np.hstack([none, flat])], axis=1)  # (n, 2, 4 K)
    return np.concatenate([shared, free], axis=2).reshape(2 * len(points), -1)


def _score(
    name: str, stamps_ns: np.ndarray, points: np.ndarray, target: np.ndarray
) -> tuple[float, LandmarkScore]:
    """Return the power of the evidence that tells left-out blocks best, and how well."""
    powers = POWERS_OF_COPIES if are_copies(stamps_ns) else (1.0,)
    predicted = np.empty((len(powers), *target.shape))
    trivial = np.empty_like(target)
    for block in time_blocks(stamps_ns):
        rest = np.setdiff1d(np.arange(len(target)), block)
        for place, fitted in enumerate(fit_maps(points[rest], target[rest], powers)):
            predicted[place, block] = fitted(points[block])
        trivial[block] = target[rest].mean(axis=0)
    away = 100 * np.linalg.norm(predicted - target, axis=-1)  # (powers, n)
    best = int(away.mean(axis=1).argmin())
    error = float(away[best].mean())
    idle = 100 * float(np.linalg.norm(trivial - target, axis=-1).mean())
    return powers[best], LandmarkScore(
        name,
        len(target),
        error,
        idle,
        explained_share(error, idle),
        float((away[best] <= WITHIN_PERCENT).mean()),
        float(spread_percent(target)),
    )


def time_blocks(stamps_ns: np.ndarray) -> list[np.ndarray]:
    """
    Cut labelled frames into blocks in time to be left out one after another, indices of each.

    Frames less than a second apart give each other away, so that such runs stay whole: up to ten
    runs, a single frame also being one, are left out one by one, more in ten blocks. Where there
    are fewer than five runs, the frames are cut into five blocks wherever that falls.
    """
    run = np.concatenate([[0], np.cumsum(np.diff(stamps_ns) >= COPIES_S * 1e9)])
    runs = int(run[-1]) + 1
    if runs >= FOLDS_OF_COPIES or runs == len(stamps_ns):
        parts = np.array_split(np.arange(runs), min(FOLDS, runs))
        return [np.flatnonzero(np.isin(run, part)) for part in parts]
    folds = min(FOLDS_OF_COPIES, len(stamps_ns))
    return np.array_split(np.arange(len(stamps_ns)), folds)


def are_copies(stamps_ns: np.ndarray) -> bool:
    """Return whether labelled frames are mostly less than a second apart."""
    return len(stamps_ns) > 1 and float(np.median(np.diff(stamps_ns))) < COPIES_S * 1e9


def _trust(
    fitted: LinearMap, score: LandmarkScore, points: np.ndarray, confidence: np.ndarray
) -> tuple[np.ndarray, float]:
    """
    Return the weights (K,) and the offset of the confidence.

    A keypoint's say in it is how far it moves the answer. On average over the labelled frames the
    confidence is the share of left-out frames within 5 % (counted with one hit and one miss
    more).
    """
    within = (score.within * score.frames + 1) / (score.frames + 2)
    moved = np.linalg.norm(fitted.weights, axis=(0, 2)) * np.sqrt(points.var(axis=0).sum(axis=-1))
    if not moved.sum() > 1e-9:
        return np.zeros(len(moved)), within
    share = moved / moved.sum()
    return share * within / max(float((confidence @ share).mean()), 1e-3), 0.0
