"""Things are foreground, also where they rest in a clip; noise, shake and the light are not."""

from keypoint_perception.episodes import find_episodes
from keypoint_perception.learning.data.backgrounds import Backgrounds
import numpy as np
import pytest
import torch

PAUSE_NS = 20_000_000_000
LIGHT = np.repeat([1, 0.7, 1.1], 40) * np.tile(1 + 0.15 * np.sin(np.arange(40) / 6), 3)
PLACES = [(14, 60), (30, 70), (90, 66), (100, 52), (80, 72)]


def test_what_passes_by_is_not_background(as_store):
    images = np.full((10, 16, 16, 3), 100, np.uint8)
    images[:4, 4:8, 4:8] = 200  # there for four of ten frames
    later = np.full((10, 16, 16, 3), 50, np.uint8)
    stamps = np.arange(10) * 33_333_333
    both = as_store([*images, *later], [*stamps, *(stamps + PAUSE_NS)])
    taken = Backgrounds(both, find_episodes(both.stamps_ns)).take(np.array([[0, 12], [3, 15]]))
    found = taken['background']
    assert found.shape == (4, 3, 16, 16)
    for i, level in enumerate((100, 50, 100, 50)):  # the first frames, then the second ones
        torch.testing.assert_close(found[i], torch.full((3, 16, 16), level / 127.5 - 1))
    assert taken['noise'].shape == (4, 1, 16, 16) and (taken['noise'] > 0).all()


def test_a_moving_camera_is_reported(as_store, moving, texture, caplog):
    Backgrounds(moving, find_episodes(moving.stamps_ns))
    assert 'The camera seems to move' in caplog.text
    assert 'needs a static camera' in caplog.text
    caplog.clear()
    still = np.stack([texture[:64, :96]] * 10)
    still[:, 8:16, 8:16] = np.arange(10)[:, None, None, None] * 25  # one cell of 96
    Backgrounds(as_store(still, np.arange(10) * 33_333_333), np.zeros(10, int))
    assert not caplog.text


@pytest.mark.parametrize(
    ('changes', 'least'),
    [({'noise': 5.0}, 0.9), ({'size': 3.0, 'contrast': 60}, 0.4)],
    ids=['noise', '3 px'],
)
def test_a_small_mover_is_foreground_and_a_rim_that_shakes_is_not(
    small_mover, as_store, clip_stamps, foreground_of, inside_and_outside, changes, least
):
    images, middles = small_mover(**changes)
    frames = np.arange(0, 90, 5)
    found = foreground_of(as_store(images, clip_stamps(1, 90)), frames)
    inside, outside = inside_and_outside(found.mask, middles[frames], 14)
    assert inside.min() > least
    assert (outside > 0.1).mean() < 0.002 and outside.max() < 0.3


@pytest.mark.parametrize('grey', [True, False], ids=['grey', 'colours'])
def test_noise_alone_is_not_foreground(as_store, clip_stamps, foreground_of, table, grey):
    noise = np.random.default_rng(0).normal(0, 5, (40, *table.shape[:2], 1 if grey else 3))
    images = (table + noise).round().clip(0, 255)
    found = foreground_of(as_store(images, clip_stamps(1, 40)), np.arange(0, 40, 3))
    assert found.map.max() == 0 and found.mask.max() == 0


