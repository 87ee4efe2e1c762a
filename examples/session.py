"""A ROS process of a demo or an example: started, stopped, and waiting for others to appear."""

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

    :param awaited: what is waited for, for the message
    :raises StepError: after a minute
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            msg = (
                f'{node.get_name()} waited {PATIENCE_S:.0f} s for {awaited} and found none; is a '
                'firewall between processes, or /dev/shm full?'
            )
            raise StepError(msg)
        rclpy.spin_once(node, timeout_sec=0.1)


def run_node(make: Callable[[], Node]) -> None:
    """Make a node and spin until it is told to stop, which is how it ends well."""

    def work() -> None:
        try:
            rclpy.spin(make())
        except (KeyboardInterrupt, ExternalShutdownException):
            pass
        except Exception:
            # A signal ends ROS at whatever line the node is; what fails for that is no error.
            if rclpy.ok():
                raise

    run_ros(work)


def run_ros(work: Callable[[], None]) -> None:
    """Do some work between ROS's start and end; what a user can mend is one sentence."""
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
