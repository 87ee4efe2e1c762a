"""Frames are registered where the camera moves; episodes end where the view changes at once."""

import logging

from camera_clips import camera_clip
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.registration import register_frames, Registration
import numpy as np
import pytest
import torch

FRAME_NS = 33_333_333


@pytest.fixture
def clip_store(as_store):
    """Return a function that makes a store of a clip."""

    def clip_store(kind, count=30):
        clip = camera_clip(kind, count)
        return as_store(clip.images, np.arange(count) * FRAME_NS), clip

    return clip_store


def test_a_camera_that_moves_is_registered_and_said(clip_store, caplog):
    caplog.set_level(logging.INFO)
    store, clip = clip_store('pan')
    registered = register_frames(store)
    assert registered.any_moves and registered.moving.all()
    found = registered.between(np.array([3]), np.array([20]))[0]
    wanted = np.linalg.inv(clip.to_world[20]) @ clip.to_world[3]
    np.testing.assert_allclose(found[:2, 2], wanted[:2, 2], atol=0.4)
    assert 'The camera moves: by up to 30 px from where it began, ' in caplog.text
    assert 'frames are registered (residual 0.' in caplog.text


def test_a_still_camera_costs_nothing_and_is_said(clip_store, caplog):
    caplog.set_level(logging.INFO)
    store, _ = clip_store('still')
    config = TrainConfig()
    assert Registration(store, config).take(np.array([[0, 1], [4, 9]])) == {}
    assert 'The camera stands still.' in caplog.text


def test_an_episode_ends_where_the_camera_was_pushed(clip_store, caplog):
    store, _ = clip_store('bump')
    registered = register_frames(store)
    assert registered.episodes.tolist() == registered.scene.tolist() == [0] * 15 + [1] * 15
    assert not registered.any_moves
    assert 'the view changes at once at 1 place, after 0.5 s (by 6.' in caplog.text
    assert 'px); episodes end there.' in caplog.text


def test_the_motion_of_a_pair_is_in_cells(clip_store):
    store, clip = clip_store('pan', 12)
    pairs = np.array([[0, 8], [8, 0]])
    found = Registration(store, TrainConfig(camera='moving')).take(pairs)['registration']
    assert found.shape == (2, 3, 3) and found.dtype == torch.float32
    shift = clip.to_world[0, 0, 2] - clip.to_world[8, 0, 2]  # px; eight to a cell
    assert found[0, 0, 2].item() == pytest.approx(shift / 8, abs=0.05)
    assert found[1, 0, 2].item() == pytest.approx(-shift / 8, abs=0.05)


def test_what_is_stated_is_not_asked(clip_store):
    store, _ = clip_store('pan', 12)
    assert not register_frames(store, 'still').any_moves
