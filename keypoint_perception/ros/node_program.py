"""What the programs that run a node have in common: how they begin, fail and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import signal
import sys

from keypoint_perception.errors import ConfigError, PerceptionError
from keypoint_perception.ros.end_with_launch import end_with_launch
from keypoint_perception.ros.installation import find_ros


def run_program(
    arguments: list[str] | None, run: Callable[[list[str]], int], *, usage: Callable[[], str]
) -> int:
    """
    Run a program until it is told to stop.

    :param arguments: command line, by default the process's own
    :param run: does it; returns the exit status
    :param usage: what ``--help`` prints
    :return: 0 when told to stop, 2 for what the user can mend
    """
    arguments = sys.argv if arguments is None else arguments
    if {'-h', '--help'} & set(arguments):
        print(usage())
        return 0
    try:
        find_ros()
        return run(arguments)
    except PerceptionError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f'error: {error.strerror}: {str(error.filename)!r}.', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def leave_interrupts_to_ros() -> None:
    """
    Have Ctrl-C end ROS's context and raise nothing; to be called before ``rclpy.init``.

    The end of the context is enough to end a node. An exception beside it comes at whatever line
    Python is: it leaves half-made objects behind, or, where ROS was faster, it comes while the
    node is being stopped, and what still waits to be written is lost.
    """
    signal.signal(signal.SIGINT, lambda number, frame: None)


def start_ros(arguments: list[str], *, program: str) -> None:
    """
    Hand ROS its part of the command line, and Ctrl-C.

    :param program: its name, for what is said
    :raises ConfigError: if ROS does not understand it, or something else stands there
    """
    import rclpy

    end_with_launch()
    leave_interrupts_to_ros()
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


@contextmanager
def node_at_work(make: Callable[[], object]) -> Iterator[tuple[object, object]]:
    """
    Make a node and its executor; stop both at the end, whatever ends it.

    :param make: returns the node, which has a method ``stop``
    """
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    node = None
    try:
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        yield node, executor
    except ExternalShutdownException:
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
