"""The background is an episode's own median."""

from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.backgrounds import Backgrounds
import numpy as np
import torch

PAUSE_NS = 20_000_000_000


def test_what_passes_by_is_not_background(as_store):
    images = np.full((10, 16, 16, 3), 100, np.uint8)
    images[:4, 4:8, 4:8] = 200  # there for four of ten frames
    later = np.full((10, 16, 16, 3), 50, np.uint8)
    stamps = np.arange(10) * 33_333_333
    both = as_store([*images, *later], [*stamps, *(stamps + PAUSE_NS)])
    taken = Backgrounds(both, TrainConfig()).take(np.array([[0, 12], [3, 15]]))
    found = taken['background']
    assert found.shape == (4, 3, 16, 16)
    for i, level in enumerate((100, 50, 100, 50)):  # the first frames, then the second ones
        torch.testing.assert_close(found[i], torch.full((3, 16, 16), level / 127.5 - 1))
    assert taken['noise'].shape == (4, 1, 16, 16) and (taken['noise'] > 0).all()


def test_a_moving_camera_is_reported(as_store, moving, texture, caplog):
    Backgrounds(moving, TrainConfig())
    assert 'The camera seems to move' in caplog.text
    assert 'needs a static camera' in caplog.text
    caplog.clear()
    still = np.stack([texture[:64, :96]] * 10)
    still[:, 8:16, 8:16] = np.arange(10)[:, None, None, None] * 25  # one cell of 96
    Backgrounds(as_store(still, np.arange(10) * 33_333_333), TrainConfig())
    assert not caplog.text
