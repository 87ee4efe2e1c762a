"""Which positions are commanded, what is labelled, and what counts as reached."""

from __future__ import annotations

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.annotations import read_annotations
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from examples.judge import choose_targets, error_percent
from examples.truth import in_picture, label_frames


def test_the_error_is_the_median_distance_in_percent_of_the_diagonal():
    # the diagonal of 320 x 240 is 400 px
    places = np.array([[103.0, 104.0], [100.0, 108.0], [160.0, 100.0]])
    assert error_percent(places, np.array([100.0, 100.0])) == pytest.approx(2.0)
    assert error_percent(np.array([100.0, 112.0]), np.array([100.0, 100.0])) == pytest.approx(3.0)


def test_the_picture_ends_with_the_last_pixels_centre():
    places = np.array([[0.0, 0.0], [319.0, 239.0], [319.1, 5.0], [5.0, -0.1]])
    assert in_picture(places).tolist() == [True, True, False, False]
    assert in_picture(places + 8, 8).tolist() == [True, False, False, False]


def test_targets_are_inside_and_apart_and_of_the_seed():
    rng = np.random.default_rng(1)
    places = rng.uniform((-20, -20), (340, 260), (500, 2))
    targets = choose_targets(places, 10, seed=3)
    assert targets.shape == (10, 2)
    assert in_picture(targets, 16).all()
    assert all((places == target).all(axis=1).any() for target in targets)
    assert np.linalg.norm(np.diff(targets, axis=0), axis=1).min() >= 60
    np.testing.assert_array_equal(targets, choose_targets(places, 10, seed=3))
    assert (targets != choose_targets(places, 10, seed=4)).any()


def test_a_tip_that_hardly_moved_still_gives_targets():
    places = np.array([[100.0, 100.0], [102.0, 100.0]])
    assert choose_targets(places, 3, seed=0).shape == (3, 2)


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / 'truth.csv'
    rows = [f'{stamp},tip,{100 + stamp}.4,{50 + stamp}.6' for stamp in range(40)]
    rows[3] = '3,tip,100,245'  # out of the picture
    path.write_text('\n'.join(['stamp_ns,keypoint,u,v', *rows]) + '\n')
    return path


def test_a_few_recorded_frames_are_labelled_on_whole_pixels(truth, tmp_path):
    out = tmp_path / 'labels.csv'
    recorded = [stamp for stamp in range(40) if stamp % 2]
    assert label_frames(truth, recorded, out, 4) == 4
    labels = read_annotations(out)
    # 1, 5, 7, 9 ... 39 are recorded and show the tip: 19 of them, the first and the last included
    assert labels.stamps_ns.tolist() == [1, 15, 27, 39]
    assert labels.names == ('tip',)
    assert labels.uv[0, 0].tolist() == [101.0, 52.0]


def test_too_few_frames_to_label_are_said(truth, tmp_path):
    with pytest.raises(SourceError, match='Only 1 of 2 recorded frames show the tip, expected 5'):
        label_frames(truth, [3, 4], tmp_path / 'labels.csv', 5)
