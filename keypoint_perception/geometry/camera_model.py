"""
A camera's calibration: from pixels of the image as received to rays and rectified pixels.

It moves points, never pixels. The equations are those of ``sensor_msgs/CameraInfo`` and of the
distortion models that ``sensor_msgs/distortion_models.hpp`` names, as OpenCV documents them. K, D,
R and P always refer to the full image without binning; what was received is a window of it (ROI)
whose pixels may be blocks of ``binning_x`` x ``binning_y``. With pixel centres at integers
(:mod:`keypoint_perception.keypoints`)::

    full = (received + 0.5) * binning - 0.5 + offset

so the first pixel of an image with binning 2 is the place (0.5, 0.5) of the full one.
(``image_geometry`` divides by the binning without the halves, and is off by up to half a pixel.)
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.errors import CalibrationError
import numpy as np

# Coefficients by model. What OpenCV calls fisheye is "equidistant" here; a model without
# coefficients is a camera without distortion, whatever its name.
COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8,), 'equidistant': (4,)}
ITERATIONS = 20
# Where distorting the answer again does not come back this near, in units of the focal length,
# there is no answer: beyond some radius a polynomial folds back. A thousandth of a pixel at most.
TOLERANCE = 1e-7


@dataclass(frozen=True)
class CameraModel:
    """
    How the pixels of one camera's images lie in space.

    :param image_hw: height and width of the images that this describes, px
    :param k: focal lengths and principal point of the full raw image, (fx, fy, cx, cy) px
    :param p: the same of the full rectified image; where CameraInfo gives none, those of ``k``
    :param r: rotation from the camera to the rectified camera, row by row
    :param distortion: name of the distortion model
    :param d: its coefficients
    :param offset_uv: first column and row of the window in the full image, px
    :param binning_uv: full pixels per received pixel
    :param rectified: whether the images are rectified already, so that P alone describes them
    """

    image_hw: tuple[int, int]
    k: tuple[float, float, float, float]
    p: tuple[float, float, float, float]
    r: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    distortion: str = 'plumb_bob'
    d: tuple[float, ...] = ()
    offset_uv: tuple[int, int] = (0, 0)
    binning_uv: tuple[int, int] = (1, 1)
    rectified: bool = False

    @classmethod
    def from_camera_info(cls, info, *, rectified: bool = False) -> CameraModel:
        """
        Return the model of a ``sensor_msgs/CameraInfo``.

        ``roi.do_rectify`` changes nothing: rectified pixels are those of the image that
        ``image_proc`` makes, whose window has the offset of the raw one.

        :param rectified: whether the images are rectified already
        :raises CalibrationError: if the camera is not calibrated or its model is not known
        """
        k, p, d, r = (np.asarray(v, np.float64) for v in (info.k, info.p, info.d, info.r))
        if not all(np.isfinite(values).all() for values in (k, p, d, r)):
            msg = (
                'The camera_info holds NaN or infinity in K, D, R or P; expected finite numbers; '
                'calibrate the camera again.'
            )
            raise CalibrationError(msg)
        _check_calibrated('P' if rectified else 'K', p[[0, 5]] if rectified else k[[0, 4]])
        intrinsics = k[[0, 4, 2, 5]] if k[0] and k[4] else p[[0, 5, 2, 6]]
        return cls(
            image_hw=_received_hw(info),
            k=tuple(intrinsics),
            p=tuple(p[[0, 5, 2, 6]] if p[0] and p[5] else intrinsics),
            r=tuple(r if r.any() else np.eye(3).ravel()),
            distortion=info.distortion_model,
            d=() if rectified else _coefficients(info.distortion_model, d),
            offset_uv=(info.roi.x_offset, info.roi.y_offset),
            binning_uv=_binning(info),
            rectified=rectified,
        )

    def check_image(self, image_hw: tuple[int, int]) -> None:
        """
        Hold that images have the size that the camera_info describes.

        :raises CalibrationError: if they have not
        """
        if tuple(image_hw) != self.image_hw:
            (height, width), (expected_height, expected_width) = image_hw, self.image_hw
            msg = (
                f'An image is {width}x{height}, but its camera_info describes images of '
                f'{expected_width}x{expected_height} (size, ROI and binning together); publish '
                'the camera_info of the images that are sent, or remap camera_info.'
            )
            raise CalibrationError(msg)

    def rays(self, uv: np.ndarray) -> np.ndarray:
        """
        Return x / z and y / z of what is seen at pixels of the image as received.

        The axes are those of the camera's optical frame (x right, y down, z forward); of a
        rectified image, those of the rectified camera.

        :param uv: (N, 2) px
        :return: (N, 2) float64; NaN where the calibration has no ray, or none ahead of the camera
        """
        fx, fy, cx, cy = self.p if self.rectified else self.k
        distorted = (self._to_full(uv) - (cx, cy)) / (fx, fy)
        if self.rectified or not self.d:
            return distorted
        solve = _undistort_equidistant if self.distortion == 'equidistant' else _undistort_brown
        return solve(distorted, self.d)

    def rectify(self, uv: np.ndarray) -> np.ndarray:
        """
        Return where pixels of the image as received lie in the rectified image, through R and P.

        :param uv: (N, 2) px
        :return: (N, 2) float64 px of the rectified image with the same window and binning; NaN
            where there is no ray
        """
        if self.rectified:
            return np.array(uv, np.float64)
        rays = self.rays(uv)
        turned = np.column_stack([rays, np.ones(len(rays))]) @ np.reshape(self.r, (3, 3)).T
        ahead = np.where(turned[:, 2:] > 0, turned[:, 2:], np.nan)
        fx, fy, cx, cy = self.p
        full = turned[:, :2] / ahead * (fx, fy) + (cx, cy)
        return (full - self.offset_uv + 0.5) / self.binning_uv - 0.5

    @property
    def focal_px(self) -> float:
        """Return the focal length in px of the images as received, the mean of both axes."""
        fx, fy, _, _ = self.p if self.rectified else self.k
        return (abs(fx) / self.binning_uv[0] + abs(fy) / self.binning_uv[1]) / 2

    def _to_full(self, uv: np.ndarray) -> np.ndarray:
        uv = np.asarray(uv, np.float64)
        return (uv + 0.5) * self.binning_uv - 0.5 + self.offset_uv


def _check_calibrated(name: str, focal: np.ndarray) -> None:
    if not focal.all():
        msg = (
            f'The camera_info has zeros in {name}, which means that the camera is not calibrated; '
            'calibrate it (ros2 run camera_calibration cameracalibrator), or give the driver its '
            'calibration file.'
        )
        raise CalibrationError(msg)


def _binning(info) -> tuple[int, int]:
    return max(1, info.binning_x), max(1, info.binning_y)


def _received_hw(info) -> tuple[int, int]:
    """Return the size of the images that a CameraInfo speaks of; a ROI of zeros is all."""
    binning_u, binning_v = _binning(info)
    return (
        (info.roi.height or info.height) // binning_v,
        (info.roi.width or info.width) // binning_u,
    )


def _coefficients(model: str, d: np.ndarray) -> tuple[float, ...]:
    """Return the coefficients of a model, checked; none where there is no distortion."""
    if model != 'equidistant' and (len(d) == 0 or (model in ('', 'none') and not d.any())):
        return ()
    if model not in COEFFICIENTS:
        msg = (
            f'The camera_info has the distortion model {model!r}; known: '
            f'{", ".join(COEFFICIENTS)}, and none without coefficients; use images that are '
            'rectified already, with rectified:=true.'
        )
        raise CalibrationError(msg)
    counts = COEFFICIENTS[model]
    # OpenCV goes on to 12 and 14 coefficients; drivers that send them all leave zeros there.
    if len(d) not in counts and (len(d) < counts[0] or d[counts[-1] :].any()):
        msg = (
            f'The camera_info has {len(d)} coefficients of the distortion model {model}, expected '
            f'{" or ".join(map(str, counts))}; calibrate the camera with that model.'
        )
        raise CalibrationError(msg)
    return tuple(d[: counts[-1]])


def _undistort_brown(distorted: np.ndarray, d: tuple[float, ...]) -> np.ndarray:
    """
    Solve the radial and tangential model for what was distorted, by Newton's method.

    :param d: k1, k2, p1, p2, k3 and for the rational model k4, k5, k6
    """
    k1, k2, p1, p2, k3 = (*d[:4], *(d[4:5] or (0.0,)))
    # Both coordinates at once, as rows: x with what belongs to it, y with the same swapped.
    tangential, swapped = np.array([[p2], [p1]]), np.array([[p1], [p2]])
    goal = np.ascontiguousarray(distorted.T)
    point = goal
    with np.errstate(all='ignore'):
        for iteration in range(ITERATIONS + 1):
            squares = point * point
            s, product = squares[0] + squares[1], 2 * point[0] * point[1]
            factor = 1 + s * (k1 + s * (k2 + s * k3))
            slope = k1 + s * (2 * k2 + s * (3 * k3))
            if len(d) > 5:
                k4, k5, k6 = d[5:]
                under = 1 + s * (k4 + s * (k5 + s * k6))
                factor = factor / under
                slope = (slope - factor * (k4 + s * (2 * k5 + s * (3 * k6)))) / under
            bent = tangential * (s + 2 * squares) + swapped * product
            miss = point * factor + bent - goal
            across = 2 * swapped * point
            along = factor + 2 * slope * squares
            along += 6 * tangential * point + 2 * swapped * point[::-1]
            mixed = product * slope + across[0] + across[1]
            area = along[0] * along[1] - mixed * mixed
            near = np.abs(miss).max(0) < TOLERANCE
            if iteration == ITERATIONS or near.all():
                break
            point = point - (along[::-1] * miss - mixed * miss[::-1]) / area
        good = near & (area > 0) & (factor > 0)
    return np.where(good, point, np.nan).T


def _undistort_equidistant(distorted: np.ndarray, d: tuple[float, ...]) -> np.ndarray:
    """
    Solve the fisheye model for the angle to the axis, by Newton's method.

    The radius in the image is ``t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8)`` of the angle t.
    """
    k1, k2, k3, k4 = d
    radius = np.hypot(*distorted.T)
    t = radius.copy()
    with np.errstate(all='ignore'):
        for iteration in range(ITERATIONS + 1):
            s = t * t
            miss = t * (1 + s * (k1 + s * (k2 + s * (k3 + s * k4)))) - radius
            slope = 1 + s * (3 * k1 + s * (5 * k2 + s * (7 * k3 + s * 9 * k4)))
            near = np.abs(miss) < TOLERANCE
            if iteration == ITERATIONS or near.all():
                break
            t = t - miss / slope
        good = near & (slope > 0) & (t >= 0) & (t < np.pi / 2)
        stretch = np.where(radius > 0, np.tan(t) / radius, 1.0)
    return np.where(good[:, None], distorted * stretch[:, None], np.nan)
