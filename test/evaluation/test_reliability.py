"""Whether a confidence means anything."""

from keypoint_perception.evaluation.reliability import measure_reliability
import numpy as np
import pytest


def test_known_values():
    # two points of 0.25: one within 5 %; two of 0.95: both
    found = measure_reliability(
        np.array([[0.25, 0.95], [0.25, 0.95]]), np.array([[4.0, 1.0], [8.0, 5.0]])
    )
    low, high = found.bins
    assert (low.low, low.confidence, low.error_percent, low.within, low.count) == (
        0.2, 0.25, 6.0, 0.5, 2,
    )  # fmt: skip
    assert (high.low, high.error_percent, high.within) == (0.9, 3.0, 1.0)
    # (2 * |0.5 - 0.25| + 2 * |1 - 0.95|) / 4
    assert found.calibration_error == pytest.approx(0.15)


def test_rank_correlation_knows_order_and_ties():
    confidence = np.array([0.1, 0.2, 0.3, 0.9])
    assert measure_reliability(confidence, np.array([9, 8, 7, 0])).rank_correlation == -1
    # ranks 1, 2, 3, 4 against 2.5, 2.5, 2.5, 2.5 with one out: 4, 2, 2, 2 by hand -0.7746
    found = measure_reliability(confidence, np.array([9.0, 3, 3, 3]))
    assert found.rank_correlation == pytest.approx(-0.7746, abs=1e-4)


def test_nothing_to_compare_is_nan():
    found = measure_reliability(np.array([0.5, np.nan]), np.array([np.nan, 1.0]))
    assert found.bins == ()
    assert np.isnan(found.calibration_error)
    assert np.isnan(found.rank_correlation)


def test_full_confidence_is_in_the_last_bin():
    assert measure_reliability(np.ones(3), np.zeros(3)).bins[0].low == 0.9
