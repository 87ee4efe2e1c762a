"""
The simulated arm as a robot on ROS.

    python -m examples.arm_node --ros-args -r image:=/camera/image

It has the interface of a robot under ros2_control: it publishes ``/joint_states`` and subscribes
to ``/forward_position_controller/commands`` (goal angles in rad, in the order of the joint names).
It also publishes ``image`` (``sensor_msgs/Image``, rgb8) and, on ``~/truth``, the true position of
the tip in the layout of ``~/keypoints``. Controllers must not subscribe to ``~/truth``: it serves
to label a few frames, as a person would by hand, and to score the result.

It publishes simulated time on ``/clock`` for nodes with ``use_sim_time``. On a machine that is too
slow for real time, everything slows down together.

Parameters: ``rate`` (images per second, 15).
"""

from __future__ import annotations

from builtin_interfaces.msg import Time
from examples.arm import Arm
from examples.session import run_node
from keypoint_perception.ros.messages import to_image, to_point_cloud
import numpy as np
from rclpy.clock import Clock as WallClock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState, PointCloud2
from std_msgs.msg import Float64MultiArray, Header

FRAME_ID = 'camera_optical_frame'
TICK_NS = 1_000_000_000 // 60
# In ROS, time zero means that no clock has been received yet.
FIRST_NS = 1_000_000_000


class ArmNode(Node):
    """The arm: motors, encoders, a camera and a clock."""

    def __init__(self) -> None:
        super().__init__('arm')
        self._arm = Arm()
        self._now_ns = self._next_image_ns = FIRST_NS
        self._image_gap_ns = round(1e9 / self.declare_parameter('rate', 15.0).value)
        self._images = self.create_publisher(Image, 'image', qos_profile_sensor_data)
        self._states = self.create_publisher(JointState, 'joint_states', 10)
        self._truth = self.create_publisher(PointCloud2, '~/truth', 10)
        self._clock = self.create_publisher(Clock, '/clock', 10)
        self.create_subscription(
            Float64MultiArray, 'forward_position_controller/commands', self._on_command, 1
        )
        self._said = False
        wall = WallClock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TICK_NS * 1e-9, self._tick, clock=wall)
        print('{"event": "ready"}', flush=True)

    def _on_command(self, command: Float64MultiArray) -> None:
        goals = np.array(command.data)
        if goals.shape == (len(self._arm.names),) and np.isfinite(goals).all():
            self._arm.command(goals)
            return
        if not self._said:
            self._said = True
            self.get_logger().warning(
                f'a command of {len(goals)} values, {list(goals)[:8]}, is ignored, like all '
                'further ones of this kind; expected finite angles in rad of '
                f'{", ".join(self._arm.names)}.'
            )

    def _tick(self) -> None:
        """Advance by one time step and publish what is due."""
        self._arm.advance(TICK_NS * 1e-9)
        self._now_ns += TICK_NS
        now = Time(sec=self._now_ns // 10**9, nanosec=self._now_ns % 10**9)
        header = Header(stamp=now, frame_id=FRAME_ID)
        state = JointState(header=header, name=self._arm.names)
        state.position = self._arm.joints.tolist()
        self._clock.publish(Clock(clock=now))
        self._states.publish(state)
        if self._now_ns >= self._next_image_ns:
            self._next_image_ns += self._image_gap_ns
            self._take_picture(header)

    def _take_picture(self, header: Header) -> None:
        tip = self._arm.tip
        u, v = self._arm.camera.project(tip)
        xyz = self._arm.camera.to_optical(tip)[None]
        self._truth.publish(to_point_cloud(header, np.array([[u, v, 1.0]]), xyz))
        self._images.publish(to_image(header, self._arm.picture()))


def main() -> None:
    """Run the arm until it is stopped."""
    run_node(ArmNode)


if __name__ == '__main__':
    main()
