"""How much of the labelled motion the learned keypoints explain."""

from keypoint_perception.errors import SourceError
from keypoint_perception.evaluation.regression import fit_ridge, score_regression
import numpy as np
import pytest

FRAME_NS = 33_333_333
NAN = float('nan')


def stamps(count, *, episode=10**9):
    """Return stamps at 30 Hz with 20 s between episodes."""
    index = np.arange(count)
    return index * FRAME_NS + index // episode * 20 * 10**9


def wandering(seed, count, points):
    """Return smooth-ish positions on a 100 x 100 image, (count, points, 2)."""
    return np.random.default_rng(seed).uniform(10, 90, (count, points, 2))


def score(keypoints, labels, *, diagonal_px=100.0, episode=10**9, names=None):
    names = names or tuple(f'label{j}' for j in range(labels.shape[1]))
    return score_regression(
        stamps(len(labels), episode=episode),
        keypoints,
        labels,
        names=names,
        diagonal_px=diagonal_px,
    )


def test_explains_labels_that_are_linear_in_the_keypoints():
    keypoints = wandering(0, 100, 5)
    mix = np.random.default_rng(1).normal(size=(10, 6))
    labels = (keypoints.reshape(100, 10) @ mix + 7).reshape(100, 3, 2)
    assert score(keypoints, labels).mean_explained > 0.999


def test_random_keypoints_explain_nothing():
    assert score(wandering(0, 2000, 10), wandering(1, 2000, 3)).mean_explained < 0.01


def test_known_values():
    # The keypoint stands still: the regression can only answer the mean label of the fitting
    # part, so error and trivial error are one. Fitted: 7 frames with u 0, ..., 0, 7 -> mean 1.
    # Scored: u = 4, 4, 10 -> distances 3, 3, 9, mean 5; of a diagonal of 50 px that is 10 %.
    keypoints = np.full((10, 1, 3), 20.0)
    labels = np.zeros((10, 1, 2))
    labels[6, 0, 0] = 7
    labels[7:, 0, 0] = 4, 4, 10
    result = score(keypoints, labels, diagonal_px=50.0)
    (point,) = result.points
    assert point.trivial_percent == pytest.approx(10.0)
    assert point.error_percent == pytest.approx(10.0)
    assert point.explained == pytest.approx(0.0)
    assert (point.fitted_frames, point.scored_frames) == (7, 3)
    assert (result.fitted_frames, result.scored_frames) == (7, 3)
    # u has mean 2.5 and mean square (49 + 16 + 16 + 100) / 10 = 18.1: spread sqrt(11.85) px
    assert point.spread_percent == pytest.approx(100 * np.sqrt(11.85) / 50)


def test_share_within_a_distance():
    # as above, distances 3, 3 and 9 px: of a diagonal of 60 px 5, 5 and 15 %
    keypoints = np.full((10, 1, 3), 20.0)
    labels = np.zeros((10, 1, 2))
    labels[6, 0, 0] = 7
    labels[7:, 0, 0] = 4, 4, 10
    result = score(keypoints, labels, diagonal_px=60.0 * (1 - 1e-9))
    assert result.points[0].pck == pytest.approx((0, 0, 2 / 3))
    result = score(keypoints, labels, diagonal_px=60.0 * (1 + 1e-9))
    assert result.points[0].pck == result.mean_pck == pytest.approx((0, 2 / 3, 2 / 3))


def test_agrees_with_least_squares_written_another_way():
    keypoints, labels = wandering(2, 60, 3), wandering(3, 60, 2)
    labels += 0.5 * keypoints[:, :2]
    result = score(keypoints, labels, diagonal_px=141.4)
    # the normal equations' twin: a column of ones, and the ridge as extra rows
    design = np.hstack([keypoints.reshape(60, 6) / 141.4, np.ones((60, 1))])
    penalty = np.sqrt(1e-8 * 42) * np.eye(7)[:6]
    penalty = np.hstack([penalty[:, :6], np.zeros((6, 1))])
    for j, point in enumerate(result.points):
        rows = np.vstack([design[:42], penalty])
        values = np.vstack([labels[:42, j] / 141.4, np.zeros((6, 2))])
        weights = np.linalg.lstsq(rows, values, rcond=None)[0]
        away = design[42:] @ weights - labels[42:, j] / 141.4
        assert point.error_percent == pytest.approx(100 * np.hypot(*away.T).mean(), rel=1e-6)


def test_fits_in_the_past_and_scores_in_the_future():
    # linear in the first 70 frames, something else after: a shuffled split would explain half
    keypoints = wandering(4, 100, 2)
    labels = keypoints.copy()
    labels[70:] = 100 - labels[70:]
    assert score(keypoints, labels).mean_explained < 0


