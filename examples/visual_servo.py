"""
Visual servoing of a point in the picture, with nothing calibrated: mathematics without ROS.

The image Jacobian J says how far a point of the picture moves when the joints do::

    du = J dq              u = (u, v) px, q = joint angles in rad, J is (2, joints)

It is found by moving each joint a little, and kept right while the arm moves by Broyden's update
(M. Jagersand, O. Fuentes, R. Nelson: Experimental evaluation of uncalibrated visual servoing,
ICRA 1997; the same idea with a memory: K. Hosoda, M. Asada: Versatile visual servoing without
knowledge of true Jacobian, IROS 1994)::

    J <- J + alpha (du - J dq) dq^T / (dq^T dq)

No camera pose, no model of the arm and no depth enter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class ImageJacobian:
    """
    How a point of the picture follows the joints.

    :param matrix: px a rad, (2, joints)
    :param alpha: share of what an observation contradicts that is corrected, 0 to 1
    :param least_rad: joints that moved less say nothing
    :param most_px: an observation that contradicts by more is taken for an error of perception
    """

    matrix: np.ndarray
    alpha: float = 0.5
    least_rad: float = 0.05
    most_px: float = 25.0

    @classmethod
    def from_moves(cls, moves: np.ndarray, shifts: np.ndarray, **settings) -> ImageJacobian:
        """
        Return the least-squares fit to exploratory moves.

        :param moves: of the joints, (moves, joints) rad
        :param shifts: of the point, (moves, 2) px
        """
        return cls(np.linalg.lstsq(moves, shifts, rcond=None)[0].T, **settings)

    def update(self, move: np.ndarray, shift: np.ndarray) -> bool:
        """Correct the estimate by an observed move (joints,) and shift (2,); return whether."""
        length = float(move @ move)
        surprise = shift - self.matrix @ move
        if length < self.least_rad**2 or np.linalg.norm(surprise) > self.most_px:
            return False
        self.matrix = self.matrix + self.alpha * np.outer(surprise, move) / length
        return True


@dataclass(frozen=True)
class Servo:
    """
    From a point's error in the picture to a move of the joints.

    :param limits: lowest and highest angle of each joint, (joints, 2) rad
    :param gain: share of the error that is taken away in a second, 1/s
    :param fastest: of any joint, rad/s
    :param damping: px a rad; directions in which the point moves less are not forced
    :param centring: how fast joints that the task leaves free go to the middle, 1/s
    :param margin: kept from the limits, rad
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
        Return how the joints shall move.

        A joint that would leave its limits stays, and the others do without it.

        :param jacobian: (2, joints) px a rad
        :param error: target - point, (2,) px
        :param joints: where they are, (joints,) rad
        :param seconds: until the next move
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
        """Return damped least squares for the error, and centring in what it leaves free."""
        square = jacobian @ jacobian.T + self.damping**2 * np.eye(2)
        inverse = jacobian.T @ np.linalg.inv(square)  # (joints, 2)
        centre = self.centring * (self.limits.mean(axis=1) - joints)
        return inverse @ (self.gain * error) + centre - inverse @ (jacobian @ centre)


class Exploration:
    """
    Little moves, one joint after another, that show how the point follows.

    :param home: where the joints are, (joints,) rad
    :param limits: lowest and highest angle of each joint, (joints, 2) rad
    :param step_rad: how far each joint moves, to the side where it has more room
    :param pictures: taken at rest of every pose
    :param near_rad: joints so near to a goal are there
    :param patience: pictures after which a goal that is not reached is left for the next
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
        """Return where the joints shall be now, (joints,) rad."""
        return self._goals[min(len(self._poses), len(self._goals) - 1)]

    def observe(self, joints: np.ndarray, point: np.ndarray) -> ImageJacobian | None:
        """
        Take what a picture shows.

        :param joints: when it was taken, (joints,) rad
        :param point: where it shows the point, (2,) px
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
    Whether the point comes nearer to its target.

    :param patience_s: an estimate that brings it no nearer for so long is no good
    :param share: of the least distance so far, below which it has come nearer
    """

    def __init__(self, patience_s: float = 4.0, share: float = 0.9) -> None:
        self._patience_s, self._share = patience_s, share
        self.restart()

    def restart(self) -> None:
        """Begin anew: another target, or another estimate."""
        self._nearest_px, self._waited_s = np.inf, 0.0

    def is_stuck(self, away_px: float, seconds: float) -> bool:
        """Take how far away the point is so many seconds after the last time; return whether."""
        if away_px < self._share * self._nearest_px:
            self._nearest_px, self._waited_s = away_px, 0.0
        else:
            self._waited_s += seconds
        return self._waited_s > self._patience_s


class JointHistory:
    """
    The last joint angles, to know where the joints were when a picture was taken.

    :param length: readings to keep
    :param slack_s: a picture so much younger than the newest reading is still given that
    """

    def __init__(self, length: int = 400, slack_s: float = 0.2) -> None:
        self._length, self._slack_ns = length, round(slack_s * 1e9)
        self._stamps_ns: list[int] = []
        self._angles: list[np.ndarray] = []

    def add(self, stamp_ns: int, angles: np.ndarray) -> None:
        """Note a reading; one older than the last means that the clock went back."""
        if self._stamps_ns and stamp_ns <= self._stamps_ns[-1]:
            if stamp_ns == self._stamps_ns[-1]:
                return
            self._stamps_ns, self._angles = [], []
        self._stamps_ns.append(stamp_ns)
        self._angles.append(np.asarray(angles, float))
        del self._stamps_ns[: -self._length], self._angles[: -self._length]

    @property
    def latest(self) -> np.ndarray | None:
        """Return the newest angles, None before the first."""
        return self._angles[-1] if self._angles else None

    def at(self, stamp_ns: int) -> np.ndarray | None:
        """Return the angles at a time, between readings on a line; None if they are not known."""
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
