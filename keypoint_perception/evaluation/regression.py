"""
Forward regression: how much of the labelled motion the learned keypoints explain.

Ridge regression with an intercept, from all K learned points (2K numbers) to each labelled point,
fitted on the first 70 % of the labelled frames in time and scored on the last 30 %.

    error     = mean over scored frames of |predicted - label|, in % of the image diagonal
    trivial   = the same, always predicting the mean label of the fitting part
    explained = 1 - error / trivial

1 means that the keypoints predict the label exactly, 0 that they do no better than its mean
position, and a negative value that they do worse. PCK ("percentage of correct keypoints", Yang and
Ramanan 2013) is the share of scored frames whose error is within 2, 5 and 10 % of the diagonal.

Confidences are not used. Positions are divided by the diagonal, and the ridge is 1e-8 per fitting
frame, so that motion much smaller than 0.01 % of the diagonal is treated as noise.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.episodes import find_episodes
from keypoint_perception.errors import SourceError
from keypoint_perception.evaluation.point_motion import (
    in_diagonals,
    mean_spread_percent,
    MIN_SPREAD_PERCENT,
)
import numpy as np

FIT_SHARE = 0.7
PCK_PERCENT = (2.0, 5.0, 10.0)
_RIDGE_PER_FRAME = 1e-8


@dataclass(frozen=True)
class PointScore:
    """
    How well one labelled point is explained.

    Figures are NaN if either part of the recording has no label of this point; ``explained`` is
    NaN if the trivial prediction is exact.

    :param pck: share of scored frames within each of :data:`PCK_PERCENT`
    :param spread_percent: root mean square distance from the point's mean position within an
        episode, averaged over the episodes, in % of the diagonal
    :param moves: whether the spread is at least 1 %
    """

    name: str
    error_percent: float
    trivial_percent: float
    explained: float
    pck: tuple[float, ...]
    spread_percent: float
    moves: bool
    fitted_frames: int
    scored_frames: int


@dataclass(frozen=True)
class RegressionScore:
    """
    How well a recording is explained.

    The means are over the moving points that have been scored, NaN without any. ``mean_explained``
    is 1 - (mean error) / (mean trivial error) and not the mean of ``explained``, so that a point
    that hardly moves has little weight.
    """

    points: tuple[PointScore, ...]
    fitted_frames: int
    scored_frames: int
    episodes: int

    @property
    def counted(self) -> tuple[PointScore, ...]:
        """Return the points that the means are over."""
        return tuple(p for p in self.points if p.moves and np.isfinite(p.error_percent))

    @property
    def mean_error_percent(self) -> float:
        """Return the mean error, % of the diagonal."""
        return _mean([p.error_percent for p in self.counted])

    @property
    def mean_trivial_percent(self) -> float:
        """Return the mean trivial error, % of the diagonal."""
        return _mean([p.trivial_percent for p in self.counted])

    @property
    def mean_explained(self) -> float:
        """Return 1 - mean error / mean trivial error."""
        return explained_share(self.mean_error_percent, self.mean_trivial_percent)

    @property
    def mean_pck(self) -> tuple[float, ...]:
        """Return the mean share within each of :data:`PCK_PERCENT`."""
        shares = zip(*(p.pck for p in self.counted), strict=True)
        return tuple(_mean(list(s)) for s in shares) or (float('nan'),) * len(PCK_PERCENT)


def score_regression(
    stamps_ns: np.ndarray,
    keypoints: np.ndarray,
    labels: np.ndarray,
    *,
    names: tuple[str, ...],
    diagonal_px: float | np.ndarray,
    episode: np.ndarray | None = None,
) -> RegressionScore:
    """
    Score learned keypoints against labels of the same frames.

    A labelled frame has at least one label. All points share the split into 70 % and 30 % (rounded
    down, at least one frame in each part); each point is fitted and scored on the frames of a part
    that have its label.

    :param stamps_ns: stamps of the frames, increasing, (N,) ns
    :param keypoints: learned points, (N, K, 2) or with confidence (N, K, 3), px
    :param labels: (N, L, 2) px, NaN where not labelled
    :param names: names of the L labelled points
    :param diagonal_px: diagonal of the images, one for all or (N,)
    :param episode: of each frame, (N,); if None, found from the stamps, which must then include
        unlabelled frames
    :raises SourceError: if fewer than two frames are labelled
    """
    features = in_diagonals(keypoints, diagonal_px).reshape(len(stamps_ns), -1)  # (N, 2K)
    targets = in_diagonals(labels, diagonal_px)
    labelled = np.asarray(np.isfinite(targets).all(axis=-1))  # (N, L)
    any_label = np.asarray(labelled.any(axis=1))
    fitting = fit_split(any_label)
    episode = find_episodes(stamps_ns) if episode is None else episode
    points = tuple(
        _score_point(name, features, targets[:, j], labelled[:, j], fitting, episode)
        for j, name in enumerate(names)
    )
    fitted, count = int((any_label & fitting).sum()), int(any_label.sum())
    return RegressionScore(points, fitted, count - fitted, int(episode[-1]) + 1)


def fit_split(labelled: np.ndarray) -> np.ndarray:
    """
    Return which frames belong to the fitting part: the first 70 % of the labelled ones.

    :param labelled: whether each frame is labelled, (N,) bool, in time order
    :return: (N,) bool
    :raises SourceError: if fewer than two frames are labelled
    """
    frames = np.flatnonzero(labelled)
    if len(frames) < 2:
        msg = (
            f'{len(frames)} frames are labelled; expected at least 2, because the regression is '
            'fitted on the first 70 % of them and scored on the rest: label more frames.'
        )
        raise SourceError(msg)
    last = int(frames[max(1, int(FIT_SHARE * len(frames))) - 1])
    return np.arange(len(labelled)) <= last


def fit_ridge(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Fit ``targets = features @ weights + intercept``; the intercept is not penalised.

    :param features: (N, F)
    :param targets: (N, T)
    :return: weights (F, T) and intercept (T,)
    """
    mean, target_mean = features.mean(axis=0), targets.mean(axis=0)
    centred = features - mean
    ridge = _RIDGE_PER_FRAME * len(features) * np.eye(features.shape[1])
    weights = np.linalg.solve(centred.T @ centred + ridge, centred.T @ (targets - target_mean))
    return weights, target_mean - mean @ weights


