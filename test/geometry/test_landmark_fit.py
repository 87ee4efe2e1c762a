"""Named points from a handful of labelled frames."""

from keypoint_perception.evaluation.regression import fit_ridge
from keypoint_perception.geometry.landmark_fit import (
    are_correlated,
    fit_landmarks,
    fit_maps,
    time_blocks,
)
import numpy as np
import pytest

SECOND = 10**9


def scene(frames, keypoints=12, *, noise=0.0, seed=0):
    """
    Return keypoints (N, K, 2) and a point (N, 2) carried by the first two, in diagonals.

    The point is the middle of keypoints 0 and 1, shifted by (0.1, -0.05).
    """
    generator = np.random.default_rng(seed)
    points = generator.uniform(0.1, 0.9, (frames, keypoints, 2))
    target = points[:, :2].mean(axis=1) + [0.1, -0.05]
    return points + noise * generator.normal(size=points.shape), target


def test_ten_frames_find_the_point_that_two_of_twelve_carry():
    # 20 numbers, 25 weights each way: a free map has no chance, a shared one has 12 weights
    points, target = scene(400)
    (fitted,) = fit_maps(points[:10], target[:10])
    away = np.linalg.norm(fitted(points[10:]) - target[10:], axis=-1).mean()
    trivial = np.linalg.norm(target[:10].mean(axis=0) - target[10:], axis=-1).mean()
    assert away < 0.25 * trivial
    weights, offset = fit_ridge(points[:10].reshape(10, -1), target[:10])
    free = points[10:].reshape(390, -1) @ weights + offset
    assert away < 0.5 * np.linalg.norm(free - target[10:], axis=-1).mean()


def test_many_frames_find_a_map_that_is_not_shared():
    # u hangs on v of keypoint 0 and v on u of keypoint 1, backwards: no weighted sum of places
    points, _ = scene(600, keypoints=4)
    target = np.stack([0.5 * points[:, 0, 1] + 0.2, 0.7 - 0.3 * points[:, 1, 0]], axis=-1)
    (fitted,) = fit_maps(points[:400], target[:400])
    np.testing.assert_allclose(fitted(points[400:]), target[400:], atol=1e-3)
    assert fitted.weights[0, 0, 1] == pytest.approx(0.5, abs=1e-2)
    assert fitted.weights[1, 1, 0] == pytest.approx(-0.3, abs=1e-2)


def test_the_shorter_form_of_many_rows_is_the_same_problem():
    # 2 n rows against 5 K columns: 25 frames are below, and once more each is above
    points, target = scene(25, keypoints=12, noise=0.01)
    (few,) = fit_maps(points, target)
    (many,) = fit_maps(np.repeat(points, 3, axis=0), np.repeat(target, 3, axis=0), (1 / 3,))
    np.testing.assert_allclose(many(points), few(points), atol=2e-3)


def test_noise_is_answered_by_the_mean():
    generator = np.random.default_rng(0)
    points, target = generator.uniform(size=(20, 10, 2)), generator.uniform(size=(20, 2))
    (fitted,) = fit_maps(points, target)
    assert np.abs(fitted(points) - target.mean(axis=0)).max() < 0.25


def test_copies_of_frames_do_not_count_as_witnesses():
    stamps = np.repeat(np.arange(12) * 20 * SECOND, 5) + np.tile(np.arange(5) * SECOND // 30, 12)
    points, target = scene(12, noise=0.05)
    points, target = np.repeat(points, 5, axis=0), np.repeat(target, 5, axis=0)
    labels = (100 * target)[:, None]
    keypoints = np.concatenate([100 * points, np.ones((60, 12, 1))], axis=-1)
    landmarks, (score,) = fit_landmarks(
        stamps, keypoints, labels, names=('hand',), diagonal_px=100.0
    )
    fresh, truth = scene(300, noise=0.05, seed=1)
    there = landmarks.apply(np.concatenate([100 * fresh, np.ones((300, 12, 1))], axis=-1))
    error = np.linalg.norm(there[:, 0, :2] - 100 * truth, axis=-1).mean()
    (as_witnesses,) = fit_maps(points, target)
    careless = 100 * np.linalg.norm(as_witnesses(fresh) - truth, axis=-1).mean()
    assert error < careless
    # the blocks left out hold other scenes, so what they say is what fresh frames say
    assert score.error_percent == pytest.approx(error, rel=0.4)


def test_blocks_in_time():
    far = np.arange(25) * 5 * SECOND
    assert not are_correlated(far)
    blocks = time_blocks(far)
    assert len(blocks) == 10
    np.testing.assert_array_equal(np.concatenate(blocks), np.arange(25))
    assert [len(block) for block in time_blocks(far[:7])] == [1] * 7
    near = np.arange(25) * SECOND // 2
    assert are_correlated(near)
    assert [len(block) for block in time_blocks(near)] == [5] * 5
    # six runs of three frames: none is torn
    runs = np.repeat(np.arange(6) * 9 * SECOND, 3) + np.tile(np.arange(3) * SECOND // 30, 6)
    assert [block.tolist() for block in time_blocks(runs)] == [
        [3 * i, 3 * i + 1, 3 * i + 2] for i in range(6)
    ]


def test_landmarks_are_in_network_pixels_and_their_confidence_follows_what_carries_them():
    points, target = scene(40)
    confidence = np.full((40, 12, 1), 0.5)
    keypoints = np.concatenate([100 * points, confidence], axis=-1)
    labels = np.stack([100 * target, np.full((40, 2), 7.0)], axis=1)
    landmarks, (hand, base) = fit_landmarks(
        np.arange(40) * 5 * SECOND, keypoints, labels, names=('hand', 'base'), diagonal_px=100.0
    )
    found = landmarks.apply(keypoints)
    np.testing.assert_allclose(found[..., :2], labels, atol=0.3)
    assert hand.moves
    assert hand.is_predictable
    assert hand.explained > 0.9
    assert (base.moves, base.is_predictable, base.error_percent) == (False, True, pytest.approx(0))
    # all 40 frames within 5 %: 41 of 42, whatever the keypoints' own scale of confidence is
    assert found[:, 0, 2] == pytest.approx(41 / 42)
    assert found[:, 1, 2] == pytest.approx(41 / 42)
    doubted = keypoints.copy()
    doubted[:, :2, 2] = 0.0
    assert (landmarks.apply(doubted)[:, 0, 2] < 0.25).all()
    aside = keypoints.copy()
    aside[:, 2:, 2] = 0.0
    assert (landmarks.apply(aside)[:, 0, 2] > 0.75).all()


def test_a_point_that_is_missing_now_and_then_uses_the_frames_it_has():
    points, target = scene(30)
    keypoints = np.concatenate([100 * points, np.ones((30, 12, 1))], axis=-1)
    labels = np.repeat((100 * target)[:, None], 2, axis=1)
    labels[::2, 1] = np.nan
    _, scores = fit_landmarks(
        np.arange(30) * 5 * SECOND, keypoints, labels, names=('a', 'b'), diagonal_px=100.0
    )
    assert [score.frames for score in scores] == [30, 15]
