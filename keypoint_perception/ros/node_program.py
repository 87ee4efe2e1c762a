"""What all nodes and their programs share: command line, errors, log, start and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, ExitStack, suppress
import logging
import os
import re
import sys
import threading
from typing import TYPE_CHECKING, TypeVar

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.stop_signals import (
    catch_stop_signals,
    ignore_stop_signals,
    THREAD_NAME,
    woken_by_stop,
)

if TYPE_CHECKING:
    from rclpy.executors import Executor
    from rclpy.node import Node

MAX_DOMAIN = 232  # larger ones need ports that do not exist
NodeType = TypeVar('NodeType', bound='Node')


def run_program(
    arguments: list[str] | None, run: Callable[[list[str]], int], *, usage: Callable[[], str]
) -> int:
    """
    Run a program until it is stopped.

    :param arguments: by default those of the process, which then ends here
    :param usage: returns the text of ``--help``
    :return: the exit status: 2 for errors that the user can fix
    """
    catch_stop_signals()
    # A signal before this line ends the process: what takes long is imported behind it.
    from keypoint_perception.faults import fault_sentence
    from keypoint_perception.ros.installation import find_ros

    given = sys.argv if arguments is None else arguments
    if {'-h', '--help'} & set(given):
        print(usage())
        return 0
    try:
        find_ros()
        status = run(given)
    except Exception as error:  # the last net: no traceback reaches the screen
        print(f'error: {fault_sentence(error)}', file=sys.stderr)
        status = 2
    if arguments is None:
        ignore_stop_signals()
        _leave_threads_behind(status)
    return status


def _leave_threads_behind(status: int) -> None:
    """
    Exit at once if threads are still busy, such as one that loads an engine.

    Python would end them when they return from a library of C++, which aborts the process.
    """
    known = (threading.main_thread().name, THREAD_NAME)
    if any(thread.name not in known for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def init_ros(arguments: list[str]) -> None:
    """
    Initialise ROS, and take signals as requests to stop, which :func:`running_node` meets.

    :raises ConfigError: if ROS cannot start like this
    """
    from rclpy import init
    from rclpy.signals import SignalHandlerOptions

    catch_stop_signals()
    domain = os.environ.get('ROS_DOMAIN_ID', '')
    if domain and not (re.fullmatch('[0-9]+', domain) and int(domain) <= MAX_DOMAIN):
        # Fast DDS would end the process on a larger one.
        msg = f'ROS_DOMAIN_ID is {domain!r}, expected a number from 0 to {MAX_DOMAIN}; set one.'
        raise ConfigError(msg)
    try:
        init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rclpy's exceptions have no common base
        reason = ' '.join(str(error).split())
        if 'logging' in reason:
            msg = (
                f'ROS has no place for its logs ({reason}); set ROS_LOG_DIR to a directory that '
                'is writable.'
            )
        elif 'SECURITY' in reason:
            msg = f'ROS has no keys ({reason}); see sros2/README.md, or unset ROS_SECURITY_ENABLE.'
        else:
            msg = f'ROS cannot use the command line: {reason}; see `--help`.'
        raise ConfigError(msg) from error


def start_ros(arguments: list[str], *, program: str) -> None:
    """
    Initialise ROS with its part of the command line of a program.

    :param program: its name, for error messages
    :raises ConfigError: if ROS rejects the command line, or it has other arguments
    """
    from keypoint_perception.ros.end_with_launch import end_with_launch
    from rclpy.utilities import remove_ros_args

    end_with_launch()
    init_ros(arguments)
    others = remove_ros_args(arguments)[1:]
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
    """
    Create a node and its executor, and stop both at the end, whatever the reason.

    Spinning ends the block when the process is asked to stop. ROS still works then, so that
    ``stop`` can publish and answer.
    """
    from keypoint_perception.ros.node_executor import NodeExecutor
    from keypoint_perception.settings import Setting
    from rclpy.executors import ExternalShutdownException
    from rclpy.impl.implementation_singleton import rclpy_implementation
    from rclpy.utilities import try_shutdown

    with ExitStack() as at_end:
        at_end.callback(try_shutdown)
        executor = NodeExecutor()
        at_end.callback(executor.shutdown)
        at_end.enter_context(woken_by_stop(executor.wake))
        try:
            node = create()
        except rclpy_implementation.RCLError as error:
            reason = ' '.join(str(error).split())
            msg = f'ROS cannot create the node: {reason}; check the ROS_ and RMW_ variables.'
            raise ConfigError(msg) from error
        at_end.callback(node.destroy_node)
        at_end.callback(stop, node)
        Setting('use_sim_time', bool).check(node.get_parameter('use_sim_time').value)
        executor.add_node(node)
        with suppress(ExternalShutdownException):
            yield node, executor


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
