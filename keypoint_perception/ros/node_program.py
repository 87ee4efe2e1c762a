"""What all nodes and their programs share: command line, errors, log, start and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import logging
import signal
import sys
from typing import TYPE_CHECKING, TypeVar

from keypoint_perception.errors import ConfigError
from keypoint_perception.faults import fault_sentence
from keypoint_perception.ros.end_with_launch import end_with_launch
from keypoint_perception.ros.installation import find_ros

if TYPE_CHECKING:
    from rclpy.executors import Executor
    from rclpy.node import Node

NodeType = TypeVar('NodeType', bound='Node')


def run_program(
    arguments: list[str] | None, run: Callable[[list[str]], int], *, usage: str
) -> int:
    """
    Run a program until it is stopped.

    :param arguments: by default those of the process
    :param usage: the text of ``--help``
    :return: the exit status: 2 for errors that the user can fix
    """
    arguments = sys.argv if arguments is None else arguments
    if {'-h', '--help'} & set(arguments):
        print(usage)
        return 0
    try:
        find_ros()
        return run(arguments)
    except KeyboardInterrupt:
        return 0
    except Exception as error:  # the last net: no traceback reaches the screen
        sentence = fault_sentence(error)
    print(f'error: {sentence}', file=sys.stderr)
    return 2


def leave_interrupts_to_ros() -> None:
    """
    Let Ctrl-C shut down the ROS context without an exception; call it before ``rclpy.init``.

    Shutting down the context is enough to stop a node. A KeyboardInterrupt on top of it would
    strike at an arbitrary line: it would leave objects half-made or, while the node is being
    stopped, lose data that is still to be written.
    """
    signal.signal(signal.SIGINT, lambda number, frame: None)


def start_ros(arguments: list[str], *, program: str) -> None:
    """
    Initialise ROS with its part of the command line, and let it handle Ctrl-C.

    :param program: its name, for error messages
    :raises ConfigError: if ROS rejects the command line, or it has other arguments
    """
    import rclpy

    end_with_launch()
    leave_interrupts_to_ros()
    try:
        rclpy.init(args=arguments)
    except Exception as error:  # rclpy's exceptions have no common base
        reason = ' '.join(str(error).split())
        msg = f'ROS cannot use the command line: {reason}; see `{program} --help`.'
        raise ConfigError(msg) from error
    others = rclpy.utilities.remove_ros_args(arguments)[1:]
    if others:
        msg = (
            f'{program} does not know the argument {" ".join(others)!r}; expected parameters and '
            f'remappings after --ros-args, see `{program} --help`.'
        )
        raise ConfigError(msg)


@contextmanager
def running_node(
    create: Callable[[], NodeType], stop: Callable[[NodeType], object]
) -> Iterator[tuple[NodeType, Executor]]:
    """Create a node and its executor, and stop both at the end, whatever the reason."""
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.utilities import ok, try_shutdown

    node = None
    try:
        node = create()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        yield node, executor
    except ExternalShutdownException:
        pass
    except Exception:
        # A signal shuts ROS down at an arbitrary line; failures due to that are no errors.
        if ok():
            raise
    finally:
        if node is not None:
            stop(node)
            node.destroy_node()  # type: ignore[no-untyped-call]
        try_shutdown()


class _Forward(logging.Handler):
    def __init__(self, node: Node) -> None:
        super().__init__()
        self._log = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        # Separate calls, because rclpy rejects two severities from the same line of code.
        if record.levelno >= logging.ERROR:
            self._log.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._log.warning(record.getMessage())
        else:  # the level set below lets nothing less pass
            self._log.info(record.getMessage())


def forward_logs(node: Node) -> None:
    """Forward the package's Python log to a node's logger, and nowhere else."""
    logger = logging.getLogger('keypoint_perception')
    logger.setLevel(logging.INFO)
    logger.handlers = [_Forward(node)]
    logger.propagate = False
