"""An episode ends where a recording is interrupted."""

from keypoint_perception.episodes import find_episodes
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


def test_swapped_neighbours_do_not_end_an_episode():
    stamps = np.array([0, 33, 100, 66, 133, 166]) * 10**6
    np.testing.assert_array_equal(find_episodes(stamps), [0, 0, 0, 0, 0, 0])


def test_each_camera_of_each_recording_has_its_own_episodes():
    # two cameras interleaved, then a second recording with the same stamps
    stamps = np.r_[np.repeat([0, 1, 2, 22], 2), 0, 0] * SECOND
    source, camera = np.repeat([0, 1], [8, 2]), np.tile([0, 1], 5)
    found = find_episodes(stamps, source, camera)
    np.testing.assert_array_equal(found, [0, 2, 0, 2, 0, 2, 1, 3, 4, 5])
