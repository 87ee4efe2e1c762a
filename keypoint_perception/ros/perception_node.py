"""
The program ``perception_node``.

``ros2 run keypoint_perception perception_node --ros-args -p model:=DIR -r image:=/cam/image``, or
without a workspace ``python -m keypoint_perception.ros.perception_node --ros-args ...``.
"""

from __future__ import annotations

from collections.abc import Callable
import signal
import sys

from keypoint_perception.errors import ConfigError, PerceptionError
from keypoint_perception.inference.engine import Engine, load_engine
from keypoint_perception.ros.end_with_launch import end_with_launch
from keypoint_perception.ros.installation import find_ros
from keypoint_perception.ros.parameters import table

USAGE = """usage: perception_node --ros-args -p model:=DIR -r image:=/cam/image

Subscribes to `image` and, for x, y, z, to `depth` and `camera_info`. Publishes `~/keypoints` and
`~/landmarks` (sensor_msgs/PointCloud2), `~/names` (std_msgs/String, latched), `~/overlay`
(sensor_msgs/Image) and `~/markers` (visualization_msgs/MarkerArray) while someone subscribes, and
/diagnostics. Services: `~/enable`, `~/reload`, `~/start_recording` and `~/stop_recording`.
Parameters:
"""


def main(arguments: list[str] | None = None, *, load: Callable[..., Engine] = load_engine) -> int:
    """
    Run the node until it is told to stop.

    :param arguments: command line, by default the process's own
    :param load: makes the engine; tests give one that makes a fake
    :return: 0 when told to stop, 2 for what the user can mend
    """
    arguments = sys.argv if arguments is None else arguments
    if {'-h', '--help'} & set(arguments):
        print(USAGE, table(), sep='\n')
        return 0
    try:
        find_ros()
        return run(arguments, load)
    except PerceptionError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def run(arguments: list[str], load: Callable[..., Engine]) -> int:
    """Start the node and spin; see :func:`main`."""
    from keypoint_perception.ros.node import PerceptionNode
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    # ROS ends its context at the signal, and that is enough: an exception at whatever line the
    # executor is leaves half-made objects behind, which complain.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    start_ros(arguments)
    node = None
    try:
        node = PerceptionNode(load=load)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.parameters.autostart and not node.start() and rclpy.ok():
            return 2
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # A signal ends ROS at whatever line the node is; what fails for that reason is no error.
        if rclpy.ok():
            raise
    finally:
        if node is not None:
            node.stop()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def start_ros(arguments: list[str], *, program: str = 'perception_node') -> None:
    """
    Hand ROS its part of the command line.

    :param program: its name, for what is said
    :raises ConfigError: if ROS does not understand it, or something else stands there
    """
    import rclpy

    end_with_launch()
    try:
        rclpy.init(args=arguments)
    except Exception as error:  # rclpy's own have no base in common
        reason = ' '.join(str(error).split())
        msg = f'ROS cannot use the command line: {reason}; see `{program} --help`.'
        raise ConfigError(msg) from error
    others = rclpy.utilities.remove_ros_args(arguments)[1:]
    if others:
        msg = (
            f'{" ".join(others)!r} means nothing to {program}; expected parameters and '
            f'remappings behind --ros-args, see `{program} --help`.'
        )
        raise ConfigError(msg)


if __name__ == '__main__':
    sys.exit(main())
