"""The film shows what is where it is."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from examples.film import draw_scene, enlarged, GOLD, GREEN, overview, WHITE, WITHIN_PX

GREY = np.full((240, 320, 3), 90, np.uint8)


def colour_at(canvas: np.ndarray, u: float, v: float) -> tuple[int, ...]:
    column, row = enlarged((u, v))
    return tuple(canvas[row, column].tolist())


def test_a_pixels_centre_lies_between_the_pixels_it_becomes():
    # pixel 10 becomes 20 and 21, and 20.5 is rounded to even
    assert enlarged((10, 11)) == (20, 22)


def test_a_frame_has_the_target_its_circle_the_way_and_the_tip():
    target, way = np.array([200.0, 60.0]), [np.array([50.0, 200.0]), np.array([150.0, 200.0])]
    keypoints = np.array([[250.0, 150.0, 0.9]])
    canvas = draw_scene(GREY, keypoints, np.array([30.0, 30.0, 1.0]), target, way, '')
    assert canvas.shape == (480, 640, 3)
    assert colour_at(canvas, 200, 60) == WHITE
    assert colour_at(canvas, 200 + WITHIN_PX, 60) == WHITE
    assert pytest.approx(12.0) == WITHIN_PX
    assert colour_at(canvas, 100, 200) == GOLD
    assert colour_at(canvas, 30 + 5.5, 30) == GOLD
    assert colour_at(canvas, 250, 150) == (255, 0, 0), 'the first keypoint is red in all pictures'
    assert colour_at(canvas, 300, 230) == (90, 90, 90)


def test_a_tip_that_is_not_seen_is_not_drawn():
    canvas = draw_scene(GREY, np.zeros((0, 3)), np.array([np.nan, np.nan, 0.0]), None, [], '')
    assert (canvas == 90).all()


def test_positions_that_were_reached_are_green():
    near, far = np.array([100.0, 100.0]), np.array([200.0, 150.0])
    journeys = [(near, [near + 11.0 / np.sqrt(2)]), (far, [far + 20.0])]
    canvas = overview(GREY, journeys)
    assert colour_at(canvas, *(near - (WITHIN_PX, 0))) == GREEN
    assert colour_at(canvas, *(far - (WITHIN_PX, 0))) == WHITE
    assert colour_at(canvas, *(far + 20.0)) == GOLD
