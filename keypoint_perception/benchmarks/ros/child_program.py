"""What the benchmark's own child programs share: reports to the parent, and their end."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
import sys

from keypoint_perception.ros.installation import find_ros
import rclpy
from rclpy.executors import ExternalShutdownException


def run_child(work: Callable[[], None]) -> None:
    """Do some work between ROS's start and shutdown, whatever ends it."""
    find_ros()
    rclpy.init()
    try:
        work()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except BrokenPipeError:
        # The parent is gone. Python flushes stdout at exit, which must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception:
        if rclpy.ok():  # else a signal shut ROS down, which makes any call fail
            raise
    finally:
        rclpy.try_shutdown()


def report(event: str, **fields: object) -> None:
    """
    Send a report, one line of JSON, to the parent.

    :raises BrokenPipeError: if the parent has ended
    """
    print(json.dumps({'event': event, **fields}), flush=True)
