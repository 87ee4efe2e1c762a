"""Filters of points: hand-worked steps, and what they do with gaps, clocks and confidences."""

import math

from keypoint_perception.geometry.point_filter import FilterSettings, PointFilter
import numpy as np
import pytest

SECOND = 1_000_000_000
SURE = np.ones(1)


def run(settings, steps, confidence=None):
    """Return points and velocities of one point in a plane: ``steps`` are (seconds, u, v)."""
    tracker = PointFilter(settings)
    sure = [1.0] * len(steps) if confidence is None else confidence
    answers = [
        tracker.filter(int(t * SECOND), np.array([[u, v]]), np.array([c]))
        for (t, u, v), c in zip(steps, sure, strict=True)
    ]
    return np.array([a[0][0] for a in answers]), np.array([a[1][0] for a in answers])


def one_euro(**settings):
    # 2 pi f T is 1 at T = 0.5 s: a is 1/2
    return FilterSettings('one_euro', 1 / math.pi, 0.0, 1 / math.pi, gap_s=10, **settings)


def constant_velocity(**settings):
    return FilterSettings('constant_velocity', gap_s=10, **settings)


def test_without_a_filter_points_stay():
    points, velocities = run(FilterSettings(), [(0, 1, 2), (0.1, 5, 2)])
    np.testing.assert_array_equal(points, [[1, 2], [5, 2]])
    np.testing.assert_array_equal(velocities, 0)


def test_one_euro_by_hand():
    points, velocities = run(one_euro(), [(0, 0, 10), (0.5, 4, 10), (1, 4, 10)])
    # u: 0; 0 + (4 - 0) / 2; 2 + (4 - 2) / 2; v: 0; (4 / 0.5) / 2; 4 + (0 - 4) / 2
    np.testing.assert_allclose(points, [[0, 10], [2, 10], [3, 10]])
    np.testing.assert_allclose(velocities, [[0, 0], [4, 0], [2, 0]])


def test_one_euro_speeds_up_with_the_speed_of_the_point():
    settings = FilterSettings('one_euro', 1 / math.pi, 0.2 / math.pi, 1 / math.pi, gap_s=10)
    # the velocity is (3, 4) / 0.5 / 2 = (3, 4), 5 in all: the cutoff is (1 + 1) / pi, a is 2/3
    points, velocities = run(settings, [(0, 0, 0), (0.5, 3, 4)])
    np.testing.assert_allclose(velocities[1], [3, 4])
    np.testing.assert_allclose(points[1], [2, 8 / 3])


def test_constant_velocity_by_hand():
    # a first place of variance 1 / 1 and velocity of variance 10^6, without acceleration; after
    # 1 s: pp = 1 + 10^6, pv = vv = 10^6, spread = 2 + 10^6
    settings = constant_velocity(noise=1.0, acceleration=0.0)
    points, velocities = run(settings, [(0, 0, 0), (1, 2, 0)])
    np.testing.assert_allclose(points[1, 0], 2 * (1 + 1e6) / (2 + 1e6), rtol=1e-12)
    np.testing.assert_allclose(velocities[1, 0], 2 * 1e6 / (2 + 1e6), rtol=1e-12)


@pytest.mark.parametrize('kind', ['one_euro', 'constant_velocity'])
def test_a_steady_motion_is_followed(kind):
    steps = [(t / 30, 10 + 60 * t / 30, 5 - 30 * t / 30) for t in range(120)]
    points, velocities = run(FilterSettings(kind), steps)
    np.testing.assert_allclose(velocities[-1], [60, -30], rtol=1e-3)
    lag = np.linalg.norm(points[-1] - steps[-1][1:])
    assert lag < 5


def test_constant_velocity_is_the_kalman_filter_of_the_textbook():
    generator = np.random.default_rng(3)
    stamps = np.cumsum(generator.uniform(0.02, 0.1, 40))
    measured = np.cumsum(generator.normal(0, 3, (40, 2)), 0)
    confidence = generator.uniform(0.05, 0.9, 40)
    settings = constant_velocity(noise=1.5, acceleration=300.0)
    points, velocities = run(settings, np.column_stack([stamps, measured]), confidence)
    state, covariance = np.array([measured[0], [0, 0]]), None
    covariance = np.diag([1.5**2 / min(1, confidence[0] / 0.5), 1e6])
    for step in range(1, 40):
        t = (int(stamps[step] * SECOND) - int(stamps[step - 1] * SECOND)) / 1e9
        ahead = np.array([[1, t], [0, 1]])
        drive = np.array([[t * t / 2], [t]]) * 300
        covariance = ahead @ covariance @ ahead.T + drive @ drive.T
        noise = 1.5**2 / min(1, confidence[step] / 0.5)
        gain = covariance[:, :1] / (covariance[0, 0] + noise)
        state = ahead @ state
        state = state + gain @ (measured[step] - state[0])[None]
        covariance = covariance - gain @ covariance[:1]
        np.testing.assert_allclose([points[step], velocities[step]], state, rtol=1e-6)


