"""Encodings become the right colours."""

from array import array
import struct

import cv2
from image_messages import open_image
from keypoint_perception.compressed import open_compressed
from keypoint_perception.encodings import SUPPORTED_ENCODINGS
from keypoint_perception.errors import EncodingError
import numpy as np
import pytest

ORANGE = (200, 100, 50)  # three different values, so that no swapped channel goes unnoticed


def decode_image(encoding, data, **fields):
    return open_image(encoding, data, **fields).to_rgb()


def decode_compressed(data, image_format=''):
    return open_compressed(data, image_format).to_rgb()


def orange(height: int = 2, width: int = 3) -> np.ndarray:
    """Return an orange image, darker to the right and further down."""
    image = np.full((height, width, 3), ORANGE, np.uint8)
    image -= np.arange(width, dtype=np.uint8)[None, :, None]
    image -= 5 * np.arange(height, dtype=np.uint8)[:, None, None]
    return image


def decode(encoding, pixels, **changes):
    """Decode an (H, W, ...) array whose rows are packed."""
    fields = {
        'height': pixels.shape[0],
        'width': pixels.shape[1],
        'step': pixels[0].nbytes,
        'is_bigendian': False,
    }
    return decode_image(encoding, pixels.tobytes(), **(fields | changes))


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [
        ('rgb8', [0, 1, 2]),
        ('bgr8', [2, 1, 0]),
        ('8UC3', [2, 1, 0]),
        ('rgba8', [0, 1, 2, 0]),
        ('bgra8', [2, 1, 0, 0]),
    ],
)
def test_colour_channels_come_in_the_order_of_their_name(encoding, order):
    np.testing.assert_array_equal(decode(encoding, orange()[..., order]), orange())


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey_becomes_three_equal_channels(encoding):
    grey = orange()[..., 0]
    np.testing.assert_array_equal(decode(encoding, grey), np.dstack([grey] * 3))


@pytest.mark.parametrize('order', ['<', '>'])
def test_mono16_keeps_its_high_byte_in_either_byte_order(order):
    pixels = np.array([[0x1234, 0xFF00], [0x00FF, 0x8001]], order + 'u2')
    image = decode('mono16', pixels, is_bigendian=order == '>')
    np.testing.assert_array_equal(image[..., 1], [[0x12, 0xFF], [0x00, 0x80]])


def test_depth_has_a_fixed_scale_of_16_mm_a_grey_level():
    depth_mm = np.array([[0, 15, 16, 4079], [4080, 4096, 10_000, 65_535]], '<u2')
    image = decode('16UC1', depth_mm)
    np.testing.assert_array_equal(image[..., 0], [[0, 0, 1, 254], [255, 255, 255, 255]])


