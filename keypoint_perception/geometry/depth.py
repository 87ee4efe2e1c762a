"""
Depth images: the depth at subpixel positions, and the depth image of a given colour image.

Depth images are registered to colour images, in a resolution of their own. ``32FC1`` is metres,
``16UC1`` millimetres with 0 for no reading (REP 118); NaN and infinities are no reading either
(REP 117).

**Robust depth of a window.** At an edge, half of a window is on the object and half on the
background; their mean is on neither, and even a median flips between them from pixel to pixel. So
the sorted depths of a window are split at gaps larger than :data:`GAP_SHARE`, and the nearest
segment with at least :data:`LEAST_SHARE` of the window is the object: keypoints are on the
foreground, and mixed pixels between two surfaces are too few to count. A plane is fitted to the
segment, each depth is moved along it to the keypoint, and the result is the median of these: exact
on a slanted plane at subpixel positions, and robust to up to half of outliers. All of this uses
inverse depth, in which a plane in space is linear in u and v.
"""

from __future__ import annotations

from collections import deque
import threading

from keypoint_perception.cdr import ImageMessage
from keypoint_perception.errors import EncodingError
import numpy as np

# A relative step in depth that separates two surfaces: 3 cm at 1 m. Within a surface, neighbouring
# pixels differ by more only when it is viewed at less than two degrees.
GAP_SHARE = 0.03
LEAST_SHARE = 0.2
# Limits of the buffered depth images: 64 MiB are a second of 640x480, a few images of 1080p.
MAX_BUFFERED_BYTES = 64 << 20
MAX_BUFFERED_NS = 2_000_000_000
# Regularises the slopes of a segment without extent, as across a single row of pixels.
RIDGE = 1e-6


# Pixel type of each encoding, without byte order, and its unit in metres.
LAYOUTS = {'16UC1': ('u2', 0.001), 'mono16': ('u2', 0.001), '32FC1': ('f4', 1.0)}


def view_depth(image: ImageMessage) -> tuple[np.ndarray, float]:
    """
    Return a view of the pixels of a depth image, and their unit in metres.

    :return: (H, W) in the type and byte order of the message
    :raises EncodingError: if it is not a depth image, or its size, step and data disagree
    """
    if image.encoding not in LAYOUTS:
        msg = (
            f'A depth image has the encoding {image.encoding!r}, expected {", ".join(LAYOUTS)}; '
            'remap depth to the registered depth image.'
        )
        raise EncodingError(msg)
    code, unit_m = LAYOUTS[image.encoding]
    dtype = np.dtype(code).newbyteorder('>' if image.is_bigendian else '<')
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
            f'A depth image has {len(data)} bytes, but {image.width}x{image.height} in '
            f'{image.encoding} with a step of {image.step} takes {needed}; check the publisher.'
        )
        raise EncodingError(msg)
    return np.ndarray(shape, dtype, data, strides=(image.step, dtype.itemsize)), unit_m


def check_registered(depth_hw: tuple[int, int], image_hw: tuple[int, int]) -> None:
    """Raise EncodingError unless a depth and a colour image have the same aspect ratio."""
    (height, width), (image_height, image_width) = depth_hw, image_hw
    if abs(width * image_height - height * image_width) > max(image_height, image_width):
        msg = (
            f'A depth image is {width}x{height} and its colour image '
            f'{image_width}x{image_height}: their aspect ratios differ, so the depth is not '
            'registered to the colour image; remap depth to the registered one (depth_image_proc '
            "register, or the driver's align_depth)."
        )
        raise EncodingError(msg)


def depth_at(
    pixels: np.ndarray, uv: np.ndarray, image_hw: tuple[int, int], *, window: int
) -> np.ndarray:
    """
    Return the depth at points of the colour image that a depth image is registered to.

    :param pixels: (H, W), any unit; no reading where not finite or not positive
    :param uv: px of the colour image, (N, 2); may be NaN or outside the image
    :param window: side of the window, px of the depth image, odd
    :return: (N,) float64 in the unit of ``pixels``, NaN where there is no depth
    """
    height, width = pixels.shape
    scale = np.array((width / image_hw[1], height / image_hw[0]))
    points = (np.asarray(uv, np.float64) + 0.5) * scale - 0.5
    with np.errstate(invalid='ignore'):
        inside = ((points >= -0.5) & (points <= (width - 0.5, height - 0.5))).all(1)
    points = np.where(inside[:, None], points, 0.0)
    centres = np.rint(points).astype(np.int64)
    across = np.arange(window) - window // 2
    columns = centres[:, :1] + np.tile(across, window)
    rows = centres[:, 1:] + np.repeat(across, window)
    within = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    depths = pixels[rows.clip(0, height - 1), columns.clip(0, width - 1)].astype(np.float64)
    with np.errstate(invalid='ignore'):
        valid = within & (depths > 0) & (depths < np.inf)
    depths = np.where(valid, depths, np.inf)
    order = np.argsort(depths, axis=1)
    du, dv = columns - points[:, :1], rows - points[:, 1:]
    which = np.arange(len(points))[:, None]
    depths, valid, du, dv = (a[which, order] for a in (depths, valid, du, dv))
    least = LEAST_SHARE * within.sum(1, keepdims=True)
    found = _depth_at_origin(depths, _nearest_surface(depths, valid, least), du, dv)
    return np.where(inside, found, np.nan)


