"""Which pixels of a recording change."""

from keypoint_perception.evaluation.pixel_motion import PixelMotion
import numpy as np
import pytest


def grey(level, height=16, width=24):
    return np.full((height, width, 3), level, np.uint8)


def test_deviation_of_every_pixel():
    motion = PixelMotion()
    for level in (10, 20, 60):
        image = grey(100)
        image[3, 5] = level
        motion.add(image)
    deviation = motion.deviation()
    # 10, 20, 60: mean 30, squares 400 + 100 + 900, a third of them 1400 / 3
    assert deviation[3, 5] == pytest.approx(np.sqrt(1400 / 3))
    deviation[3, 5] = 0
    assert (deviation == 0).all()


def test_change_is_that_of_the_block_that_changes_most():
    motion = PixelMotion()
    moved = grey(50)
    moved[4:12, 8:16] += 8  # one whole block of 8 x 8 by 8 levels
    for image in (grey(50), grey(50), moved, grey(50)):
        motion.add(image)
    np.testing.assert_allclose(motion.image_changes, [np.inf, 0, 8, 8])


def test_noise_is_a_small_change():
    generator = np.random.default_rng(0)
    motion = PixelMotion()
    for _ in range(2):
        noise = generator.normal(100, 3, (64, 64, 1)).round().astype(np.uint8)
        motion.add(np.repeat(noise, 3, axis=-1))
    # 4.2 levels of noise between frames, over 64 pixels a deviation of 0.5 levels
    assert motion.image_changes[1] < 3


def test_large_images_are_shrunk():
    motion = PixelMotion()
    motion.add(grey(5, 480, 640))
    assert motion.deviation().shape == (120, 160)


def test_frames_may_change_size():
    motion = PixelMotion()
    motion.add(grey(5, 16, 24))
    motion.add(grey(5, 32, 48))
    assert motion.deviation().shape == (16, 24)
    assert motion.image_changes[1] == 0


def test_without_frames_there_is_no_deviation():
    with pytest.raises(ValueError, match='No frame has been added'):
        PixelMotion().deviation()
