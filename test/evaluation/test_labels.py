"""Labels brought to the frames they belong to."""

import logging
from typing import NamedTuple

from keypoint_perception.errors import SourceError
from keypoint_perception.evaluation.labels import match_labels
import numpy as np
import pytest

NAN = float('nan')
STAMPS = np.array([100, 200, 300, 400])
SIZES = np.array([[40, 80]] * 4)


class FakeLabels(NamedTuple):
    names: tuple[str, ...]
    stamps_ns: np.ndarray
    uv: np.ndarray


def labels(stamps, positions, names=('hand',)):
    uv = np.array(positions, np.float32).reshape(len(stamps), len(names), 2)
    return FakeLabels(names, np.array(stamps, np.int64), uv)


def match(given, stamps=STAMPS, sizes=SIZES):
    return match_labels(given, stamps, sizes, path='marks.csv')


def test_labels_go_to_the_frames_of_their_stamps():
    given = labels([200, 400], [[1, 2, NAN, NAN], [5, 6, 7, 8]], names=('hand', 'elbow'))
    found = match(given)
    assert np.isnan(found[[0, 2]]).all()
    np.testing.assert_array_equal(found[1], [[1, 2], [NAN, NAN]])
    np.testing.assert_array_equal(found[3], [[5, 6], [7, 8]])


def test_frames_of_one_stamp_are_labelled_once():
    found = match(labels([100, 200], [[1, 2], [3, 4]]), stamps=np.array([100, 100, 200, 300]))
    np.testing.assert_array_equal(np.isfinite(found[:, 0, 0]), [True, False, True, False])


def test_no_match_names_the_nearest_image():
    with pytest.raises(
        SourceError,
        match=r"'marks.csv' match no frame: stamps must be equal to the nanosecond, and the "
        r'image nearest to stamp_ns 207 is 7 ns away',
    ):
        match(labels([207, 307], [[1, 2], [3, 4]]))


def test_labels_without_a_frame_are_left_out_aloud(caplog):
    with caplog.at_level(logging.WARNING, logger='keypoint_perception'):
        found = match(labels([100, 200, 470], [[1, 2], [3, 4], [5, 6]]))
    assert np.isfinite(found[:, 0, 0]).sum() == 2
    assert '1 of 3 labelled stamps match no frame and are left out' in caplog.text
    assert 'stamp_ns 470, 70 ns from the nearest image' in caplog.text


@pytest.mark.parametrize('position', [(79.6, 5), (-0.6, 5), (5, 39.6), (5, -0.6)])
def test_label_outside_the_image(position):
    with pytest.raises(
        SourceError, match=r"1 labels outside the image; the first is 'hand' .* 80x40 image of"
    ):
        match(labels([100, 200], [[1, 2], position]))


def test_label_on_the_edge_of_the_image():
    assert np.isfinite(match(labels([100, 200], [[79.5, 39.5], [-0.5, -0.5]]))).sum() == 4


def test_label_is_compared_with_its_own_image():
    sizes = np.array([[40, 80], [80, 40], [40, 80], [40, 80]])
    with pytest.raises(SourceError, match='in the 40x80 image of stamp_ns 200'):
        match(labels([100, 200], [[60, 2], [60, 2]]), sizes=sizes)


def test_one_labelled_frame_is_not_enough():
    with pytest.raises(SourceError, match=r'label 1 frame of the recording; expected at least 2'):
        match(labels([100], [[1, 2]]))


def test_empty_annotations():
    with pytest.raises(SourceError, match=r"'marks.csv' label no frame"):
        match(labels([], []))
