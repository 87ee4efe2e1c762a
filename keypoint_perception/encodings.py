"""
The encodings of ``sensor_msgs/Image`` and their conversion to RGB.

:data:`SUPPORTED_ENCODINGS` lists them. Where the name of an encoding does not define the colours:

- ``8UC3`` is read as BGR, which OpenCV programs write.
- ``mono16`` and 16-bit Bayer are intensities, of which the upper eight bits are kept
  (``value >> 8``), unless a recording uses few of them: see :mod:`keypoint_perception.grey_range`.
- ``16UC1`` is depth in millimetres (REP 118): one grey level is 16 mm, 4,080 mm and above are
  white, no reading (0) is black. The scale is fixed because scaling each frame to its own range
  would make a scene flicker.
- YUV is BT.601 in video range (16 to 235). ``nv21`` is 4:2:0 with interleaved V, U; ``nv12`` the
  same with U, V; ``nv24`` is 4:4:4 with interleaved U, V. Their ``step`` is that of a luma row, a
  chroma row of ``nv24`` has two; planes without padding are recognised whatever the ``step``.
- Bayer names give the first two pixels of the first row, then of the second. OpenCV names them
  by the second and third pixel of the second row: ``bayer_rggb8`` is its ``BayerBG``.

Images are downscaled before the conversion where the order makes no difference: RGB, BGR, grey,
with or without alpha (:attr:`PixelLayout.linear`). It does for Bayer, which is interpolated, and
for YUV, which is clipped at 0 and 255.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TYPE_CHECKING

import cv2
from keypoint_perception.errors import EncodingError
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

Octets = bytes | memoryview | np.ndarray
Conversion = Callable[..., np.ndarray]
DEPTH_MM_PER_GREY = 16
DEPTH_WHITE_MM = 255 * DEPTH_MM_PER_GREY
BIG_ENDIAN_16 = np.dtype('>u2')
# Characters of a string from a message, which may be broken, that an error quotes.
MOST_QUOTED = 40


class Buffers:
    """Memory that is reused from image to image, by name; not thread-safe."""

    def __init__(self) -> None:
        self._octets: dict[str, np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: DTypeLike = np.uint8) -> np.ndarray:
        """Return an array whose content is undefined."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if name not in self._octets or self._octets[name].size < size:
            self._octets[name] = np.empty(size, np.uint8)
        array: np.ndarray = self._octets[name][:size].view(dtype).reshape(shape)
        return array


class PixelLayout(NamedTuple):
    """
    The memory layout of one encoding and its conversion to RGB.

    :param channels: of the first plane
    :param dtype: of a channel, without byte order
    :param to_rgb: planes of 8 bits -> (H, W, 3) uint8; may return a view of them
    :param linear: whether conversion and averaging commute
    :param to_8_bits: (H, W) of 16 bits -> (H, W) uint8
    :param even_width: whether neighbouring pixels share their chroma
    :param least_side: smallest width and height that can be converted, px
    """

    channels: int
    dtype: str
    to_rgb: Conversion
    linear: bool = False
    to_8_bits: Callable[[np.ndarray, Buffers], np.ndarray] | None = None
    even_width: bool = False
    least_side: int = 1

    def in_bytes(self, size: int) -> PixelLayout:
        """Return the layout with one or two bytes a channel."""
        return self if size == 1 else self._replace(dtype='u2', to_8_bits=high_byte)


