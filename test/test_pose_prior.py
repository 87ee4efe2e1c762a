"""Keypoints that an image does not show: how they are told, and where they are put."""

from dataclasses import replace
import json

from keypoint_perception.errors import ModelError
from keypoint_perception.manifest import Manifest
from keypoint_perception.model_directory import POSE_PRIOR_NAME
from keypoint_perception.pose_prior import (
    fit_pose_prior,
    LEAST_PRESENCE,
    listed_pose_prior,
    PosePrior,
    read_pose_prior,
    write_pose_prior,
)
import numpy as np
import pytest

HW = (60, 80)  # a diagonal of 100, so that a right detection is within 2 px
AREA = 60 * 80
SINGLE = PosePrior(HW, np.array([[40.0, 30.0]]), np.diag([12.0, 12.0]))


def arm(count=400, seed=0):
    """Return three keypoints, of which the second is 20 px right of the first, (N, 3, 3)."""
    generator = np.random.default_rng(seed)
    first = generator.uniform([10, 10], [50, 50], (count, 2))
    other = generator.uniform([10, 10], [70, 50], (count, 2))
    uv = np.stack([first, first + [20, 0], other], axis=1)
    return np.concatenate([uv, np.full((count, 3, 1), 0.9)], axis=-1)


def image(*points):
    return np.array(points, np.float32)


def test_presence_of_a_single_keypoint_by_hand():
    # 12 px^2 of the poses and 4 of the detection: density exp(-d^2 / 32) / (32 pi)
    for away, confidence in ((0.0, 0.9), (6.0, 0.9), (6.0, 0.2), (16.0, 0.6)):
        found = SINGLE.presence(image([40 + away, 30, confidence]))
        density = np.exp(-(away**2) / 32) / (32 * np.pi)
        right, wrong = confidence * density, (1 - confidence) / AREA
        assert found.probability[0] == pytest.approx(max(right / (right + wrong), 1e-3), rel=1e-5)


def test_a_detection_counts_by_its_presence():
    # variance 4 / 0.9 beside 12: of the way back to the mean, 4.44 / 16.44
    found = SINGLE.presence(image([46, 30, 0.9]))
    assert found.predicted[0] == pytest.approx([46 - 6 * (4 / 0.9) / (12 + 4 / 0.9), 30])


def test_agreement_with_the_others_is_presence_and_disagreement_is_not():
    prior = fit_pose_prior(arm(), HW)
    agrees = prior.presence(image([30, 30, 0.9], [50, 30, 0.3], [40, 40, 0.9]))
    assert agrees.probability[1] > 0.8
    differs = prior.presence(image([30, 30, 0.9], [50, 10, 0.3], [40, 40, 0.9]))
    assert differs.probability[1] < 0.01
    assert differs.probability[0] > 0.8
    # of two that disagree, the less confident is wrong
    swapped = prior.presence(image([30, 30, 0.3], [50, 10, 0.95], [40, 40, 0.9]))
    assert swapped.probability[0] < LEAST_PRESENCE < swapped.probability[1]


def test_hidden_keypoints_are_predicted_with_confidence_0_and_others_stay():
    prior = fit_pose_prior(arm(), HW)
    points = image([30, 30, 0.9], [3, 55, 0.3], [40, 40, 0.9])
    before = points.copy()
    prior.replace_hidden(points)
    np.testing.assert_allclose(points[1, :2], [50, 30], atol=1.5)
    assert points[1, 2] == 0
    np.testing.assert_array_equal(points[[0, 2]], before[[0, 2]])


@pytest.mark.parametrize(('confidence', 'hidden'), [(0.9, True), (0.95, False)])
def test_a_keypoint_is_hidden_below_a_presence_of_a_fifth(confidence, hidden):
    # 16 px from the poses: presences of 0.127 and 0.24
    points = image([56, 30, confidence])
    SINGLE.replace_hidden(points)
    assert (points[0, 2] == 0) == hidden
    assert points[0, 2] in (0, np.float32(confidence))


