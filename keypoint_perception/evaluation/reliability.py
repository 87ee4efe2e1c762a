"""
Whether a confidence means anything: the true error of points by how sure the network was.

A learned point has no label, so its true place is where the labels put it, by
:mod:`keypoint_perception.evaluation.backward`'s regression on frames that it was not fitted on.
For a confidence that is calibrated, the share of points within 5 % of the diagonal equals the
confidence in each bin (the reliability diagram of DeGroot and Fienberg 1983; the expected
calibration error after Naeini, Cooper, Hauskrecht 2015,
https://doi.org/10.1609/aaai.v29i1.9602).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BINS = 10
WITHIN_PERCENT = 5.0


class ReliabilityBin(NamedTuple):
    """
    Points of like confidence.

    :param low: confidence at the lower edge, the upper one is 1 / 10 higher
    :param confidence: their mean
    :param error_percent: mean distance from the true place, % of the diagonal
    :param within: share within 5 % of the diagonal
    :param count: how many points in how many frames, together
    """

    low: float
    confidence: float
    error_percent: float
    within: float
    count: int


class Reliability(NamedTuple):
    """
    Error by confidence.

    :param bins: those with at least one point, from the least confident
    :param calibration_error: mean over all points of |share within 5 % - confidence| of their bin
    :param rank_correlation: Spearman's, of confidence and error; -1 is best, 0 is worthless
    """

    bins: tuple[ReliabilityBin, ...]
    calibration_error: float
    rank_correlation: float


def measure_reliability(confidence: np.ndarray, away_percent: np.ndarray) -> Reliability:
    """
    Compare confidences with true errors.

    :param confidence: in [0, 1], any shape
    :param away_percent: distance from the true place, of the same shape, % of the diagonal
    """
    confidence, away = np.ravel(confidence), np.ravel(away_percent)
    good = np.isfinite(confidence) & np.isfinite(away)
    confidence, away = confidence[good], away[good]
    places = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    bins = tuple(
        _bin(number / BINS, confidence[places == number], away[places == number])
        for number in np.unique(places)
    )
    off = sum(b.count * abs(b.within - b.confidence) for b in bins)
    calibration = off / len(away) if len(away) else float('nan')
    return Reliability(bins, calibration, _rank_correlation(confidence, away))


def _bin(low: float, confidence: np.ndarray, away: np.ndarray) -> ReliabilityBin:
    within = float((away <= WITHIN_PERCENT).mean())
    return ReliabilityBin(low, float(confidence.mean()), float(away.mean()), within, len(away))


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) < 2:
        return float('nan')
    ranks = np.stack([_ranks(first), _ranks(second)])
    if (ranks.std(axis=1) == 0).any():
        return float('nan')
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks, equal values sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]