class EncodedImage(NamedTuple):
    """
    An image in its original encoding, whose size has been checked.

    :param planes: views of the received bytes, (H, W) or (H, W, C), the first in full resolution
    """

    layout: PixelLayout
    planes: tuple[np.ndarray, ...]

    @property
    def image_hw(self) -> tuple[int, int]:
        """Return height and width, px."""
        return self.planes[0].shape[:2]

    @property
    def has_16_bits(self) -> bool:
        """Return whether the pixels have 16 bits, of which intensities may be few."""
        return self.layout.to_8_bits is high_byte or self.is_depth

    @property
    def is_depth(self) -> bool:
        """Return whether the pixels are depth in millimetres, unless they are all far."""
        return self.layout.to_8_bits is _depth_to_grey

    def in_range(self, black_white: tuple[int, int] | None) -> EncodedImage:
        """
        Return the image with 16-bit intensities scaled instead.

        :param black_white: the intensities that become 0 and 255; None: nothing changes
        """
        if not self.has_16_bits or black_white in (None, (0, (1 << 16) - 1)):
            return self
        if self.is_depth and black_white[0] < DEPTH_WHITE_MM:
            return self
        return self._replace(
            layout=self.layout._replace(to_8_bits=partial(_scale_intensities, black_white))
        )

    def in_8_bits(self, buffers: Buffers) -> EncodedImage:
        """Return the image in 8 bits a channel, converted into the buffers if necessary."""
        if self.layout.to_8_bits is None:
            return self
        planes = tuple(self.layout.to_8_bits(plane, buffers) for plane in self.planes)
        return EncodedImage(self.layout._replace(to_8_bits=None), planes)

    def to_rgb(self, buffers: Buffers | None = None) -> np.ndarray:
        """
        Return the image as RGB, (H, W, 3) uint8.

        It may share memory with the planes and be read-only; else it is in the buffers.
        """
        buffers = Buffers() if buffers is None else buffers
        return self.layout.to_rgb(*self.in_8_bits(buffers).planes, buffers=buffers)


def _rgb_of(pixels: np.ndarray, buffers: Buffers) -> np.ndarray:
    return buffers.take('rgb', (*pixels.shape[:2], 3))


def _convert(code: int, convert: Conversion = cv2.cvtColor) -> Conversion:
    def to_rgb(*planes: np.ndarray, buffers: Buffers) -> np.ndarray:
        return convert(*planes, code, dst=_rgb_of(planes[0], buffers))

    return to_rgb


def _unchanged(pixels: np.ndarray, *, buffers: Buffers) -> np.ndarray:
    del buffers
    return pixels


def high_byte(pixels: np.ndarray, buffers: Buffers) -> np.ndarray:
    """Return the upper eight bits of 16-bit pixels, (H, W) or (H, W, C), packed row by row."""
    octets = pixels.view(np.uint8).reshape(len(pixels), -1, 2)
    channel = 0 if pixels.dtype == BIG_ENDIAN_16 else 1
    high = cv2.extractChannel(octets, channel, dst=buffers.take('8 bits', octets.shape[:2]))
    return high.reshape(pixels.shape)


def _scale_intensities(
    black_white: tuple[int, int], pixels: np.ndarray, buffers: Buffers
) -> np.ndarray:
    black, white = black_white
    lifted = np.maximum(pixels, np.uint16(black)).astype(np.uint16, copy=False)
    grey, scale = buffers.take('8 bits', pixels.shape), 255 / (white - black)
    return cv2.convertScaleAbs(lifted, dst=grey, alpha=scale, beta=-black * scale)


def _depth_to_grey(depth_mm: np.ndarray, buffers: Buffers) -> np.ndarray:
    depth_mm = depth_mm.astype(depth_mm.dtype.newbyteorder('='), copy=False)
    # OpenCV rounds: less half a level, it truncates whole millimetres.
    shift = (1 - DEPTH_MM_PER_GREY) / 2 / DEPTH_MM_PER_GREY
    grey = buffers.take('8 bits', depth_mm.shape)
    return cv2.convertScaleAbs(depth_mm, dst=grey, alpha=1 / DEPTH_MM_PER_GREY, beta=shift)


def _metres_to_grey(depth_m: np.ndarray, buffers: Buffers) -> np.ndarray:
    with np.errstate(all='ignore'):
        depth_mm = np.nan_to_num(depth_m.astype(np.float32) * 1000, posinf=0, neginf=0)
    return _depth_to_grey(depth_mm.clip(0, (1 << 16) - 1).astype(np.uint16), buffers)


# By ROS name; the module's docstring explains those of OpenCV, which leaves the border black in
# mosaics narrower than three pixels.
BAYER = {
    'rggb': _convert(cv2.COLOR_BayerBG2RGB),
    'bggr': _convert(cv2.COLOR_BayerRG2RGB),
    'gbrg': _convert(cv2.COLOR_BayerGR2RGB),
    'grbg': _convert(cv2.COLOR_BayerGB2RGB),
}


