"""
Uncalibrated visual servoing of an image point; independent of ROS.

The image Jacobian J relates joint motion to the motion of a point in the image::

    du = J dq              u = (u, v) px, q = joint angles in rad, J is (2, joints)

It is estimated by moving each joint slightly and refined during motion by Broyden's update
(M. Jagersand, O. Fuentes, R. Nelson: Experimental evaluation of uncalibrated visual servoing,
ICRA 1997; the same idea with a memory: K. Hosoda, M. Asada: Versatile visual servoing without
knowledge of true Jacobian, IROS 1994)::

    J <- J + alpha (du - J dq) dq^T / (dq^T dq)

Neither the camera pose nor a model of the arm nor depth is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class ImageJacobian:
    """
    The image Jacobian of a point and its updates.

    :param matrix: px per rad, (2, joints)
    :param alpha: gain of the update, 0 to 1
    :param least_rad: smaller joint motions are ignored
    :param most_px: observations that deviate by more are treated as outliers
    """

    matrix: np.ndarray
    alpha: float = 0.5
    least_rad: float = 0.05
    most_px: float = 25.0

    @classmethod
    def from_moves(cls, moves: np.ndarray, shifts: np.ndarray, **settings) -> ImageJacobian:
        """
        Return the least-squares fit to exploratory moves.

        :param moves: joint motions, (moves, joints) rad
        :param shifts: motions of the point, (moves, 2) px
        """
        return cls(np.linalg.lstsq(moves, shifts, rcond=None)[0].T, **settings)

    def update(self, move: np.ndarray, shift: np.ndarray) -> bool:
        """Update from an observed move (joints,) and shift (2,); return whether it was used."""
        length = float(move @ move)
        surprise = shift - self.matrix @ move
        if length < self.least_rad**2 or np.linalg.norm(surprise) > self.most_px:
            return False
        self.matrix = self.matrix + self.alpha * np.outer(surprise, move) / length
        return True


@dataclass(frozen=True)
class Servo:
    """
    The control law: from the image error of a point to a joint motion.

    :param limits: lowest and highest angle of each joint, (joints, 2) rad
    :param gain: proportional gain, 1/s
    :param fastest: maximum joint speed, rad/s
    :param damping: of the least squares, px per rad
    :param centring: rate at which redundant joints move to mid-range, 1/s
    :param margin: distance kept from the limits, rad
    """

    limits: np.ndarray
    gain: float = 1.2
    fastest: float = 0.8
    damping: float = 15.0
    centring: float = 0.4
    margin: float = 0.03

    def move(
        self, jacobian: np.ndarray, error: np.ndarray, joints: np.ndarray, seconds: float
    ) -> np.ndarray:
        """
        Return the next joint motion.

        A joint that would exceed its limits is held, and the others compensate.

        :param jacobian: (2, joints) px per rad
        :param error: target - point, (2,) px
        :param joints: current angles, (joints,) rad
        :param seconds: time until the next motion
        :return: (joints,) rad
        """
        low, high = self.limits[:, 0] + self.margin, self.limits[:, 1] - self.margin
        free = np.ones(len(joints), bool)
        while True:
            speed = self._speed(np.where(free, jacobian, 0.0), error, joints) * free
            speed *= min(1.0, self.fastest / max(float(np.abs(speed).max()), 1e-9))
            ahead = joints + speed * seconds
            leaving = ((ahead < low) & (speed < 0)) | ((ahead > high) & (speed > 0))
            if not (leaving & free).any():
                return speed * seconds
            free &= ~leaving

    def _speed(self, jacobian, error, joints) -> np.ndarray:
        """Return damped least squares for the error, with centring in its null space."""
        square = jacobian @ jacobian.T + self.damping**2 * np.eye(2)
        inverse = jacobian.T @ np.linalg.inv(square)  # (joints, 2)
        centre = self.centring * (self.limits.mean(axis=1) - joints)
        return inverse @ (self.gain * error) + centre - inverse @ (jacobian @ centre)


class Exploration:
    """
    Exploration: small moves of one joint after another, to estimate the Jacobian.

    :param home: current angles, (joints,) rad
    :param limits: lowest and highest angle of each joint, (joints, 2) rad
    :param step_rad: motion of each joint, towards the side with more room
    :param pictures: images taken at rest in every pose
    :param near_rad: tolerance for reaching a goal
    :param patience: images after which an unreached goal is skipped
    """

    def __init__(
        self,
        home: np.ndarray,
        limits: np.ndarray,
        *,
        step_rad: float = 0.15,
        pictures: int = 3,
        near_rad: float = 0.02,
        patience: int = 60,
    ) -> None:
        steps = np.where(home > limits.mean(axis=1), -step_rad, step_rad)
        self._goals = [home, *(home + np.diag(steps))]
        self._pictures, self._near_rad, self._patience = pictures, near_rad, patience
        self._poses: list[np.ndarray] = []  # [joints, point] of every goal
        self._here: list[np.ndarray] = []
        self._waited = 0

    @property
    def goal(self) -> np.ndarray:
        """Return the current goal, (joints,) rad."""
        return self._goals[min(len(self._poses), len(self._goals) - 1)]

    def observe(self, joints: np.ndarray, point: np.ndarray) -> ImageJacobian | None:
        """
        Process an image.

        :param joints: angles at its stamp, (joints,) rad
        :param point: the point in it, (2,) px
        :return: the Jacobian after the last goal, None before
        """
        self._waited += 1
        there = np.abs(joints - self.goal).max() < self._near_rad
        self._here = [*self._here, np.concatenate([joints, point])] if there else []
        if len(self._here) < self._pictures and self._waited < self._patience:
            return None
        seen = np.median(self._here, axis=0) if self._here else np.concatenate([joints, point])
        self._poses.append(seen)
        self._here, self._waited = [], 0
        if len(self._poses) < len(self._goals):
            return None
        moved = np.array(self._poses[1:]) - self._poses[0]
        return ImageJacobian.from_moves(moved[:, : len(joints)], moved[:, len(joints) :])


class Progress:
    """
    Detects whether the point approaches its target.

    :param patience_s: time without progress after which the Jacobian is considered wrong
    :param share: of the smallest distance so far, below which progress is made
    """

    def __init__(self, patience_s: float = 4.0, share: float = 0.9) -> None:
        self._patience_s, self._share = patience_s, share
        self.restart()

    def restart(self) -> None:
        """Restart for another target or another Jacobian."""
        self._nearest_px, self._waited_s = np.inf, 0.0

    def is_stuck(self, away_px: float, seconds: float) -> bool:
        """Update with the distance and the elapsed seconds; return whether it progresses."""
        if away_px < self._share * self._nearest_px:
            self._nearest_px, self._waited_s = away_px, 0.0
        else:
            self._waited_s += seconds
        return self._waited_s > self._patience_s


class JointHistory:
    """
    The recent joint angles, to look up the angles at the stamp of an image.

    :param length: readings to keep
    :param slack_s: maximum extrapolation beyond the newest reading
    """

    def __init__(self, length: int = 400, slack_s: float = 0.2) -> None:
        self._length, self._slack_ns = length, round(slack_s * 1e9)
        self._stamps_ns: list[int] = []
        self._angles: list[np.ndarray] = []

    def add(self, stamp_ns: int, angles: np.ndarray) -> None:
        """Add a reading; an older one than the last means that the clock jumped back."""
        if self._stamps_ns and stamp_ns <= self._stamps_ns[-1]:
            if stamp_ns == self._stamps_ns[-1]:
                return
            self._stamps_ns, self._angles = [], []
        self._stamps_ns.append(stamp_ns)
        self._angles.append(np.asarray(angles, float))
        del self._stamps_ns[: -self._length], self._angles[: -self._length]

    @property
    def latest(self) -> np.ndarray | None:
        """Return the newest angles; None before the first."""
        return self._angles[-1] if self._angles else None

    def at(self, stamp_ns: int) -> np.ndarray | None:
        """Return the angles at a time, linearly interpolated; None if unknown."""
        if not self._stamps_ns:
            return None
        if not self._stamps_ns[0] <= stamp_ns <= self._stamps_ns[-1] + self._slack_ns:
            return None
        after = int(np.searchsorted(self._stamps_ns, stamp_ns))
        if after == len(self._stamps_ns):
            return self._angles[-1]
        if self._stamps_ns[after] == stamp_ns:
            return self._angles[after]
        start, stop = self._stamps_ns[after - 1], self._stamps_ns[after]
        share = (stamp_ns - start) / (stop - start)
        return (1 - share) * self._angles[after - 1] + share * self._angles[after]
