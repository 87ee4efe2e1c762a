"""
From received images to the network input.

:func:`open_message` checks an image without touching its pixels, whose encodings are listed in
:mod:`keypoint_perception.encodings`; :func:`fit_image` scales it to the network input and
converts it to RGB. The node, recordings and training share this code, so that a network sees
live what it was trained on. Bytes after the last row are ignored, because some drivers send more
than they need.
"""

from __future__ import annotations

import cv2
from keypoint_perception.cdr import CompressedImageMessage, ImageMessage
from keypoint_perception.compressed import open_compressed
from keypoint_perception.cv_bridge_images import find_cv_bridge, open_by_cv_bridge
from keypoint_perception.encodings import (
    Buffers,
    check_sides,
    EncodedImage,
    MOST_QUOTED,
    PACKED,
    PLANAR,
    SUPPORTED_ENCODINGS,
)
from keypoint_perception.errors import EncodingError
from keypoint_perception.keypoints import Fit
import numpy as np

# Rows per output row: OpenCV is as fast for 2, and the sums of more than 257 overflow 16 bits.
LEAST_SUMMED, MOST_SUMMED = 3, 257


def open_message(message: ImageMessage | CompressedImageMessage) -> EncodedImage:
    """
    Return the image of a message, checked but not yet converted to RGB.

    :return: a view of a raw image's data
    :raises EncodingError: if the encoding is unknown, or size, step and data disagree
    """
    if isinstance(message, CompressedImageMessage):
        return open_compressed(message.data, message.format)
    encoding, height, width, step = message.encoding, message.height, message.width, message.step
    if encoding not in SUPPORTED_ENCODINGS:
        works, problem = find_cv_bridge()
        if works:
            return open_by_cv_bridge(message)
        also, known = problem and f', and {problem}', ', '.join(SUPPORTED_ENCODINGS)
        msg = (
            f'Encoding {encoding[:MOST_QUOTED]!r} is not supported{also}; supported: {known}; set '
            'the camera driver to one of these.'
        )
        raise EncodingError(msg)
    if height < 1 or width < 1:
        msg = (
            f'An image has no pixels ({width}x{height}, {encoding}); expected at least 1x1; check '
            'the camera driver.'
        )
        raise EncodingError(msg)
    pixels = np.frombuffer(message.data, np.uint8)
    if encoding in PLANAR:
        return _open_planar(message, pixels)
    layout = PACKED[encoding]
    dtype = np.dtype(layout.dtype).newbyteorder('>' if message.is_bigendian else '<')
    row_bytes = width * layout.channels * dtype.itemsize
    _check_size(message, row_bytes, needed=(height - 1) * step + row_bytes)
    if layout.even_width:
        _check_even(encoding, width=width)
    check_sides(encoding, height, width)
    shape = (height, width) if layout.channels == 1 else (height, width, layout.channels)
    strides = (step, layout.channels * dtype.itemsize, dtype.itemsize)[: len(shape)]
    return EncodedImage(layout, (np.ndarray(shape, dtype, pixels, strides=strides),))


def _check_size(message: ImageMessage, row_bytes: int, needed: int) -> None:
    encoding, size = message.encoding, len(message.data)
    if message.step < row_bytes:
        msg = (
            f'An image has a step of {message.step} bytes, but a row of {message.width} pixels in '
            f'{encoding} takes at least {row_bytes}; correct the step in the publisher.'
        )
        raise EncodingError(msg)
    if size < needed:
        msg = (
            f'An image has {size} bytes, but {message.width}x{message.height} in {encoding} with '
            f'a step of {message.step} takes {needed}; the message is truncated or its size is '
            'wrong.'
        )
        raise EncodingError(msg)


def _check_even(encoding: str, **lengths: int) -> None:
    for name, length in lengths.items():
        if length % 2:
            msg = (
                f'An image in {encoding} has a {name} of {length} pixels; expected an even '
                'number, because neighbours share their chroma; correct it in the publisher.'
            )
            raise EncodingError(msg)


def _open_planar(message: ImageMessage, pixels: np.ndarray) -> EncodedImage:
    layout, height, width = PLANAR[message.encoding], message.height, message.width
    if layout.even_width:
        _check_even(message.encoding, width=width, height=height)
    part = 2 if layout.even_width else 1
    rows, columns = height // part, width // part
    if pixels.size == height * width + 2 * rows * columns and message.step >= width:
        message = message._replace(step=width)
    step, chroma_step = message.step, 2 * message.step // part
    needed = height * step + (rows - 1) * chroma_step + 2 * columns
    _check_size(message, width, needed)
    luma = np.ndarray((height, width), np.uint8, pixels, strides=(step, 1))
    chroma = np.ndarray((rows, columns, 2), np.uint8, pixels, height * step, (chroma_step, 2, 1))
    return EncodedImage(layout, (luma, chroma))


