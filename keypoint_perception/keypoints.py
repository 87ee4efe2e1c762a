"""
The coordinate convention and its conversions.

A position is ``(u, v)`` = (column, row) in pixels. Integers are pixel centres and ``(0, 0)`` is
the centre of the top-left pixel, so an image W pixels wide extends from -0.5 to W - 0.5. It is
used in three coordinate frames:

- **image**: the image as received from the camera;
- **network**: the network input, in which the image is scaled and centred (letterboxed);
- **cells**: the network's heatmaps, one cell per ``stride`` network pixels.

Example: an image of 640 x 480 in a network input of 128 x 128. The scale is 0.2, the image fills
128 x 96, and 16 rows stay empty above and below.

    image (0, 0)         -> network ((0 + 0.5) * 0.2 - 0.5, (0 + 0.5) * 0.2 - 0.5 + 16)
                          = (-0.4, 15.6)
    image (319.5, 239.5) -> network (63.5, 63.5), the centre of both
    network (1.5, 1.5)   -> cell (0, 0) at stride 4: a cell's centre is the centre of its block
    cell (1, 0)          -> network (5.5, 1.5)

``cv2.resize`` and ``grid_sample(align_corners=False)`` use the same convention;
``align_corners=True`` and a plain ``u * scale`` are off by up to half a pixel. Foxglove has its
origin at the corner of the top-left pixel: add 0.5 there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keypoint_perception.errors import EncodingError
import numpy as np


@dataclass(frozen=True)
class Fit:
    """The letterboxing of images of one size into a network input, sizes in px."""

    image_hw: tuple[int, int]
    network_hw: tuple[int, int]

    def __post_init__(self) -> None:
        if min(self.image_hw) < 1 or min(self.network_hw) < 1:
            msg = (
                f'An image of {self.image_hw[1]}x{self.image_hw[0]} cannot be fitted into '
                f'{self.network_hw[1]}x{self.network_hw[0]}: expected at least one pixel each way.'
            )
            raise EncodingError(msg)

    @cached_property
    def filled_hw(self) -> tuple[int, int]:
        """Return the height and width of the image inside the network input, px."""
        scale = min(n / i for n, i in zip(self.network_hw, self.image_hw, strict=True))
        height, width = (max(1, round(i * scale)) for i in self.image_hw)
        return min(height, self.network_hw[0]), min(width, self.network_hw[1])

    @cached_property
    def offset_uv(self) -> tuple[int, int]:
        """Return the empty columns to the left and the empty rows above, px."""
        height, width = self.filled_hw
        return (self.network_hw[1] - width) // 2, (self.network_hw[0] - height) // 2

    @cached_property
    def scale_uv(self) -> tuple[float, float]:
        """Return network pixels per image pixel along u and v; they differ by rounding only."""
        height, width = self.filled_hw
        return width / self.image_hw[1], height / self.image_hw[0]

    def to_network(self, uv: np.ndarray) -> np.ndarray:
        """Return positions (..., 2) of the image in network pixels, float32."""
        network = (np.asarray(uv, np.float64) + 0.5) * self.scale_uv - 0.5 + self.offset_uv
        return network.astype(np.float32)

    def to_image(self, uv: np.ndarray) -> np.ndarray:
        """Return positions (..., 2) of the network input in image pixels, float32."""
        image = (np.asarray(uv, np.float64) - self.offset_uv + 0.5) / self.scale_uv - 0.5
        return image.astype(np.float32)


def cells_to_network(uv: Any, stride: float) -> Any:
    """
    Return network pixels of heatmap positions.

    :param uv: positions in cells, whose centres are integers: a number, an array or a tensor
    :param stride: network pixels per cell
    """
    return (uv + 0.5) * stride - 0.5


def network_to_cells(uv: Any, stride: float) -> Any:
    """Return heatmap positions of network pixels, the inverse of :func:`cells_to_network`."""
    return (uv + 0.5) / stride - 0.5


def diagonal_px(height: int, width: int) -> float:
    """Return the diagonal by which errors are divided, px."""
    return float(np.hypot(height, width))
