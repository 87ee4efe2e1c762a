"""The controller as a process: it moves what it is told, and holds still when it cannot see."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

NAMES = ('shoulder', 'elbow', 'wrist')
LIMITS = np.array([[-1.7, 0.8], [0.35, 2.1], [-1.2, 1.2]])
PERIOD_S = 1 / 30
FASTEST = 2.0


class World:
    """An arm that does what it is told, and a perception that sees its tip: both of the test."""

    def __init__(self, peer) -> None:
        from geometry_msgs.msg import PointStamped
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import JointState, PointCloud2
        from std_msgs.msg import Float64MultiArray, String

        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node = peer.node
        self.peer = peer
        self.joints = LIMITS.mean(axis=1)
        self.confidence, self.seen = 0.9, True
        self.commands: list[np.ndarray] = []
        self.due = 0.0
        self.states = node.create_publisher(JointState, 'joint_states', 10)
        self.points = node.create_publisher(PointCloud2, '/eyes/landmarks', 1)
        self.names = node.create_publisher(String, '/eyes/names', latched)
        self.targets = node.create_publisher(PointStamped, '/servo_node/target', 1)
        node.create_subscription(
            Float64MultiArray, 'forward_position_controller/commands', self.take, 10
        )
        self.status = peer.collect(String, '/servo_node/status', durability=latched.durability)

    @property
    def tip(self) -> np.ndarray:
        first, second, third = np.cumsum(self.joints)
        x = 90 * np.cos(first) + 75 * np.cos(second) + 55 * np.cos(third)
        y = 90 * np.sin(first) + 75 * np.sin(second) + 55 * np.sin(third)
        return np.array([160 + 0.8 * x + 0.3 * y, 120 + 0.2 * x - 0.7 * y])

    def take(self, command) -> None:
        self.commands.append(np.array(command.data))
        self.joints = np.clip(self.commands[-1], LIMITS[:, 0], LIMITS[:, 1])

    def live(self) -> None:
        """Publish what a robot and a camera would, when it is time."""
        from keypoint_perception.ros.messages import to_point_cloud
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Header

        if time.monotonic() < self.due:
            return
        self.due = time.monotonic() + PERIOD_S
        header = Header(stamp=self.peer.node.get_clock().now().to_msg())
        # the order is the robot's own, and there are joints of others
        state = JointState(header=header, name=['gripper', *reversed(NAMES)])
        state.position = [7.0, *reversed(self.joints.tolist())]
        self.states.publish(state)
        if self.seen:
            place = self.tip if self.confidence else (np.nan, np.nan)
            rows = [[5.0, 5.0, 1.0], [*place, self.confidence or 1.0]]
            self.points.publish(to_point_cloud(header, np.array(rows)))

    def until(self, condition, what: str, *processes) -> None:
        """Live until a condition holds."""

        def lived():
            self.live()
            return condition()

        self.peer.spin_until(lived, what, *processes)

    def says(self, start: str) -> bool:
        return bool(self.status) and self.status[-1].data.startswith(start)

    def tell(self, u: float, v: float) -> None:
        from geometry_msgs.msg import PointStamped

        target = PointStamped()
        target.point.x, target.point.y = u, v
        self.targets.publish(target)


@pytest.fixture
def world(peer) -> World:
    return World(peer)


@pytest.fixture
def servo(start, world):
    from std_msgs.msg import String

    parameters = {'perception': '/eyes', 'landmark': 'tip', 'fastest': FASTEST, 'gain': 4.0}
    arguments = [part for name, v in parameters.items() for part in ('-p', f'{name}:={v}')]
    process = start('-m', 'examples.servo_node', '--ros-args', *arguments)
    names = {'landmarks': ['elbow', 'tip'], 'keypoints': ['kp0']}
    world.names.publish(String(data=json.dumps(names)))
    connected = (world.points.get_subscription_count, world.targets.get_subscription_count)
    world.until(lambda: all(count() for count in connected), 'the controller', process)
    world.until(lambda: world.says('waiting'), 'a status', process)
    world.until(lambda: world.states.get_subscription_count(), 'the joints', process)
    yield process
    assert process.stop() == 0


def test_it_brings_the_tip_to_its_target_and_holds_when_blind(world, servo):
    from sensor_msgs.msg import PointCloud2

    assert world.commands == [], 'nothing moves before a target is given'
    world.joints = world.joints + 0.1  # moved by somebody else
    world.tell(np.nan, 50.0)
    world.until(lambda: servo.count('the target .* is ignored'), 'a warning', servo)
    start = world.tip
    target = start + np.array([-35.0, 20.0])
    world.tell(*target)
    ignored = 0

    def explores() -> bool:
        nonlocal ignored
        if servo.count(r'the target \[\d.* is ignored') > ignored:  # no joints were heard of yet
            ignored += 1
            world.tell(*target)
        return world.says('exploring')

    world.until(explores, 'an exploration', servo)
    world.until(lambda: world.says('reached'), 'the target', servo)
    assert np.linalg.norm(world.tip - target) <= 5.5

    world.confidence = 0.1
    world.tell(*start)
    world.until(lambda: world.says('holding: tip has too low a confidence'), 'holding', servo)
    held = len(world.commands)
    world.until(lambda: len(world.commands) > held + 5, 'commands that hold', servo)
    np.testing.assert_allclose(np.ptp(world.commands[held + 1 :], axis=0), 0.0, atol=1e-9)

    world.confidence = 0.9
    world.until(lambda: not world.says('holding'), 'going on', servo)
    world.confidence = 0.0  # a place that is no number, however sure
    world.until(lambda: world.says('holding: tip has too low a confidence'), 'holding', servo)
    world.confidence = 0.9
    world.until(lambda: not world.says('holding'), 'going on', servo)
    world.seen = False
    world.until(lambda: world.says('holding: tip has not been received for 1 s'), 'holding', servo)
    world.points.publish(PointCloud2())
    world.until(lambda: world.says('holding: A cloud of 0 x 0 points'), 'holding', servo)
    world.seen = True
    world.until(lambda: world.says('reached'), 'the second target', servo)
    assert np.linalg.norm(world.tip - start) <= 5.5

    commands, step = np.array(world.commands), FASTEST / 30 + 1e-9
    assert (commands >= LIMITS[:, 0]).all()
    assert (commands <= LIMITS[:, 1]).all()
    assert np.abs(np.diff(commands, axis=0)).max() <= step
    # it began where the joints were, in the newest picture or, on a busy machine, in one before
    begun = [LIMITS.mean(axis=1) + moved for moved in (0.0, 0.1)]
    assert min(np.abs(commands[0] - joints).max() for joints in begun) <= step


def test_a_point_that_the_model_does_not_have_is_said(start, world):
    from std_msgs.msg import String

    world.names.publish(String(data=json.dumps({'landmarks': [], 'keypoints': ['kp0', 'kp1']})))
    servo = start('-m', 'examples.servo_node', '--ros-args', '-p', 'perception:=/eyes')
    servo.wait_for("the model has no point 'tip', it has kp0, kp1: set the parameter landmark")
    world.names.publish(String(data=json.dumps({'landmarks': ['tip'], 'keypoints': ['kp0']})))
    world.until(world.points.get_subscription_count, 'listening to the new model', servo)


def test_limits_that_are_not_the_joints_are_refused(start):
    servo = start('-m', 'examples.servo_node', '--ros-args', '-p', 'joints:=[one, two]')
    servo.wait_for(
        'error: 2 joints with 3 lower and 3 upper limits; expected one of each per joint'
    )
    assert servo.wait() == 2
