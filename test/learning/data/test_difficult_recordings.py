"""What people record by mistake, or cannot help: foreground is what moves, or it is said."""

import logging

import cv2
from difficult_clips import dark_mover_clip, difficult_clip, SCREEN
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.camera_backgrounds import CameraBackgrounds
from keypoint_perception.learning.data.foreground import foreground_mask
from keypoint_perception.learning.data.registration import registered_frames
from keypoint_perception.learning.data.windows import as_images
import numpy as np
import pytest

COUNT = 60
FRAMES = np.arange(1, COUNT, 4)
# The mask has a margin; what is further from movers than this is not foreground, px.
MARGIN = 9


@pytest.fixture(scope='module')
def mask_of(as_store):
    """Return a function that finds how a clip is registered, its foreground and its noise."""

    def mask_of(clip, **settings):
        store = as_store(clip.images, np.arange(COUNT) * 33_333_333)
        config = TrainConfig(**settings)
        taken = CameraBackgrounds(store, config).take(FRAMES)
        images = as_images(clip.images[FRAMES])
        mask = foreground_mask(images, taken['background'], taken['noise'])[:, 0].numpy()
        noise = 127.5 * float(taken['noise'].median())  # grey levels
        return registered_frames(store, config), mask, noise

    return mask_of


def far_from(movers, distance=MARGIN):
    kernel = np.ones((2 * distance + 1, 2 * distance + 1))
    return np.stack([cv2.dilate(some.astype(np.uint8), kernel) for some in movers]) == 0


@pytest.mark.parametrize(
    ('kind', 'camera', 'sentence'),
    [
        ('plain', 'still', 'The camera stands still.'),
        ('bump', '', 'the view changes at once at 1 place, after 1.0 s (by 6.'),
        ('cut', '', 'at once at 1 place, after 1.0 s (to another picture); episodes end there.'),
        ('flicker', '', 'The camera stands still.'),
        ('bands', '', 'The camera stands still.'),
        ('twins', '', 'The camera stands still.'),
        ('mirror', '', 'The camera stands still.'),
        ('plain', 'handheld', 'The camera moves: by up to '),
        ('plain', 'pan', 'The camera moves: by up to '),
        ('flicker', 'handheld', 'The camera moves: by up to '),
        ('cut', 'handheld', 'at once at 1 place, after 1.0 s (nothing is recognised);'),
        ('mirror', 'handheld', 'The camera moves: by up to '),
        ('screen', 'handheld', 'The camera moves: by up to '),
    ],
    ids=lambda value: value if ' ' not in value else '',
)
def test_foreground_is_what_moves(mask_of, caplog, kind, camera, sentence):
    caplog.set_level(logging.INFO)
    clip = difficult_clip(kind, COUNT, camera=camera)
    registered, mask, noise = mask_of(clip)
    assert sentence in caplog.text and 'seems to move' not in caplog.text
    jumps = kind in ('bump', 'cut')
    assert np.flatnonzero(np.diff(registered.episodes)).tolist() == [COUNT // 2 - 1] * jumps
    assert registered.any_moves == (camera in ('handheld', 'pan'))
    movers = clip.movers[FRAMES]
    assert mask[movers].mean() > 0.85
    # that of the sensor is 2 levels; light that changes is no noise
    assert noise < 8
    beside = mask[far_from(movers)]
    assert beside.mean() < 0.02 and (beside > 0.5).mean() < 0.02


@pytest.mark.parametrize('camera', ['auto', 'still'])
@pytest.mark.parametrize('rests', [0.0, 0.6], ids=['moving', 'at first at rest'])
def test_a_small_dark_mover_is_foreground_and_the_rim_is_not(mask_of, caplog, rests, camera):
    clip = dark_mover_clip(COUNT, rests=rests)
    assert 0.003 < clip.movers.mean() < 0.008  # of the picture
    _, mask, _ = mask_of(clip, camera=camera)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    movers = clip.movers[FRAMES]
    if rests:  # nothing shows what is behind it
        movers = movers & (rests * COUNT <= FRAMES)[:, None, None]
    assert mask[movers].min() > 0.9
    left = clip.movers[:1] if rests else clip.movers[:0]
    beside = mask[far_from(clip.movers[FRAMES] | left.any(axis=0))]
    assert beside.max() < 0.3 and (beside > 0.1).mean() < 0.002


def test_of_a_screen_only_what_it_shows_is_foreground(mask_of):
    clip = difficult_clip('screen', COUNT)
    _, mask, _ = mask_of(clip)
    left, top = clip.path[0, :2, 2]
    shown = np.zeros(clip.images.shape[1:3], bool)
    rows, columns = slice(*np.subtract(SCREEN[1::2], round(top))), np.subtract(SCREEN[::2], left)
    shown[rows, slice(*columns.round().astype(int))] = True
    movers = clip.movers[FRAMES]
    assert mask[:, shown].mean() > 0.9 and mask[movers].mean() > 0.9
    assert mask[far_from(movers | shown)].mean() < 0.01


def test_that_nothing_rests_is_warned_of(mask_of, caplog):
    registered, *_ = mask_of(difficult_clip('restless', COUNT))
    assert caplog.messages[0] == (
        'The camera: nothing rests in the picture, so that it cannot be told whether it moves, '
        'and keypoints may not be useful; let more of what rests be in view.'
    )
    assert not registered.any_moves and registered.episodes.max() == 0
