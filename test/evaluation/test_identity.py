"""Identity switches of labelled points."""

from keypoint_perception.evaluation.identity import count_switches
import numpy as np
import pytest

FRAME_NS = 33_333_333
NAN = float('nan')


def walk(frames, speed_u, speed_v=0.0):
    """Return one point that walks evenly, (frames, 1, 2) px."""
    return np.arange(frames)[:, None, None] * np.array([speed_u, speed_v])


def switches(learned, labelled, stamps=None):
    stamps = np.arange(len(learned)) * FRAME_NS if stamps is None else stamps
    return count_switches(stamps, learned, labelled, diagonal_px=100.0)


def test_point_beside_the_label_keeps_it():
    score = switches(walk(20, 2.0) + 30, walk(20, 2.0))
    assert (score.switches.sum(), score.matched.sum(), score.present.sum()) == (0, 20, 20)
    assert score.per_1000 == 0


def test_handing_over_is_one_switch():
    # the first follows for 12 of 20 frames, then runs away; the second follows in the last 12,
    # so that for both the median offset is the one with which they follow
    label = walk(20, 2.0)
    first, second = label.copy(), label.copy()
    first[12:, 0, 1] += 40
    second[:8, 0, 1] -= 40
    score = switches(np.concatenate([first, second], axis=1), label)
    assert score.switches.tolist() == [1]
    assert score.matched.tolist() == [20]
    assert score.per_1000 == pytest.approx(50.0)


def test_a_pair_stays_while_it_is_close_though_another_is_closer():
    label = walk(20, 2.0)
    near = label.copy()
    near[10:, 0, 1] += 3  # median offset 0 or 3: within 5 % either way
    assert switches(np.concatenate([near, label], axis=1), label).switches.tolist() == [0]


def test_two_labels_do_not_share_a_point():
    label = walk(20, 2.0)
    score = switches(label, np.repeat(label, 2, axis=1))
    assert sorted(score.matched.tolist()) == [0, 20]
    assert score.present.tolist() == [20, 20]


def test_missing_label_is_neither_matched_nor_switched():
    label = walk(20, 2.0)
    seen = label.copy()
    seen[8:12] = NAN
    score = switches(np.repeat(label, 2, axis=1), seen)
    assert (score.switches.sum(), score.matched.sum(), score.present.sum()) == (0, 16, 16)


def test_what_stands_still_does_not_count():
    score = switches(np.zeros((20, 2, 2)), walk(20, 2.0))
    assert (score.matched.sum(), score.present.sum()) == (0, 0)
    assert np.isnan(score.per_1000)


def test_a_new_episode_is_no_switch():
    label = np.concatenate([walk(20, 2.0), walk(20, 2.0)])
    stamps = np.concatenate([np.arange(20), 1000 + np.arange(20)]) * FRAME_NS
    first, second = label.copy(), label.copy()
    first[20:] = 0
    second[:20] = 0
    both = np.concatenate([first, second], axis=1)
    assert switches(both, label, stamps).switches.tolist() == [0]
    assert switches(both, label, stamps).matched.tolist() == [40]