@pytest.mark.parametrize('settings', [one_euro(), constant_velocity()])
def test_points_of_low_confidence_hardly_move(settings):
    steps = [(0, 10, 10), (0.1, 10, 10), (0.2, 10, 10), (0.3, 90, 10)]
    sure, _ = run(settings, steps)
    unsure, speed = run(settings, steps, [1, 1, 1, 0])
    assert sure[-1, 0] > 20
    assert unsure[-1, 0] < 14
    assert speed[-1, 0] < 60


def test_a_difference_is_as_good_as_the_worse_of_its_points():
    # the second is seen with a tenth of the full confidence: it and the step from it hardly count
    steps = [(0, 0, 0), (0.5, 40, 0), (1, 0, 0)]
    _, velocities = run(one_euro(confidence=1.0), steps, [1, 0.1, 1])
    # 0.1 / 2 of 80 px/s, then 0.1 / 2 of the rest to -80
    np.testing.assert_allclose(velocities[:, 0], [0, 4, 4 + 0.05 * (-80 - 4)])


def test_confidence_counts_in_proportion_up_to_a_bound():
    steps = [(0, 0, 0), (0.5, 4, 0)]
    assert run(one_euro(confidence=0.8), steps, [1, 0.4])[0][1, 0] == 1
    assert run(one_euro(confidence=0.4), steps, [1, 0.4])[0][1, 0] == 2
    assert run(one_euro(confidence=0.0), steps, [1, 0])[0][1, 0] == 2


@pytest.mark.parametrize('settings', [one_euro(), constant_velocity()])
@pytest.mark.parametrize('second', [1, 0.25, 11.01], ids=['stands still', 'back', 'gap'])
def test_the_filter_restarts_when_the_clock_jumps(settings, second):
    points, velocities = run(settings, [(0.5, 0, 0), (1, 8, 8), (second, 50, 60), (12, 50, 60)])
    np.testing.assert_array_equal(points[2], [50, 60])
    np.testing.assert_array_equal(velocities[2], [0, 0])
    assert velocities[1, 0] > 0


@pytest.mark.parametrize('kind', ['one_euro', 'constant_velocity'])
def test_points_that_are_not_measured_are_nan(kind):
    tracker = PointFilter(FilterSettings(kind, gap_s=0.3))
    both, sure = np.array([[0.0, 0], [100, 100]]), np.ones(2)
    tracker.filter(0, both, sure)
    lost = np.array([[2.0, 0], [np.nan, 100]])
    points, velocities = tracker.filter(SECOND // 10, lost, sure)
    assert np.isnan(points[1]).all()
    assert np.isnan(velocities[1]).all()
    assert velocities[0, 0] > 0
    # back within the gap: it goes on; the other has gone on all the time
    points, _ = tracker.filter(SECOND // 5, both + (4, 4), sure)
    assert 100 < points[1, 0] < 104
    tracker.filter(3 * SECOND // 10, lost, sure)
    tracker.filter(4 * SECOND // 10, lost, sure)
    tracker.filter(5 * SECOND // 10, lost, sure)
    points, velocities = tracker.filter(6 * SECOND // 10, both + (40, 40), sure)
    np.testing.assert_array_equal(points[1], [140, 140])
    np.testing.assert_array_equal(velocities[1], [0, 0])
    assert points[0, 0] < 40


def test_settings_can_change_and_another_number_of_points_restarts():
    tracker = PointFilter(one_euro())
    tracker.filter(0, np.array([[0.0, 0]]), SURE)
    tracker.settings = FilterSettings('one_euro', 1000, gap_s=10)
    points, _ = tracker.filter(SECOND, np.array([[4.0, 0]]), SURE)
    np.testing.assert_allclose(points, [[4, 0]], rtol=1e-3)
    points, velocities = tracker.filter(2 * SECOND, np.array([[9.0, 9], [8, 8]]), np.ones(2))
    np.testing.assert_array_equal(points, [[9, 9], [8, 8]])
    np.testing.assert_array_equal(velocities, 0)
    tracker.reset()
    points, _ = tracker.filter(3 * SECOND, np.array([[1.0, 1], [8, 8]]), np.ones(2))
    np.testing.assert_array_equal(points, [[1, 1], [8, 8]])
