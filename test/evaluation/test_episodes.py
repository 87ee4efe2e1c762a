"""Where a recording pauses, a new episode begins."""

from keypoint_perception.evaluation.episodes import find_episodes
import numpy as np

SECOND = 10**9


def test_gap_of_20_s_ends_an_episode():
    stamps = np.array([0, 1, 2, 22, 23, 43]) * SECOND
    np.testing.assert_array_equal(find_episodes(stamps), [0, 0, 0, 1, 1, 2])


def test_slow_time_lapse_is_one_episode():
    stamps = np.array([0, 10, 20, 30, 50]) * SECOND
    np.testing.assert_array_equal(find_episodes(stamps), [0, 0, 0, 0, 0])


def test_short_dropout_is_no_gap():
    # ten times the median is 0.3 s, but under 5 s nothing ends
    stamps = np.array([0, 33, 66, 1566, 1599]) * 10**6
    np.testing.assert_array_equal(find_episodes(stamps), [0, 0, 0, 0, 0])


def test_time_running_backwards_ends_an_episode():
    np.testing.assert_array_equal(find_episodes(np.array([5, 6, 0, 1]) * SECOND), [0, 0, 1, 1])


def test_one_frame_and_none():
    np.testing.assert_array_equal(find_episodes(np.array([7])), [0])
    assert find_episodes(np.array([], np.int64)).shape == (0,)
