"""The estimator answers in pixels of the image as received."""

from fake_engine import FakeEngine
from image_messages import open_image
from keypoint_perception.errors import EncodingError, EngineError
from keypoint_perception.inference import estimator as estimator_module
from keypoint_perception.inference.estimator import Estimator, MAX_SIZES
from keypoint_perception.keypoints import Fit
from keypoint_perception.landmark_map import Landmarks
from keypoint_perception.pose_prior import PosePrior
import numpy as np
import pytest


def centre_and_corner(images):
    """Answer the centre of the picture and the network's top-left pixel."""
    one = np.array([[63.5, 47.5, 0.75], [0.0, 0.0, 0.25]], np.float32)
    return np.repeat(one[None], len(images), axis=0)


def brightest(images):
    """Answer each image's brightest pixel, twice."""
    points = []
    for image in images:
        v, u = np.unravel_index(image.sum(-1).argmax(), image.shape[:2])
        points.append([[u, v, 1.0]] * 2)
    return np.array(points, np.float32)


def make(answer, **options):
    return Estimator(FakeEngine(answer, keypoint_names=('a', 'b'), **options))


def test_positions_come_back_in_image_pixels():
    # 640 x 480 in 128 x 96: scale 0.2; network 0 is image (0 + 0.5) / 0.2 - 0.5 = 2
    keypoints = make(centre_and_corner).estimate(np.zeros((480, 640, 3), np.uint8))
    assert keypoints.dtype == np.float32
    np.testing.assert_allclose(keypoints, [[319.5, 239.5, 0.75], [2.0, 2.0, 0.25]], rtol=1e-6)


def test_hidden_keypoints_are_predicted_only_if_asked():
    # the answers are at (63.5, 47.5) and (0, 0); the poses have the second 10 px below the first
    spread = np.full((4, 4), 0.0)
    spread[0, ::2] = spread[2, ::2] = spread[1, 1::2] = spread[3, 1::2] = 400
    prior = PosePrior((96, 128), np.array([[60.0, 40.0], [60.0, 50.0]]), spread)
    estimator, image = make(centre_and_corner, pose_prior=prior), np.zeros((480, 640, 3), np.uint8)
    np.testing.assert_allclose(estimator.estimate(image)[1], [2, 2, 0.25])
    estimator.predict_hidden = True
    found = estimator.estimate(image)
    np.testing.assert_allclose(found[0], [319.5, 239.5, 0.75], rtol=1e-6)
    np.testing.assert_allclose(found[1], [319.5, 239.5 + 50, 0], atol=5)
    keypoints, _ = estimator.estimate_with_landmarks([image])[0]
    np.testing.assert_array_equal(keypoints, found)


def test_landmarks_follow_predicted_keypoints():
    prior = PosePrior((96, 128), np.array([[60.0, 50.0], [60.0, 50.0]]), 0.01 * np.eye(4))
    # the middle of both keypoints, trusted as the second one
    half = np.zeros((1, 2, 2, 2))
    half[0, 0, :, 0] = half[0, 1, :, 1] = 0.5
    trust = np.array([[0.0, 1.0]])
    sums = Landmarks(('middle',), half, np.zeros((1, 2)), trust, np.zeros(1))
    engine = {'landmarks': sums.apply, 'landmark_names': ('middle',), 'landmark_map': sums}
    estimator = make(centre_and_corner, pose_prior=prior, **engine)
    image = np.zeros((96, 128, 3), np.uint8)
    (found,) = estimator.estimate_with_landmarks([image])
    np.testing.assert_allclose(found.landmarks, [[31.75, 23.75, 0.25]])
    estimator.predict_hidden = True
    keypoints, landmarks = estimator.estimate_with_landmarks([image])[0]
    np.testing.assert_allclose(keypoints[1], [60, 50, 0], atol=0.1)
    np.testing.assert_allclose(landmarks[0, :2], keypoints[:, :2].mean(axis=0), atol=1e-3)
    assert landmarks[0, 2] == 0


