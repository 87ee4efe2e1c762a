"""A recording to learn from: a square that moves over a still texture, and its exact positions."""

import cv2
from keypoint_perception.frames.store import extract_frames
import numpy as np
import pytest

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
