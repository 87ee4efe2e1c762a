"""Images lie in the network input as the fit says, whatever their encoding."""

import cv2
from image_messages import open_image
from keypoint_perception.compressed import open_compressed
from keypoint_perception.encodings import Buffers, PACKED, SUPPORTED_ENCODINGS
from keypoint_perception.errors import EncodingError
from keypoint_perception.images import fit_image
from keypoint_perception.keypoints import Fit
import numpy as np
import pytest

ORANGE = (200, 100, 50)


def test_fit_fills_its_part_and_leaves_the_rest_black():
    fit = Fit((480, 640), (128, 128))
    fitted = fit_image(np.full((480, 640, 3), ORANGE, np.uint8), fit)
    np.testing.assert_array_equal(fitted[16:112], np.full((96, 128, 3), ORANGE, np.uint8))
    assert not fitted[:16].any()
    assert not fitted[112:].any()


@pytest.mark.parametrize('image_hw', [(480, 640), (100, 37), (20, 24), (210, 160), (400, 401)])
def test_a_spot_lands_where_the_fit_says(image_hw):
    fit = Fit(image_hw, (96, 128))
    # a spot around a known centre, large enough to survive the scaling
    v, u = image_hw[0] * 0.3, image_hw[1] * 0.6
    rows, columns = np.mgrid[: image_hw[0], : image_hw[1]]
    radius = max(2.0, 0.06 * min(image_hw))
    spot = 255 * np.exp(-((rows - v) ** 2 + (columns - u) ** 2) / (2 * radius**2))
    fitted = fit_image(np.dstack([spot] * 3).astype(np.uint8), fit)[..., 0].astype(float)
    grid_v, grid_u = np.mgrid[:96, :128]
    found = [(fitted * grid_u).sum() / fitted.sum(), (fitted * grid_v).sum() / fitted.sum()]
    np.testing.assert_allclose(found, fit.to_network([u, v]), atol=0.15)


@pytest.mark.parametrize('factor', [3, 4, 5, 15])
def test_shrinking_by_whole_factors_is_area_averaging(factor):
    image = np.random.default_rng(0).integers(0, 256, (24 * factor, 32 * factor, 3), np.uint8)
    fitted = fit_image(image, Fit(image.shape[:2], (24, 32)))
    expected = cv2.resize(image, (32, 24), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(fitted.astype(int), expected, atol=1)


def test_fit_writes_over_what_was_in_out():
    out = np.full((16, 16, 3), 77, np.uint8)
    image = np.full((8, 16, 3), ORANGE, np.uint8)
    assert fit_image(image, Fit((8, 16), (16, 16)), out) is out
    np.testing.assert_array_equal(out[4:12], image)
    assert not out[:4].any()


def area_means(size: int, parts: int) -> np.ndarray:
    """Return the matrix (parts, size) that averages equal parts of a row of pixels."""
    edges = np.arange(parts + 1) * size / parts
    pixels = np.arange(size)
    shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.clip(shared, 0, 1) * parts / size


def as_sent(encoding: str, height: int, width: int, padding: int) -> tuple[bytes, dict]:
    """Return noise as an image of an encoding, with rows of so many bytes more."""
    number = 2 if '16' in encoding else 4 if '32' in encoding else 1
    channels = PACKED[encoding].channels if encoding in PACKED else 1
    step = width * channels * number + padding
    octets = np.random.default_rng(0).integers(0, 256, 3 * height * step, np.uint8)
    return octets.tobytes(), {'height': height, 'width': width, 'step': step}


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('image_hw', [(72, 96), (90, 122), (54, 74), (15, 20)])
@pytest.mark.parametrize('encoding', SUPPORTED_ENCODINGS)
def test_every_encoding_is_averaged_as_its_rgb(encoding, image_hw, padding):
    if encoding in ('nv12', 'nv21'):
        image_hw = (image_hw[0] // 2 * 2, image_hw[1])  # two rows share their colour
    data, fields = as_sent(encoding, *image_hw, padding)
    fit = Fit(image_hw, (24, 32))
    rgb = open_image(encoding, data, **fields).to_rgb()
    found = fit_image(open_image(encoding, data, **fields), fit)
    if image_hw[0] > 24:
        (height, width), (left, top) = fit.filled_hw, fit.offset_uv
        rows, columns = area_means(image_hw[0], height), area_means(image_hw[1], width)
        means = np.einsum('ab,bcd,ec->aed', rows, rgb, columns)
        part = found[top : top + height, left : left + width]
        assert abs(part - means).max() <= 1
    assert abs(fit_image(rgb, fit).astype(int) - found).max() <= 1


@pytest.mark.parametrize('is_bigendian', [False, True])
@pytest.mark.parametrize('encoding', ['mono16', '16UC1', 'bayer_gbrg16'])
def test_either_byte_order_is_averaged(encoding, is_bigendian):
    data, fields = as_sent(encoding, 50, 70, 2)
    fields['is_bigendian'] = is_bigendian
    fit = Fit((50, 70), (24, 32))
    expected = fit_image(open_image(encoding, data, **fields).to_rgb(), fit).astype(int)
    assert abs(fit_image(open_image(encoding, data, **fields), fit) - expected).max() <= 1


@pytest.mark.parametrize('extension', ['.png', '.jpg'])
def test_compressed_images_are_averaged_as_their_rgb(extension):
    content = cv2.imencode(extension, np.random.default_rng(0).integers(0, 256, (60, 81, 3)))[1]
    fit = Fit((60, 81), (24, 32))
    expected = fit_image(open_compressed(content).to_rgb(), fit).astype(int)
    assert abs(fit_image(open_compressed(content), fit) - expected).max() <= 1


def test_nothing_of_another_image_stays_in_the_buffers():
    buffers = Buffers()
    for encoding, height in [('bgra8', 90), ('16UC1', 54), ('nv24', 91), ('mono16', 20)] * 2:
        data, fields = as_sent(encoding, height, 122, 2)
        image, fit = open_image(encoding, data, **fields), Fit((height, 122), (24, 32))
        np.testing.assert_array_equal(fit_image(image, fit, None, buffers), fit_image(image, fit))


def test_buffers_are_kept_and_only_grow():
    buffers = Buffers()
    large = buffers.take('a', (10, 7), np.float32)
    assert (large.shape, large.dtype) == ((10, 7), np.float32)
    assert np.shares_memory(large, buffers.take('a', (10, 3)))
    assert not np.shares_memory(large, buffers.take('b', (10, 3)))
    assert np.shares_memory(large, buffers.take('a', (10, 7), np.float32))


def test_image_of_another_size_than_the_fit_is_refused():
    with pytest.raises(EncodingError, match='An image of 3x2 was given where 4x4 was expected'):
        fit_image(np.zeros((2, 3, 3), np.uint8), Fit((4, 4), (8, 8)))