@pytest.mark.parametrize(
    ('places', 'changes'),
    [
        (PLACES[:2], {}),
        # most clips show it at one place, and nothing there in the others
        ([PLACES[0]] * 3 + PLACES[3:], {}),
        (PLACES, {'rests': 0.7}),
        (PLACES[:3], {'light': LIGHT}),
    ],
    ids=['two', 'majority', 'arm rests', 'light'],
)
def test_what_rests_elsewhere_in_other_clips_is_foreground(
    arm_and_cube, as_store, clip_stamps, foreground_of, table, places, changes
):
    images, middles = arm_and_cube(places, **changes)
    frames = np.arange(1, len(images), 8)
    found = foreground_of(as_store(images, clip_stamps(len(places), 40)), frames)
    column, row = middles[frames].T
    assert found.mask[np.arange(len(frames)), row, column].min() > 0.9
    gains = changes.get('light', np.ones(len(images)))[frames]
    for place in {*places}:
        # where it was in other clips, the table shows
        near = found.background[:, place[1] - 6 : place[1] + 7, place[0] - 6 : place[0] + 7]
        expected = table[place[1] - 6 : place[1] + 7, place[0] - 6 : place[0] + 7]
        error = np.abs(near - gains[:, None, None, None] * expected).mean(axis=(1, 2, 3))
        assert error.max() < 6, place
    # nothing else is foreground: left and right of what the arm reaches
    rest = [place for place in {*places} if not 45 < place[0] < 75]
    for u, v in rest:
        away = (middles[frames] != (u, v)).any(axis=1)
        assert found.mask[away, v, u].mean() < 0.2  # the arm passes by


def test_where_the_arm_rested_is_foreground_only_while_it_is_there(
    arm_and_cube, as_store, clip_stamps, foreground_of, table
):
    images, _ = arm_and_cube(PLACES, rests=0.7)
    found = foreground_of(as_store(images, clip_stamps(5, 40)), np.arange(0, 200, 4))
    truth = np.abs(images[::4].astype(float) - table).mean(axis=-1) > 40
    truth[:, :, :44] = truth[:, :, 68:] = False  # the arm's own column, above its base
    truth[:, 50:] = False
    missed = truth & (found.mask < 0.5)
    assert truth.sum() > 500
    assert missed.sum() < 0.05 * truth.sum()


def test_what_rests_at_one_place_in_all_clips_is_background(
    arm_and_cube, as_store, clip_stamps, foreground_of
):
    images, _ = arm_and_cube([PLACES[0]] * 4)
    found = foreground_of(as_store(images, clip_stamps(4, 40)), np.arange(0, 160, 8))
    assert found.mask[:, 60, 14].max() == 0


def test_another_view_has_its_own_background(arm_and_cube, as_store, clip_stamps, foreground_of):
    images, middles = arm_and_cube(PLACES[:4])
    images[80:] = np.roll(images[80:, :, ::-1], 5, axis=2)  # the camera has been moved
    frames = np.arange(0, 160, 8)
    found = foreground_of(as_store(images, clip_stamps(4, 40)), frames)
    assert found.map.mean() < 0.2
    column, row = middles[frames[:10]].T
    assert found.mask[np.arange(10), row, column].min() > 0.9


def test_a_thing_put_down_in_the_middle_of_a_long_clip_is_foreground_while_the_light_drifts(
    arm_and_cube, as_store, clip_stamps, foreground_of
):
    before, _ = arm_and_cube([PLACES[1]], frames=72, light=np.linspace(1, 0.9, 72))
    after, _ = arm_and_cube([PLACES[2]], frames=72, light=np.linspace(0.9, 0.7, 72))
    store = as_store(np.concatenate([before, after]), clip_stamps(1, 144, 420_000_000))
    found = foreground_of(store, np.arange(2, 144, 7))
    (u1, v1), (u2, v2) = PLACES[1], PLACES[2]
    first = np.arange(2, 144, 7) < 72
    assert found.mask[first, v1, u1].min() > 0.9 and found.mask[~first, v2, u2].min() > 0.9
    assert found.mask[~first, v1, u1].max() < 0.1 and found.mask[first, v2, u2].max() < 0.1


def test_the_same_frames_get_the_same_backgrounds(small_mover, as_store, clip_stamps):
    images, _ = small_mover(40)
    store = as_store(images, clip_stamps(1, 40))
    one, other = (
        Backgrounds(store, find_episodes(store.stamps_ns)),
        Backgrounds(store, find_episodes(store.stamps_ns)),
    )
    one.take(np.array([[7, 3], [20, 30]]))  # as before an interruption
    for name, expected in one.take(np.array([[5, 20], [9, 3]])).items():
        torch.testing.assert_close(
            other.take(np.array([[5, 20], [9, 3]]))[name], expected, rtol=0, atol=0
        )
