"""The regression from labels to learned points."""

from keypoint_perception.evaluation.backward import score_backward, select_common_labels
from keypoint_perception.evaluation.regression import score_regression
import numpy as np
import pytest

FRAME_NS = 33_333_333
NAN = float('nan')


def wandering(seed, count, points):
    """Return positions on a 100 x 100 image, (count, points, 2)."""
    return np.random.default_rng(seed).uniform(10, 90, (count, points, 2))


def backward(keypoints, labels, diagonal_px=100.0):
    return score_backward(
        np.arange(len(labels)) * FRAME_NS,
        keypoints,
        labels,
        label_names=tuple(f'label{j}' for j in range(labels.shape[1])),
        keypoint_names=tuple(f'kp{k}' for k in range(keypoints.shape[1])),
        diagonal_px=diagonal_px,
    )


def test_collapsed_points_are_as_good_forward_and_worse_backward():
    labels = wandering(0, 100, 2)
    scores = []
    for spare in (np.repeat(labels[:, :1], 2, axis=1), wandering(1, 100, 2)):
        keypoints = np.concatenate([labels, spare], axis=1)
        stamps = np.arange(100) * FRAME_NS
        forward = score_regression(stamps, keypoints, labels, names=('a', 'b'), diagonal_px=100.0)
        assert forward.mean_explained > 0.999
        scores.append(backward(keypoints, labels).mean_explained)
    followed, astray = scores
    assert followed > 0.999
    assert astray < 0.6


def test_known_values():
    # The label stands still, so the regression can only answer the learned point's mean of the
    # fitting part: 7 frames with v 0, ..., 0, 7 -> 1. Scored: v = 4, 4, 10 -> 3, 3, 9, mean 5; of
    # a diagonal of 50 px that is 10 %.
    labels = np.full((10, 1, 2), 20.0)
    keypoints = np.zeros((10, 1, 3))
    keypoints[6, 0, 1] = 7
    keypoints[7:, 0, 1] = 4, 4, 10
    keypoints[..., 2] = np.arange(10)[:, None] / 10
    score = backward(keypoints, labels, diagonal_px=50.0)
    (point,) = score.points
    assert point.error_percent == pytest.approx(10.0)
    assert point.trivial_percent == pytest.approx(10.0)
    assert point.explained == pytest.approx(0.0)
    np.testing.assert_allclose(score.away_percent[:, 0], [6, 6, 18])
    np.testing.assert_allclose(score.confidence[:, 0], [0.7, 0.8, 0.9])
    assert (score.fitted_frames, score.scored_frames) == (7, 3)


def test_points_that_stand_still_are_left_out_of_the_means():
    labels = wandering(0, 50, 1)
    keypoints = np.concatenate([wandering(1, 50, 1), np.full((50, 1, 2), 5.0)], axis=1)
    score = backward(keypoints, labels)
    moving, still = score.points
    assert (moving.moves, still.moves) == (True, False)
    assert score.mean_error_percent == moving.error_percent > 10


def test_the_rarest_label_leaves_first():
    labelled = np.ones((10, 3), bool)
    labelled[:4, 0] = False
    labelled[3:, 1] = False
    # all three: no frame; without label 1: frames 4 to 9, more than half
    used, frames = select_common_labels(labelled)
    np.testing.assert_array_equal(used, [0, 2])
    np.testing.assert_array_equal(frames, np.arange(4, 10))


def test_label_that_is_missing_now_and_then_stays():
    labels = wandering(0, 40, 2)
    labels[5, 1] = NAN
    score = backward(labels.copy()[:, :1], labels)
    assert score.used_labels == ('label0', 'label1')
    assert score.fitted_frames + score.scored_frames == 39


def test_labels_without_a_common_frame_give_no_score():
    labels = wandering(0, 4, 1)
    labels[1:] = NAN
    assert backward(wandering(1, 4, 1), labels) is None
