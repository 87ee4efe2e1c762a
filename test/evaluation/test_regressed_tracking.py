"""How long the labels that are predicted from the keypoints stay right."""

from keypoint_perception.evaluation.regressed_tracking import track_predictions
import numpy as np
import pytest

FRAME_NS = 33_333_333
NAN = float('nan')


@pytest.fixture
def walk():
    """One learned point of 20 frames that walks 10 px a frame, and a label half as fast."""
    learned = np.arange(20)[:, None, None] * np.array([10.0, 0.0])
    return learned, 0.5 * learned + 3


def recalls(learned, labels, length, withheld=None):
    """Return the recall after regression by threshold, on a diagonal of 100 px."""
    found = track_predictions(
        np.arange(len(learned)) * FRAME_NS,
        learned,
        labels,
        diagonal_px=100.0,
        withheld=withheld,
        clip_lengths=(length,),
    )
    return [found[length, epsilon] for epsilon in (2.0, 5.0, 10.0)]


def test_a_label_that_the_keypoints_determine_is_followed(walk):
    # no keypoint stays near the label: within 6 frames the distance changes by 25 px
    assert recalls(*walk, length=6) == [1.0, 1.0, 1.0]


def test_only_frames_that_were_not_fitted_on_count(walk):
    learned, labels = walk
    # 14 of 20 frames are fitted on, which leaves one clip of 6 and none of 7
    assert np.isnan(recalls(learned, labels, length=7)).all()
    withheld = np.arange(20) >= 12
    assert recalls(learned, labels, length=7, withheld=withheld) == [1.0, 1.0, 1.0]


def test_the_distance_must_stay_within_the_threshold_in_every_frame(walk):
    learned, labels = walk
    # in the second clip of 3 frames one label is 6 px off: 4 px after the mean offset of 2 px
    labels[18, 0, 1] += 6
    assert recalls(learned, labels, length=3) == [0.5, 1.0, 1.0]


def test_a_label_that_is_incomplete_or_does_not_move_does_not_count(walk):
    learned, labels = walk
    still = np.full_like(labels, 7.0)
    incomplete = labels.copy()
    incomplete[18] = NAN
    # the incomplete label counts in the first of two clips, where it is followed
    assert (
        recalls(learned, np.concatenate([labels, still, incomplete], axis=1), length=3)
        == [1.0] * 3
    )
    labels[14:17, 0, 1] = (0, 30, 0)
    both = np.concatenate([labels, still, incomplete], axis=1)
    assert recalls(learned, both, length=3) == pytest.approx([2 / 3] * 3)
    assert np.isnan(recalls(learned, still, length=3)).all()


def test_a_label_without_fitted_frames_is_not_followed(walk):
    learned, labels = walk
    late = labels.copy()
    late[:14] = NAN
    assert recalls(learned, np.concatenate([labels, late], axis=1), length=6) == [0.5] * 3
