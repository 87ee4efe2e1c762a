"""Starting and stopping the ROS processes of the demo and the examples."""

from __future__ import annotations

from collections.abc import Callable
import sys
import time

from examples.children import StepError
from keypoint_perception.errors import PerceptionError
from keypoint_perception.ros.end_with_launch import end_with_launch
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

PATIENCE_S = 60.0


def spin_until(node: Node, condition: Callable[[], bool], awaited: str) -> None:
    """
    Spin until a condition holds.

    :param awaited: what the condition waits for, for the message
    :raises StepError: after a minute
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            msg = (
                f'{node.get_name()} waited {PATIENCE_S:.0f} s for {awaited} and found none; check '
                'for a firewall and for space in /dev/shm.'
            )
            raise StepError(msg)
        rclpy.spin_once(node, timeout_sec=0.1)


def run_node(make: Callable[[], Node]) -> None:
    """Create a node and spin until it is stopped."""

    def work() -> None:
        try:
            rclpy.spin(make())
        except (KeyboardInterrupt, ExternalShutdownException):
            pass
        except Exception:
            # A signal can shut ROS down at any point; failures after that are not errors.
            if rclpy.ok():
                raise

    run_ros(work)


def run_ros(work: Callable[[], None]) -> None:
    """Run work with ROS initialised; report user errors in one sentence."""
    end_with_launch()
    rclpy.init()
    try:
        work()
    except PerceptionError as error:
        print(f'error: {error}', file=sys.stderr)
        raise SystemExit(2) from error
    except (KeyboardInterrupt, ExternalShutdownException) as error:
        raise SystemExit(130) from error
    finally:
        rclpy.try_shutdown()