def test_borders_of_the_letterbox_are_taken_off():
    # 64 x 96 in 128 x 96: scale 1, 32 empty columns on the left
    estimator = make(centre_and_corner)
    keypoints = estimator.estimate(np.zeros((96, 64, 3), np.uint8))
    np.testing.assert_allclose(keypoints[:, :2], [[31.5, 47.5], [-32.0, 0.0]])


def test_nothing_stays_of_the_image_before():
    estimator = make(brightest)
    bright = np.full((96, 64, 3), 255, np.uint8)
    dark = np.zeros((96, 64, 3), np.uint8)
    dark[7, 5] = 9
    estimator.estimate(bright)
    np.testing.assert_allclose(estimator.estimate(dark)[0], [5, 7, 1])


def test_batch_answers_as_one_by_one():
    estimator = make(brightest)
    images = [np.zeros((*hw, 3), np.uint8) for hw in ((96, 128), (48, 64), (96, 64))]
    for image, (u, v) in zip(images, ((3, 90), (60, 2), (10, 50)), strict=True):
        image[v, u] = 255
    together = estimator.estimate_batch(images)
    for image, keypoints in zip(images, together, strict=True):
        np.testing.assert_array_equal(estimator.estimate(image), keypoints)
    np.testing.assert_allclose(together[0][0, :2], [3, 90])
    assert estimator.estimate_batch([]) == []


@pytest.mark.parametrize('height', [96, 400])
def test_images_as_they_were_sent_answer_as_their_rgb(height):
    estimator = make(brightest)
    grey = np.zeros((height, 160), np.uint8)
    grey[40:52, 100:112] = 250
    sent = open_image('mono8', grey.tobytes(), height=height, width=160, step=160)
    expected = estimator.estimate(np.dstack([grey] * 3))
    np.testing.assert_array_equal(estimator.estimate(sent), expected)
    together = estimator.estimate_batch([np.zeros((30, 40, 3), np.uint8), sent])
    np.testing.assert_array_equal(together[1], expected)


def test_the_batch_stays_where_it_is():
    seen = []

    def answer(images):
        seen.append(images)
        return centre_and_corner(images)

    estimator = make(answer)
    for hw in ((48, 64), (96, 64)):
        estimator.estimate(np.zeros((*hw, 3), np.uint8))
    assert np.shares_memory(*seen)


def test_fits_are_kept_for_a_few_sizes(monkeypatch):
    made = []

    def fit(*sizes):
        made.append(sizes)
        return Fit(*sizes)

    monkeypatch.setattr(estimator_module, 'Fit', fit)
    estimator = make(centre_and_corner)
    heights = range(20, 20 + MAX_SIZES)
    for height in (*heights, *heights):
        estimator.estimate(np.zeros((height, 30, 3), np.uint8))
    assert len(made) == MAX_SIZES
    for height in (10, 20):  # the first of them made room for another
        estimator.estimate(np.zeros((height, 30, 3), np.uint8))
    assert len(made) == MAX_SIZES + 2


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_what_is_not_finite_is_refused_by_name(value):
    def answer(images):
        keypoints = centre_and_corner(images)
        keypoints[:, 1, 0] = value
        return keypoints

    with pytest.raises(EngineError, match='NaN or infinity for b; the network is broken'):
        make(answer).estimate(np.zeros((48, 64, 3), np.uint8))


def test_wrong_shape_is_refused():
    with pytest.raises(EngineError, match=r'shape \(1, 2, 2\), expected \(1, 2, 3\)'):
        make(lambda images: np.zeros((1, 2, 2), np.float32)).estimate(
            np.zeros((48, 64, 3), np.uint8)
        )


def test_image_without_pixels_is_refused():
    with pytest.raises(EncodingError, match='at least one pixel each way'):
        make(centre_and_corner).estimate(np.zeros((0, 64, 3), np.uint8))
