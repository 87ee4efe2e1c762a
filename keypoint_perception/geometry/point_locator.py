"""
From points of an image to points in space and over time, for one camera.

Depth is read at the points of the received image; points and depths are filtered, if a filter is
on; the calibration turns points into rays, and a ray times its depth is x, y, z in the optical
frame (REP 103: x right, y down, z forward). Missing inputs are reported, and only the results that
depend on them are NaN.

Depths z are filtered as ``focal * ln(z)``, in which a unit is as long in space as a pixel is
sideways, so that the filter's parameters in px apply to it too.
"""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import NamedTuple

from keypoint_perception.cdr import MessageHeader, read_image
from keypoint_perception.errors import CalibrationError, EncodingError
from keypoint_perception.geometry.camera_model import CameraModel, LatestCameraInfo
from keypoint_perception.geometry.depth import check_registered, depth_at, DepthBuffer, view_depth
from keypoint_perception.geometry.geometry_settings import GeometrySettings
from keypoint_perception.geometry.lifting import lift, transform_with_velocity
from keypoint_perception.geometry.point_filter import PointFilter
from keypoint_perception.seen_messages import SeenMessages
import numpy as np

# How long an input may be missing before it is reported: at start-up they arrive one by one.
GRACE_PERIOD_S = 3.0


class LocatedPoints(NamedTuple):
    """
    Points in the image and in space.

    :param points: u, v in px and confidence, (N, 3) float32; u, v are NaN only if they cannot be
        rectified
    :param image_points: the same in px of the received image, never rectified
    :param xyz: metres in the optical frame, NaN where unknown, (N, 3); None without depth
    :param velocities: of u, v in px/s and, with depth, of x, y, z in m/s, (N, 2) or (N, 5); None
        without a filter
    """

    points: np.ndarray
    image_points: np.ndarray
    xyz: np.ndarray | None = None
    velocities: np.ndarray | None = None

    def rows(self, rows: slice) -> LocatedPoints:
        """Return some of the points."""
        xyz = None if self.xyz is None else self.xyz[rows]
        velocities = None if self.velocities is None else self.velocities[rows]
        return LocatedPoints(self.points[rows], self.image_points[rows], xyz, velocities)