def _nearest_surface(depths: np.ndarray, valid: np.ndarray, least: np.ndarray) -> np.ndarray:
    """
    Return which pixels of each window belong to the nearest surface that is large enough.

    :param depths: nearest first, invalid ones last, (N, P)
    :param valid: (N, P)
    :param least: minimum number of pixels, (N, 1)
    :return: (N, P) bool; all False if there is no such surface
    """
    count, pixels = depths.shape
    surface = np.zeros((count, pixels), np.int64)
    np.cumsum(depths[:, 1:] > depths[:, :-1] * (1 + GAP_SHARE), axis=1, out=surface[:, 1:])
    surface += pixels * np.arange(count)[:, None]  # unique across windows
    sizes = np.bincount(surface[valid], minlength=depths.size).reshape(count, pixels)
    enough = sizes >= np.maximum(least, 1)
    chosen = enough.argmax(1) + pixels * np.arange(count)
    member: np.ndarray = (surface == chosen[:, None]) & valid & enough.any(1)[:, None]
    return member


def _depth_at_origin(
    depths: np.ndarray, member: np.ndarray, du: np.ndarray, dv: np.ndarray
) -> np.ndarray:
    """Return each window's depth (N,) at the origin of du and dv (N, P), NaN without members."""
    count = member.sum(1)
    weight = member / np.maximum(count, 1)[:, None]
    values = np.where(member, 1 / depths, 0.0)
    # Second moments of u, v and 1 / z about their means.
    uvz = np.stack([du, dv, values])
    centred = uvz - (weight * uvz).sum(2, keepdims=True)
    (uu, uv, uz), (_, vv, vz) = np.einsum('anp,bnp->abn', centred[:2] * weight, centred)
    uu, vv = uu + RIDGE, vv + RIDGE
    determinant = uu * vv - uv * uv
    slope_u, slope_v = (vv * uz - uv * vz) / determinant, (uu * vz - uv * uz) / determinant
    moved = values - slope_u[:, None] * du - slope_v[:, None] * dv
    # The median of the members, which are sorted first.
    moved = np.sort(np.where(member, moved, np.inf), axis=1)
    which, middle = np.arange(len(count)), np.maximum(count - 1, 0)
    median = (moved[which, middle // 2] + moved[which, (middle + 1) // 2]) / 2
    return np.where(count > 0, 1 / np.where(count > 0, median, 1.0), np.nan)


class DepthBuffer:
    """The most recent depth images, found by their stamps; thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._images: deque[ImageMessage] = deque()
        self._bytes = 0

    def put(self, image: ImageMessage) -> None:
        """Add a depth image and drop those that exceed the limits in age or size."""
        stamp_ns = image.header.stamp_ns
        with self._changed:
            if self._images and stamp_ns < self._images[-1].header.stamp_ns:
                self.clear()  # as when a recording is played in a loop
            self._images.append(image)
            self._bytes += len(image.data)
            self._changed.notify_all()
            while len(self._images) > 1 and (
                self._bytes > MAX_BUFFERED_BYTES
                or stamp_ns - self._images[0].header.stamp_ns > MAX_BUFFERED_NS
            ):
                self._bytes -= len(self._images.popleft().data)

    def nearest(self, stamp_ns: int, wait_s: float = 0.0) -> ImageMessage | None:
        """
        Return the image with the nearest stamp, the later of two; None if there is no image.

        :param wait_s: how long to wait for an image that is not older than the stamp
        """
        with self._changed:
            if wait_s > 0:
                self._changed.wait_for(
                    lambda: bool(self._images) and self._images[-1].header.stamp_ns >= stamp_ns,
                    wait_s,
                )
            newest_first = reversed(self._images)
            return min(newest_first, key=lambda i: abs(i.header.stamp_ns - stamp_ns), default=None)

    def clear(self) -> None:
        """Drop all images."""
        with self._changed:  # which is reentrant
            self._images.clear()
            self._bytes = 0
