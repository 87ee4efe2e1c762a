"""
From points in an image to points in space and over time, for one camera.

In this order: depth is read where the points were seen, in the image as received; points and
depths are filtered, if a filter is on; the calibration turns points into rays, and a ray times its
depth is x, y, z in the optical frame (REP 103: x right, y down, z forward). What is missing is
said and counted, and only what depends on it is NaN.

The filter takes a depth z as ``focal * ln(z)``: a step of one is then the same way in space as one
pixel sideways, so that the settings in px hold for it too.
"""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import NamedTuple

from keypoint_perception.cdr import MessageHeader, read_image
from keypoint_perception.errors import CalibrationError, EncodingError
from keypoint_perception.geometry.camera_model import CameraModel
from keypoint_perception.geometry.depth import check_registered, depth_at, DepthBuffer, view_depth
from keypoint_perception.geometry.geometry_settings import GeometrySettings
from keypoint_perception.geometry.latest_camera_info import LatestCameraInfo
from keypoint_perception.geometry.lifting import moved, to_space
from keypoint_perception.geometry.point_filter import PointFilter
from keypoint_perception.seen_messages import SeenMessages
import numpy as np

# How long something may be missing before it is said: at the start not everything comes at once.
PATIENCE_S = 3.0


class LocatedPoints(NamedTuple):
    """
    Points as they are published.

    :param points: u, v in px and confidence, (N, 3) float32; u, v are NaN only where rectified
        ones were asked for and cannot be told
    :param seen: the same in px of the image as received, whatever was asked for
    :param xyz: metres in the optical frame, NaN where unknown, (N, 3); None without depth
    :param velocities: of u, v in px/s and, with depth, of x, y, z in m/s, (N, 2) or (N, 5); None
        without a filter
    """

    points: np.ndarray
    seen: np.ndarray
    xyz: np.ndarray | None = None
    velocities: np.ndarray | None = None

    def rows(self, which: slice) -> LocatedPoints:
        """Return some of the points."""
        return LocatedPoints(*(None if values is None else values[which] for values in self))


