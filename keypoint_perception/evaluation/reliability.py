"""
Reliability of the confidence: the true error of points as a function of it.

The true position of a learned point is the one predicted from the labels by the regression of
:mod:`keypoint_perception.evaluation.backward`, on frames that it was not fitted on. If the
confidence is calibrated, it equals the share of points within 5 % of the diagonal in each bin
(reliability diagram, DeGroot and Fienberg 1983; expected calibration error, Naeini, Cooper,
Hauskrecht 2015, https://doi.org/10.1609/aaai.v29i1.9602).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

BINS = 10
WITHIN_PERCENT = 5.0


@dataclass(frozen=True)
class ReliabilityBin:
    """
    Points of similar confidence: means over all frames.

    :param low: lower edge of the bin, which is 0.1 wide
    :param within: share within 5 % of the diagonal
    """

    low: float
    confidence: float
    error_percent: float
    within: float
    count: int


class Reliability(NamedTuple):
    """
    Error as a function of confidence.

    :param bins: the bins with at least one point, in order of confidence
    :param calibration_error: mean over all points of |share within 5 % - confidence| of their bin
    :param rank_correlation: Spearman's, between confidence and error; -1 is best
    """

    bins: tuple[ReliabilityBin, ...]
    calibration_error: float
    rank_correlation: float


def measure_reliability(confidence: np.ndarray, away_percent: np.ndarray) -> Reliability:
    """
    Compare confidences with true errors.

    :param confidence: in [0, 1], any shape
    :param away_percent: distance from the true position, same shape, % of the diagonal
    """
    confidence, away = np.ravel(confidence), np.ravel(away_percent)
    good = np.isfinite(confidence) & np.isfinite(away)
    confidence, away = confidence[good], away[good]
    bin_index = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    bins = []
    for index in np.unique(bin_index):
        own, errors = confidence[bin_index == index], away[bin_index == index]
        within = float((errors <= WITHIN_PERCENT).mean())
        means = float(own.mean()), float(errors.mean())
        bins.append(ReliabilityBin(index / BINS, *means, within, len(own)))
    gap = sum(b.count * abs(b.within - b.confidence) for b in bins)
    calibration = gap / len(away) if len(away) else float('nan')
    return Reliability(tuple(bins), calibration, _rank_correlation(confidence, away))


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) < 2:
        return float('nan')
    ranks = np.stack([_ranks(first), _ranks(second)])
    if (ranks.std(axis=1) == 0).any():
        return float('nan')
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks; equal values share their mean rank."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[index])
