"""
Move the arm randomly, to record training data.

    python -m examples.wander --ros-args -p seed:=0

It moves from one random pose to the next along minimum-jerk trajectories within the limits.
Parameters: ``seed``; ``fastest`` (mean speed of the fastest joint, rad/s).
"""

from __future__ import annotations

from examples.session import run_node
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

RATE_HZ = 30.0
LEAST_S = 0.6


def ease(share: float) -> float:
    """Return the minimum-jerk profile from 0 to 1."""
    return share**3 * (10 - 15 * share + 6 * share**2)


class Wander(Node):
    """Random poses, one after another."""

    def __init__(self) -> None:
        super().__init__('wander')
        # from the URDF of the example's arm
        low = self.declare_parameter('lower_limits', [-1.7, 0.35, -1.2]).value
        high = self.declare_parameter('upper_limits', [0.8, 2.1, 1.2]).value
        self._limits = np.array([low, high])
        self._fastest = self.declare_parameter('fastest', 1.0).value
        self._random = np.random.default_rng(self.declare_parameter('seed', 0).value)
        self._start = self._goal = None
        self._began = self.get_clock().now()
        self._seconds = 0.0
        self._commands = self.create_publisher(
            Float64MultiArray, 'forward_position_controller/commands', 1
        )
        self.create_subscription(JointState, 'joint_states', self._on_joints, 1)
        self.create_timer(1 / RATE_HZ, self._tick)

    def _on_joints(self, state: JointState) -> None:
        if self._goal is None:
            self._goal = np.array(state.position)

    def _tick(self) -> None:
        if self._goal is None:
            return
        passed = (self.get_clock().now() - self._began).nanoseconds * 1e-9
        if passed >= self._seconds:
            self._start, self._goal = self._goal, self._random.uniform(*self._limits)
            away = float(np.abs(self._goal - self._start).max())
            self._seconds = max(LEAST_S, away / self._fastest)
            self._began, passed = self.get_clock().now(), 0.0
        along = ease(passed / self._seconds)
        angles = self._start + along * (self._goal - self._start)
        self._commands.publish(Float64MultiArray(data=angles.tolist()))


def main() -> None:
    """Move until stopped."""
    run_node(Wander)


if __name__ == '__main__':
    main()
