"""Backgrounds of a camera that moves: what frames would show without the arm."""

from camera_clips import camera_clip
import cv2
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.camera_backgrounds import CameraBackgrounds
from keypoint_perception.learning.data.foreground import foreground_map
from keypoint_perception.learning.data.mosaics import masked_median
import numpy as np
import torch


def test_the_foreground_of_a_panning_clip_is_the_arm(as_store):
    clip = camera_clip('pan', 60)
    store = as_store(clip.images, np.arange(60) * 33_333_333)
    frames = np.array([[5, 20], [35, 50]])
    found = CameraBackgrounds(store, TrainConfig(camera='moving')).take(frames)
    assert found['background'].shape == (4, 3, 96, 128)
    assert found['noise'].shape == (4, 1, 96, 128)
    chosen = frames.reshape(-1)
    images = torch.from_numpy(clip.images[chosen]).permute(0, 3, 1, 2) / 127.5 - 1
    foreground = foreground_map(images, found['background'], found['noise'], (24, 32)).numpy()
    shares = [
        cv2.resize(a.astype(np.float32), (32, 24), interpolation=cv2.INTER_AREA)
        for a in clip.arm[chosen]
    ]
    arm = np.stack(shares)
    beside = np.stack([cv2.dilate(share, np.ones((3, 3))) for share in shares]) == 0
    assert foreground[arm > 0.7].mean() > 0.6
    assert foreground[beside].mean() < 0.03
    assert (foreground[beside] > 0.3).mean() < 0.01
    # what no other frame shows is the frame itself, and all of it noise
    unknown = (found['noise'] == 1).expand(-1, 3, -1, -1)
    assert unknown.float().mean() < 0.1
    torch.testing.assert_close(found['background'][unknown], images[unknown])


def test_the_median_is_of_those_that_show_a_pixel():
    stack = np.array([[[[9]]], [[[1]]], [[[5]]], [[[7]]]], np.uint8)
    seen = np.array([True, True, True, False])[:, None, None]
    assert masked_median(stack, seen, seen.sum(axis=0)).tolist() == [[[5]]]
    nowhere = np.zeros_like(seen)
    assert masked_median(stack, nowhere, nowhere.sum(axis=0)).tolist() == [[[0]]]
