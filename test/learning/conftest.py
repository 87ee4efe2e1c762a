"""Recordings to learn from, a square over a still texture and a scene that moves, and settings."""

from types import SimpleNamespace

import cv2
from keypoint_perception.frames.extraction import extract_frames
import numpy as np
import pytest
import torch

FRAME_NS = 33_333_333


def moving_square(frames=80, seed=0):
    """Return images (N, 64, 64, 3) uint8 and the square's centres (N, 2) px."""
    rng = np.random.default_rng(seed)
    texture = cv2.resize(rng.integers(60, 120, (9, 9, 3), np.uint8), (64, 64))
    angle = np.arange(frames) * 0.11
    centres = np.stack([31.5 + 18 * np.cos(angle), 31.5 + 16 * np.sin(1.7 * angle)], axis=1)
    images = np.repeat(texture[None], frames, axis=0)
    for image, (u, v) in zip(images, centres.round().astype(int), strict=True):
        image[v - 5 : v + 6, u - 5 : u + 6] = (240, 60, 30)
    return images, centres.round()


def write_folder(folder, images, *, start_ns=10**18):
    """Write images as PNG files whose names are their stamps, ns."""
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        path = folder / f'{start_ns + i * FRAME_NS}.png'
        cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture(scope='session')
def square_folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp('square') / 'images', moving_square()[0])


@pytest.fixture(scope='session')
def square_store(square_folder, tmp_path_factory):
    return extract_frames(
        [square_folder], [], tmp_path_factory.mktemp('store') / 'frames', size=64
    )


@pytest.fixture(scope='session')
def square_centres():
    return moving_square()[1]


@pytest.fixture(scope='session')
def as_store():
    """Return a function that makes of images and stamps what learning reads of a store."""

    def as_store(images, stamps_ns):
        zeros = np.zeros(len(images), np.int32)
        return SimpleNamespace(
            images=np.asarray(images, np.uint8),
            stamps_ns=np.asarray(stamps_ns, np.int64),
            source=zeros,
            camera=zeros,
        )

    return as_store


@pytest.fixture(scope='session')
def texture():
    coarse = np.random.default_rng(0).integers(0, 255, (16, 20, 3), np.uint8)
    return cv2.resize(coarse, (160, 128), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='session')
def moving(as_store, texture):
    """Two clips of six frames at 30 Hz: the scene moves 1 px right and 0 px down a frame."""
    clip = [texture[20:84, 40 - i : 136 - i] for i in range(6)]
    stamps = [i * FRAME_NS for i in range(6)]
    return as_store(clip + clip, stamps + [20_000_000_000 + stamp for stamp in stamps])


@pytest.fixture(scope='session')
def small():
    """Settings of a run that takes no time, by name."""
    return {
        'keypoints': 3,
        'size': 64,
        'width': 8,
        'batch_size': 4,
        'warmup_steps': 2,
        'precision': '32',
        'threads': 1,
        'log_every': 1,
    }


@pytest.fixture(scope='session')
def run(small):
    """Return a function that learns on a store with such settings, and others that it is given."""
    from keypoint_perception.learning import training_loop as learning
    from keypoint_perception.learning.config import TrainConfig
    from keypoint_perception.learning.stopping import Budget

    def run(store, out, *, steps, resume=False, report=lambda moment: None, **changes):
        config = TrainConfig(**small | {'steps': steps} | changes)
        fabric = learning.make_fabric(config)
        budget = Budget(steps=steps, minutes=None)
        return learning.train(
            fabric, config, store, out, budget=budget, resume=resume, report=report
        )

    return run


@pytest.fixture(scope='session')
def peak():
    """Return a function that makes a map with all its mass in one cell, (1, 1, 8, 12)."""

    def peak(column, row):
        maps = torch.zeros(1, 1, 8, 12)
        maps[..., row, column] = 1.0
        return maps

    return peak