# BT.601 in video range, applied to (Y, U, V, 1).
YUV_TO_RGB = np.array(
    [
        [1.164, 0.0, 1.596, -1.164 * 16 - 1.596 * 128],
        [1.164, -0.391, -0.813, -1.164 * 16 + (0.391 + 0.813) * 128],
        [1.164, 2.018, 0.0, -1.164 * 16 - 2.018 * 128],
    ]
)


def _full_planes(luma: np.ndarray, chroma: np.ndarray, *, buffers: Buffers) -> np.ndarray:
    yuv = buffers.take('yuv', (*luma.shape, 3))
    cv2.mixChannels([luma, chroma], [yuv], [0, 0, 1, 1, 2, 2])
    return cv2.transform(yuv, YUV_TO_RGB, dst=_rgb_of(luma, buffers))


_grey_to_rgb = _convert(cv2.COLOR_GRAY2RGB)
_bgr_to_rgb = _convert(cv2.COLOR_BGR2RGB)
_uyvy_to_rgb = _convert(cv2.COLOR_YUV2RGB_UYVY)
_yuyv_to_rgb = _convert(cv2.COLOR_YUV2RGB_YUY2)
_two_planes = cv2.cvtColorTwoPlane
PACKED = {
    'rgb8': PixelLayout(3, 'u1', _unchanged, linear=True),
    'bgr8': PixelLayout(3, 'u1', _bgr_to_rgb, linear=True),
    'rgba8': PixelLayout(4, 'u1', _convert(cv2.COLOR_RGBA2RGB), linear=True),
    'bgra8': PixelLayout(4, 'u1', _convert(cv2.COLOR_BGRA2RGB), linear=True),
    'mono8': PixelLayout(1, 'u1', _grey_to_rgb, linear=True),
    'mono16': PixelLayout(1, 'u2', _grey_to_rgb, linear=True, to_8_bits=high_byte),
    '8UC1': PixelLayout(1, 'u1', _grey_to_rgb, linear=True),
    '8UC3': PixelLayout(3, 'u1', _bgr_to_rgb, linear=True),
    '16UC1': PixelLayout(1, 'u2', _grey_to_rgb, linear=True, to_8_bits=_depth_to_grey),
    '32FC1': PixelLayout(1, 'f4', _grey_to_rgb, linear=True, to_8_bits=_metres_to_grey),
    **{
        f'bayer_{name}{8 * size}': PixelLayout(
            1, f'u{size}', to_rgb, to_8_bits=to_8_bits, least_side=3
        )
        for size, to_8_bits in ((1, None), (2, high_byte))
        for name, to_rgb in BAYER.items()
    },
    'uyvy': PixelLayout(2, 'u1', _uyvy_to_rgb, even_width=True),
    'yuv422': PixelLayout(2, 'u1', _uyvy_to_rgb, even_width=True),
    'yuyv': PixelLayout(2, 'u1', _yuyv_to_rgb, even_width=True),
    'yuv422_yuy2': PixelLayout(2, 'u1', _yuyv_to_rgb, even_width=True),
}
# A luma plane and a plane of interleaved chroma.
PLANAR = {
    'nv12': PixelLayout(1, 'u1', _convert(cv2.COLOR_YUV2RGB_NV12, _two_planes), even_width=True),
    'nv21': PixelLayout(1, 'u1', _convert(cv2.COLOR_YUV2RGB_NV21, _two_planes), even_width=True),
    'nv24': PixelLayout(1, 'u1', _full_planes),
}
SUPPORTED_ENCODINGS = (*PACKED, *PLANAR)


def check_sides(encoding: str, height: int, width: int) -> None:
    """Raise EncodingError if an image is too small for the conversion to RGB."""
    least = PACKED[encoding].least_side
    if min(height, width) < least:
        msg = (
            f'A {encoding} image of {width}x{height} cannot be converted to RGB: expected at '
            f'least {least}x{least} pixels; check the camera driver.'
        )
        raise EncodingError(msg)
