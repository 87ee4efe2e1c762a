"""Depth at a place between pixels: of the nearest surface, NaN where there is none."""

import threading
from types import SimpleNamespace

from keypoint_perception.errors import EncodingError
from keypoint_perception.geometry.depth import (
    check_registered,
    depth_at,
    DepthBuffer,
    MAX_BUFFERED_BYTES,
    view_depth,
)
import numpy as np
import pytest

HW = (12, 16)


def depth_image(pixels, *, encoding='32FC1', step=None, stamp_ns=0, **fields):
    values = {
        'header': SimpleNamespace(stamp_ns=stamp_ns),
        'height': pixels.shape[0],
        'width': pixels.shape[1],
        'encoding': encoding,
        'is_bigendian': 0,
        'step': pixels.strides[0] if step is None else step,
        'data': memoryview(pixels.tobytes()),
    }
    return SimpleNamespace(**values | fields)


def at(pixels, *places, window=5, image_hw=None):
    return depth_at(pixels, np.array(places), image_hw or pixels.shape, window=window)


@pytest.fixture
def flat():
    return np.full(HW, 2.0, np.float32)


def test_a_tilted_plane_is_exact_between_pixels_and_at_the_border():
    v, u = np.mgrid[: HW[0], : HW[1]]
    plane = 1 / (0.5 + 0.002 * u - 0.004 * v)
    places = [(7.3, 5.6), (0.2, 0.4), (15.4, 11.4), (7, 5), (-0.5, 11.5)]
    expected = [1 / (0.5 + 0.002 * u - 0.004 * v) for u, v in places]
    np.testing.assert_allclose(at(plane, *places), expected, atol=1e-6)


def test_at_an_edge_the_nearest_surface_counts():
    edge = np.full(HW, 3.0)
    edge[:, :8] = 1.0
    # columns 6 to 10: two fifths are near; columns 7 to 11: one fifth; columns 8 to 12: none
    np.testing.assert_allclose(at(edge, (8, 5), (9, 5), (10, 5), (5, 5)), [1, 1, 3, 1])


def test_mixed_pixels_are_ignored():
    edge = np.full(HW, 3.0)
    edge[:, :6] = 1.0
    edge[3:7, 6] = (1.4, 1.9, 2.3, 2.8)
    assert at(edge, (8, 5)) == 3.0
    assert at(edge, (6, 5)) == 1.0
    speck = np.full(HW, 3.0)
    speck[4:6, 7:9] = 0.5  # four pixels of 25 are less than a fifth
    assert at(speck, (7, 5)) == 3.0
    speck[6, 7] = 0.5
    assert at(speck, (7, 5)) == 0.5


def test_outliers_within_a_surface_do_not_move_it(flat):
    flat[4:7, 6:9] += 0.02  # nine of 25
    assert at(flat, (7, 5))[0] == pytest.approx(2.0, abs=1e-3)


def test_places_without_a_reading_have_no_depth(flat):
    flat[:, :8] = (np.nan, np.inf, -np.inf, 0.0, -1.0, np.nan, np.nan, np.nan)
    got = at(flat, (2, 5), (5, 5), (10, 5), (np.nan, 5), (-0.51, 5), (15.51, 5), (10, 11.6))
    np.testing.assert_array_equal(got, [np.nan, np.nan, 2, np.nan, np.nan, np.nan, np.nan])


def test_a_hole_is_filled_from_the_surrounding_surface(flat):
    flat[5, 7] = np.nan
    assert at(flat, (7, 5)) == 2.0
    flat[3:8, 5:10] = np.nan
    flat[3, 5:9] = 2.0
    assert np.isnan(at(flat, (7, 5)))  # four readings of 25
    flat[3, 9] = 2.0
    assert at(flat, (7, 5)) == 2.0


def test_a_window_of_one_pixel(flat):
    flat[5, 7] = 1.5
    np.testing.assert_array_equal(at(flat, (7.4, 5.4), (7.6, 5), window=1), [1.5, 2.0])


def test_the_depth_image_may_have_another_resolution():
    columns = np.tile(1 / (1 + 0.01 * np.arange(8.0)), (6, 1))
    # the picture is twice as large: its place 7 is (7 + 0.5) / 2 - 0.5 = 3.25 here
    assert at(columns, (7, 6), image_hw=(12, 16))[0] == pytest.approx(1 / 1.0325, abs=1e-6)
    # by 3 / 2: place 2 is (2 + 0.5) * 2 / 3 - 0.5 = 1.1667 here
    assert at(columns, (2, 6), image_hw=(9, 12))[0] == pytest.approx(1 / 1.011667, abs=1e-6)
    # half as large: place 1 is (1 + 0.5) * 2 - 0.5 = 2.5 here
    assert at(columns, (1, 1), image_hw=(3, 4))[0] == pytest.approx(1 / 1.025, abs=1e-6)