def fit_image(
    image: np.ndarray | EncodedImage,
    fit: Fit,
    out: np.ndarray | None = None,
    buffers: Buffers | None = None,
) -> np.ndarray:
    """
    Return an image scaled and centred in the network input, with black borders.

    Downscaling averages over areas, upscaling interpolates. The results of an encoded image and
    of its RGB differ by one grey level at most.

    :param image: of the fit's image size, encoded or RGB, (H, W, 3) uint8
    :param out: (h, w, 3) uint8 of the network's size to write to and return; new by default
    :param buffers: memory for intermediate results; new by default
    :raises EncodingError: if the image does not have the fit's size
    """
    if not isinstance(image, EncodedImage):
        image = EncodedImage(PACKED['rgb8'], (image,))
    if image.image_hw != tuple(fit.image_hw):
        msg = (
            f'An image of {image.image_hw[1]}x{image.image_hw[0]} was given where '
            f'{fit.image_hw[1]}x{fit.image_hw[0]} was expected; make a fit for each size.'
        )
        raise EncodingError(msg)
    (height, width), (left, top) = fit.filled_hw, fit.offset_uv
    if out is None:
        out = np.zeros((*fit.network_hw, 3), np.uint8)
    elif (height, width) != tuple(fit.network_hw):
        out[...] = 0
    buffers = Buffers() if buffers is None else buffers
    out[top : top + height, left : left + width] = _scale(image, (height, width), buffers)
    return out


def _scale(image: EncodedImage, hw: tuple[int, int], buffers: Buffers) -> np.ndarray:
    """Return an image in another size as RGB."""
    if not image.layout.linear:
        return _resize(image.to_rgb(buffers), hw, buffers)
    image = image.in_8_bits(buffers)
    small = _resize(image.planes[0], hw, buffers)
    return EncodedImage(image.layout, (small,)).to_rgb(buffers)


def _resize(pixels: np.ndarray, hw: tuple[int, int], buffers: Buffers) -> np.ndarray:
    if pixels.shape[:2] == hw:
        return pixels
    (height, width), rows, columns = hw, pixels.shape[0] / hw[0], pixels.shape[1] / hw[1]
    if max(rows, columns) <= 1:
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    if not LEAST_SUMMED <= rows <= MOST_SUMMED:
        return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    # Two to four times as fast as INTER_AREA alone: NumPy sums rows, INTER_AREA does the columns.
    sums = _sum_rows if pixels.shape[0] % height == 0 else _sum_fractional_rows
    summed = sums(pixels, height, buffers).reshape(height, *pixels.shape[1:])
    summed = cv2.resize(summed, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.convertScaleAbs(summed, alpha=1 / rows)


def _sum_rows(pixels: np.ndarray, height: int, buffers: Buffers) -> np.ndarray:
    """Return sums over equal numbers of rows, (height, values per row) uint16."""
    rows = pixels.reshape(height, pixels.shape[0] // height, -1)
    sums = buffers.take('sums', (height, rows.shape[2]), np.uint16)
    return np.add.reduce(rows, axis=1, dtype=np.uint16, out=sums)


def _sum_fractional_rows(pixels: np.ndarray, height: int, buffers: Buffers) -> np.ndarray:
    """Return sums over equal heights whose limits lie within rows, (height, ...) float32."""
    rows = pixels.reshape(pixels.shape[0], -1)
    shape = (height, rows.shape[1])
    # In units of 1 / height of a row, all limits are integers.
    limits = np.arange(height + 1) * len(rows)
    first, last = -(-limits[:-1] // height), limits[1:] // height
    sums = buffers.take('sums', shape, np.uint16)
    for row, start, stop in zip(sums, first.tolist(), last.tolist(), strict=True):
        np.add.reduce(rows[start:stop], axis=0, dtype=np.uint16, out=row)
    whole = buffers.take('whole', shape, np.float32)
    whole[...] = sums
    part = buffers.take('part', shape, np.float32)
    before, after = first * height - limits[:-1], limits[1:] - last * height
    for index, weight in ((first - 1, before), (np.minimum(last, len(rows) - 1), after)):
        np.multiply(rows[index], (weight / height).astype(np.float32)[:, None], out=part)
        whole += part
    return whole
