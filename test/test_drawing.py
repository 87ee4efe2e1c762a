"""Keypoints drawn on pictures."""

from keypoint_perception.drawing import (
    draw_keypoints,
    EDGE_COLOUR,
    keypoint_colour,
    OUTLINE,
    tile_images,
)
import numpy as np
import pytest

GREY = 90
NAN = float('nan')


def blank(height=60, width=80):
    return np.full((height, width, 3), GREY, np.uint8)


def changed(picture):
    """Return centre (u, v) of the pixels that are no longer grey, or None."""
    rows, columns = np.nonzero((picture != GREY).any(axis=-1))
    return None if not len(rows) else (columns.mean(), rows.mean())


def test_disc_is_centred_at_u_v():
    picture = draw_keypoints(blank(), np.array([[50.0, 20.0, 1.0]]))
    assert changed(picture) == pytest.approx((50, 20), abs=0.05)
    assert tuple(picture[20, 50]) == keypoint_colour(0)


def test_position_between_pixels_is_kept():
    picture = draw_keypoints(blank(), np.array([[50.5, 20.5, 1.0]])).astype(int)
    np.testing.assert_array_equal(picture[20, 50], picture[21, 51])
    # symmetric about (50.5, 20.5), up to the rounding of cv2's edges
    around = picture[14:28, 44:58]
    assert np.abs(around - around[::-1, ::-1]).max() <= 20


@pytest.mark.parametrize('scale', [2, 5])
def test_enlarged_position_follows_the_convention(scale):
    picture = draw_keypoints(blank(), np.array([[50.0, 20.0, 1.0]]), scale=scale)
    assert picture.shape == (60 * scale, 80 * scale, 3)
    # (u + 0.5) * scale - 0.5; a plain u * scale would be half a scale off
    expected = (50.5 * scale - 0.5, 20.5 * scale - 0.5)
    assert changed(picture) == pytest.approx(expected, abs=0.15)


def test_uncertain_keypoint_is_a_ring():
    keypoints = np.array([[20.0, 30.0, 0.9], [60.0, 30.0, 0.1]])
    picture = draw_keypoints(blank(), keypoints, threshold=0.5, scale=8)
    disc, ring = (tuple(picture[244, round(u * 8 + 3.5)]) for u in (20, 60))
    assert disc == keypoint_colour(0)
    assert ring != keypoint_colour(1)
    assert (picture == keypoint_colour(1)).all(axis=-1).any()


def test_keypoint_is_legible_on_any_background():
    for level in (0, 255):
        rgb = np.full((60, 80, 3), level, np.uint8)
        picture = draw_keypoints(rgb, np.array([[40.0, 30.0, 1.0]]), scale=4)
        assert (picture == keypoint_colour(0)).all(axis=-1).any()
        assert (picture.max(axis=-1) < 60).any()


def test_size_scales_with_the_image():
    def area(height, width):
        picture = draw_keypoints(blank(height, width), np.array([[100.0, 100.0, 1.0]]))
        return (picture != GREY).any(axis=-1).sum()

    # twice the picture, four times the area, but for the soft edge
    assert area(960, 1280) / area(480, 640) == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize('position', [(NAN, 5.0), (5.0, NAN), (-1.0, 5.0), (5.0, 1e12)])
def test_keypoint_outside_the_image_is_not_drawn(position):
    picture = draw_keypoints(blank(), np.array([[*position, 1.0]]), names=['kp0'])
    np.testing.assert_array_equal(picture, blank())


def test_input_image_is_not_modified():
    rgb = blank()
    draw_keypoints(rgb, np.array([[5.0, 5.0, 1.0]]))
    np.testing.assert_array_equal(rgb, blank())


def test_read_only_and_strided_images_can_be_drawn_on():
    rgb = blank()[::-1, :, ::-1]
    rgb.flags.writeable = False
    assert changed(draw_keypoints(rgb, np.array([[50.0, 20.0, 1.0]]))) is not None


def test_trail_joins_where_the_keypoint_was():
    trails = [np.array([[10.0, 30.0, 1.0]]), np.array([[30.0, 30.0, 1.0]])]
    picture = draw_keypoints(blank(), np.array([[50.0, 30.0, 1.0]]), trails=trails)
    assert (picture[30, 10:50] != GREY).any(axis=-1).all()
    assert (picture[:, 60:] == GREY).all()


