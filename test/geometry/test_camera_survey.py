"""Whether a camera moves is found out, and where its view changes at once."""

from camera_clips import camera_clip, HW, registration_errors, wall
from difficult_clips import difficult_clip
from keypoint_perception.geometry.camera_survey import survey_camera
import numpy as np
import pytest

FRAME_NS = 33_333_333


def survey(images, moves=None, episodes=None):
    stamps = np.arange(len(images)) * FRAME_NS
    episodes = np.zeros(len(images), int) if episodes is None else episodes
    return survey_camera(images.__getitem__, stamps, episodes, moves)


@pytest.mark.parametrize(('kind', 'moves'), [('still', False), ('pan', True), ('handheld', True)])
def test_it_is_found_out_whether_a_camera_moves(kind, moves):
    found = survey(camera_clip(kind, 50).images)
    assert (found.moves, found.unregistered, found.jumps) == (moves, False, [])
    assert len(np.unique(found.segment)) == 1


def test_how_far_and_how_fast_a_camera_moves():
    clip = camera_clip('pan', 60)  # 30 px to either side
    found = survey(clip.images)
    assert found.range_px == pytest.approx(30, abs=0.5)
    assert 40 < found.speed_px < 61
    assert registration_errors(found.homography, clip.to_world).max() < 0.3


@pytest.mark.parametrize(('kind', 'px'), [('bump', 6.3), ('cut', np.inf)])
def test_a_view_that_changes_at_once_divides_the_recording(kind, px):
    found = survey(camera_clip(kind, 40).images)
    [jump] = found.jumps
    assert jump.frame == 20
    assert jump.px == pytest.approx(px, abs=0.3)
    assert found.segment.tolist() == [0] * 20 + [1] * 20
    assert not found.moves
    np.testing.assert_array_equal(found.homography, np.tile(np.eye(3), (40, 1, 1)))


def test_a_camera_that_is_pushed_for_a_while_divides_the_recording():
    shift = np.clip(np.arange(60) - 24, 0, 7)  # px, within a quarter of a second
    images = np.stack([wall()[50 : 50 + HW[0], 60 + x : 60 + x + HW[1]] for x in shift])
    found = survey(images.astype(np.uint8), moves=False)
    [jump] = found.jumps
    assert 24 < jump.frame < 32 and jump.px == pytest.approx(7, abs=0.3)
    assert found.segment.tolist() == [0] * jump.frame + [1] * (60 - jump.frame)


@pytest.mark.parametrize(('moves', 'restless'), [(None, True), (False, False)])
def test_a_picture_in_which_nothing_rests_does_not_jump(moves, restless):
    found = survey(difficult_clip('restless', 90).images, moves)
    assert found.jumps == [] and not found.moves
    assert found.restless == restless  # unless it is stated that the camera stands still
    assert found.segment.max() == 0


def test_what_passes_by_is_no_change_of_the_view():
    images = camera_clip('still', 60).images
    images[28:33] = 128  # a hand before the camera
    assert survey(images).jumps == []


def test_episodes_stay_apart():
    images = np.concatenate([camera_clip(kind, 20).images for kind in ('still', 'bump')])
    found = survey(images, episodes=np.repeat([0, 1], 20))
    assert found.segment.tolist() == [0] * 20 + [1] * 10 + [2] * 10


def test_a_camera_is_taken_to_move_or_to_stand_still_as_stated():
    assert survey(camera_clip('still', 8).images, moves=True).moves
    found = survey(camera_clip('pan', 8).images, moves=False)
    assert not found.moves
    assert found.range_px == 0


def test_frames_of_which_nothing_rests_are_not_registered():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (20, *HW, 3), np.uint8)
    found = survey(images, moves=True)
    assert found.unregistered
    assert not found.moves
