"""
Forward regression: how much of the labelled motion the learned keypoints explain.

Ridge regression with an intercept, from all K learned points (2K numbers) to each labelled point,
fitted on the first 70 % of the labelled frames in time and scored on the last 30 %. If frames were
withheld from the model, it is fitted on the others and scored on these.

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
from typing import Generic, TypeVar

from keypoint_perception.episodes import find_episodes
from keypoint_perception.errors import SourceError
from keypoint_perception.geometry.point_motion import (
    explained_share,
    in_diagonals,
    mean_spread_percent,
    MIN_SPREAD_PERCENT,
)
from keypoint_perception.holdout import count_fitted
import numpy as np

PCK_PERCENT = (2.0, 5.0, 10.0)
_RIDGE_PER_FRAME = 1e-8


@dataclass(frozen=True)
class PointPrediction:
    """
    How well one point is predicted.

    Figures are NaN without scored frames; ``explained`` is NaN if the trivial prediction is exact.

    :param moves: whether its mean spread within episodes is at least 1 % of the diagonal
    """

    name: str
    error_percent: float
    trivial_percent: float
    explained: float
    moves: bool


@dataclass(frozen=True)
class PointScore(PointPrediction):
    """
    How well one labelled point is explained.

    :param pck: share of scored frames within each of :data:`PCK_PERCENT`
    :param spread_percent: mean spread within episodes, % of the diagonal
    """

    pck: tuple[float, ...]
    spread_percent: float
    fitted_frames: int
    scored_frames: int


Point = TypeVar('Point', bound=PointPrediction)


@dataclass(frozen=True)
class PredictionScore(Generic[Point]):
    """
    How well all points are predicted.

    The means are over the moving points that have been scored, NaN without any. ``mean_explained``
    is 1 - (mean error) / (mean trivial error) and not the mean of ``explained``, so that a point
    that hardly moves has little weight.
    """

    points: tuple[Point, ...]
    fitted_frames: int
    scored_frames: int

    @property
    def counted(self) -> tuple[Point, ...]:
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


@dataclass(frozen=True)
class RegressionScore(PredictionScore[PointScore]):
    """How well the labels of a recording are explained."""

    episodes: int

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
    withheld: np.ndarray | None = None,
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
    :param withheld: as in :func:`fit_split`
    :raises SourceError: if fewer than two frames are labelled
    """
    features = in_diagonals(keypoints, diagonal_px).reshape(len(stamps_ns), -1)  # (N, 2K)
    targets = in_diagonals(labels, diagonal_px)
    labelled = np.asarray(np.isfinite(targets).all(axis=-1))  # (N, L)
    any_label = np.asarray(labelled.any(axis=1))
    fitting = fit_split(any_label, withheld)
    episode = find_episodes(stamps_ns) if episode is None else episode
    points = tuple(
        _score_point(name, features, targets[:, j], labelled[:, j], fitting, episode)
        for j, name in enumerate(names)
    )
    fitted, count = int((any_label & fitting).sum()), int(any_label.sum())
    return RegressionScore(points, fitted, count - fitted, int(episode[-1]) + 1)


def fit_split(labelled: np.ndarray, withheld: np.ndarray | None = None) -> np.ndarray:
    """
    Return which frames belong to the fitting part.

    These are the frames that were not withheld, if there are labels on either side; otherwise the
    first 70 % of the labelled ones.

    :param labelled: whether each frame is labelled, (N,) bool, in time order
    :param withheld: whether each frame was withheld from the model, (N,) bool; None: none was
    :return: (N,) bool
    :raises SourceError: if fewer than two frames are labelled
    """
    if withheld is not None and (labelled & withheld).any() and (labelled & ~withheld).any():
        return ~withheld
    frames = np.flatnonzero(labelled)
    if len(frames) < 2:
        msg = (
            f'{len(frames)} frames are labelled; expected at least 2, because the regression is '
            'fitted on the first 70 % of them and scored on the rest: label more frames.'
        )
        raise SourceError(msg)
    last = int(frames[count_fitted(len(frames)) - 1])
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


def predict_labels(features: np.ndarray, labels: np.ndarray, fitting: np.ndarray) -> np.ndarray:
    """
    Return the labels of all frames as the regression predicts them, (N, L, 2) in diagonals.

    :param features: (N, F)
    :param labels: (N, L, 2) in diagonals, NaN where not labelled
    :param fitting: which frames to fit on, (N,) bool
    :return: NaN for points without a label in those frames
    """
    predicted = np.full(labels.shape, np.nan)
    for j, target in enumerate(labels.swapaxes(0, 1)):
        fit = fitting & np.isfinite(target).all(axis=-1)
        if fit.any():
            weights, intercept = fit_ridge(features[fit], target[fit])
            predicted[:, j] = features @ weights + intercept
    return predicted


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
        away, away_trivial = held_out_errors(features, target, fit, score)
        error, trivial = float(away.mean()), float(away_trivial.mean())
        pck = tuple(float((away <= limit).mean()) for limit in PCK_PERCENT)
    spread = mean_spread_percent(target[labelled], episode[labelled])
    return PointScore(
        name, error, trivial, explained_share(error, trivial), bool(spread >= MIN_SPREAD_PERCENT),
        pck, spread, int(fit.sum()), int(score.sum()),
    )  # fmt: skip


def held_out_errors(
    features: np.ndarray, targets: np.ndarray, fit: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the errors of the regression, and of predicting the mean, in the scored frames.

    :param features: (N, F)
    :param targets: (N, ..., 2) in diagonals
    :param fit: the fitted frames, indices or a mask
    :return: (scored frames, ...) each, % of the diagonal
    """
    fitted, scored = targets[fit], targets[score]
    weights, intercept = fit_ridge(features[fit], fitted.reshape(len(fitted), -1))
    predicted = (features[score] @ weights + intercept).reshape(scored.shape)
    error, trivial = (
        100 * np.linalg.norm(scored - p, axis=-1) for p in (predicted, fitted.mean(axis=0))
    )
    return error, trivial


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float('nan')
