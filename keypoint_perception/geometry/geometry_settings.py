"""How the points of a camera are lifted to space and filtered over time."""

from __future__ import annotations

from dataclasses import dataclass, field

from keypoint_perception.geometry.point_filter import FilterSettings
from keypoint_perception.settings import setting, Settings


@dataclass(frozen=True)
class GeometrySettings(Settings):
    """The settings of a :class:`~keypoint_perception.geometry.point_locator.PointLocator`."""

    depth: bool = setting(
        False,
        live=False,
        help='Publish x, y, z: subscribes to `depth` and `camera_info`, and offers `~/markers`.',
    )
    depth_tolerance_s: float = setting(
        0.05,
        name='depth_tolerance',
        low=0,
        high=10,
        help='Maximum difference between the stamps of an image and its depth image, s.',
    )
    depth_wait_ms: float = setting(
        0.0,
        name='depth_wait',
        low=0,
        high=1000,
        help='Maximum time that an image waits for a depth image at least as new, ms; 0: use the '
        'nearest one already received.',
    )
    depth_radius: int = setting(
        2,
        low=0,
        high=15,
        help='Radius of the window around a keypoint that its depth is read from, px of the depth '
        'image.',
    )
    rectified: bool = setting(
        False,
        live=False,
        help='The images are already rectified (`image_rect`), so P of camera_info applies.',
    )
    undistort: bool = setting(
        False,
        live=False,
        help='Publish u, v in px of the rectified image instead of the image as received; '
        'subscribes to `camera_info`.',
    )
    filter: FilterSettings = field(default_factory=FilterSettings)

    @property
    def needs_calibration(self) -> bool:
        """Return whether the camera's calibration is needed."""
        return self.depth or self.undistort
