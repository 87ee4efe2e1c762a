"""Frames of a camera that moves are registered to a fraction of a pixel."""

from camera_clips import camera_clip, HW, registration_errors, wall
import cv2
from keypoint_perception.geometry.camera_motion import (
    CameraTracker,
    FramePose,
    moving_frames,
    working_image,
)
import numpy as np
import pytest


def track(images) -> list[FramePose]:
    tracker = CameraTracker()
    return [tracker.add(image) for image in images]


def homographies(poses: list[FramePose]) -> np.ndarray:
    return np.stack([pose.homography for pose in poses])


@pytest.mark.parametrize('kind', ['pan', 'shake', 'handheld', 'bump'])
def test_frames_are_registered_in_front_of_an_arm_that_moves(kind):
    clip = camera_clip(kind, 40)
    poses = track(clip.images)
    errors = registration_errors(homographies(poses), clip.to_world)
    assert errors.max() < 0.3
    assert errors.mean() < 0.15
    assert {pose.segment for pose in poses} == {0}
    assert min(pose.explained for pose in poses) > 0.7
    assert max(pose.residual_px for pose in poses) < 0.3


def test_errors_do_not_add_up_over_a_pan_to_and_fro():
    clip = camera_clip('pan', 121)  # back at the start twice
    errors = registration_errors(homographies(track(clip.images)), clip.to_world)
    assert errors[[60, 120]].max() < 0.1


def test_light_does_not_move_the_camera():
    clip = camera_clip('still', 12)
    light = np.linspace(0.5, 1.2, len(clip.images))
    rows = 1 + 0.2 * np.sin(np.arange(HW[0]) / 15)  # as of lamps on mains power
    lit = clip.images * light[:, None, None, None] * rows[:, None, None]
    errors = registration_errors(
        homographies(track(lit.clip(0, 255).astype(np.uint8))), clip.to_world
    )
    assert errors.max() < 0.1


@pytest.mark.parametrize(
    ('kind', 'share'), [('still', 0), ('bump', 0), ('cut', 0), ('pan', 0.8), ('handheld', 0.8)]
)
def test_a_camera_moves_if_it_keeps_moving(kind, share):
    poses = track(camera_clip(kind, 50).images)
    moves = moving_frames(poses, HW, 15)
    assert moves.mean() >= share
    assert share or not moves.any()


def test_a_cut_begins_a_segment_that_cannot_be_registered():
    poses = track(camera_clip('cut', 20).images)
    assert [pose.segment for pose in poses] == [0] * 10 + [1] * 10
    np.testing.assert_array_equal(poses[10].homography, np.eye(3))
    assert poses[9].keyframe != poses[10].keyframe


def test_a_single_object_before_a_plain_wall_is_no_camera():
    plain = np.full((300, 400, 3), 90, np.float32)
    patch = wall((40, 30), seed=3)
    images = []
    for i in range(20):
        scene = plain.copy()
        scene[120 : 120 + 40, 150 + 2 * i : 150 + 2 * i + 30] = patch
        images.append(scene[100:196, 140:268].astype(np.uint8))
    poses = track(images)
    assert not any(pose.displaced for pose in poses)


def test_a_belt_before_a_still_camera_is_no_camera():
    belt = wall((50, 400), seed=5)
    images = []
    for i in range(30):
        scene = np.full((*HW, 3), 60, np.float32)
        scene[20:70] = belt[:, 2 * i : 2 * i + HW[1]]
        scene[:20:4] = 200  # rails, which look alike wherever the camera is along the belt
        scene[70::4] = 200
        images.append(scene.astype(np.uint8))
    poses = track(images)
    assert not moving_frames(poses, HW, 15).any()


def test_large_images_are_shrunk_and_their_homographies_are_in_their_own_pixels():
    small = camera_clip('pan', 6)
    large = [cv2.resize(image, None, fx=3, fy=3) for image in small.images]
    assert working_image(large[0])[0].shape == (120, 160)
    found = homographies(track(large))[-1]
    wanted = np.linalg.inv(small.to_world[0]) @ small.to_world[-1]
    assert found[0, 2] == pytest.approx(3 * wanted[0, 2], abs=0.6)


def test_a_frame_of_another_size_begins_a_segment():
    clip = camera_clip('still', 2)
    poses = track([clip.images[0], clip.images[1][:80]])
    assert [pose.segment for pose in poses] == [0, 1]


def test_frames_without_texture_stay_where_they_are():
    poses = track(np.full((3, *HW, 3), 90, np.uint8))
    assert {pose.segment for pose in poses} == {0}
    np.testing.assert_array_equal(homographies(poses), np.tile(np.eye(3), (3, 1, 1)))


@pytest.mark.parametrize('hw', [(16, 128), (64, 64)])
def test_frames_without_texture_do_not_move(hw):
    plain = np.full((*hw, 3), 90, np.uint8)
    other = plain.copy()
    other[4:9, 20:25] = 200
    poses = track([plain, other, plain, np.full_like(plain, 250), plain])
    assert all(np.isfinite(pose.homography).all() for pose in poses)
