"""
Depth images: the distance at a place between pixels, and the image that belongs to a picture.

A depth image is registered: it shows what the picture shows, from the same place, in its own
resolution. ``32FC1`` is metres, ``16UC1`` millimetres with 0 for no reading (REP 118); NaN and
infinities are no reading either (REP 117).

**How one number comes from a window.** At an edge, half of a window lies on the thing and half on
what is behind it; their mean is a place where nothing is, and even a median changes sides with the
next pixel. So the depths of a window are sorted and parted where two neighbours are further apart
than :data:`GAP_SHARE`, and the nearest part that fills at least :data:`LEAST_SHARE` of the window
is the thing: keypoints lie on what is in front, and single pixels that a sensor places in mid-air
between two surfaces never fill so much. On that part a plane is fitted, every depth is moved along
it to the keypoint's place, and the median of these is the answer: exact on a tilted wall at places
between pixels, and unmoved by less than half of outliers. All this is done with 1 / depth, in
which a wall is a plane over the image; with depth itself it is curved.
"""

from __future__ import annotations

from collections import deque
import threading
from typing import NamedTuple

from keypoint_perception.errors import EncodingError
import numpy as np

# A step of this share of the depth parts two surfaces: 3 cm at 1 m. A surface so steep that its
# neighbouring pixels differ by more is seen at less than two degrees.
GAP_SHARE = 0.03
LEAST_SHARE = 0.2
# How much memory waiting depth images may take: a second of 640x480, some of 1080p in metres.
MAX_WAITING_BYTES = 64 << 20
MAX_WAITING_NS = 2_000_000_000
# Weight that pulls slopes to zero where a part has no extent, as a row of pixels across it.
RIDGE = 1e-6


class DepthLayout(NamedTuple):
    """How the pixels of one encoding lie in memory, and how long a unit is."""

    dtype: str
    metres: float


LAYOUTS = {
    '16UC1': DepthLayout('u2', 0.001),
    'mono16': DepthLayout('u2', 0.001),
    '32FC1': DepthLayout('f4', 1.0),
}


def view_depth(image) -> tuple[np.ndarray, float]:
    """
    Return the pixels of a depth image where they lie, and the length of their unit in metres.

    :param image: a ``sensor_msgs/Image`` or one of :mod:`keypoint_perception.cdr`
    :return: (H, W) in the message's own type and byte order
    :raises EncodingError: if it is no depth image, or its step or size cannot be
    """
    if image.encoding not in LAYOUTS:
        msg = (
            f'A depth image has the encoding {image.encoding!r}, expected {", ".join(LAYOUTS)}; '
            'remap depth to the registered depth image.'
        )
        raise EncodingError(msg)
    layout = LAYOUTS[image.encoding]
    dtype = np.dtype(layout.dtype).newbyteorder('>' if image.is_bigendian else '<')
    shape = (image.height, image.width)
    row = image.width * dtype.itemsize
    if min(shape) < 1 or image.step < row:
        msg = (
            f'A depth image of {image.width}x{image.height} in {image.encoding} has a step of '
            f'{image.step} bytes, expected at least {max(row, dtype.itemsize)}; check the '
            'publisher.'
        )
        raise EncodingError(msg)
    data = np.frombuffer(image.data, np.uint8)
    needed = image.step * (image.height - 1) + row
    if len(data) < needed:
        msg = (
            f'A depth image holds {len(data)} bytes, but {image.width}x{image.height} in '
            f'{image.encoding} with a step of {image.step} takes {needed}; check the publisher.'
        )
        raise EncodingError(msg)
    return np.ndarray(shape, dtype, data, strides=(image.step, dtype.itemsize)), layout.metres


def check_registered(depth_hw: tuple[int, int], image_hw: tuple[int, int]) -> None:
    """
    Hold that a depth image can show what a picture shows, in whatever resolution.

    :raises EncodingError: if their sides have different proportions
    """
    (height, width), (image_height, image_width) = depth_hw, image_hw
    if abs(width * image_height - height * image_width) > max(image_height, image_width):
        msg = (
            f'A depth image is {width}x{height} and its picture {image_width}x{image_height}: '
            'their sides have different proportions, so the depth is not registered to the '
            'picture; remap depth to the registered one (depth_image_proc register, or the '
            "driver's align_depth)."
        )
        raise EncodingError(msg)


