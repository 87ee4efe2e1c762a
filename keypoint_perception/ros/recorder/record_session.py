"""One recording from its start to its end, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import logging
import os
from pathlib import Path

from keypoint_perception.ros.installation import (
    DDS_PROFILE,
    dds_profile_in_use,
    DDS_PROFILE_VARIABLES,
    find_ros,
    shipped_file,
)
from keypoint_perception.ros.node_program import leave_interrupts_to_ros
from keypoint_perception.ros.recorder.recorder_settings import RecorderSettings

NODE_NAME = 'keypoint_recorder'
SHOW_S = 0.5
SPIN_S = 0.1

log = logging.getLogger('keypoint_perception')


def record_topics(
    topics: Sequence[str],
    out: Path,
    settings: RecorderSettings,
    *,
    show: Callable,
    default_dds: bool = False,
):
    """
    Record until a limit is reached, or the process is told to stop (SIGINT, SIGTERM).

    :param show: called twice a second with a
        :class:`keypoint_perception.ros.recorder.recorder.RecordingSummary`
    :param default_dds: leave Fast DDS as it is, without the shipped profile
    :return: the last summary
    :raises PerceptionError: if recording cannot start
    """
    find_ros()
    if not default_dds:
        _use_shipped_profile()
    from keypoint_perception.ros.recorder.recorder import Recorder
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    leave_interrupts_to_ros()
    rclpy.init(args=['--ros-args', '--log-level', 'warn'])
    recorder = None
    try:
        node = rclpy.create_node(NODE_NAME)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        recorder = Recorder(node, topics=topics, out=out, settings=settings, log=log)
        recorder.start()
        node.create_timer(SHOW_S, lambda: show(recorder.summary()))
        while not recorder.finished.is_set():
            executor.spin_once(timeout_sec=SPIN_S)
    except ExternalShutdownException:
        pass
    except Exception:
        # A signal ends ROS at whatever line this is; what fails for that reason is no error.
        if recorder is None or rclpy.ok():
            raise
    finally:
        summary = None if recorder is None else recorder.stop()
        rclpy.try_shutdown()
    return summary


def _use_shipped_profile() -> None:
    """Give Fast DDS room for images, unless the user has a profile of their own."""
    own = dds_profile_in_use()
    if own is not None:
        log.info('DDS profile: %s, as the environment has it', own)
        return
    profile = shipped_file('config', DDS_PROFILE)
    if profile.is_file():
        os.environ.update(dict.fromkeys(DDS_PROFILE_VARIABLES, str(profile)))
        log.info('DDS profile: %s; start the camera driver with it too', profile)
