"""
Temporal filters, which smooth points and estimate their velocities.

Time is that of the images' stamps, never of a clock.

**one_euro** (Casiez, Roussel, Vogel: *1 € Filter*, CHI 2012, doi:10.1145/2207676.2208639) smooths
slow points and follows fast ones. With the time T since the last image::

    a(f) = 1 / (1 + 1 / (2 pi f T))
    v <- v + a(derivative_cutoff) ((x - x_last) / T - v)
    y <- y + a(min_cutoff + beta |v|) (x - y)

It differs from the paper in two ways. x_last is the last measurement, as in the authors'
implementations, instead of the last y: otherwise the lag of y would add to the velocity v. |v| is
the speed of the point instead of each coordinate's, so that the direction of motion does not
matter.

**constant_velocity** is a Kalman filter with piecewise constant white acceleration (Bar-Shalom,
Li, Kirubarajan: *Estimation with Applications to Tracking and Navigation*, 2001, section 6.3.2)::

    Q = acceleration^2 [[T^4 / 4, T^3 / 2], [T^3 / 2, T^2]],  R = noise^2 / weight

The weight grows with a point's confidence: one_euro uses weight a for a, so that occluded points
change their estimate little. A point's filter restarts after a gap, and when stamps repeat or go
back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from keypoint_perception.settings import setting, Settings
import numpy as np

FILTERS = ('none', 'one_euro', 'constant_velocity')
# Minimum weight, which keeps the estimates of long-occluded points from drifting away.
LEAST_WEIGHT = 1e-3
# Standard deviation of the initial velocity, px/s.
INITIAL_SPEED = 1000.0
ALL = slice(None)
Rows = slice | np.ndarray


@dataclass(frozen=True)
class FilterSettings(Settings):
    """
    The parameters of the filters; px stands for the unit of the points.

    The defaults suit robots that are a few hundred px large: on label tracks at 10 and 30 Hz with
    added noise of 0.5 and 1.5 px, values close to these give the smallest error. The beta of 0.02
    that is often quoted is meant for pixels of a computer screen; here its lag outweighed the
    smoothing.
    """

    kind: str = setting(
        'none',
        name='filter',
        choices=FILTERS,
        help='Filter that smooths the points over time; also publishes their velocities.',
    )
    min_cutoff: float = setting(
        1.0,
        name='filter_min_cutoff',
        low=0.001,
        high=1000,
        help='one_euro: cutoff frequency of points at rest, Hz; lower is smoother.',
    )
    beta: float = setting(
        0.3,
        name='filter_beta',
        low=0,
        high=100,
        help='one_euro: increase of the cutoff with speed, Hz per px/s; higher lags less.',
    )
    derivative_cutoff: float = setting(
        2.0,
        name='filter_derivative_cutoff',
        low=0.001,
        high=1000,
        help='one_euro: cutoff frequency of the velocities, Hz.',
    )
    noise: float = setting(
        1.0,
        name='filter_noise',
        low=0.001,
        high=1000,
        help='constant_velocity: standard deviation of a measured point, px; higher is smoother.',
    )
    acceleration: float = setting(
        1000.0,
        name='filter_acceleration',
        low=0,
        high=1e6,
        help='constant_velocity: standard deviation of the acceleration, px/s²; higher lags less.',
    )
    confidence: float = setting(
        0.5,
        name='filter_confidence',
        low=0,
        high=1,
        help='Confidence from which a point has full weight in the filter; below it, the weight '
        'is proportional. 0: full weight for all.',
    )
    gap_s: float = setting(
        0.5,
        name='filter_gap',
        low=0.01,
        high=60,
        help='Seconds without a measurement after which the filter of a point restarts.',
    )


class PointFilter:
    """
    Filters the points of one camera, which are identified by their index.

    :param settings: can be replaced at any time; another kind of filter restarts
    """

    def __init__(self, settings: FilterSettings) -> None:
        self.settings = settings
        self._state: _State | None = None

    def reset(self) -> None:
        """Restart the filter."""
        self._state = None

    def filter(
        self, stamp_ns: int, points: np.ndarray, confidence: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Return filtered points and their velocities.

        :param points: (N, D); rows with NaN are not measured
        :param confidence: (N,)
        :return: both (N, D) float64; NaN for points that are not measured, velocity 0 for points
            whose filter restarts
        """
        points = np.asarray(points, np.float64)
        kind = STATES[self.settings.kind]
        if type(self._state) is not kind or self._state.points.shape != points.shape:
            self._state = kind(points.shape)
        state, measured = self._state, np.isfinite(points).all(1)
        elapsed = (stamp_ns - state.stamp_ns) / 1e9
        on = measured & (elapsed > 0) & (elapsed <= self.settings.gap_s)
        new = _Measurement(points, self._weight(confidence), elapsed[:, None], self.settings)
        if on.all():  # the usual case, in which a slice is faster than a mask
            state.step(ALL, new)
            state.remember(ALL, stamp_ns, new)
            return state.points.copy(), state.velocity.copy()
        state.restart(measured & ~on, new)
        state.step(on, new)
        state.remember(measured, stamp_ns, new)
        shown = measured[:, None]
        return np.where(shown, state.points, np.nan), np.where(shown, state.velocity, np.nan)

    def _weight(self, confidence: np.ndarray) -> np.ndarray:
        if self.settings.confidence <= 0:
            return np.ones((len(confidence), 1))
        share = np.asarray(confidence, np.float64)[:, None] / self.settings.confidence
        return np.nan_to_num(share).clip(LEAST_WEIGHT, 1.0)


