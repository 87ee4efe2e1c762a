"""Everything measured in one pass over a recording."""

from typing import NamedTuple

from keypoint_perception.evaluation.detections import detect_frames, KeypointSequence
from keypoint_perception.evaluation.recording_measurements import RecordingMeasurements
from keypoint_perception.evaluation.stream_samples import ReservoirSample
import numpy as np
import pytest

FRAME_NS = 33_333_333


class FakeFrame(NamedTuple):
    stamp_ns: int
    topic: str
    image: np.ndarray


def frame(index, *, height=30, width=40):
    """Return an image with one bright pixel that walks along u."""
    image = np.zeros((height, width, 3), np.uint8)
    image[10, index % width] = 255
    return FakeFrame(index * FRAME_NS, '/image', image)


def brightest(images):
    """Return keypoint 0 on the brightest pixel, keypoint 1 in a corner, doubted."""
    found = []
    for image in images:
        v, u = np.unravel_index(image[..., 0].argmax(), image.shape[:2])
        found.append(np.array([[u, v, 1.0], [2.0, 2.0, 0.0]], np.float32))
    return found


def test_frames_come_out_as_they_went_in():
    frames = [frame(i) for i in range(35)]
    sizes = []

    def estimate(images):
        sizes.append(len(images))
        return brightest(images)

    detections = list(detect_frames(iter(frames), estimate))
    assert [d.frame for d in detections] == frames
    assert [d.keypoints[0, 0] for d in detections] == list(range(35))
    assert sizes == [16, 16, 3]


def test_batches_of_large_images_are_smaller():
    large = FakeFrame(0, '', np.zeros((3000, 4000, 3), np.uint8))  # 36 MB
    sizes = []

    def estimate(images):
        sizes.append(len(images))
        return [np.zeros((1, 3), np.float32)] * len(images)

    assert len(list(detect_frames([large] * 5, estimate))) == 5
    assert sizes == [2, 2, 1]


def test_frames_are_read_as_they_are_needed():
    read = []

    def frames():
        for i in range(100):
            read.append(i)
            yield frame(i)

    next(detect_frames(frames(), brightest))
    assert len(read) == 16


def test_track_in_stamp_order():
    sequence = KeypointSequence()
    for detection in detect_frames([frame(2), frame(0), frame(1)], brightest):
        sequence.add(detection)
    ordered = sequence.in_stamp_order()
    np.testing.assert_array_equal(ordered.stamps_ns, np.arange(3) * FRAME_NS)
    np.testing.assert_array_equal(ordered.keypoints[:, 0, 0], [0, 1, 2])
    np.testing.assert_array_equal(sequence.keypoints[:, 0, 0], [2, 0, 1])
    assert ordered.diagonal_px == pytest.approx([50.0] * 3)
    assert [row[0] for row in ordered.rows()] == list(ordered.stamps_ns)


def test_sample_is_fair():
    counts = np.zeros(10)
    for seed in range(600):
        sample = ReservoirSample(4, seed=seed)
        for i in range(10):
            sample.add(np.array(i))
        counts[[int(i) for i in sample.items]] += 1
    # each is kept with probability 0.4: 240 times, deviation 12
    assert np.abs(counts - 240).max() < 60


def test_short_recording_is_sampled_whole():
    sample = ReservoirSample(4)
    for i in range(3):
        sample.add(np.array(i))
    assert [int(i) for i in sample.items] == [0, 1, 2]


def test_measures_of_a_recording():
    recording = RecordingMeasurements()
    recording.add_all(detect_frames([frame(i) for i in range(30)], brightest))
    measures = recording.label_free(lambda images: np.stack(brightest(images)), ('spot', 'corner'))
    spot, corner = measures['keypoints']
    assert (spot['name'], corner['name']) == ('spot', 'corner')
    assert measures['dead_keypoints'] == ['corner']
    assert measures['duplicate_pairs'] == []
    # the spot lights up 30 pixels of a row one after the other
    assert (spot['static_share'], corner['static_share']) == (0.0, 1.0)
    assert measures['static_share'] == 0.5
    # the spot is never where it was; the corner shows the same black in all 10 registered frames
    assert (spot['background'], corner['background']) == (False, True)
    assert corner['background_judged_frames'] == 10
    assert (measures['background_share'], measures['camera_moving_share']) == (0.5, 0.0)
    # a pixel of 255 in a block of 64 changes its mean by 4: no frames are still
    assert measures['still_pairs'] == 0
    assert np.isnan(measures['still_jitter_percent'])
    assert spot['equivariance_error_percent'] < 2
    assert corner['equivariance_error_percent'] > 2
    # one episode has no other background
    assert measures['background_pairs'] == 0
    assert np.isnan(measures['background_error_percent'])
    # the brightest place is so in every light
    assert measures['light_error_percent'] == 0
    assert (spot['mean_confidence'], corner['mean_confidence']) == (1.0, 0.0)