class PointLocator:
    """
    Locates the points of one camera's images.

    Messages are left by the executor's thread, points are located in the inference thread.

    :param settings: may be exchanged at any time
    :param topics: names of the topics of ``camera_info`` and ``depth``, for sentences
    :param note: told of what is missing or wrong: its kind and a sentence
    """

    def __init__(
        self,
        settings: GeometrySettings,
        topics: dict[str, str],
        note: Callable[[str, str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._topics = topics
        self._note = note
        self._calibration = LatestCameraInfo()
        self._depths = DepthBuffer()
        self._patience = {name: Patience(clock) for name in topics}
        self._model: CameraModel | None = None
        self._flat, self._ahead = (PointFilter(settings.filter) for _ in range(2))
        self._stamp_ns: int | None = None
        self._logged = SeenMessages()

    def put_camera_info(self, serialised: bytes) -> None:
        """Leave a serialised CameraInfo; the newest counts."""
        self._calibration.put(serialised)

    @property
    def calibration_received(self) -> bool:
        """Return whether any CameraInfo has come."""
        return self._calibration.received

    def put_depth(self, serialised: bytes) -> None:
        """Leave a serialised depth image."""
        try:
            self._depths.put(read_image(serialised))
        except EncodingError as error:
            self._note('depth image not usable', str(error))

    def reset(self) -> None:
        """Forget the points of before: others come, or the clock went back."""
        self._flat.reset()
        self._ahead.reset()

    def wait_anew(self) -> None:
        """Forget what is old: images come again after they were not listened to."""
        self._depths.clear()
        for patience in self._patience.values():
            patience.found()

    def locate(
        self, header: MessageHeader, image_hw: tuple[int, int], points: np.ndarray
    ) -> LocatedPoints:
        """
        Return where points of an image are.

        :param points: u, v in px of the image and confidence, (N, 3) float32
        """
        settings, filtering = self.settings, self.settings.filter.kind != 'none'
        if not (settings.calibrated or filtering):
            return LocatedPoints(points, points)
        model = self._usable_model(image_hw) if settings.calibrated else None
        z = self._distances(header, image_hw, points, model) if settings.depth else None
        uv, velocity_uv, velocity_z = points[:, :2].astype(np.float64), None, None
        if filtering:
            uv, velocity_uv, z, velocity_z = self._filter(header.stamp_ns, points, z, model)
        xyz, velocity_xyz = to_space(model, uv, velocity_uv, z, velocity_z)
        shown = seen = np.column_stack([uv, points[:, 2]]).astype(np.float32)
        if settings.undistort:
            uv, velocity_uv = moved(model and model.rectify, uv, velocity_uv)
            shown = np.column_stack([uv, points[:, 2]]).astype(np.float32)
        speeds = [v for v in (velocity_uv, velocity_xyz) if v is not None]
        return LocatedPoints(shown, seen, xyz, np.hstack(speeds) if speeds else None)

    def _usable_model(self, image_hw: tuple[int, int]) -> CameraModel | None:
        """Return the calibration, if there is one and it is of images like this."""
        model = None
        try:
            model = self._calibration.model(rectified=self.settings.rectified)
            if model is not None:
                model.check_image(image_hw)
            elif self._patience['camera_info'].lost():
                self._missing('camera_info')
        except CalibrationError as error:
            lacking = self._lacking('camera_info')
            self._note('camera_info not usable', f'{error} Until then {lacking} stay NaN.')
            model = None
        if model is not None:
            self._patience['camera_info'].found()
        if model is not self._model:
            self._ahead.reset()  # its unit is the old focal length
            self._model = model
        return model

    def _missing(self, what: str) -> None:
        lacking = self._lacking(what)
        self._note(
            f'no {what}',
            f'No {what} has come on {self._topics[what]}, so {lacking} stay NaN; remap {what} '
            'to the topic of the camera (`ros2 topic list` shows it), or start its publisher.',
        )

    def _lacking(self, what: str) -> str:
        """Return what cannot be told without a calibration or a depth, for sentences."""
        calibrated = ['u, v'] if self.settings.undistort and what == 'camera_info' else []
        return ', '.join([*calibrated, *(['x, y, z'] if self.settings.depth else [])])

    def _distances(self, header, image_hw, points, model) -> np.ndarray:
        """Return the depths of points in metres, NaN where there are none, (N,)."""
        nowhere = np.full(len(points), np.nan)
        settings = self.settings
        tolerance_ns = round(settings.depth_tolerance_s * 1e9)
        image = self._depths.nearest(header.stamp_ns, settings.depth_wait_ms / 1e3)
        if image is None:
            if self._patience['depth'].lost():
                self._missing('depth')
            return nowhere
        away_ns = abs(image.header.stamp_ns - header.stamp_ns)
        if away_ns > tolerance_ns:
            if self._patience['depth'].lost():
                self._note(
                    'no depth at the time',
                    f'The nearest depth image is {away_ns / 1e6:.0f} ms away from its image, '
                    f'expected at most {tolerance_ns / 1e6:.0f}; raise depth_tolerance, or let '
                    'the camera stamp both alike.',
                )
            return nowhere
        self._patience['depth'].found()
        self._compare_frames(header.frame_id, image.header.frame_id)
        try:
            pixels, metres = view_depth(image)
            check_registered(pixels.shape, image_hw)
        except EncodingError as error:
            self._note('depth image not usable', str(error))
            return nowhere
        if model is None:
            return nowhere
        window = 2 * settings.depth_radius + 1
        return metres * depth_at(pixels, points[:, :2], image_hw, window=window)

    def _compare_frames(self, of_image: str, of_depth: str) -> None:
        """Say once that a depth image seems to be of another place; simulators only name it so."""
        if of_image != of_depth and self._logged.is_new('depth of another frame'):
            self._note(
                'depth of another frame',
                f'The depth image is of the frame {of_depth!r} and its image of {of_image!r}; if '
                'these are two places, the depth is not registered and x, y, z are wrong: remap '
                'depth to the registered one.',
            )

    def _filter(self, stamp_ns: int, points, z, model):
        """Return places, depths and the velocities of both, filtered."""
        self._watch_clock(stamp_ns)
        self._flat.settings = self._ahead.settings = self.settings.filter
        confidence = points[:, 2]
        uv, velocity_uv = self._flat.filter(stamp_ns, points[:, :2], confidence)
        if z is None or model is None:
            return uv, velocity_uv, z, z
        scaled = model.focal_px * np.log(z)
        ahead, speed = self._ahead.filter(stamp_ns, scaled[:, None], confidence)
        z = np.exp(ahead[:, 0] / model.focal_px)
        return uv, velocity_uv, z, z * speed[:, 0] / model.focal_px

    def _watch_clock(self, stamp_ns: int) -> None:
        """Say when stamps do what no filter can follow; it begins anew by itself."""
        before, self._stamp_ns = self._stamp_ns, stamp_ns
        if before is None or stamp_ns > before:
            return
        if stamp_ns == before:
            self._note(
                'stamps stand still',
                f'Two images have the stamp {stamp_ns / 1e9:.3f} s, so the filter begins anew '
                'with each; let the camera stamp its images.',
            )
            return
        self._note(
            'stamps went back',
            f'Stamps went back by {(before - stamp_ns) / 1e9:.3f} s (a recording that begins '
            'again?), so the filter begins anew.',
        )


class Patience:
    """
    How long something has been missing.

    :param clock: seconds
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: float | None = None

    def lost(self) -> bool:
        """Return whether it has been missing for too long; it is missing now."""
        now = self._clock()
        self._since = now if self._since is None else self._since
        return now - self._since > PATIENCE_S

    def found(self) -> None:
        """Begin anew."""
        self._since = None