@pytest.mark.parametrize('order', ['<', '>'])
def test_every_depth_keeps_to_its_scale(order):
    depth_mm = np.arange(1 << 16, dtype=order + 'u2').reshape(256, 256)
    image = decode('16UC1', depth_mm, is_bigendian=order == '>')
    expected = np.minimum(np.arange(1 << 16).reshape(256, 256) // 16, 255)
    np.testing.assert_array_equal(image[..., 2], expected)


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_patterns_give_the_colour_they_were_made_of(pattern, bits):
    values = dict(zip('rgb', ORANGE, strict=True))
    mosaic = np.zeros((6, 8), f'<u{bits // 8}')
    for place, colour in enumerate(pattern):
        mosaic[place // 2 :: 2, place % 2 :: 2] = values[colour] << (bits - 8)
    image = decode(f'bayer_{pattern}{bits}', mosaic)
    np.testing.assert_array_equal(image, np.full((6, 8, 3), ORANGE, np.uint8))


# BT.601 in video range: Y = 16 + 219 * (0.299 R + 0.587 G + 0.114 B) / 255 = 124.5,
# U = 128 + 224 * 0.564 * (B - luma) / 255 = 90.6, V = 128 + 224 * 0.713 * (R - luma) / 255 = 173.8
ORANGE_Y, ORANGE_U, ORANGE_V = 124, 91, 174


@pytest.mark.parametrize(
    ('encoding', 'pair'),
    [
        ('uyvy', [ORANGE_U, ORANGE_Y, ORANGE_V, ORANGE_Y]),
        ('yuv422', [ORANGE_U, ORANGE_Y, ORANGE_V, ORANGE_Y]),
        ('yuyv', [ORANGE_Y, ORANGE_U, ORANGE_Y, ORANGE_V]),
        ('yuv422_yuy2', [ORANGE_Y, ORANGE_U, ORANGE_Y, ORANGE_V]),
    ],
)
def test_yuv_422_gives_the_colour_it_was_made_of(encoding, pair):
    pixels = np.tile(np.array(pair, np.uint8), (2, 2)).reshape(2, 4, 2)
    np.testing.assert_allclose(decode(encoding, pixels), np.full((2, 4, 3), ORANGE), atol=3)


def planes(encoding: str, padding: int = 0) -> bytes:
    """Return a 4 x 4 orange picture with a brighter left half, in planes of padded rows."""
    luma = np.full((4, 4 + padding), ORANGE_Y, np.uint8)
    luma[:, :2] += 40
    pair = [ORANGE_V, ORANGE_U] if encoding == 'nv21' else [ORANGE_U, ORANGE_V]
    rows, width = (4, 8 + 2 * padding) if encoding == 'nv24' else (2, 4 + padding)
    chroma = np.zeros((rows, width), np.uint8)
    used = 8 if encoding == 'nv24' else 4
    chroma[:, :used] = np.tile(pair, used // 2)
    return luma.tobytes() + chroma.tobytes()


@pytest.mark.parametrize('encoding', ['nv12', 'nv21', 'nv24'])
@pytest.mark.parametrize('padding', [0, 4])
def test_yuv_planes_give_the_colour_they_were_made_of(encoding, padding):
    data = planes(encoding, padding)
    image = decode_image(encoding, data, height=4, width=4, step=4 + padding)
    np.testing.assert_allclose(image[:, 2:], np.full((4, 2, 3), ORANGE), atol=3)
    assert (image[:, :2] > image[:, 2:]).all()


def test_planes_without_padding_are_known_by_their_size():
    # some publishers put the bytes of all planes into step
    whole = decode_image('nv24', planes('nv24'), height=4, width=4, step=12)
    np.testing.assert_array_equal(
        whole, decode_image('nv24', planes('nv24'), height=4, width=4, step=4)
    )


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'mono8', 'bayer_rggb8', 'uyvy', 'mono16'])
def test_padding_at_the_end_of_rows_is_skipped(encoding):
    width, height, row_bytes = 4, 4, {'rgb8': 12, 'bgr8': 12, 'mono8': 4}.get(encoding, 8)
    row_bytes = 4 if encoding == 'bayer_rggb8' else row_bytes
    rows = np.random.default_rng(0).integers(0, 256, (height, row_bytes), np.uint8)
    padded = np.full((height, row_bytes + 6), 255, np.uint8)
    padded[:, :row_bytes] = rows
    size = {'height': height, 'width': width}
    expected = decode_image(encoding, rows.tobytes(), step=row_bytes, **size)
    image = decode_image(encoding, padded.tobytes(), step=row_bytes + 6, **size)
    np.testing.assert_array_equal(image, expected)
    # the last row needs no padding, and drivers may add bytes of their own
    shorter = padded.tobytes()[:-6]
    np.testing.assert_array_equal(
        decode_image(encoding, shorter, step=row_bytes + 6, **size), expected
    )
    longer = padded.tobytes() + b'1234'
    np.testing.assert_array_equal(
        decode_image(encoding, longer, step=row_bytes + 6, **size), expected
    )


@pytest.mark.parametrize('wrap', [bytes, bytearray, memoryview, lambda b: array('B', b)])
def test_pixels_may_come_in_any_buffer(wrap):
    data = wrap(orange().tobytes())
    image = decode_image('rgb8', data, height=2, width=3, step=9)
    np.testing.assert_array_equal(image, orange())


@pytest.mark.parametrize('encoding', SUPPORTED_ENCODINGS)
def test_every_encoding_gives_rgb_of_the_right_size(encoding):
    data = bytes(16 * 4 * 4)
    image = decode_image(encoding, data, height=4, width=4, step=16)
    assert image.shape == (4, 4, 3)
    assert image.dtype == np.uint8


def test_received_pixels_are_not_copied():
    data = bytes(range(200))
    for encoding in ('rgb8', 'mono16', 'bayer_rggb8', 'nv12'):
        image = open_image(encoding, data, height=4, width=4, step=16)
        assert all(
            np.shares_memory(plane, np.frombuffer(data, np.uint8)) for plane in image.planes
        )
        assert image.image_hw == (4, 4)


def test_unknown_encoding_lists_the_known_ones(monkeypatch):
    monkeypatch.setattr('keypoint_perception.images.find_cv_bridge', lambda: (False, ''))
    with pytest.raises(
        EncodingError, match=r"Encoding '32SC1' is not supported; supported: rgb8, bgr8.*nv24; set"
    ):
        decode_image('32SC1', bytes(4), height=1, width=1, step=4)


def test_encoding_that_is_noise_is_quoted_in_part():
    with pytest.raises(EncodingError, match=r"^Encoding 'x{40}' is not supported"):
        decode_image('x' * 100_000, bytes(4), height=1, width=1, step=4)


@pytest.mark.parametrize(('height', 'width'), [(0, 4), (4, 0), (0, 0)])
@pytest.mark.parametrize('encoding', ['rgb8', 'nv21'])
def test_image_without_pixels_is_refused(encoding, height, width):
    with pytest.raises(EncodingError, match=rf'has no pixels \({width}x{height}, {encoding}\)'):
        decode_image(encoding, b'', height=height, width=width, step=0)


@pytest.mark.parametrize(('encoding', 'needed'), [('rgb8', 12), ('mono16', 8), ('nv21', 4)])
def test_step_below_a_row_is_refused(encoding, needed):
    with pytest.raises(
        EncodingError, match=rf'a step of 3 bytes, but a row of 4 pixels .* at least {needed};'
    ):
        decode_image(encoding, bytes(100), height=4, width=4, step=3)


@pytest.mark.parametrize(
    ('encoding', 'step', 'needed'), [('rgb8', 12, 48), ('nv21', 4, 24), ('nv24', 4, 48)]
)
def test_too_few_bytes_are_refused(encoding, step, needed):
    with pytest.raises(
        EncodingError, match=rf'has {needed - 1} bytes, but 4x4 in {encoding} .* takes {needed};'
    ):
        decode_image(encoding, bytes(needed - 1), height=4, width=4, step=step)


def test_no_bytes_at_all_are_refused():
    with pytest.raises(EncodingError, match='has 0 bytes, but 4x4 in rgb8'):
        decode_image('rgb8', b'', height=4, width=4, step=12)


def test_odd_width_is_refused_where_pixels_share_their_colour():
    with pytest.raises(EncodingError, match='in uyvy has a width of 3 pixels; expected an even'):
        decode_image('uyvy', bytes(100), height=2, width=3, step=6)
    with pytest.raises(EncodingError, match='in nv21 has a height of 3 pixels; expected an even'):
        decode_image('nv21', bytes(100), height=3, width=4, step=4)


def test_bayer_images_too_small_for_colour_are_refused():
    with pytest.raises(EncodingError, match=r'A bayer_rggb8 image of 2x2 .* at least 3x3 pixels'):
        decode_image('bayer_rggb8', bytes(4), height=2, width=2, step=2)
    with pytest.raises(EncodingError, match=r'A bayer_grbg16 image of 5x2 .* at least 3x3 pixels'):
        decode_compressed(encoded('.png', np.zeros((2, 5), np.uint16)), 'bayer_grbg8; png')


def encoded(extension: str, picture: np.ndarray) -> bytes:
    return cv2.imencode(extension, picture)[1].tobytes()


def test_png_gives_its_pixels():
    content = encoded('.png', orange()[..., ::-1])
    np.testing.assert_array_equal(
        decode_compressed(content, 'rgb8; png compressed bgr8'), orange()
    )


def test_jpeg_gives_nearly_its_pixels():
    content = encoded('.jpg', np.full((8, 8, 3), ORANGE[::-1], np.uint8))
    image = decode_compressed(memoryview(content), 'jpeg')
    np.testing.assert_allclose(image, np.full((8, 8, 3), ORANGE), atol=3)


def test_png_with_alpha_and_grey_png_give_rgb():
    with_alpha = np.dstack([orange()[..., ::-1], np.zeros((2, 3), np.uint8)])
    np.testing.assert_array_equal(decode_compressed(encoded('.png', with_alpha)), orange())
    grey = orange()[..., 0]
    np.testing.assert_array_equal(decode_compressed(encoded('.png', grey)), np.dstack([grey] * 3))


def test_16_bit_png_is_converted_by_its_format():
    content = encoded('.png', np.array([[0x1234, 4079]], np.uint16))
    assert decode_compressed(content, 'mono16; png compressed ')[0, 0, 0] == 0x12
    assert decode_compressed(content, '16UC1; png compressed ')[0, 1, 0] == 254


def test_compressed_depth_is_read_behind_its_own_header():
    content = bytes(12) + encoded('.png', np.array([[4079]], np.uint16))
    assert decode_compressed(content, '16UC1; compressedDepth png')[0, 0, 0] == 254
    with pytest.raises(EncodingError, match=r"as '16UC1; compressedDepth rvl'; .* use the raw"):
        decode_compressed(bytes(40), '16UC1; compressedDepth rvl')
    with pytest.raises(EncodingError, match='expected 16UC1 or 32FC1 as PNG'):
        decode_compressed(bytes(5), '32FC1; compressedDepth png')


def test_quantised_depth_is_in_metres():
    # as compressed_depth_image_transport quantises: 1 / depth, scaled
    scale, least = 100.0 * 101.0, 1.0 - 100.0 * 101.0 / 10.0
    depth_m = np.array([[0.5, 1.0, 2.0, 3.9]])
    inverse = np.round(scale / depth_m + least).astype(np.uint16)
    inverse = np.hstack([inverse, np.zeros((1, 1), np.uint16)])  # no reading
    head = struct.pack('<Iff', 1, scale, least)
    image = decode_compressed(head + encoded('.png', inverse), '32FC1; compressedDepth png')
    np.testing.assert_allclose(image[0, :, 1], [31, 62, 125, 243, 0], atol=1)


@pytest.mark.parametrize('order', ['<', '>'])
def test_depth_in_metres_has_the_scale_of_millimetres(order):
    depth_m = np.array([[0, 0.017, 1, 4.07], [9, np.nan, np.inf, -np.inf]], order + 'f4')
    image = decode('32FC1', depth_m, is_bigendian=order == '>')
    np.testing.assert_array_equal(image[..., 2], [[0, 1, 62, 254], [255, 0, 0, 0]])


def test_compressed_bayer_mosaic_becomes_colour():
    mosaic = np.zeros((6, 8), np.uint8)
    mosaic[0::2, 0::2] = 200  # red of rggb
    image = decode_compressed(encoded('.png', mosaic), 'bayer_rggb8; png compressed ')
    np.testing.assert_array_equal(image, np.full((6, 8, 3), (200, 0, 0), np.uint8))


@pytest.mark.parametrize('progressive', [0, 1])
def test_jpeg_too_short_for_the_size_it_claims_is_refused(progressive):
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_QUALITY, 1]
    content = bytearray(cv2.imencode('.jpg', np.zeros((480, 640), np.uint8), options)[1])
    assert decode_compressed(content).shape == (480, 640, 3)  # as few bytes as it can have
    at = content.index(bytes([0xFF, 0xC2 if progressive else 0xC0])) + 5
    assert content[at : at + 4] == (480).to_bytes(2, 'big') + (640).to_bytes(2, 'big')
    content[at : at + 4] = b'\xff' * 4
    with pytest.raises(
        EncodingError, match='bytes claims to have 65535x65535 pixels, which do not fit'
    ):
        decode_compressed(content)


@pytest.mark.parametrize(
    ('content', 'problem'),
    [
        (b'', 'is broken or has an unknown format; expected JPEG or PNG'),
        (b'no picture', 'is broken or has an unknown format; expected JPEG or PNG'),
        (b'\xff\xd8\xff\xe0', 'has an incomplete header'),
    ],
)
def test_broken_compressed_image_is_refused(content, problem):
    with pytest.raises(EncodingError, match=rf'image of {len(content)} bytes {problem}'):
        decode_compressed(content, 'jpeg')
