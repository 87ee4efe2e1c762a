"""Clips of small movers, of an arm with a cube, and what is foreground in them."""

from types import SimpleNamespace

import cv2
from keypoint_perception.episodes import find_episodes
from keypoint_perception.learning.data.backgrounds import Backgrounds
from keypoint_perception.learning.data.foreground import foreground_map, foreground_mask
from keypoint_perception.learning.data.windows import as_images
import numpy as np
import pytest

FRAME_NS = 33_333_333
PAUSE_NS = 20_000_000_000
SCALE = 4  # of what is drawn, so that it can move by fractions of a pixel


@pytest.fixture(scope='session')
def small_mover():
    """Return a function that makes a clip of a dark mover in a bright rim, and its middles."""

    def small_mover(frames=90, *, size=8.0, contrast=90, shake=0.4, flicker=3.0, noise=1.0):
        rng = np.random.default_rng(0)
        side = 80
        floor = np.full((side * SCALE, side * SCALE), 40.0, np.float32)
        floor[6 * SCALE : -6 * SCALE, 6 * SCALE : -6 * SCALE] = 235  # the rim
        floor[9 * SCALE : -9 * SCALE, 9 * SCALE : -9 * SCALE] = 150
        images, middles = [], []
        for t in range(frames):
            middle = 40 + 20 * np.array([np.cos(0.11 * t), np.sin(0.07 * t)])
            drawn = floor.copy()
            centre = (SCALE * middle + SCALE / 2).astype(int).tolist()
            axes = int(SCALE * size / 2), max(1, int(SCALE * size / 3))
            cv2.ellipse(drawn, centre, axes, 5 * t, 0, 360, 150 - contrast, -1)
            shift = rng.normal(0, shake, 2)
            matrix = np.array([[1, 0, SCALE * shift[0]], [0, 1, SCALE * shift[1]]])
            extent = side * SCALE, side * SCALE
            drawn = cv2.warpAffine(drawn, matrix, extent, borderMode=cv2.BORDER_REPLICATE)
            blurred = cv2.GaussianBlur(drawn, (0, 0), 0.6 * SCALE)
            image = cv2.resize(blurred, (side, side), interpolation=cv2.INTER_AREA)
            image = image * (1 + rng.normal(0, flicker / 150))
            image = image[..., None] + rng.normal(0, noise, (side, side, 3))
            images.append(image.round().clip(0, 255).astype(np.uint8))
            middles.append(middle + shift)
        return np.array(images), np.array(middles)

    return small_mover


@pytest.fixture(scope='session')
def table():
    """A coloured table, (80, 112, 3) float32."""
    coarse = np.random.default_rng(0).integers(70, 150, (8, 8, 3)).astype(np.float32)
    return cv2.resize(coarse, (112, 80), interpolation=cv2.INTER_CUBIC)


def draw_arm(image, phase):
    """Draw a white arm of two links on a table."""
    bend = -1.6 + 0.9 * np.sin(phase), -1.2 + 1.5 * np.sin(0.7 * phase + 1)
    place = np.array([56.0, 60.0])
    for angle in bend:
        end = place + 24 * np.array([np.cos(angle), np.sin(angle)])
        ends = [tuple((8 * p).astype(int).tolist()) for p in (place, end)]
        cv2.line(image, *ends, (235, 235, 240), 6, cv2.LINE_AA, 3)
        place = end


@pytest.fixture(scope='session')
def arm_and_cube(table):
    """
    Return a function that makes clips of an arm on a table and of a cube, and the cube's middles.

    ``places``: of the cube in each clip, px; ``rests``: share of each clip in which the arm does
    not move; ``light``: gain in each frame.
    """

    def arm_and_cube(places, *, frames=40, rests=0.0, light=None, noise=2.0):
        rng = np.random.default_rng(1)
        images = []
        for clip, (u, v) in enumerate(places):
            for t in range(frames):
                image = table.copy()
                cv2.rectangle(image, (u - 4, v - 4), (u + 4, v + 4), (40, 60, 200), -1)
                draw_arm(image, 2 * clip + 0.13 * max(0, t - rests * frames))
                gain = 1.0 if light is None else light[clip * frames + t]
                images.append(gain * image + rng.normal(0, noise, image.shape))
        return np.array(images).round().clip(0, 255).astype(np.uint8), np.repeat(places, frames, 0)

    return arm_and_cube


@pytest.fixture(scope='session')
def clip_stamps():
    """Return a function that makes stamps of clips of equal length, ns."""

    def clip_stamps(clips, frames, period_ns=FRAME_NS):
        starts = np.arange(clips)[:, None] * (PAUSE_NS + frames * period_ns)
        return (starts + np.arange(frames) * period_ns).reshape(-1)

    return clip_stamps


@pytest.fixture(scope='session')
def foreground_of():
    """Return a function that takes a store and frames and returns what is foreground in them."""

    def foreground_of(store, frames):
        frames = np.asarray(frames)
        backgrounds = Backgrounds(store, find_episodes(store.stamps_ns))
        taken = backgrounds.take(np.stack([frames, frames[::-1]]))
        images, count = as_images(store.images[frames]), len(frames)
        background, noise = taken['background'][:count], taken['noise'][:count]
        hw = images.shape[2] // 8, images.shape[3] // 8
        return SimpleNamespace(
            map=foreground_map(images, background, noise, hw).numpy(),
            mask=foreground_mask(images, background, noise)[:, 0].numpy(),
            background=127.5 * (background.permute(0, 2, 3, 1).numpy() + 1),
        )

    return foreground_of


@pytest.fixture(scope='session')
def inside_and_outside():
    """Return a function that reads a mask at places, and further than a distance from them."""

    def inside_and_outside(mask, places, distance):
        v, u = np.indices(mask.shape[1:])
        far = np.hypot(u - places[:, 0, None, None], v - places[:, 1, None, None]) > distance
        column, row = places.round().astype(int).T
        return mask[np.arange(len(mask)), row, column], mask[far]

    return inside_and_outside


@pytest.fixture
def moving_store(moving):
    """Return what is used of a frame store: two clips in which all moves 1 px right a frame."""
    count = len(moving.images)
    frames = SimpleNamespace(
        **vars(moving),
        cameras=('',),
        selected=np.arange(count),
        image_hw=np.array([[64, 96]] * count),
        network_hw=(64, 96),
    )
    frames.whole = frames
    return frames
