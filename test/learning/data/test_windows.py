"""Long clips are split into stretches, each with its own median."""

from keypoint_perception.learning.data.windows import Windows
import numpy as np
import torch

SECOND = 1_000_000_000


def windows(lengths_s, rate=10):
    episodes = np.repeat(np.arange(len(lengths_s)), [rate * length for length in lengths_s])
    stamps = np.arange(len(episodes)) * SECOND // rate
    images = (np.arange(len(episodes)) % 250).astype(np.uint8)[:, None, None, None]
    return Windows(np.broadcast_to(images, (len(episodes), 4, 6, 3)), stamps, episodes), episodes


def test_a_stretch_is_of_one_clip_and_lasts_about_five_seconds():
    made, episodes = windows([60, 3, 12])
    assert made.count == 11 + 1 + 2
    for number in range(made.count):
        members = np.flatnonzero(made.of_frame == number)
        assert len({*episodes[members]}) == 1
        assert (np.diff(members) == 1).all()
        assert len(members) in (54, 55, 30, 59, 60)


def test_hours_have_a_bounded_number_of_stretches():
    made, _ = windows([7200], rate=5)
    assert 500 <= made.count <= 512


def test_the_median_is_that_of_the_stretch():
    made, _ = windows([3, 3])
    # 30 frames in two stretches of twelve frames or more each
    assert made.count == 4
    torch.testing.assert_close(made.median(1), torch.full((3, 4, 6), 22 / 127.5 - 1))
    assert made.frames(1, 5).shape == (5, 3, 4, 6)
