"""
A controller that closes the loop: it moves a point in the image to a commanded position.

    python -m examples.servo_node --ros-args -p landmark:=tip -p perception:=/perception_node
    ros2 topic pub --once /servo_node/target geometry_msgs/msg/PointStamped \
        "{point: {x: 200, y: 90}}"

A template for your own controllers. It needs one named point from perception_node and the names
and limits of the robot's joints. It does not need the camera's pose: it estimates the image
Jacobian by moving each joint slightly (:mod:`.visual_servo`).

As any such controller should, it uses the joint angles at the stamp of the *image*, holds still
while the point is uncertain or missing, respects speed and joint limits, and reports its state
(``~/status``).

| in | |
| --- | --- |
| ``~/landmarks`` or ``~/keypoints`` of perception_node | the one with the point, by ``~/names`` |
| ``joint_states`` | ``sensor_msgs/JointState`` |
| ``~/target`` | ``geometry_msgs/PointStamped``: x = u, y = v, px of the image; z is not used |

| out | |
| --- | --- |
| ``forward_position_controller/commands`` | ``std_msgs/Float64MultiArray``, rad |
| ``~/status`` | ``std_msgs/String``: waiting, exploring, moving, reached, holding: why |
"""

from __future__ import annotations

import json

from examples.session import run_node
from examples.visual_servo import Exploration, ImageJacobian, JointHistory, Progress, Servo
from geometry_msgs.msg import PointStamped
from keypoint_perception.errors import ConfigError, EncodingError
from keypoint_perception.ros.messages import from_point_cloud
import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Float64MultiArray, String

RATE_HZ = 30.0
# Images further apart than this are not used to update the Jacobian.
LONGEST_GAP_S = 0.5
# Longest time that a single move is planned for.
LONGEST_MOVE_S = 0.25
# Maximum lead of the commands over the joints.
LEAD_RAD = 0.25


