"""Quality over learning time: labelled frames, and the first snapshot that reaches a target."""

from typing import NamedTuple

from keypoint_perception.benchmarks.learning.learning_curve import (
    check_target,
    CurvePoint,
    read_labelled_frames,
    score_snapshot,
    seconds_to,
)
from keypoint_perception.errors import ConfigError, SourceError
import numpy as np
import pytest


class Frame(NamedTuple):
    stamp_ns: int
    image: np.ndarray
    topic: str = '/camera'


def frame(stamp_ns, brightness, hw=(8, 16)):
    return Frame(stamp_ns, np.full((*hw, 3), brightness, np.uint8))


def test_labelled_frames_are_kept_in_order_and_fitted():
    frames = [frame(30, 3), frame(10, 1, (16, 32)), frame(20, 2), frame(30, 9)]
    kept = read_labelled_frames(frames, np.array([10, 30]), (4, 8))
    assert kept.stamps_ns.tolist() == [10, 30]
    assert kept.images.shape == (2, 4, 8, 3)
    assert kept.images[:, 0, 0, 0].tolist() == [1, 3]  # of two of one stamp the first
    assert kept.image_hw.tolist() == [[16, 32], [8, 16]]
    # pixel centres: (0 + 0.5) * 4 - 0.5 and (0 + 0.5) * 2 - 0.5
    moved = kept.to_images(np.array([[[0.0, 1.0]], [[0.0, 1.0]]]))
    assert moved.tolist() == [[[1.5, 5.5]], [[0.5, 2.5]]]
    with pytest.raises(SourceError, match='No frame of the recording has a label'):
        read_labelled_frames(frames, np.array([11]), (4, 8))


def test_a_network_that_follows_the_label_explains_it():
    frames = read_labelled_frames([frame(i, 10 * i) for i in range(20)], np.arange(20), (8, 16))
    labels = np.stack([np.arange(20.0) / 2, np.full(20, 3.0)], axis=-1)[:, None]

    def estimate(images):
        brightness = np.array([image[0, 0, 0] for image in images]) / 10
        return [np.array([[b, 1.0, 1.0]]) for b in brightness]

    explained, error = score_snapshot(frames, labels, ('hand',), estimate)
    assert explained > 0.999
    assert error < 0.01
    explained, _ = score_snapshot(
        frames, labels, ('hand',), lambda images: [np.zeros((1, 3))] * len(images)
    )
    assert explained == pytest.approx(0.0, abs=1e-6)


def test_a_snapshot_is_scored_on_withheld_frames():
    frames = read_labelled_frames([frame(i, i) for i in range(20)], np.arange(20), (8, 16))
    labels = np.stack([np.arange(20.0), np.full(20, 3.0)], axis=-1)[:, None]
    # nothing is predicted: the error is the distance from the mean of the fitted frames
    scores = score_snapshot(
        frames, labels, ('hand',), lambda images: [np.zeros((1, 3))] * len(images),
        np.arange(20) >= 10,
    )  # fmt: skip
    assert frames.topics == ('/camera',) * 20
    assert scores[1] == pytest.approx(100 * 10 / np.hypot(8, 16))


def test_episodes_are_those_of_all_frames():
    step_ns = 50_000_000
    frames = [frame(i * step_ns, i % 250) for i in range(1000)]
    labelled = [i for burst in range(5) for i in range(200 * burst, 200 * burst + 5)]
    kept = read_labelled_frames(frames, step_ns * np.array(labelled), (8, 16))
    # twenty seconds between labels, but the recording did not pause
    assert kept.episode.tolist() == [0] * 25
    labels = np.array([[[i / 10, 3.0]] for i in labelled])

    answers = iter(labels[:, 0, 0])
    explained, _ = score_snapshot(
        kept, labels, ('hand',), lambda images: [np.array([[next(answers), 1, 1]]) for _ in images]
    )
    assert explained > 0.99


def test_the_first_snapshot_that_reaches_a_target():
    curve = [CurvePoint(1, 10.0, 0.2, 5), CurvePoint(2, 20.0, 0.5, 4), CurvePoint(3, 30.0, 0.4, 4)]
    assert seconds_to(curve, 0.5) == 20.0
    assert seconds_to(curve, 0.3) == 20.0
    assert seconds_to(curve, 0.51) is None


@pytest.mark.parametrize('target', [0, 1, -0.5, 50])
def test_targets_are_shares(target):
    with pytest.raises(ConfigError, match='must be an explained value between 0 and 1'):
        check_target(target)
