"""Keypoints on what does not move in the world, before a camera that pans and one that stands."""

import cv2
from keypoint_perception.evaluation.background_points import BackgroundPoints, near_labels
from keypoint_perception.evaluation.scores import plain_background_share
import numpy as np
import pytest

STEP_NS = 100_000_000
PAUSE_NS = 20_000_000_000
HEIGHT, WIDTH = 90, 120


@pytest.fixture(scope='module')
def world():
    """Return a textured scene that is larger than the picture."""
    coarse = np.random.default_rng(0).integers(40, 160, (30, 40, 3), np.uint8)
    return cv2.resize(coarse, (400, 300), interpolation=cv2.INTER_CUBIC)


def put(image, centre, half=6):
    """Draw a bright square, and return its centre, px."""
    u, v = (round(float(x)) for x in centre)
    image[v - half : v + half + 1, u - half : u + half + 1] = (250, 220, 40)
    return u, v


def score(frames, stamps_ns, scored=None):
    """Score frames, (image, keypoints) each."""
    found = BackgroundPoints()
    for stamp_ns, (image, uv) in zip(stamps_ns, frames, strict=True):
        found.add(stamp_ns, image, np.array(uv, np.float32))
    return found.score(np.ones(len(frames), bool) if scored is None else scored)


def panning(world, moves=True):
    """Yield 24 frames of a pan to and fro, and keypoints: on a mover, the scene, the picture."""
    for i in range(24):
        pan = round(100 + 60 * np.sin(i / 5))
        image = world[80 : 80 + HEIGHT, pan : pan + WIDTH].copy()
        mover = (60 + 40 * np.sin(i / 5), 45 + 25 * np.cos(i / 4)) if moves else (60, 45)
        uv = put(image, mover) if moves else mover
        yield image, [uv, (165 - pan, 20), (100, 70)]


def test_before_a_panning_camera_only_the_mover_is_no_background_point(world):
    found = score(list(panning(world)), np.arange(24) * STEP_NS)
    mover, scene, picture = found.share
    assert mover < 0.1
    assert min(scene, picture) > 0.9
    assert found.judged.min() >= 20  # of 24 frames, most of which show other parts of the scene
    assert (found.points, found.points_share) == ([1, 2], pytest.approx(2 / 3))
    assert found.moving_share > 0.5
    # from 100 the camera pans 60 px to either side, of a diagonal of 150
    assert found.range_percent == pytest.approx(100 * 60 / 150, rel=0.1)


def test_where_nothing_else_moves_all_points_are_on_the_background(world):
    found = score(list(panning(world, moves=False)), np.arange(24) * STEP_NS)
    assert found.points == [0, 1, 2]


def test_a_thing_that_rests_elsewhere_in_other_clips_is_no_background(world):
    frames, stamps_ns = [], []
    for clip, place in enumerate([(30, 60), (60, 30), (90, 60)]):
        for i in range(12):
            image = world[:HEIGHT, :WIDTH].copy()
            arm = put(image, (60 + 40 * np.sin(i), 78), half=4)
            frames.append((image, [put(image, place), arm, (30, 60), (10, 10)]))
            stamps_ns.append(clip * PAUSE_NS + i * STEP_NS)
    found = score(frames, stamps_ns)
    # the third point is where the thing rests in the first of three clips
    assert found.share.tolist() == pytest.approx([0, 0, 2 / 3, 1])
    assert (found.moving_share, found.range_percent) == (0, pytest.approx(0, abs=0.1))
    only_first = score(frames, stamps_ns, np.arange(36) < 12)
    assert only_first.share.tolist() == [0, 0, 0, 1]
    assert only_first.judged.tolist() == [12] * 4
    alone = score(frames[:12], stamps_ns[:12])
    # seen in one clip alone, what rests there is background
    assert alone.share.tolist() == [1, 0, 1, 1]


def test_light_that_changes_is_no_motion(world):
    frames = []
    for i in range(20):
        image = world[:HEIGHT, :WIDTH].copy()
        arm = put(image, (60 + 40 * np.sin(i), 60))
        frames.append((np.clip(image + 30.0 * (i % 2), 0, 255).astype(np.uint8), [arm, (10, 10)]))
    assert score(frames, np.arange(20) * STEP_NS).share.tolist() == [0, 1]


def test_of_frames_that_cannot_be_registered_nothing_is_said():
    noise = np.random.default_rng(0).integers(0, 255, (20, 12, 16, 3), np.uint8)
    frames = [(cv2.resize(n, (WIDTH, HEIGHT)), [(10, 10), (60, 45)]) for n in noise]
    found = score(frames, np.arange(20) * STEP_NS)
    assert np.isnan(found.share).all()
    assert found.points == []
    assert np.isnan(found.points_share)


def test_points_at_labels_are_not_plain_background():
    diagonal = np.full(4, 100.0)
    labels = np.full((4, 2, 2), np.nan)
    labels[:3, 0] = (20, 20)
    labels[2, 1] = (60, 60)
    keypoints = np.zeros((4, 3, 3))
    keypoints[:, 0, :2] = (23, 23)  # 4.2 % away
    keypoints[:, 1, :2] = (24, 24)  # 5.7 % away
    keypoints[:, 2, :2] = (60, 60)  # at the other label in one of three labelled frames
    assert near_labels(keypoints, labels, diagonal) == [0]
    measures = {'background_keypoints': ['a', 'c'], 'background_share': 0.5, 'keypoints': [{}] * 4}
    report = {'label_free': measures, 'near_label_keypoints': ['a', 'b']}
    assert plain_background_share(report) == 0.25
    measures['background_share'] = float('nan')
    assert np.isnan(plain_background_share(report))
