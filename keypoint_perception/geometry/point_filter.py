"""
Points over time: smoothed, and with their velocities.

Two filters, each over the stamps of the images and never over the clock:

**one_euro** (Casiez, Roussel, Vogel: *1 € Filter*, CHI 2012, doi:10.1145/2207676.2208639) smooths
what stands still and lets what is fast through. With the time T since the last image::

    a(f) = 1 / (1 + 1 / (2 pi f T))
    v <- v + a(derivative_cutoff) ((x - x_last) / T - v)
    y <- y + a(min_cutoff + beta |v|) (x - y)

Two departures. x_last is the last measurement, as in the authors' programs, where the paper writes
the last y: only so is v the velocity, and not larger by what y lags behind. |v| is the speed of
the point and not of each coordinate, so that the direction of a motion makes no difference.

**constant_velocity** is a Kalman filter whose point goes on as it went, except for accelerations
that are constant from one image to the next and else unknown (Bar-Shalom, Li, Kirubarajan:
*Estimation with Applications to Tracking and Navigation*, 2001, section 6.3.2)::

    Q = acceleration^2 [[T^4 / 4, T^3 / 2], [T^3 / 2, T^2]],  R = noise^2 / weight

A point's confidence is its weight: a_weighted = weight a, and R as above, so that a point that
cannot be seen moves its estimate little. Each point begins anew after a gap, and when the stamps
go back or stand still.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.settings import setting, Settings
import numpy as np

FILTERS = ('none', 'one_euro', 'constant_velocity')
# Least weight: what cannot be seen for long must not fly away for ever.
LEAST_WEIGHT = 1e-3
# How fast a point may be when it is first seen, standard deviation in px/s.
FIRST_SPEED = 1000.0
ALL = slice(None)


@dataclass(frozen=True)
class FilterSettings(Settings):
    """
    How points are filtered; units are those of the points, px for images.

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
    Filters points of one camera; they keep their places in the array.

    :param settings: may be exchanged at any time; another kind begins anew
    """

    def __init__(self, settings: FilterSettings) -> None:
        self.settings = settings
        self._state: _State | None = None

    def reset(self) -> None:
        """Forget everything."""
        self._state = None

    def filter(
        self, stamp_ns: int, points: np.ndarray, confidence: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Return points and velocities at a stamp.

        :param points: (N, D); a row with NaN was not measured
        :param confidence: (N,)
        :return: both (N, D) float64; NaN where a point was not measured, velocity 0 where one
            begins
        """
        points = np.asarray(points, np.float64)
        kind = STATES[self.settings.kind]
        if not isinstance(self._state, kind) or self._state.points.shape != points.shape:
            self._state = kind(points.shape)
        state, measured = self._state, np.isfinite(points).all(1)
        elapsed = (stamp_ns - state.stamp_ns) / 1e9
        on = measured & (elapsed > 0) & (elapsed <= self.settings.gap_s)
        weight = self._weight(confidence)
        if on.all():  # most of the time; a slice is quicker than a mask
            state.step(ALL, points, weight, elapsed[:, None], self.settings)
            state.remember(ALL, stamp_ns, points, weight)
            return state.points.copy(), state.velocity.copy()
        state.begin(measured & ~on, points, weight, self.settings)
        state.step(on, points, weight, elapsed[:, None], self.settings)
        state.remember(measured, stamp_ns, points, weight)
        shown = measured[:, None]
        return np.where(shown, state.points, np.nan), np.where(shown, state.velocity, np.nan)

    def _weight(self, confidence: np.ndarray) -> np.ndarray:
        if self.settings.confidence <= 0:
            return np.ones((len(confidence), 1))
        share = np.asarray(confidence, np.float64)[:, None] / self.settings.confidence
        return np.nan_to_num(share).clip(LEAST_WEIGHT, 1.0)


class _State:
    """What a filter remembers of N points of D coordinates."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.points, self.velocity, self.measured = np.zeros((3, *shape))
        self.weight = np.zeros((shape[0], 1))
        self.stamp_ns = np.full(shape[0], np.iinfo(np.int64).min // 2)

    def remember(self, rows, stamp_ns, points, weight) -> None:
        self.stamp_ns[rows] = stamp_ns
        self.measured[rows], self.weight[rows] = points[rows], weight[rows]

    def begin(self, rows, points, weight, settings: FilterSettings) -> None:
        del weight, settings
        self.points[rows], self.velocity[rows] = points[rows], 0.0


class _Unfiltered(_State):
    def step(self, rows, points, weight, elapsed, settings: FilterSettings) -> None:
        del weight, elapsed, settings
        self.points[rows] = points[rows]


class _OneEuro(_State):
    def step(self, rows, points, weight, elapsed, settings: FilterSettings) -> None:
        x, t, w = points[rows], elapsed[rows], weight[rows]
        raw = (x - self.measured[rows]) / t
        # a difference is as good as the worse of its two points
        share = np.minimum(w, self.weight[rows]) * _smoothing(settings.derivative_cutoff, t)
        v = self.velocity[rows] + share * (raw - self.velocity[rows])
        speed = np.sqrt((v * v).sum(1, keepdims=True))
        cutoff = settings.min_cutoff + settings.beta * speed
        self.velocity[rows] = v
        self.points[rows] += w * _smoothing(cutoff, t) * (x - self.points[rows])


def _smoothing(cutoff_hz, elapsed_s: np.ndarray) -> np.ndarray:
    turns = 2 * np.pi * cutoff_hz * elapsed_s
    return turns / (1 + turns)


class _ConstantVelocity(_State):
    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__(shape)
        # Variances of place and velocity and their covariance: the same for all coordinates.
        self._pp, self._pv, self._vv = np.zeros((3, shape[0], 1))

    def begin(self, rows, points, weight, settings: FilterSettings) -> None:
        super().begin(rows, points, weight, settings)
        self._pp[rows] = settings.noise**2 / weight[rows]
        self._pv[rows], self._vv[rows] = 0.0, FIRST_SPEED**2

    def step(self, rows, points, weight, elapsed, settings: FilterSettings) -> None:
        t, drive = elapsed[rows], settings.acceleration**2
        pp, pv, vv = self._pp[rows], self._pv[rows], self._vv[rows]
        pp = pp + 2 * t * pv + t**2 * vv + drive * t**4 / 4
        pv = pv + t * vv + drive * t**3 / 2
        vv = vv + drive * t**2
        spread = pp + settings.noise**2 / weight[rows]
        self.points[rows] += t * self.velocity[rows]
        surprise = points[rows] - self.points[rows]
        self.points[rows] += pp / spread * surprise
        self.velocity[rows] += pv / spread * surprise
        self._vv[rows] = vv - pv * pv / spread
        self._pv[rows] = pv - pp * pv / spread
        self._pp[rows] = pp - pp * pp / spread


STATES = dict(zip(FILTERS, (_Unfiltered, _OneEuro, _ConstantVelocity), strict=True))
