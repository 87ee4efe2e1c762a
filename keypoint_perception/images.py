"""
Encodings -> RGB, and the fit of an image to the network.

``sensor_msgs/Image`` names its pixel layout by a string; :data:`SUPPORTED_ENCODINGS` lists those
that are read here. Rules where the name alone does not settle the colour:

- ``8UC3`` has no colour meaning; it is taken as BGR, which OpenCV programs write.
- ``mono16`` and 16-bit Bayer are intensities: the upper eight bits are kept (``value >> 8``).
- ``16UC1`` is depth in millimetres (REP 118): one grey level is 16 mm, 4,080 mm and beyond are
  white, no reading (0) is black. The rule is fixed, so that a scene does not flicker as it would
  if every frame were stretched to its own range.
- YUV is BT.601 in video range (16 to 235). ``nv21`` is 4:2:0 with interleaved V, U; ``nv12`` the
  same with U, V; ``nv24`` is 4:4:4 with interleaved U, V. Their ``step`` is that of a luma row, a
  chroma row of ``nv24`` takes two; planes without padding are recognised whatever ``step`` says.
- Bayer names give the first two pixels of the first row, then of the second. OpenCV names them
  by the second and third pixel of the second row: ``bayer_rggb8`` is its ``BayerBG``.

Bytes behind the last row are ignored: some drivers send a few more than they need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
from keypoint_perception.errors import EncodingError
from keypoint_perception.keypoints import Fit
import numpy as np

DEPTH_MM_PER_GREY = 16
# Whole factors: for two, OpenCV is as fast; beyond 257, sums of bytes leave 16 bits.
SUMMABLE_ROWS = range(3, 258)
PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'


class Layout(NamedTuple):
    """How the pixels of one encoding lie in memory, and how they become RGB."""

    channels: int
    dtype: str
    to_rgb: Callable[[np.ndarray], np.ndarray]
    even_width: bool = False


def _convert(code: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: cv2.cvtColor(pixels, code)


def _high_byte(pixels: np.ndarray) -> np.ndarray:
    return (pixels >> 8).astype(np.uint8)


def _grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)


def _depth_to_rgb(depth_mm: np.ndarray) -> np.ndarray:
    return _grey_to_rgb(np.minimum(depth_mm // DEPTH_MM_PER_GREY, 255).astype(np.uint8))


# By the name of the ROS pattern; see the module's note on OpenCV's names.
BAYER_CODES = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}


def _bayer_to_rgb(pattern: str) -> Callable[[np.ndarray], np.ndarray]:
    def to_rgb(mosaic: np.ndarray) -> np.ndarray:
        grey = mosaic if mosaic.dtype == np.uint8 else _high_byte(mosaic)
        # OpenCV leaves the border black in pictures narrower than three pixels.
        if min(grey.shape) < 3:
            msg = (
                f'A bayer_{pattern} image of {grey.shape[1]}x{grey.shape[0]} cannot be turned '
                'into colours: expected at least 3x3 pixels; check the camera driver.'
            )
            raise EncodingError(msg)
        return cv2.cvtColor(grey, BAYER_CODES[pattern])

    return to_rgb


LAYOUTS = {
    'rgb8': Layout(3, 'u1', lambda pixels: pixels),
    'bgr8': Layout(3, 'u1', _convert(cv2.COLOR_BGR2RGB)),
    'rgba8': Layout(4, 'u1', _convert(cv2.COLOR_RGBA2RGB)),
    'bgra8': Layout(4, 'u1', _convert(cv2.COLOR_BGRA2RGB)),
    'mono8': Layout(1, 'u1', _grey_to_rgb),
    'mono16': Layout(1, 'u2', lambda pixels: _grey_to_rgb(_high_byte(pixels))),
    '8UC1': Layout(1, 'u1', _grey_to_rgb),
    '8UC3': Layout(3, 'u1', _convert(cv2.COLOR_BGR2RGB)),
    '16UC1': Layout(1, 'u2', _depth_to_rgb),
    **{
        f'bayer_{pattern}{bits}': Layout(1, f'u{bits // 8}', _bayer_to_rgb(pattern))
        for bits in (8, 16)
        for pattern in BAYER_CODES
    },
    'uyvy': Layout(2, 'u1', _convert(cv2.COLOR_YUV2RGB_UYVY), even_width=True),
    'yuv422': Layout(2, 'u1', _convert(cv2.COLOR_YUV2RGB_UYVY), even_width=True),
    'yuyv': Layout(2, 'u1', _convert(cv2.COLOR_YUV2RGB_YUY2), even_width=True),
    'yuv422_yuy2': Layout(2, 'u1', _convert(cv2.COLOR_YUV2RGB_YUY2), even_width=True),
}
PLANAR_ENCODINGS = ('nv12', 'nv21', 'nv24')
SUPPORTED_ENCODINGS = (*LAYOUTS, *PLANAR_ENCODINGS)

# BT.601 in video range: RGB of (Y, U, V, 1).
YUV_TO_RGB = np.array(
    [
        [1.164, 0.0, 1.596, -1.164 * 16 - 1.596 * 128],
        [1.164, -0.391, -0.813, -1.164 * 16 + (0.391 + 0.813) * 128],
        [1.164, 2.018, 0.0, -1.164 * 16 - 2.018 * 128],
    ]
)


def decode_image(
    encoding: str,
    data,
    *,
    height: int,
    width: int,
    step: int,
    is_bigendian: bool | int = False,
) -> np.ndarray:
    """
    Return the picture of a ``sensor_msgs/Image`` as RGB.

    The result may share memory with ``data`` and be read-only.

    :param encoding: one of :data:`SUPPORTED_ENCODINGS`
    :param data: the pixels, anything with a buffer
    :param step: length of a row in bytes
    :param is_bigendian: byte order of 16-bit pixels
    :return: (H, W, 3) uint8
    :raises EncodingError: if the encoding is unknown, or size, step and data do not agree
    """
    if encoding not in SUPPORTED_ENCODINGS:
        msg = (
            f'Encoding {encoding!r} is not supported; supported: '
            f'{", ".join(SUPPORTED_ENCODINGS)}; set the camera driver to one of these.'
        )
        raise EncodingError(msg)
    if height < 1 or width < 1:
        msg = (
            f'An image has no pixels ({width}x{height}, {encoding}); expected at least one each '
            'way; check the camera driver.'
        )
        raise EncodingError(msg)
    pixels = np.frombuffer(data, np.uint8)
    if encoding in PLANAR_ENCODINGS:
        return _decode_planar(encoding, pixels, height, width, step)
    layout = LAYOUTS[encoding]
    dtype = np.dtype(layout.dtype).newbyteorder('>' if is_bigendian else '<')
    row_bytes = width * layout.channels * dtype.itemsize
    needed = (height - 1) * step + row_bytes
    _check_fit(encoding, pixels, (height, width), step, row_bytes, needed)
    if layout.even_width:
        _check_even(encoding, width=width)
    shape = (height, width) if layout.channels == 1 else (height, width, layout.channels)
    strides = (step, layout.channels * dtype.itemsize, dtype.itemsize)[: len(shape)]
    return layout.to_rgb(np.ndarray(shape, dtype, pixels, strides=strides))


def _check_fit(encoding, pixels, image_hw, step, row_bytes, needed) -> None:
    height, width = image_hw
    if step < row_bytes:
        msg = (
            f'An image has a step of {step} bytes, but a row of {width} pixels in {encoding} '
            f'takes at least {row_bytes}; correct the step in the publisher.'
        )
        raise EncodingError(msg)
    if pixels.size < needed:
        msg = (
            f'An image holds {pixels.size} bytes, but {width}x{height} in {encoding} with a step '
            f'of {step} takes {needed}; the message is cut short or its size is wrong.'
        )
        raise EncodingError(msg)


def _check_even(encoding: str, **lengths: int) -> None:
    for name, length in lengths.items():
        if length % 2:
            msg = (
                f'An image in {encoding} has a {name} of {length} pixels; expected an even '
                'number, because neighbours share their colour; correct it in the publisher.'
            )
            raise EncodingError(msg)


def _decode_planar(encoding, pixels, height, width, step) -> np.ndarray:
    if encoding != 'nv24':
        _check_even(encoding, width=width, height=height)
    chroma_hw = (height, width) if encoding == 'nv24' else (height // 2, width // 2)
    packed = height * width + 2 * chroma_hw[0] * chroma_hw[1]
    if pixels.size == packed and step >= width:
        step = width
    chroma_step = 2 * step if encoding == 'nv24' else step
    needed = height * step + (chroma_hw[0] - 1) * chroma_step + 2 * chroma_hw[1]
    _check_fit(encoding, pixels, (height, width), step, width, needed)
    luma = np.ndarray((height, width), np.uint8, pixels, strides=(step, 1))
    chroma = np.ndarray(
        (*chroma_hw, 2), np.uint8, pixels, offset=height * step, strides=(chroma_step, 2, 1)
    )
    if encoding == 'nv24':
        return cv2.transform(np.dstack([luma, chroma]), YUV_TO_RGB)
    stacked = np.concatenate([luma, chroma.reshape(height // 2, width)])
    code = cv2.COLOR_YUV2RGB_NV21 if encoding == 'nv21' else cv2.COLOR_YUV2RGB_NV12
    return cv2.cvtColor(stacked, code)


def decode_compressed(data, format: str = '') -> np.ndarray:  # noqa: A002 (the message's name)
    """
    Return the picture of a ``sensor_msgs/CompressedImage`` (JPEG, PNG) as RGB.

    16-bit pictures follow the rules of ``16UC1`` where the format says so, else of ``mono16``.

    :param data: the file's bytes, anything with a buffer
    :param format: the message's format, as ``'rgb8; jpeg compressed bgr8'`` or ``'png'``
    :return: (H, W, 3) uint8
    :raises EncodingError: if the bytes are no picture that OpenCV reads
    """
    encoding = format.split(';')[0].strip()
    content = np.frombuffer(data, np.uint8)
    if 'compressedDepth' in format:
        content = _depth_png(content, format)
    try:
        picture = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    except cv2.error as error:
        msg = f'A compressed image ({format!r}) is broken ({error.err}); expected JPEG or PNG.'
        raise EncodingError(msg) from error
    if picture is None:
        msg = (
            f'A compressed image of {content.size} bytes ({format!r}) is broken or of an unknown '
            'kind; expected JPEG or PNG.'
        )
        raise EncodingError(msg)
    return _picture_to_rgb(picture, encoding)


def _depth_png(content: np.ndarray, image_format: str) -> np.ndarray:
    # compressed_depth_image_transport puts twelve bytes of its own before the PNG
    if not image_format.startswith('16UC1') or content[12:20].tobytes() != PNG_SIGNATURE:
        msg = (
            f'A depth image is compressed as {image_format!r}; expected 16UC1 with PNG; record '
            'the raw or the compressed topic instead.'
        )
        raise EncodingError(msg)
    return content[12:]


def _picture_to_rgb(picture: np.ndarray, encoding: str) -> np.ndarray:
    if picture.ndim == 2:
        if encoding == '16UC1' and picture.dtype == np.uint16:
            return _depth_to_rgb(picture)
        if encoding in LAYOUTS and encoding.startswith('bayer_'):
            return LAYOUTS[encoding].to_rgb(picture)
    if picture.dtype == np.uint16:
        picture = _high_byte(picture)
    if picture.dtype != np.uint8:
        msg = f'A compressed image has {picture.dtype} pixels; expected 8 or 16 bits a channel.'
        raise EncodingError(msg)
    if picture.ndim == 2:
        return _grey_to_rgb(picture)
    alpha = picture.shape[2] == 4
    return cv2.cvtColor(picture, cv2.COLOR_BGRA2RGB if alpha else cv2.COLOR_BGR2RGB)


def fit_image(rgb: np.ndarray, fit: Fit, out: np.ndarray | None = None) -> np.ndarray:
    """
    Return an image scaled and centred in the network input, with black borders.

    :param rgb: (H, W, 3) uint8 of the fit's image size
    :param out: (h, w, 3) uint8 of the network's size to write into; new if not given
    :return: ``out``
    :raises EncodingError: if the image is not of the fit's size
    """
    if rgb.shape[:2] != tuple(fit.image_hw):
        msg = (
            f'An image of {rgb.shape[1]}x{rgb.shape[0]} was given where '
            f'{fit.image_hw[1]}x{fit.image_hw[0]} was expected; make a fit for each size.'
        )
        raise EncodingError(msg)
    (height, width), (left, top) = fit.filled_hw, fit.offset_uv
    if out is None:
        out = np.zeros((*fit.network_hw, 3), np.uint8)
    elif (height, width) != tuple(fit.network_hw):
        out[...] = 0
    resized = rgb if (height, width) == rgb.shape[:2] else _resize(rgb, height, width)
    out[top : top + height, left : left + width] = resized
    return out


def _resize(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    rows, columns = rgb.shape[0] / height, rgb.shape[1] / width
    if max(rows, columns) <= 1:
        return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)
    if rows not in SUMMABLE_ROWS:
        return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    # The same in half the time: NumPy adds whole rows faster than INTER_AREA, which has only
    # the columns left to do.
    sums = np.add.reduce(rgb.reshape(height, int(rows), -1), axis=1, dtype=np.uint16)
    sums = sums.reshape(height, rgb.shape[1], 3)
    sums = cv2.resize(sums, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.convertScaleAbs(sums, alpha=1 / rows)
