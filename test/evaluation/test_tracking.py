"""How long learned keypoints stay on labelled points."""

from keypoint_perception.evaluation.tracking import cut_clips, score_tracking
import numpy as np
import pytest

FRAME_NS = 33_333_333
NAN = float('nan')


def walk(frames, speed_u, speed_v=0.0):
    """Return one point that walks evenly, (frames, 1, 2) px."""
    return np.arange(frames)[:, None, None] * np.array([speed_u, speed_v])


def tracking(learned, labelled, length=10):
    """Return {eps: (precision, recall)} on a diagonal of 100 px."""
    stamps = np.arange(len(learned)) * FRAME_NS
    scores = score_tracking(stamps, learned, labelled, diagonal_px=100.0, clip_lengths=(length,))
    return {score.epsilon_percent: (score.precision, score.recall) for score in scores}


def test_point_beside_the_label_tracks_it():
    # a constant offset does not count
    label = walk(20, 1.0)
    learned = np.concatenate([label + 30, walk(20, -2.0)], axis=1)
    # two learned points move, one label
    assert tracking(learned, label)[2.0] == (0.5, 1.0)


def test_points_that_stand_still_do_not_count():
    label = walk(20, 1.0)
    learned = np.concatenate([label, np.zeros((20, 3, 2))], axis=1)
    labelled = np.concatenate([label, np.zeros((20, 1, 2))], axis=1)
    assert tracking(learned, labelled)[2.0] == (1.0, 1.0)


def test_distance_must_stay_under_epsilon_in_every_frame():
    # one of ten frames is 5 px off: the offset takes 0.5 px, and 4.5 % of the diagonal remain
    label = walk(10, 1.0)
    learned = label.copy()
    learned[4, 0, 1] += 5
    found = tracking(learned, label)
    assert found[2.0] == (0.0, 0.0)
    assert found[5.0] == (1.0, 1.0)


def test_one_learned_point_matches_one_label():
    label = walk(10, 1.0)
    assert tracking(label, np.repeat(label, 2, axis=1))[2.0] == (1.0, 0.5)


def test_counts_are_summed_over_clips():
    # follows in the first clip, runs ahead in the second
    label = walk(20, 1.0)
    learned = label.copy()
    learned[10:] = walk(10, 0.0, 3.0)
    assert tracking(learned, label)[2.0] == (0.5, 0.5)


@pytest.mark.parametrize(
    ('keypoints', 'bound', 'share'),
    # clips with 2, 1 and no labels that move and are complete, which keypoints beside them match;
    # of four keypoints one stands still and counts for the bound, but not for precision
    [(1, (1 + 1 + 0) / 3, (2 / 3) / (2 / 3)), (4, (0.5 + 0.25 + 0) / 3, (3 / 9) / 0.25)],
)
def test_precision_is_held_against_its_bound(keypoints, bound, share):
    right, down = walk(30, 1.0), walk(30, 0.0, 1.0)
    labelled = np.concatenate([right, down, np.zeros((30, 1, 2))], axis=1)
    labelled[15, 1] = labelled[25, :2] = NAN
    astray, still = walk(30, -3.0), np.zeros((30, 1, 2))
    learned = np.concatenate([right + 20, down + 20, astray, still], axis=1)[:, :keypoints]
    stamps = np.arange(30) * FRAME_NS
    (score, *_) = score_tracking(stamps, learned, labelled, diagonal_px=100.0, clip_lengths=(10,))
    assert score.precision_bound == pytest.approx(bound)
    assert score.share_of_bound == pytest.approx(share)


def test_without_clips_there_is_no_bound():
    scores = score_tracking(
        np.arange(9) * FRAME_NS, walk(9, 1.0), walk(9, 1.0), diagonal_px=100.0, clip_lengths=(10,)
    )
    assert np.isnan([scores[0].precision_bound, scores[0].share_of_bound]).all()


def test_shares_of_each_point():
    # the third learned point stands still; the second follows nothing; the first follows label 1
    # in the first clip only
    right, down = walk(20, 1.0), walk(20, 0.0, 1.0)
    astray = walk(20, -2.0)
    follower = right.copy()
    follower[10:] = walk(10, 0.0, -3.0)
    learned = np.concatenate([follower, astray, np.zeros((20, 1, 2))], axis=1)
    stamps = np.arange(20) * FRAME_NS
    (score, *_) = score_tracking(
        stamps,
        learned,
        np.concatenate([down, right], axis=1),
        diagonal_px=100.0,
        clip_lengths=(10,),
    )
    np.testing.assert_array_equal(score.precision_by_keypoint, [0.5, 0.0, NAN])
    np.testing.assert_array_equal(score.recall_by_label, [0.0, 0.5])
    assert (score.precision, score.recall) == (0.25, 0.25)


def test_label_missing_in_one_frame_is_left_out_of_that_clip():
    label = walk(20, 1.0)
    label[3] = NAN
    found = tracking(walk(20, 1.0), label)
    # two learned points moved (one a clip), one label, one match
    assert found[2.0] == (0.5, 1.0)


def test_without_a_label_in_all_frames_of_a_clip_nothing_is_said():
    label = walk(20, 1.0)
    label[::5] = NAN
    assert np.isnan(tracking(walk(20, 1.0), label)[2.0]).all()


def test_u_is_not_v():
    assert tracking(walk(10, 5.0, 1.0), walk(10, 1.0, 5.0))[10.0] == (0.0, 0.0)


def test_recording_shorter_than_a_clip():
    precision, recall = tracking(walk(9, 1.0), walk(9, 1.0))[2.0]
    assert np.isnan(precision)
    assert np.isnan(recall)


def test_clips_stay_within_episodes():
    stamps = np.concatenate([np.arange(25), 1000 + np.arange(10)]) * FRAME_NS
    clips = cut_clips(stamps, 10)
    assert clips == [slice(0, 10), slice(10, 20), slice(25, 35)]


def test_every_length_and_threshold_is_scored():
    scores = score_tracking(
        np.arange(200) * FRAME_NS, walk(200, 0.2), walk(200, 0.2), diagonal_px=100.0
    )
    assert [(s.clip_frames, s.epsilon_percent) for s in scores] == [
        (length, eps) for length in (10, 50, 100, 200) for eps in (2.0, 5.0, 10.0)
    ]
    # in 10 frames the point moves 1.8 px, a spread of 0.57 %: it does not count there
    assert np.isnan(scores[0].recall)
    assert [s.recall for s in scores[3:]] == [pytest.approx(1.0)] * 9
