"""The recording of the verb ``record``, from its start to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from keypoint_perception.ros.installation import (
    DDS_PROFILE,
    dds_profile_in_use,
    DDS_PROFILE_VARIABLES,
    find_ros,
    shipped_file,
)
from keypoint_perception.ros.node_program import init_ros, running_node
from keypoint_perception.ros.recorder.recorder_settings import RecorderSettings

if TYPE_CHECKING:
    from keypoint_perception.ros.recorder.recorder import RecordingSummary

NODE_NAME = 'keypoint_recorder'
SHOW_S = 0.5
SPIN_S = 0.1

log = logging.getLogger('keypoint_perception')


def record_topics(
    topics: Sequence[str],
    out: Path,
    settings: RecorderSettings,
    *,
    show: Callable[[RecordingSummary], object],
    default_dds: bool = False,
) -> RecordingSummary:
    """
    Record until a limit is reached, or until SIGINT or SIGTERM.

    :param show: called twice a second with the state of the recording
    :param default_dds: use Fast DDS's own settings instead of the shipped profile
    :return: the final state
    :raises PerceptionError: if recording cannot start
    """
    find_ros()
    if not default_dds:
        _use_shipped_profile()
    from keypoint_perception.ros.recorder.recorder import Recorder
    import rclpy

    init_ros(['--ros-args', '--log-level', 'warn'])
    running = running_node(lambda: rclpy.create_node(NODE_NAME), lambda node: None)
    with running as (node, executor):
        recorder = Recorder(node, topics=topics, out=out, settings=settings, log=log)
        try:
            recorder.start()
            node.create_timer(SHOW_S, lambda: show(recorder.summary()))
            while not recorder.finished.is_set():
                executor.spin_once(timeout_sec=SPIN_S)
        finally:
            recorder.stop()
    return recorder.summary()


def _use_shipped_profile() -> None:
    """Use the shipped Fast DDS profile, whose buffers hold images, unless the user has one."""
    own = dds_profile_in_use()
    if own is not None:
        log.info('DDS profile: %s, from the environment', own)
        return
    profile = shipped_file('config', DDS_PROFILE)
    if profile.is_file():
        os.environ.update(dict.fromkeys(DDS_PROFILE_VARIABLES, str(profile)))
        log.info('DDS profile: %s; use it for the camera driver as well', profile)
