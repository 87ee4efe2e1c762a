"""Engines that return different points are refused, with the differences and their limits."""

import json

from keypoint_perception.errors import EngineError
from keypoint_perception.parity import check_parity, Tolerance, TOLERANCES, UNLIMITED
import numpy as np
import pytest

POINTS = np.zeros((10, 10, 3), np.float32)
POINTS[..., :2] = np.arange(10)[None, :, None]
POINTS[..., 2] = 0.9


def compare(change, precision='fp32', *, points=POINTS, **options):
    """Compare points with the result of a function of a copy of them."""
    options = {'tolerance': TOLERANCES[precision]} | options
    return check_parity(
        {'keypoints': change(points.copy())},
        {'keypoints': points},
        options.pop('tolerance'),
        pair='A and B',
        images='frames',
        remedy='choose B',
        **options,
    )


def moved(count, px):
    """Return a function that moves the first points of all frames along (3, 4) / 5."""

    def change(points):
        points.reshape(-1, 3)[:count, :2] += np.array([0.6, 0.8], np.float32) * px
        return points

    return change


def test_what_is_equal_holds():
    parity = compare(lambda points: points)
    assert (parity.points, parity.confident, parity.off, parity.holds) == (100, 100, 0, True)
    assert json.loads(json.dumps(parity.report()))['holds'] is True


def test_a_distance_is_measured_in_the_plane():
    parity = compare(moved(10, 0.04))
    assert parity.largest_px == pytest.approx(0.04, abs=1e-5)
    assert parity.p95_px == pytest.approx(0.04, abs=1e-5)
    assert parity.bias_px == pytest.approx(0.8 * 0.04 / 10, abs=1e-5)
    assert parity.median_px == 0.0


def test_the_worst_frame_is_found():
    def change(points):
        points[3, 2, 0] += 0.02
        points[7, 5, 1] -= 0.03
        return points

    assert compare(change).worst_frame == 7


def test_one_point_that_is_off_is_too_many_in_fp32():
    with pytest.raises(EngineError, match=r'A and B differ: median 0.0000 px .allowed 0.01., 1 '):
        compare(moved(1, 0.06))


def test_a_drift_of_all_points_is_seen_though_none_is_far():
    with pytest.raises(EngineError, match=r'median 0.0200 px .allowed 0.01., 0 of 100 .*; choose'):
        compare(moved(100, 0.02))


@pytest.mark.parametrize(('precision', 'allowed', 'px'), [('fp16', 1, 0.6), ('int8', 2, 2.1)])
def test_few_points_may_tip_where_numbers_are_short(precision, allowed, px):
    assert compare(moved(allowed, px), precision).off == allowed
    with pytest.raises(EngineError, match=f'{allowed + 1} of 100 points off by more than'):
        compare(moved(allowed + 1, px), precision)


def test_unsure_points_are_compared_by_confidence_alone():
    unsure = POINTS.copy()
    unsure[..., 2] = 0.2
    parity = compare(moved(100, 50.0), points=unsure)
    assert (parity.confident, parity.largest_px, parity.holds) == (0, 0.0, True)
    with pytest.raises(EngineError, match=r'median 50\.0'):
        compare(moved(100, 50.0), points=unsure, min_confidence=0.0)

    def surer(points):
        points[3, 4, 2] += 0.002
        return points

    with pytest.raises(EngineError, match=r'0.001 in confidence .* and 0.0020, on 10 frames'):
        compare(surer, points=unsure)


def test_a_limit_of_the_median_alone():
    assert compare(moved(40, 9.0), tolerance=Tolerance(median_px=0.5)).largest_px > 8
    with pytest.raises(EngineError, match=r'median 9\.0000 px .allowed 0\.5., at most 9\.0'):
        compare(moved(60, 9.0), tolerance=Tolerance(median_px=0.5))
    assert compare(moved(60, 9.0), tolerance=UNLIMITED).median_px == pytest.approx(9, abs=1e-4)


def test_nan_and_another_shape_are_refused():
    def nan(points):
        points[0, 0, 0] = np.nan
        return points

    with pytest.raises(EngineError, match='A and B differ: NaN or infinity in keypoints; choose'):
        compare(nan, tolerance=UNLIMITED)
    with pytest.raises(EngineError, match=r'outputs .*\(10, 9, 3\)\} and .*\(10, 10, 3\)\}; choo'):
        compare(lambda points: points[:, :9], tolerance=UNLIMITED)


def test_tolerances_grow_as_numbers_get_shorter():
    fp32, fp16, int8 = (TOLERANCES[p] for p in ('fp32', 'fp16', 'int8'))
    for name in ('median_px', 'far_px', 'far_confidence', 'off_share'):
        assert getattr(fp32, name) < getattr(fp16, name) < getattr(int8, name)
