"""
A camera's calibration: from pixels of the received image to rays and rectified pixels.

Points are transformed, images are not. The equations are those of ``sensor_msgs/CameraInfo`` and,
as documented by OpenCV, of the distortion models in ``sensor_msgs/distortion_models.hpp``. K, D, R
and P refer to the full image without binning; the received image is a region of it (ROI) whose
pixels may be blocks of ``binning_x`` x ``binning_y``. With pixel centres at integers
(:mod:`keypoint_perception.keypoints`)::

    full = (received + 0.5) * binning - 0.5 + offset

so the first pixel of an image with binning 2 is (0.5, 0.5) in the full image. (``image_geometry``
divides by the binning without the halves, and is off by up to half a pixel.)
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.cdr import CameraInfoMessage, ENCAPSULATION_BYTES, read_camera_info
from keypoint_perception.errors import CalibrationError, EncodingError
import numpy as np

# Numbers of coefficients by model. "equidistant" is OpenCV's fisheye; a camera without
# coefficients has no distortion, whatever its model.
COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8,), 'equidistant': (4,)}
ITERATIONS = 20
# Largest error of the inverse, in focal lengths: at most a thousandth of a pixel. Beyond some
# radius, polynomials cannot be inverted.
TOLERANCE = 1e-7
STAMP_END = ENCAPSULATION_BYTES + 8  # of a serialised header


@dataclass(frozen=True)
class CameraModel:
    """
    The calibration of one camera and its images.

    :param image_hw: height and width of the received images, px
    :param k: focal lengths and principal point of the full raw image, (fx, fy, cx, cy) px
    :param p: the same of the full rectified image; those of ``k`` if CameraInfo has none
    :param r: rotation from the camera to the rectified camera, row by row
    :param d: coefficients of the distortion model
    :param offset_uv: first column and row of the ROI in the full image, px
    :param binning_uv: full pixels per received pixel
    :param rectified: whether the received images are rectified and P alone describes them
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
    def from_camera_info(cls, info: CameraInfoMessage, *, rectified: bool = False) -> CameraModel:
        """
        Return the model of a ``sensor_msgs/CameraInfo``.

        ``roi.do_rectify`` is ignored: rectified pixels are those of the image that ``image_proc``
        publishes, whose ROI has the offset of the raw one. A ROI of zeros is the whole image.

        :raises CalibrationError: if the camera is not calibrated or its model is unknown
        """
        k, p, d, r = (np.asarray(v, np.float64) for v in (info.k, info.p, info.d, info.r))
        if not all(np.isfinite(values).all() for values in (k, p, d, r)):
            msg = (
                'The camera_info has NaN or infinity in K, D, R or P; expected finite numbers; '
                'calibrate the camera again.'
            )
            raise CalibrationError(msg)
        if not (p[[0, 5]] if rectified else k[[0, 4]]).all():
            msg = (
                f'The camera_info has zeros in {"P" if rectified else "K"}, which means that the '
                'camera is not calibrated; calibrate it (ros2 run camera_calibration '
                'cameracalibrator), or give the driver its calibration file.'
            )
            raise CalibrationError(msg)
        intrinsics = k[[0, 4, 2, 5]] if k[0] and k[4] else p[[0, 5, 2, 6]]
        binning_u, binning_v = max(1, info.binning_x), max(1, info.binning_y)
        height, width = info.roi.height or info.height, info.roi.width or info.width
        return cls(
            image_hw=(height // binning_v, width // binning_u),
            k=tuple(intrinsics),
            p=tuple(p[[0, 5, 2, 6]] if p[0] and p[5] else intrinsics),
            r=tuple(r if r.any() else np.eye(3).ravel()),
            distortion=info.distortion_model,
            d=() if rectified else _coefficients(info.distortion_model, d),
            offset_uv=(info.roi.x_offset, info.roi.y_offset),
            binning_uv=(binning_u, binning_v),
            rectified=rectified,
        )

    def check_image(self, image_hw: tuple[int, int]) -> None:
        """Raise CalibrationError unless the camera_info describes images of this size."""
        if tuple(image_hw) != self.image_hw:
            (height, width), (expected_height, expected_width) = image_hw, self.image_hw
            msg = (
                f'An image is {width}x{height}, but its camera_info describes images of '
                f'{expected_width}x{expected_height} (size, ROI and binning combined); publish '
                'the camera_info of these images, or remap camera_info.'
            )
            raise CalibrationError(msg)

    def rays(self, uv: np.ndarray) -> np.ndarray:
        """
        Return x / z and y / z of the rays through pixels of the received image.

        The axes are those of the camera's optical frame (x right, y down, z forward); for a
        rectified image, those of the rectified camera.

        :param uv: (N, 2) px
        :return: (N, 2) float64; NaN where the model has no ray in front of the camera
        """
        fx, fy, cx, cy = self.p if self.rectified else self.k
        full = (np.asarray(uv, np.float64) + 0.5) * self.binning_uv - 0.5 + self.offset_uv
        distorted: np.ndarray = (full - (cx, cy)) / (fx, fy)
        if self.rectified or not self.d:
            return distorted
        solve = _undistort_equidistant if self.distortion == 'equidistant' else _undistort_brown
        return solve(distorted, self.d)

    def rectify(self, uv: np.ndarray) -> np.ndarray:
        """
        Return the rectified pixels of pixels (N, 2) of the received image, by R and P.

        :return: (N, 2) float64 px of the rectified image with the same ROI and binning; NaN where
            there is no ray
        """
        if self.rectified:
            return np.array(uv, np.float64)
        rays = self.rays(uv)
        rotated = np.column_stack([rays, np.ones(len(rays))]) @ np.reshape(self.r, (3, 3)).T
        ahead = np.where(rotated[:, 2:] > 0, rotated[:, 2:], np.nan)
        fx, fy, cx, cy = self.p
        full = rotated[:, :2] / ahead * (fx, fy) + (cx, cy)
        received: np.ndarray = (full - self.offset_uv + 0.5) / self.binning_uv - 0.5
        return received

    @property
    def focal_px(self) -> float:
        """Return the mean focal length of both axes, px of the received images."""
        fx, fy, _, _ = self.p if self.rectified else self.k
        return (abs(fx) / self.binning_uv[0] + abs(fy) / self.binning_uv[1]) / 2


class LatestCameraInfo:
    """
    The newest CameraInfo of one camera, which hardly ever changes but is sent with every image.

    It is parsed again only if its bytes other than the stamp change.
    """

    def __init__(self) -> None:
        self._newest = b''
        self._parsed: tuple[object, ...] = ()
        self._model: CameraModel | None = None
        self._refusal = ''
        self.received = False

    def put(self, serialised: bytes) -> None:
        """Store a serialised CameraInfo."""
        self._newest, self.received = serialised, True

    def model(self, *, rectified: bool = False) -> CameraModel | None:
        """
        Return the model of the newest CameraInfo, None if there is none yet.

        It is the same object until the calibration changes.

        :raises CalibrationError: if the CameraInfo cannot be used
        """
        newest = self._newest
        content = (rectified, newest[:ENCAPSULATION_BYTES], newest[STAMP_END:])
        if self.received and content != self._parsed:
            self._parsed, self._refusal = content, ''
            try:
                model = CameraModel.from_camera_info(read_camera_info(newest), rectified=rectified)
                # only frame_id or padding may have changed
                self._model = self._model if model == self._model else model
            except (CalibrationError, EncodingError) as error:
                self._refusal = str(error)
        if self._refusal:
            raise CalibrationError(self._refusal)
        return self._model


def _coefficients(model: str, d: np.ndarray) -> tuple[float, ...]:
    """Return the checked coefficients of a model, none if there is no distortion."""
    if model != 'equidistant' and (len(d) == 0 or (model in ('', 'none') and not d.any())):
        return ()
    if model not in COEFFICIENTS:
        msg = (
            f'The camera_info has the distortion model {model!r}; known: '
            f'{", ".join(COEFFICIENTS)}, or any model without coefficients; use rectified images '
            'with rectified:=true.'
        )
        raise CalibrationError(msg)
    counts = COEFFICIENTS[model]
    # OpenCV has up to 14 coefficients; drivers that send all of them pad with zeros.
    if len(d) not in counts and (len(d) < counts[0] or d[counts[-1] :].any()):
        msg = (
            f'The camera_info has {len(d)} coefficients of the distortion model {model}, expected '
            f'{" or ".join(map(str, counts))}; calibrate the camera with that model.'
        )
        raise CalibrationError(msg)
    return tuple(d[: counts[-1]])


def _undistort_brown(distorted: np.ndarray, d: tuple[float, ...]) -> np.ndarray:
    """
    Invert the radial and tangential model by Newton's method.

    :param d: k1, k2, p1, p2, k3 and, for the rational model, k4, k5, k6
    """
    k1, k2, p1, p2, k3 = (*d[:4], *(d[4:5] or (0.0,)))
    # Both coordinates are solved at once, as rows; the terms of y are those of x, swapped.
    tangential, swapped = np.array([[p2], [p1]]), np.array([[p1], [p2]])
    target = np.ascontiguousarray(distorted.T)
    point = target
    with np.errstate(all='ignore'):
        for iteration in range(ITERATIONS + 1):
            squares = point * point
            s, product = squares[0] + squares[1], 2 * point[0] * point[1]
            factor = 1 + s * (k1 + s * (k2 + s * k3))
            slope = k1 + s * (2 * k2 + s * (3 * k3))
            if len(d) > 5:
                k4, k5, k6 = d[5:]
                denominator = 1 + s * (k4 + s * (k5 + s * k6))
                factor = factor / denominator
                slope = (slope - factor * (k4 + s * (2 * k5 + s * (3 * k6)))) / denominator
            bent = tangential * (s + 2 * squares) + swapped * product
            residual = point * factor + bent - target
            across = 2 * swapped * point
            along = factor + 2 * slope * squares
            along += 6 * tangential * point + 2 * swapped * point[::-1]
            mixed = product * slope + across[0] + across[1]
            determinant = along[0] * along[1] - mixed * mixed
            converged = np.abs(residual).max(0) < TOLERANCE
            if iteration == ITERATIONS or converged.all():
                break
            point = point - (along[::-1] * residual - mixed * residual[::-1]) / determinant
        valid = converged & (determinant > 0) & (factor > 0)
    return np.where(valid, point, np.nan).T


def _undistort_equidistant(distorted: np.ndarray, d: tuple[float, ...]) -> np.ndarray:
    """
    Invert the fisheye model by Newton's method.

    A ray at the angle t to the optical axis has the radius ``t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4
    t^8)`` in the image.
    """
    k1, k2, k3, k4 = d
    radius = np.hypot(*distorted.T)
    t = radius.copy()
    with np.errstate(all='ignore'):
        for iteration in range(ITERATIONS + 1):
            s = t * t
            residual = t * (1 + s * (k1 + s * (k2 + s * (k3 + s * k4)))) - radius
            slope = 1 + s * (3 * k1 + s * (5 * k2 + s * (7 * k3 + s * 9 * k4)))
            converged = np.abs(residual) < TOLERANCE
            if iteration == ITERATIONS or converged.all():
                break
            t = t - residual / slope
        valid = converged & (slope > 0) & (t >= 0) & (t < np.pi / 2)
        stretch = np.where(radius > 0, np.tan(t) / radius, 1.0)
    return np.where(valid[:, None], distorted * stretch[:, None], np.nan)
