"""The background is a clip's own median; flow goes to the frame after, within the clip."""

from types import SimpleNamespace

import cv2
from keypoint_perception.learning.backgrounds import Backgrounds
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.flows import Flows
import numpy as np
import pytest
import torch

PAUSE_NS = 20_000_000_000


def store(images, stamps_ns):
    count = len(images)
    zeros = np.zeros(count, np.int32)
    return SimpleNamespace(
        images=np.asarray(images, np.uint8),
        stamps_ns=np.asarray(stamps_ns, np.int64),
        source=zeros,
        camera=zeros,
    )


@pytest.fixture(scope='module')
def texture():
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 255, (16, 20, 3), np.uint8)
    return cv2.resize(coarse, (160, 128), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def moving(texture):
    """Two clips of six frames at 30 Hz: the scene moves 1 px right and 0 px down a frame."""
    clip = [texture[20:84, 40 - i : 136 - i] for i in range(6)]
    stamps = [i * 33_333_333 for i in range(6)]
    return store(clip + clip, stamps + [PAUSE_NS + stamp for stamp in stamps])


def test_what_passes_by_is_not_background():
    images = np.full((10, 16, 16, 3), 100, np.uint8)
    images[:4, 4:8, 4:8] = 200  # there for four of ten frames
    later = np.full((10, 16, 16, 3), 50, np.uint8)
    stamps = np.arange(10) * 33_333_333
    both = store([*images, *later], [*stamps, *(stamps + PAUSE_NS)])
    found = Backgrounds(both, TrainConfig()).take(np.array([[0, 12], [3, 15]]))['background']
    assert found.shape == (2, 3, 16, 16)
    torch.testing.assert_close(found[0], torch.full((3, 16, 16), 100 / 127.5 - 1))
    torch.testing.assert_close(found[1], torch.full((3, 16, 16), 50 / 127.5 - 1))


def test_a_camera_that_moves_is_said(moving, texture, caplog):
    Backgrounds(moving, TrainConfig())
    assert 'The camera seems to move' in caplog.text
    assert 'needs a camera that stands still' in caplog.text
    caplog.clear()
    still = np.stack([texture[:64, :96]] * 10)
    still[:, 8:16, 8:16] = np.arange(10)[:, None, None, None] * 25  # one cell of 96
    Backgrounds(store(still, np.arange(10) * 33_333_333), TrainConfig())
    assert not caplog.text


def test_flow_in_pixels_along_x_and_y(moving):
    found = Flows(moving, TrainConfig()).take(np.array([[1, 0, 0, 0], [2, 2, 2, 2]]))
    assert found['flow'].shape == (2, 2, 8, 12)
    inner = found['flow'][:, :, 1:-1, 1:-1]
    # two frames of 33 ms later: 2 px along x, none along y
    assert inner[:, 0].nanmedian().item() == pytest.approx(2.0, abs=0.1)
    assert inner[:, 1].nanmedian().item() == pytest.approx(0.0, abs=0.1)


def test_the_next_frame_is_the_one_the_flow_leads_to(moving):
    found = Flows(moving, TrainConfig()).take(np.array([[1, 0], [2, 2]]))
    expected = torch.from_numpy(moving.images[3]).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(found['next'][0], expected)


def test_no_flow_over_the_end_of_a_clip(moving):
    found = Flows(moving, TrainConfig()).take(np.array([[4, 0], [2, 2]]))
    assert found['flow'].isnan().all()


def test_flow_that_does_not_fit_the_picture_is_unknown(moving):
    # a flash between the two frames: no motion explains it
    images = moving.images.copy()
    images[2] = 255 - images[2]
    changed = store(images, moving.stamps_ns)
    found = Flows(changed, TrainConfig()).take(np.array([[0, 0], [1, 1]]))['flow']
    assert found.isnan().float().mean() > 0.5