class ServoNode(Node):
    """Landmarks and joint states in, joint commands out."""

    def __init__(self) -> None:
        super().__init__('servo_node')
        self._read_parameters()
        self._history = JointHistory()
        self._target: np.ndarray | None = None
        self._command: np.ndarray | None = None  # the last command
        self._goal: np.ndarray | None = None  # goal of the command, and its maximum speed
        self._exploration: Exploration | None = None
        self._jacobian: ImageJacobian | None = None
        self._seen: tuple[np.ndarray, np.ndarray] | None = (
            None  # joints and point at the last update
        )
        self._picture_ns: int | None = None
        self._progress = Progress()
        self._heard = self.get_clock().now()
        self._status = ''
        self._points = None  # the subscription, once the model's names are known
        self._connect()

    def _read_parameters(self) -> None:
        def parameter(name: str, default):
            return self.declare_parameter(name, default).value

        self._landmark = parameter('landmark', 'tip')
        self._perception = parameter('perception', 'perception_node')
        self._joint_names = parameter('joints', ['shoulder', 'elbow', 'wrist'])
        low = parameter('lower_limits', [-1.7, 0.35, -1.2])
        high = parameter('upper_limits', [0.8, 2.1, 1.2])
        if not len(self._joint_names) == len(low) == len(high):
            msg = (
                f'{len(self._joint_names)} joints with {len(low)} lower and {len(high)} upper '
                'limits; expected one of each per joint, in the order of the commands.'
            )
            raise ConfigError(msg)
        limits = np.array([low, high]).T
        self._fastest = parameter('fastest', 0.8)  # rad/s
        self._servo = Servo(limits, gain=parameter('gain', 1.2), fastest=self._fastest)
        self._reached_px = parameter('reached_px', 5.0)
        self._least_confidence = parameter('least_confidence', 0.3)
        self._stale_s = parameter('stale', 1.0)

    def _connect(self) -> None:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        commands = 'forward_position_controller/commands'
        self._commands = self.create_publisher(Float64MultiArray, commands, 1)
        self._statuses = self.create_publisher(String, '~/status', latched)
        self.create_subscription(JointState, 'joint_states', self._on_joints, 10)
        self.create_subscription(String, f'{self._perception}/names', self._on_names, latched)
        self.create_subscription(PointStamped, '~/target', self._on_target, 1)
        self.create_timer(1 / RATE_HZ, self._tick)
        self._say('waiting')

    def _on_names(self, message: String) -> None:
        """Subscribe to the cloud that contains the point in the current model."""
        names = json.loads(message.data)
        if self._points is not None:
            self.destroy_subscription(self._points)
            self._points = None
        for cloud in ('landmarks', 'keypoints'):
            if self._landmark in names[cloud]:
                self._index = names[cloud].index(self._landmark)
                topic = f'{self._perception}/{cloud}'
                self._points = self.create_subscription(PointCloud2, topic, self._on_points, 1)
                return
        known = ', '.join(names['landmarks'] + names['keypoints'])
        self.get_logger().error(
            f'the model has no point {self._landmark!r}, it has {known}: set the parameter '
            'landmark to one of these, or add landmarks with `keypoint_perception landmarks`.'
        )

    def _on_joints(self, state: JointState) -> None:
        angle_of = dict(zip(state.name, state.position, strict=False))
        if not set(self._joint_names) <= set(angle_of):
            return  # from another robot or another part of this one
        angles = np.array([angle_of[name] for name in self._joint_names])
        self._history.add(to_ns(state.header.stamp), angles)
        if self._target is None:  # others may move the arm until there is a target
            self._command = self._goal = angles

    def _on_target(self, target: PointStamped) -> None:
        uv = np.array([target.point.x, target.point.y])
        if self._command is None or not np.isfinite(uv).all():
            self.get_logger().warning(
                f'the target {uv.tolist()} is ignored; expected finite px of the image, and a '
                f'joint state of {", ".join(self._joint_names)} before it.'
            )
            return
        self._target = uv
        self._progress.restart()
        self._say('moving')

    def _on_points(self, cloud: PointCloud2) -> None:
        """Locate the point and set the next goal of the joints."""
        self._heard = self.get_clock().now()
        try:
            point = from_point_cloud(cloud)[self._index]
        except (EncodingError, IndexError) as error:
            self._hold(str(error))
            return
        uv = np.array([point['u'], point['v']], float)
        sure = point['confidence'] >= self._least_confidence and np.isfinite(uv).all()
        if not sure:
            self._hold(f'{self._landmark} has too low a confidence')
            return
        stamp_ns = to_ns(cloud.header.stamp)
        joints = self._history.at(stamp_ns)
        gap_s = (stamp_ns - (self._picture_ns or 0)) * 1e-9
        self._picture_ns = stamp_ns
        if joints is None:
            self._hold('no joint states at the time of the image')
            return
        if self._target is None:
            return
        if not 0 < gap_s < LONGEST_GAP_S:
            self._seen = None
        if self._jacobian is None:
            self._explore(joints, uv)
        else:
            self._approach(joints, uv, min(max(gap_s, 0.0), LONGEST_MOVE_S))

    def _explore(self, joints: np.ndarray, uv: np.ndarray) -> None:
        if self._exploration is None:
            self._exploration = Exploration(self._history.latest, self._servo.limits)
            self._say('exploring')
        self._jacobian = self._exploration.observe(joints, uv)
        self._goal = self._exploration.goal
        if self._jacobian is not None:
            self._exploration, self._seen = None, None
            self._progress.restart()

    def _approach(self, joints: np.ndarray, uv: np.ndarray, gap_s: float) -> None:
        if self._seen is None or self._jacobian.update(joints - self._seen[0], uv - self._seen[1]):
            self._seen = (joints, uv)
        elif np.abs(joints - self._seen[0]).max() > self._jacobian.least_rad:
            self._seen = (joints, uv)  # an implausible observation
        error = self._target - uv
        away_px = float(np.linalg.norm(error))
        move = self._servo.move(self._jacobian.matrix, error, self._command, gap_s)
        latest = self._history.latest
        self._goal = np.clip(self._command + move, latest - LEAD_RAD, latest + LEAD_RAD)
        # hysteresis against jitter at the edge
        if away_px <= self._reached_px * (2 if self._status == 'reached' else 1):
            self._say('reached')
            self._progress.restart()
            return
        self._say('moving')
        if self._progress.is_stuck(away_px, gap_s) and away_px > 2 * self._reached_px:
            self.get_logger().info(f'still {away_px:.0f} px away: exploring again')
            self._jacobian = None

    def _hold(self, reason: str) -> None:
        """Hold the joints; exploration and progress restart afterwards."""
        self._goal = self._command
        self._exploration, self._seen, self._picture_ns = None, None, None
        self._progress.restart()
        self._say(f'holding: {reason}')

    def _tick(self) -> None:
        """Move the command towards the goal at no more than the maximum speed."""
        if self._target is None:
            return
        silent_s = self._since(self._heard)
        if silent_s > self._stale_s:
            self._hold(f'{self._landmark} has not been received for {self._stale_s:g} s')
        longest = self._fastest / RATE_HZ
        limits = self._servo.limits
        step = np.clip(self._goal - self._command, -longest, longest)
        self._command = np.clip(self._command + step, limits[:, 0], limits[:, 1])
        self._commands.publish(Float64MultiArray(data=self._command.tolist()))

    def _since(self, moment) -> float:
        return (self.get_clock().now() - moment).nanoseconds * 1e-9

    def _say(self, status: str) -> None:
        """Publish and log the state when it changes."""
        if status != self._status:
            self._status = status
            self._statuses.publish(String(data=status))
            self.get_logger().info(status)


def to_ns(stamp) -> int:
    """Return a message's stamp in ns."""
    return stamp.sec * 10**9 + stamp.nanosec


def main() -> None:
    """Control until stopped."""
    run_node(ServoNode)


if __name__ == '__main__':
    main()