def test_predictions_lie_in_the_image():
    prior = fit_pose_prior(arm(), HW)
    points = image([76, 30, 0.95], [10, 50, 0.1], [40, 40, 0.9])
    prior.replace_hidden(points)
    assert points[1, 2] == 0
    assert points[1, 0] == 79


def test_unsure_detections_teach_no_poses():
    points = arm()
    points[::2, 1] = [0, 0, 0.3]  # hidden in every second frame
    prior = fit_pose_prior(points, HW)
    np.testing.assert_allclose(prior.mean[1], points[1::2, 1, :2].mean(axis=0), atol=0.1)
    difference = prior.covariance[2, 2] - prior.covariance[0, 2]
    assert abs(difference) < 0.1 * prior.covariance[0, 0]


def test_a_keypoint_that_is_never_sure_has_finite_poses():
    points = arm()
    points[:, 2, 2] = 0.1
    prior = fit_pose_prior(points, HW)
    np.testing.assert_allclose(prior.mean[2], points[:, 2, :2].mean(axis=0))
    assert np.linalg.eigvalsh(prior.covariance).min() > -1e-9


def test_pairs_that_contradict_each_other_give_a_covariance():
    # a and b move together, b and c too, a and c oppositely, never all three seen at once
    points = np.zeros((300, 3, 3))
    step = np.random.default_rng(0).normal(0, 10, (300, 2))
    for number, (one, other, sign) in enumerate(((0, 1, 1), (1, 2, 1), (0, 2, -1))):
        points[number::3, one, :2] = 30 + step[number::3]
        points[number::3, other, :2] = 30 + sign * step[number::3]
        points[number::3, (one, other), 2] = 0.9
    prior = fit_pose_prior(points, HW)
    assert prior.covariance[0, 2] > 10
    assert np.linalg.eigvalsh(prior.covariance).min() > -1e-9


def test_written_poses_are_read(tmp_path):
    assert read_pose_prior(tmp_path) is None
    prior = fit_pose_prior(arm(), HW, 'ab')
    assert write_pose_prior(tmp_path, prior) == tmp_path / POSE_PRIOR_NAME
    again = read_pose_prior(tmp_path)
    assert (again.input_hw, again.network_sha256) == (HW, 'ab')
    np.testing.assert_allclose(again.mean, prior.mean, atol=1e-3)
    np.testing.assert_allclose(again.covariance, prior.covariance, atol=1e-3)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'format_version': 2}, "'.*' has format 2"),
        ({'mean': [[1, 2], [3, 4]]}, r'a mean of \(2, 2\) and a covariance of \(2, 2\)'),
        ({'mean': []}, r'a mean of \(0,\)'),
        ({'covariance': [[1, 0], [0, 1e999]]}, 'finite numbers'),
        ({'input_hw': [0, 5]}, 'expected format 1'),
        ({'input_hw': [5]}, 'cannot be read'),
        ({'mean': 'here'}, 'cannot be read'),
    ],
)
def test_invalid_files_are_refused(tmp_path, changes, sentence):
    path = write_pose_prior(tmp_path, SINGLE)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=sentence) as error:
        read_pose_prior(tmp_path)
    assert 'delete it and run `export`' in str(error.value)


def test_only_listed_poses_of_the_same_network_are_used(tmp_path):
    write_pose_prior(tmp_path, SINGLE)
    manifest = Manifest(('kp0',), HW, objective='none', network='none')
    assert listed_pose_prior(tmp_path, manifest) is None
    listed = replace(manifest, files={POSE_PRIOR_NAME: ''})
    assert listed_pose_prior(tmp_path, listed).mean.tolist() == [[40, 30]]
    for other in ({'keypoint_names': ('kp0', 'kp1')}, {'input_hw': (96, 128)}):
        with pytest.raises(ModelError, match='is for height, width and keypoints'):
            listed_pose_prior(tmp_path, replace(listed, **other))