class PointLocator:
    """
    Locates the points of one camera's images.

    Messages are added in one thread and points are located in another.

    :param settings: can be replaced at any time
    :param topics: names of the topics ``camera_info`` and ``depth``, for reports
    :param report: called with the kind and the description of a problem
    """

    def __init__(
        self,
        settings: GeometrySettings,
        topics: dict[str, str],
        report: Callable[[str, str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._topics = topics
        self._report = report
        self.camera_info = LatestCameraInfo()
        self._depths = DepthBuffer()
        self._clock = clock
        self._missing_since_s: dict[str, float] = {}
        self._model: CameraModel | None = None
        self._uv_filter, self._z_filter = (PointFilter(settings.filter) for _ in range(2))
        self._stamp_ns: int | None = None
        self._reported = SeenMessages()

    def put_depth(self, serialised: bytes) -> None:
        """Add a serialised depth image."""
        try:
            self._depths.put(read_image(serialised))
        except EncodingError as error:
            self._report('depth image not usable', str(error))

    def reset(self) -> None:
        """Restart the filters, as for another model or after the clock went back."""
        self._uv_filter.reset()
        self._z_filter.reset()

    def resume(self) -> None:
        """Drop old depth images and restart the grace periods after a pause of the images."""
        self._depths.clear()
        self._missing_since_s.clear()

    def locate(
        self, header: MessageHeader, image_hw: tuple[int, int], points: np.ndarray
    ) -> LocatedPoints:
        """
        Locate the points of an image.

        :param points: u, v in px of the image and confidence, (N, 3) float32
        """
        settings, filtering = self.settings, self.settings.filter.kind != 'none'
        if not (settings.needs_calibration or filtering):
            return LocatedPoints(points, points)
        model = self._usable_model(image_hw) if settings.needs_calibration else None
        z = self._depths_of(header, image_hw, points, model) if settings.depth else None
        uv, velocity_uv, velocity_z = points[:, :2].astype(np.float64), None, None
        if filtering:
            self._check_stamp(header.stamp_ns)
            uv, velocity_uv, z, velocity_z = self._filter(header.stamp_ns, points, z, model)
        rays, rectify = (model.rays, model.rectify) if model else (_unknown, _unknown)
        xyz, velocity_xyz = None, None
        if z is not None:
            xyz, velocity_xyz = lift(rays, uv, velocity_uv, z, velocity_z)
        located = image_points = np.column_stack([uv, points[:, 2]]).astype(np.float32)
        if settings.undistort:
            uv, velocity_uv = transform_with_velocity(rectify, uv, velocity_uv)
            located = np.column_stack([uv, points[:, 2]]).astype(np.float32)
        known = [v for v in (velocity_uv, velocity_xyz) if v is not None]
        return LocatedPoints(located, image_points, xyz, np.hstack(known) if known else None)

    def _usable_model(self, image_hw: tuple[int, int]) -> CameraModel | None:
        """Return the calibration if there is one and it describes images of this size."""
        model = None
        try:
            model = self.camera_info.model(rectified=self.settings.rectified)
            if model is not None:
                model.check_image(image_hw)
            else:
                self._report_missing('camera_info')
        except CalibrationError as error:
            unknown = self._unknown_without('camera_info')
            self._report('camera_info not usable', f'{error} Until then, {unknown} are NaN.')
            model = None
        if model is not None:
            self._missing_since_s.pop('camera_info', None)
        if model is not self._model:
            self._z_filter.reset()  # whose unit depends on the focal length
            self._model = model
        return model

    def _overdue(self, name: str) -> bool:
        """Return whether an input, which is missing now, has been missing for too long."""
        now = self._clock()
        return now - self._missing_since_s.setdefault(name, now) > GRACE_PERIOD_S

    def _report_missing(self, name: str) -> None:
        if self._overdue(name):
            unknown = self._unknown_without(name)
            self._report(
                f'no {name}',
                f'No {name} was received on {self._topics[name]}, so {unknown} are NaN; remap '
                f'{name} to the topic of the camera (`ros2 topic list` shows it), or start its '
                'publisher.',
            )

    def _unknown_without(self, name: str) -> str:
        """Return the coordinates that are unknown without an input, for reports."""
        rectified = ['u, v'] if self.settings.undistort and name == 'camera_info' else []
        return ', '.join([*rectified, *(['x, y, z'] if self.settings.depth else [])])

    def _depths_of(
        self,
        header: MessageHeader,
        image_hw: tuple[int, int],
        points: np.ndarray,
        model: CameraModel | None,
    ) -> np.ndarray:
        """Return the depths of points in metres, NaN where there are none, (N,)."""
        settings, unknown = self.settings, np.full(len(points), np.nan)
        image = self._depths.nearest(header.stamp_ns, settings.depth_wait_ms / 1e3)
        if image is None:
            self._report_missing('depth')
            return unknown
        difference_ns = abs(image.header.stamp_ns - header.stamp_ns)
        if difference_ns > round(settings.depth_tolerance_s * 1e9):
            if self._overdue('depth'):
                self._report(
                    'no depth at the time',
                    f'The stamps of the nearest depth image and its image differ by '
                    f'{difference_ns / 1e6:.0f} ms, expected at most '
                    f'{settings.depth_tolerance_s * 1e3:.0f}; raise depth_tolerance, or '
                    'synchronise the stamps in the camera driver.',
                )
            return unknown
        self._missing_since_s.pop('depth', None)
        self._compare_frames(header.frame_id, image.header.frame_id)
        try:
            pixels, unit_m = view_depth(image)
            check_registered(pixels.shape, image_hw)
        except EncodingError as error:
            self._report('depth image not usable', str(error))
            return unknown
        if model is None:
            return unknown
        window = 2 * settings.depth_radius + 1
        return unit_m * depth_at(pixels, points[:, :2], image_hw, window=window)

    def _compare_frames(self, of_image: str, of_depth: str) -> None:
        """Report once that the frames differ; some simulators only name a single frame twice."""
        if of_image != of_depth and self._reported.is_new('depth of another frame'):
            self._report(
                'depth of another frame',
                f'The frame of the depth image is {of_depth!r} and that of its image '
                f'{of_image!r}; if these are different places, the depth is not registered and x, '
                'y, z are wrong: remap depth to the registered one.',
            )

    def _filter(
        self, stamp_ns: int, points: np.ndarray, z: np.ndarray | None, model: CameraModel | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Return filtered u, v, their velocities, filtered z, and its velocity."""
        self._uv_filter.settings = self._z_filter.settings = self.settings.filter
        confidence = points[:, 2]
        uv, velocity_uv = self._uv_filter.filter(stamp_ns, points[:, :2], confidence)
        if z is None or model is None:
            return uv, velocity_uv, z, z
        scaled = model.focal_px * np.log(z)
        scaled, velocity = self._z_filter.filter(stamp_ns, scaled[:, None], confidence)
        z = np.exp(scaled[:, 0] / model.focal_px)
        return uv, velocity_uv, z, z * velocity[:, 0] / model.focal_px

    def _check_stamp(self, stamp_ns: int) -> None:
        """Report stamps that restart the filters."""
        previous_ns, self._stamp_ns = self._stamp_ns, stamp_ns
        if previous_ns is None or stamp_ns > previous_ns:
            return
        if stamp_ns == previous_ns:
            self._report(
                'stamps stand still',
                f'Two images have the stamp {stamp_ns / 1e9:.3f} s, which restarts the filter; '
                'stamp the images in the camera driver.',
            )
            return
        self._report(
            'stamps went back',
            f'Stamps went back by {(previous_ns - stamp_ns) / 1e9:.3f} s, as when a recording is '
            'played in a loop, which restarts the filter.',
        )


def _unknown(uv: np.ndarray) -> np.ndarray:
    """Transform points without a calibration."""
    return uv * np.nan
