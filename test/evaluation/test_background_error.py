"""Keypoints that read the background go far on another one; those that read the thing stay."""

from keypoint_perception.evaluation.background_error import background_error, LONG_SIDE, shrink
import numpy as np
import pytest

EPISODE_NS = 60_000_000_000
FRAME_NS = 100_000_000
HW = (80, 100)
DIAGONAL = float(np.hypot(*HW))


def scene(episode, x):
    """Return an image with a thing at x, and what rests at another place in each episode."""
    image = np.full((*HW, 3), 40, np.uint8)
    image[5:15, 10 + 40 * episode : 20 + 40 * episode] = (200, 0, 0)
    image[40:50, x : x + 10] = (0, 255, 0)
    return image


def recording(episodes=2, frames=12):
    images, stamps = [], []
    for episode in range(episodes):
        for i in range(frames):
            images.append(scene(episode, 10 + 6 * i))
            stamps.append(episode * EPISODE_NS + i * FRAME_NS)
    return images, list(range(len(images))), np.array(stamps)


def middle(image):
    """Return the middle of what is green."""
    row, column = np.nonzero(image[..., 1] > 200)
    return column.mean(), row.mean()


def by_the_thing(images):
    return np.array([[(*middle(image), 1.0)] for image in images])


def by_heart(images):
    """Return the thing's middle, 6 px lower in the episode where the red thing is on the left."""
    found = by_the_thing(images)
    for keypoints, image in zip(found, images, strict=True):
        keypoints[0, 1] += 6.0 * (image[10, 15, 0] > 150)
    return found


def in_the_corner(images):
    return np.array([[(2.0 + image[10, 15, 0] / 10, 78.0, 1.0)] for image in images])


def test_keypoints_of_the_thing_do_not_care():
    found = background_error(by_the_thing, *recording())
    assert found.percent == pytest.approx(0.0, abs=1e-6)
    assert found.pairs == 24


def test_keypoints_known_by_heart_by_hand():
    # 6 px either way in every frame
    found = background_error(by_heart, *recording())
    assert found.percent == pytest.approx(100 * 6 / DIAGONAL)


def test_keypoints_beside_the_thing_do_not_count():
    found = background_error(in_the_corner, *recording())
    assert found.pairs == 0 and np.isnan(found.percent)


@pytest.mark.parametrize(
    ('episodes', 'frames'), [(1, 12), (2, 4)], ids=['one episode', 'too few frames']
)
def test_without_two_backgrounds_there_is_nothing_to_compare(episodes, frames):
    found = background_error(by_heart, *recording(episodes, frames))
    assert found.pairs == 0 and np.isnan(found.percent)


def test_without_images_there_is_nothing_to_compare():
    assert background_error(by_heart, [], [], np.zeros(0, np.int64)).pairs == 0


def test_what_is_asked_is_spread_over_the_episodes():
    images, frames, stamps = recording(episodes=2, frames=150)
    for i, image in enumerate(images):
        image[40:50] = 40
        image[40:50, 10 + i % 80 : 20 + i % 80] = (0, 255, 0)
    asked = []

    def noting(pair):
        asked.append(int(pair[0][10, 15, 0] > 150))
        return by_heart(pair)

    assert background_error(noting, images, frames, stamps).pairs == 64
    assert (len(asked), sum(asked)) == (64, 32)


def test_images_of_another_size_are_left_out():
    images, frames, stamps = recording()
    images[5] = images[5][:40]
    assert background_error(by_the_thing, images, frames, stamps).pairs == 23


def test_where_everything_changes_nothing_is_compared():
    images, frames, stamps = recording()
    images[3] = 255 - images[3]  # the light
    assert background_error(by_the_thing, images, frames, stamps).pairs == 23


def test_images_are_compared_small():
    assert shrink(np.zeros((480, 640, 3), np.uint8)).shape == (120, LONG_SIDE, 3)
    small = np.zeros((100, 120, 3), np.uint8)
    assert shrink(small) is small