class _Measurement(NamedTuple):
    """The points of an image, and the time since each was last measured."""

    points: np.ndarray  # (N, D)
    weight: np.ndarray  # (N, 1)
    elapsed_s: np.ndarray  # (N, 1)
    settings: FilterSettings


class _State:
    """N points with D coordinates, not filtered."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.points, self.velocity, self.measured = np.zeros((3, *shape))
        self.weight = np.zeros((shape[0], 1))
        self.stamp_ns = np.full(shape[0], np.iinfo(np.int64).min // 2)

    def remember(self, rows: Rows, stamp_ns: int, new: _Measurement) -> None:
        self.stamp_ns[rows] = stamp_ns
        self.measured[rows], self.weight[rows] = new.points[rows], new.weight[rows]

    def restart(self, rows: Rows, new: _Measurement) -> None:
        self.points[rows], self.velocity[rows] = new.points[rows], 0.0

    def step(self, rows: Rows, new: _Measurement) -> None:
        self.points[rows] = new.points[rows]


class _OneEuro(_State):
    def step(self, rows: Rows, new: _Measurement) -> None:
        x, t, w = new.points[rows], new.elapsed_s[rows], new.weight[rows]
        settings = new.settings
        raw = (x - self.measured[rows]) / t
        # a difference is as certain as the less certain of its two points
        share = np.minimum(w, self.weight[rows]) * _smoothing(settings.derivative_cutoff, t)
        v = self.velocity[rows] + share * (raw - self.velocity[rows])
        speed = np.sqrt((v * v).sum(1, keepdims=True))
        cutoff = settings.min_cutoff + settings.beta * speed
        self.velocity[rows] = v
        self.points[rows] += w * _smoothing(cutoff, t) * (x - self.points[rows])


def _smoothing(cutoff_hz: float | np.ndarray, elapsed_s: np.ndarray) -> np.ndarray:
    radians = 2 * np.pi * cutoff_hz * elapsed_s
    share: np.ndarray = radians / (1 + radians)
    return share


class _ConstantVelocity(_State):
    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(shape)
        # Variances of position and velocity and their covariance, shared by all coordinates.
        self._pp, self._pv, self._vv = np.zeros((3, shape[0], 1))

    def restart(self, rows: Rows, new: _Measurement) -> None:
        super().restart(rows, new)
        self._pp[rows] = new.settings.noise**2 / new.weight[rows]
        self._pv[rows], self._vv[rows] = 0.0, INITIAL_SPEED**2

    def step(self, rows: Rows, new: _Measurement) -> None:
        t, acceleration = new.elapsed_s[rows], new.settings.acceleration**2
        pp, pv, vv = self._pp[rows], self._pv[rows], self._vv[rows]
        pp = pp + 2 * t * pv + t**2 * vv + acceleration * t**4 / 4
        pv = pv + t * vv + acceleration * t**3 / 2
        vv = vv + acceleration * t**2
        innovation_variance = pp + new.settings.noise**2 / new.weight[rows]
        self.points[rows] += t * self.velocity[rows]
        innovation = new.points[rows] - self.points[rows]
        self.points[rows] += pp / innovation_variance * innovation
        self.velocity[rows] += pv / innovation_variance * innovation
        self._vv[rows] = vv - pv * pv / innovation_variance
        self._pv[rows] = pv - pp * pv / innovation_variance
        self._pp[rows] = pp - pp * pp / innovation_variance


STATES = dict(zip(FILTERS, (_State, _OneEuro, _ConstantVelocity), strict=True))