def _score_point(
    name: str,
    features: np.ndarray,
    target: np.ndarray,
    labelled: np.ndarray,
    fitting: np.ndarray,
    episode: np.ndarray,
) -> PointScore:
    """Fit and score one labelled point: positions (N, 2) in diagonals, masks (N,)."""
    fit, score = labelled & fitting, labelled & ~fitting
    error = trivial = float('nan')
    pck = (float('nan'),) * len(PCK_PERCENT)
    if fit.any() and score.any():
        weights, intercept = fit_ridge(features[fit], target[fit])
        away = distance_percent(features[score] @ weights + intercept, target[score])
        error, pck = float(away.mean()), shares_within(away)
        trivial = float(distance_percent(target[fit].mean(axis=0), target[score]).mean())
    spread = mean_spread_percent(target[labelled], episode[labelled])
    return PointScore(
        name=name,
        error_percent=error,
        trivial_percent=trivial,
        explained=explained_share(error, trivial),
        pck=pck,
        spread_percent=spread,
        moves=bool(spread >= MIN_SPREAD_PERCENT),
        fitted_frames=int(fit.sum()),
        scored_frames=int(score.sum()),
    )


def distance_percent(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the distances between positions (..., 2) in diagonals, % of the diagonal."""
    distance: np.ndarray = 100 * np.linalg.norm(predicted - target, axis=-1)
    return distance


def shares_within(away_percent: np.ndarray) -> tuple[float, ...]:
    """Return the share of distances within each of :data:`PCK_PERCENT`, NaN without any."""
    if not len(away_percent):
        return (float('nan'),) * len(PCK_PERCENT)
    return tuple(float((away_percent <= limit).mean()) for limit in PCK_PERCENT)


def explained_share(error: float, trivial: float) -> float:
    """Return 1 - error / trivial, NaN if the trivial prediction is exact."""
    # Not compared with zero, because the mean of equal numbers has a rounding error.
    return 1 - error / trivial if trivial > 1e-9 else float('nan')


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float('nan')