def test_u_is_not_v():
    # labels follow u along u only; v of the label wanders by itself
    keypoints = wandering(5, 400, 1)
    keypoints[..., 1] = 50
    labels = wandering(6, 400, 1)
    labels[..., 0] = keypoints[..., 0]
    (point,) = score(keypoints, labels).points
    assert 0.2 < point.explained < 0.5


def test_points_that_stand_still_within_episodes_are_left_out_of_the_means():
    # the target moves between episodes only
    keypoints, labels = wandering(7, 40, 2), wandering(8, 40, 2)
    labels[:, 1] = np.repeat(wandering(9, 4, 1)[:, 0], 10, axis=0)
    result = score(keypoints, labels, episode=10, names=('finger', 'target'))
    finger, target = result.points
    assert (finger.moves, target.moves) == (True, False)
    assert target.spread_percent == pytest.approx(0.0)
    assert result.episodes == 4
    assert result.mean_error_percent == finger.error_percent
    assert score(keypoints, labels, names=('finger', 'target')).points[1].moves


def test_spread_of_exactly_one_percent_moves():
    labels = np.zeros((10, 1, 2))
    labels[::2, 0, 0], labels[1::2, 0, 0] = -1, 1  # root mean square distance 1 px of 100
    assert score(wandering(0, 10, 1), labels).points[0].moves
    assert not score(wandering(0, 10, 1), 0.99 * labels).points[0].moves


def test_mean_explained_is_of_the_means():
    # One point explained fully that moves little, one not at all that moves ten times as much.
    keypoints = wandering(10, 1000, 1)
    labels = wandering(11, 1000, 2)
    labels[:, 0] = keypoints[:, 0] / 10
    result = score(keypoints, labels)
    small, large = result.points
    assert small.explained > 0.999
    expected = 1 - (small.error_percent + large.error_percent) / (
        small.trivial_percent + large.trivial_percent
    )
    assert result.mean_explained == pytest.approx(expected)
    assert result.mean_explained < 0.2


def test_absent_labels_count_for_their_point_alone():
    keypoints = wandering(12, 100, 3)
    labels = keypoints[:, :2].copy()
    labels[::3, 1] = NAN
    both = score(keypoints, labels)
    assert both.mean_explained > 0.999
    assert both.points[0].fitted_frames == 70
    # of the first 70 frames 24 are multiples of 3, of the last 30 ten
    assert (both.points[1].fitted_frames, both.points[1].scored_frames) == (46, 20)


def test_frames_without_any_label_do_not_shift_the_split():
    keypoints, labels = wandering(13, 100, 2), np.full((100, 1, 2), NAN)
    labels[80:] = wandering(14, 20, 1)
    result = score(keypoints, labels)
    assert (result.fitted_frames, result.scored_frames) == (14, 6)


def test_point_labelled_on_one_side_only_has_no_score():
    keypoints, labels = wandering(15, 100, 2), wandering(16, 100, 2)
    labels[70:, 1] = NAN
    result = score(keypoints, labels)
    assert np.isnan(result.points[1].error_percent)
    assert np.isnan(result.points[1].explained)
    assert result.mean_error_percent == result.points[0].error_percent


def test_means_of_no_moving_point_are_nan():
    result = score(wandering(17, 10, 1), np.full((10, 1, 2), 5.0))
    assert np.isnan(result.mean_explained)
    assert np.isnan(result.points[0].explained)


def test_confidence_is_not_used():
    keypoints, labels = wandering(18, 50, 2), wandering(19, 50, 1)
    confident = np.concatenate([keypoints, np.random.default_rng(0).random((50, 2, 1))], axis=-1)
    assert score(confident, labels) == score(keypoints, labels)


def test_images_of_two_sizes_are_divided_by_their_own_diagonal():
    keypoints = wandering(20, 100, 2)
    labels = keypoints[:, :1].copy()
    double = np.where(np.arange(100) % 2, 2.0, 1.0)
    result = score(
        keypoints * double[:, None, None],
        labels * double[:, None, None],
        diagonal_px=100 * double,
    )
    same = score(keypoints, labels)
    assert result.points[0].trivial_percent == pytest.approx(same.points[0].trivial_percent)


def test_one_labelled_frame_is_not_enough():
    labels = np.full((10, 1, 2), NAN)
    labels[3] = 5.0
    with pytest.raises(SourceError, match='1 frames are labelled; expected at least 2'):
        score(wandering(0, 10, 1), labels)


def test_ridge_does_not_shrink_the_intercept():
    weights, intercept = fit_ridge(np.zeros((5, 2)), np.full((5, 1), 3.0))
    np.testing.assert_allclose(weights, 0)
    np.testing.assert_allclose(intercept, 3)