def depth_at(
    pixels: np.ndarray, uv: np.ndarray, image_hw: tuple[int, int], *, window: int
) -> np.ndarray:
    """
    Return the depth at places of the picture that the depth image is registered to.

    :param pixels: (H, W), any unit; not finite or not positive: no reading
    :param uv: places in px of the picture, (N, 2); NaN and places outside have no depth
    :param image_hw: height and width of the picture, px
    :param window: side of the window, px of the depth image, odd
    :return: (N,) float64 in the unit of ``pixels``, NaN where there is none
    """
    height, width = pixels.shape
    scale = np.array((width / image_hw[1], height / image_hw[0]))
    places = (np.asarray(uv, np.float64) + 0.5) * scale - 0.5
    with np.errstate(invalid='ignore'):
        inside = ((places >= -0.5) & (places <= (width - 0.5, height - 0.5))).all(1)
    places = np.where(inside[:, None], places, 0.0)
    centres = np.rint(places).astype(np.int64)
    across = np.arange(window) - window // 2
    columns = centres[:, :1] + np.tile(across, window)
    rows = centres[:, 1:] + np.repeat(across, window)
    within = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    depths = pixels[rows.clip(0, height - 1), columns.clip(0, width - 1)].astype(np.float64)
    with np.errstate(invalid='ignore'):
        valid = within & (depths > 0) & (depths < np.inf)
    depths = np.where(valid, depths, np.inf)
    order = np.argsort(depths, axis=1)
    du, dv = columns - places[:, :1], rows - places[:, 1:]
    which = np.arange(len(places))[:, None]
    depths, valid, du, dv = (a[which, order] for a in (depths, valid, du, dv))
    least = LEAST_SHARE * within.sum(1, keepdims=True)
    found = _at_place(depths, _nearest_surface(depths, valid, least), du, dv)
    return np.where(inside, found, np.nan)


def _nearest_surface(depths: np.ndarray, valid: np.ndarray, least: np.ndarray) -> np.ndarray:
    """
    Return which pixels of each window are of the nearest surface that is large enough.

    :param depths: nearest first, those that are not valid last, (N, P)
    :param valid: (N, P)
    :param least: least number of pixels, (N, 1)
    :return: (N, P) bool; all False where there is no such surface
    """
    count, pixels = depths.shape
    surface = np.zeros((count, pixels), np.int64)
    np.cumsum(depths[:, 1:] > depths[:, :-1] * (1 + GAP_SHARE), axis=1, out=surface[:, 1:])
    surface += pixels * np.arange(count)[:, None]  # no two windows share one
    sizes = np.bincount(surface[valid], minlength=depths.size).reshape(count, pixels)
    enough = sizes >= np.maximum(least, 1)
    chosen = enough.argmax(1) + pixels * np.arange(count)
    return (surface == chosen[:, None]) & valid & enough.any(1)[:, None]


def _at_place(
    depths: np.ndarray, member: np.ndarray, du: np.ndarray, dv: np.ndarray
) -> np.ndarray:
    """
    Return each window's depth at the place from which du and dv are measured.

    :param depths: (N, P), as ``member``, ``du`` and ``dv``; NaN is the answer without members
    """
    count = member.sum(1)
    weight = member / np.maximum(count, 1)[:, None]
    values = np.where(member, 1 / depths, 0.0)
    # Means, then second moments about them, of u, v and 1 / z at once.
    uvz = np.stack([du, dv, values])
    centred = uvz - (weight * uvz).sum(2, keepdims=True)
    (uu, uv, uz), (_, vv, vz) = np.einsum('anp,bnp->abn', centred[:2] * weight, centred)
    uu, vv = uu + RIDGE, vv + RIDGE
    area = uu * vv - uv * uv
    slope_u, slope_v = (vv * uz - uv * vz) / area, (uu * vz - uv * uz) / area
    moved = values - slope_u[:, None] * du - slope_v[:, None] * dv
    # The median of the members: the others are sorted behind them.
    moved = np.sort(np.where(member, moved, np.inf), axis=1)
    which, middle = np.arange(len(count)), np.maximum(count - 1, 0)
    median = (moved[which, middle // 2] + moved[which, (middle + 1) // 2]) / 2
    return np.where(count > 0, 1 / np.where(count > 0, median, 1.0), np.nan)


class DepthBuffer:
    """
    The depth images of the last moments, found by their stamps.

    One thread may leave images while another looks for them.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._images: deque = deque()
        self._bytes = 0

    def put(self, image) -> None:
        """Leave a depth image; those that are old by its stamp or too many are thrown away."""
        stamp_ns = image.header.stamp_ns
        with self._changed:
            if self._images and stamp_ns < self._images[-1].header.stamp_ns:
                self._clear()  # a recording that begins again
            self._images.append(image)
            self._bytes += len(image.data)
            self._changed.notify_all()
            while len(self._images) > 1 and (
                self._bytes > MAX_WAITING_BYTES
                or stamp_ns - self._images[0].header.stamp_ns > MAX_WAITING_NS
            ):
                self._bytes -= len(self._images.popleft().data)

    def nearest(self, stamp_ns: int, wait_s: float = 0.0):
        """
        Return the image with the nearest stamp, the newest of equals; None if there is none.

        :param wait_s: how long to wait for one that is not older than the stamp
        """
        with self._changed:
            if wait_s > 0:
                self._changed.wait_for(
                    lambda: self._images and self._images[-1].header.stamp_ns >= stamp_ns, wait_s
                )
            newest_first = reversed(self._images)
            return min(newest_first, key=lambda i: abs(i.header.stamp_ns - stamp_ns), default=None)

    def clear(self) -> None:
        """Forget all images."""
        with self._changed:
            self._clear()

    def _clear(self) -> None:
        self._images.clear()
        self._bytes = 0
