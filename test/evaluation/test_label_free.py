"""What can be said of keypoints without labels."""

from keypoint_perception.evaluation.label_free import (
    find_dead,
    find_duplicates,
    find_static,
    find_uninformative,
    static_share,
    still_jitter,
)
import numpy as np
import pytest

FRAME_NS = 33_333_333


def moving(frames, *, confidence=0.9):
    """Return one keypoint that moves along u, (N, 1, 3)."""
    track = np.zeros((frames, 1, 3))
    track[:, 0, 0] = np.linspace(10, 60, frames)
    track[:, 0, 1] = 30
    track[:, 0, 2] = confidence
    return track


def test_duplicates_are_close_in_most_frames():
    a = moving(10)
    near, half, far = a.copy(), a.copy(), a.copy()
    near[..., 1] += 1.9  # of a diagonal of 100 px
    half[5:, :, 1] += 5  # close in exactly half of the frames, which is not most
    far[..., 1] -= 2.1
    keypoints = np.concatenate([a, far, half, near], axis=1)
    assert find_duplicates(keypoints, 100.0) == [(0, 3)]


def test_three_of_a_kind_are_three_pairs():
    keypoints = np.repeat(moving(4), 3, axis=1)
    assert find_duplicates(keypoints, 100.0) == [(0, 1), (0, 2), (1, 2)]


def test_one_keypoint_has_no_duplicate():
    assert find_duplicates(moving(4), 100.0) == []


def test_dead_points_are_doubted_or_frozen():
    doubted, blinking, frozen, trembling = (moving(20) for _ in range(4))
    doubted[:19, :, 2] = 0.09  # 95 % of 20 frames
    blinking[:18, :, 2] = 0.09
    frozen[..., 0] = 40
    frozen[::2, :, 0] += 0.18  # spread 0.09 px of 100
    trembling[..., 0] = 40
    trembling[::2, :, 0] += 0.22  # spread 0.11 px
    keypoints = np.concatenate([moving(20), doubted, blinking, frozen, trembling], axis=1)
    assert find_dead(keypoints, 100.0) == [1, 3]


def test_static_share_is_the_share_of_frames_over_still_ground():
    # working size 10 x 20 of an image of 40 x 80: only working column 15, row 2 moves
    deviation = np.zeros((10, 20), np.float32)
    deviation[2, 15] = 10
    # image pixel (60, 8) .. (63, 11) is that working pixel; one working pixel around counts too
    uv = np.array([[[61.5, 9.5]], [[57.0, 9.5]], [[53.0, 9.5]], [[9.5, 61.5 / 4]]])
    share = static_share(uv, np.array([[40, 80]] * 4), deviation)
    np.testing.assert_allclose(share, [0.5])


def test_static_share_knows_u_from_v():
    deviation = np.zeros((20, 20), np.float32)
    deviation[3, 15] = 10
    hw = np.array([[20, 20]])
    assert static_share(np.array([[[15.0, 3.0], [3.0, 15.0]]]), hw, deviation).tolist() == [0, 1]


def test_static_share_of_points_beyond_the_border_counts_the_border():
    deviation = np.zeros((20, 20), np.float32)
    deviation[19, 19] = 10
    assert static_share(np.array([[[25.0, 30.0]]]), np.array([[20, 20]]), deviation)[0] == 0


def test_jitter_is_the_mean_jump_between_still_frames():
    # jumps of 3-4-5, 1, 100 px; the last is between frames that change
    uv = np.array([[[0.0, 0.0]], [[3.0, 4.0]], [[3.0, 5.0]], [[103.0, 5.0]]])
    stamps = np.arange(4) * FRAME_NS
    jitter, pairs = still_jitter(uv, 50.0, stamps, np.array([np.inf, 0.0, 1.5, 1.6]))
    assert pairs == 2
    assert jitter == pytest.approx([100 * (5 + 1) / 2 / 50])


def test_still_frames_of_two_episodes_are_no_pair():
    uv = np.zeros((4, 1, 2))
    uv[2:] = 10
    stamps = np.array([0, 1, 2 + 600, 3 + 600]) * FRAME_NS
    jitter, pairs = still_jitter(uv, 100.0, stamps, np.zeros(4))
    assert pairs == 2
    assert jitter == pytest.approx([0.0])


def test_jitter_without_still_frames_is_nan():
    jitter, pairs = still_jitter(moving(3), 100.0, np.arange(3) * FRAME_NS, np.full(3, 9.0))
    assert pairs == 0
    assert np.isnan(jitter).all()


def test_static_is_what_follows_nothing():
    # kp0 moves by a lot, kp1 by 0.5 px of 100, kp2 moves over places where nothing ever moves
    swing = np.resize([-1.0, 1.0], 20)[:, None] * np.array([10.0, 0.5, 10.0])
    uv = np.stack([50 + swing, np.full((20, 3), 50.0)], axis=-1)
    assert find_static(uv, 100.0, np.array([0.5, 0.0, 0.6])) == [1, 2]


def test_wasted_counts_each_point_once():
    assert find_uninformative([1], [1, 5], []) == [1, 5]
    # of three on one spot two are wasted, and of two on a static spot both, once
    assert find_uninformative([], [], [(0, 2), (0, 3), (2, 3)]) == [2, 3]
    assert find_uninformative([4, 6], [], [(4, 6)]) == [4, 6]
    # 2 is a duplicate of 1, which is wasted itself: one of the spot must stay
    assert find_uninformative([1], [], [(1, 2)]) == [1]