@pytest.mark.parametrize(('depth_hw', 'good'), [((240, 320), 1), ((160, 213), 1), ((360, 640), 0)])
def test_registered_images_have_the_same_aspect_ratio(depth_hw, good):
    if good:
        check_registered(depth_hw, (480, 640))
        return
    with pytest.raises(EncodingError, match='640x360 and its colour image 640x480: their aspect'):
        check_registered(depth_hw, (480, 640))


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize(
    ('encoding', 'kind', 'metres'), [('16UC1', 'u2', 1e-3), ('32FC1', 'f4', 1)]
)
def test_pixels_are_not_copied_from_the_message(encoding, kind, metres, order):
    padded = np.arange(4 * 6).reshape(4, 6).astype(order + kind)
    image = depth_image(padded, encoding=encoding, width=5, is_bigendian=int(order == '>'))
    pixels, unit = view_depth(image)
    assert unit == metres
    np.testing.assert_array_equal(pixels, padded[:, :5].astype(float))
    # the last row needs no padding, and bytes behind it mean nothing
    short = {'width': 5, 'data': image.data[: -np.dtype(kind).itemsize]}
    view_depth(depth_image(padded, encoding=encoding, **short))
    np.testing.assert_allclose(at(pixels, (2, 2), window=1)[0], 14)


def test_a_message_is_understood():
    pytest.importorskip('sensor_msgs', reason='sensor_msgs is not installed')
    from sensor_msgs.msg import Image

    message = Image(height=1, width=2, encoding='16UC1', step=4, data=[1, 2, 3, 4])
    np.testing.assert_array_equal(view_depth(message)[0], [[513, 1027]])


@pytest.mark.parametrize(
    ('fields', 'sentence'),
    [
        ({'encoding': 'rgb8'}, "has the encoding 'rgb8', expected 16UC1, mono16, 32FC1"),
        ({'step': 63}, '16x12 in 32FC1 has a step of 63 bytes, expected at least 64'),
        ({'width': 0}, '0x12 in 32FC1 has a step of 64 bytes, expected at least 4'),
        ({'data': b'\0' * 767}, 'has 767 bytes, but 16x12 in 32FC1 .* of 64 takes 768'),
    ],
)
def test_images_that_cannot_be_used(flat, fields, sentence):
    with pytest.raises(EncodingError, match=sentence):
        view_depth(depth_image(flat, **fields))


def stamped(*stamps_ns, size=1):
    data = np.zeros(size, np.uint8)
    return [SimpleNamespace(header=SimpleNamespace(stamp_ns=s), data=data) for s in stamps_ns]


def test_depth_is_paired_by_its_stamp():
    buffer = DepthBuffer()
    assert buffer.nearest(0) is None
    early, late = stamped(100, 200)
    buffer.put(early)
    buffer.put(late)
    assert buffer.nearest(140) is early
    assert buffer.nearest(160) is late
    assert buffer.nearest(900) is late
    buffer.clear()
    assert buffer.nearest(200) is None


def test_late_depth_is_waited_for():
    buffer = DepthBuffer()
    early, late = stamped(100, 200)
    buffer.put(early)
    waiting = threading.Event()

    class Thread(threading.Thread):
        def run(self):
            waiting.set()
            self.found = buffer.nearest(200, wait_s=30.0)

    thread = Thread()
    thread.start()
    waiting.wait()
    assert buffer.nearest(200) is early
    assert buffer.nearest(200, wait_s=1e-3) is early
    assert buffer.nearest(100, wait_s=30.0) is early  # not older than the picture
    buffer.put(late)
    thread.join()
    assert thread.found is late


def test_old_depth_is_dropped():
    buffer = DepthBuffer()
    early, middle, late = stamped(0, 1_000_000_000, 3_000_000_000)
    for image in (early, middle, late):
        buffer.put(image)
    assert buffer.nearest(0) is middle
    (back,) = stamped(500_000_000)
    buffer.put(back)  # a recording begins again
    assert buffer.nearest(3_000_000_000) is back


def test_large_depth_images_do_not_fill_the_memory():
    buffer = DepthBuffer()
    images = stamped(1, 2, 3, size=MAX_BUFFERED_BYTES // 2)
    for image in images:
        buffer.put(image)
    assert buffer.nearest(1) is images[1]
    assert buffer.nearest(3) is images[2]