@pytest.mark.parametrize('gap', [[NAN, NAN, 1.0], [30.0, 30.0, 0.1]])
def test_trail_has_a_gap_where_the_keypoint_was_lost(gap):
    trails = [np.array([[10.0, 30.0, 1.0]]), np.array([gap])]
    keypoint = np.array([[50.0, 30.0, 1.0]])
    picture = draw_keypoints(blank(), keypoint, trails=trails, threshold=0.5)
    np.testing.assert_array_equal(picture, draw_keypoints(blank(), keypoint, threshold=0.5))


def test_edges_join_confident_keypoints_under_them():
    keypoints = np.array([[10.0, 30.0, 1.0], [50.0, 30.0, 1.0], [50.0, 50.0, 0.1]])
    edges = [(0, 1, 1.0), (1, 2, 0.5)]
    picture = draw_keypoints(blank(), keypoints, skeleton=edges, threshold=0.5)
    assert tuple(picture[30, 30]) == EDGE_COLOUR
    # the third is doubted: it stands alone
    assert (picture[40, 45:55] == GREY).all()
    # the points lie on top
    assert tuple(picture[30, 50]) == keypoint_colour(1)
    assert tuple(draw_keypoints(blank(), keypoints)[30, 30]) == (GREY, GREY, GREY)


def test_a_heavy_edge_is_thicker():
    keypoints = np.array([[100.0, 300.0, 1.0], [1100.0, 300.0, 1.0]])

    def light(weight):
        picture = draw_keypoints(blank(600, 1200), keypoints, skeleton=[(0, 1, weight)])
        return int((picture[:, 600] == EDGE_COLOUR).all(axis=-1).sum())

    assert light(1.0) > 2 * light(0.3) > 0


@pytest.mark.parametrize('lost', [[NAN, NAN, 1.0], [500.0, 30.0, 1.0]])
def test_an_edge_needs_both_ends(lost):
    keypoints = np.array([[10.0, 30.0, 1.0], lost])
    picture = draw_keypoints(blank(), keypoints, skeleton=[(0, 1, 1.0)])
    np.testing.assert_array_equal(picture, draw_keypoints(blank(), keypoints))


def test_name_is_to_the_right():
    keypoints = np.array([[20.0, 30.0, 1.0]])
    named = draw_keypoints(blank(), keypoints, names=['hand'])
    plain = draw_keypoints(blank(), keypoints)
    columns = np.nonzero((named != plain).any(axis=(0, 2)))[0]
    assert columns.min() > 20
    assert len(columns) > 10


def test_colours_are_distinct_and_fixed():
    colours = [keypoint_colour(k) for k in range(24)]
    assert len(set(colours)) == 24
    assert colours[0] == (255, 0, 0)
    assert keypoint_colour(3) == colours[3]


def test_no_keypoints_no_drawing():
    np.testing.assert_array_equal(draw_keypoints(blank(), np.zeros((0, 3))), blank())


def test_tiles_are_placed_row_by_row():
    pictures = [np.full((4, 6, 3), level, np.uint8) for level in (50, 100, 150)]
    sheet = tile_images(pictures, 2, gap=1)
    assert sheet.shape == (9, 13, 3)
    assert [sheet[0, 0, 0], sheet[0, 7, 0], sheet[5, 0, 0]] == [50, 100, 150]
    assert tuple(sheet[5, 7]) == OUTLINE
    assert tuple(sheet[4, 0]) == OUTLINE


def test_fewer_tiles_than_columns_make_a_narrower_grid():
    assert tile_images([blank()], 4).shape == (60, 80, 3)


def test_tiles_of_two_sizes():
    sheet = tile_images([blank(4, 6), blank(8, 3)], 2, gap=0)
    assert sheet.shape == (8, 12, 3)
    assert tuple(sheet[7, 0]) == OUTLINE


def test_no_tiles():
    with pytest.raises(ValueError, match='0 images in 2 columns: expected at least one'):
        tile_images([], 2)
