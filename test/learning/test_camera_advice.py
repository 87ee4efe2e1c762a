"""Where all that matters rests in the world, points are learned by what they look like."""

import logging

from camera_clips import camera_clip, HW, smooth, wall
from keypoint_perception.learning import camera_advice
from keypoint_perception.learning.camera_advice import (
    states_objective,
    suited_to_camera,
    warn_of_motion,
    why_by_correspondence,
)
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.registration import register_frames
import numpy as np
import pytest

FRAME_NS = 33_333_333


def store_of(as_store, images):
    return as_store(images, np.arange(len(images)) * FRAME_NS)


@pytest.mark.parametrize(
    ('kind', 'arm', 'reason'),
    [
        ('handheld', False, 'The camera moves and nothing else does'),
        ('handheld', True, None),
        ('still', True, None),
    ],
)
def test_without_anything_that_moves_in_the_world(as_store, kind, arm, reason):
    store = store_of(as_store, camera_clip(kind, 36, arm=arm).images)
    assert why_by_correspondence(TrainConfig(), store) == reason


def test_before_a_scene_with_depth(as_store):
    """A near layer with holes moves three times as fast as the far one."""
    rng = np.random.default_rng(0)
    far, near = wall((150, 400), seed=1), wall((150, 800), seed=2)
    holes = wall((150, 800), seed=3)[..., :1] > 128
    images = []
    for x in 60 + 60 * np.sin(np.arange(45) / 7) + smooth(rng, 45, 2.0, 3):
        views = [
            layer[20 : 20 + HW[0], round(speed * x) : round(speed * x) + HW[1]]
            for layer, speed in ((far, 1), (near, 3), (holes, 3))
        ]
        images.append(np.where(views[2], views[0], views[1]).astype(np.uint8))
    store = store_of(as_store, images)
    reason = why_by_correspondence(TrainConfig(), store)
    assert reason.startswith(('The camera moves through a scene with depth', 'Frames cannot'))


def test_an_objective_that_suits_is_chosen_and_said(as_store, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(camera_advice, 'why_by_correspondence', lambda *_: 'The camera moves')
    monkeypatch.setattr(camera_advice, 'CORRESPONDENCE', 'equivariance')
    store = store_of(as_store, np.zeros((2, *HW, 3), np.uint8))
    config = suited_to_camera(TrainConfig(extra_keypoints=4), store)
    assert (config.objective, config.extra_keypoints) == ('equivariance', 0)
    assert caplog.messages[-1] == (
        'Objective equivariance, because the camera moves; state --objective default to have it '
        'otherwise.'
    )
    monkeypatch.setattr(camera_advice, 'why_by_correspondence', lambda *_: None)
    assert suited_to_camera(TrainConfig(), store) == TrainConfig()


def test_what_says_which_objective_is_meant(tmp_path):
    path = tmp_path / 'settings.yaml'
    path.write_text('threads: 1\n')
    assert not states_objective(path, {'objective': None, 'seed': 3})
    assert states_objective(path, {'objective': 'default'})
    path.write_text('weights: {turn: 0}\n')
    assert states_objective(path, {'objective': None})
    assert not states_objective(None, {})


def test_an_objective_that_assumes_a_still_camera_is_warned_of(as_store, caplog):
    moving = register_frames(store_of(as_store, camera_clip('pan', 12).images), 'moving')
    warn_of_motion(TrainConfig(objective='motion_energy'), moving)
    assert 'motion_energy takes its motion for that of things; set max_gap_s to 0.4' in caplog.text
    caplog.clear()
    warn_of_motion(TrainConfig(objective='motion_energy', max_gap_s=0.4), moving)
    warn_of_motion(TrainConfig(), moving)
    assert not caplog.text
