"""
The program ``recorder_node``: records topics, from its start or on service calls.

``ros2 run keypoint_perception recorder_node --ros-args -p topics:="[/camera/image_raw]"``, or
without a workspace ``python -m keypoint_perception.ros.recorder_node --ros-args ...``.
"""

from __future__ import annotations

import sys

from keypoint_perception.ros.node_program import run_program, running_node, start_ros
from keypoint_perception.ros.parameter_files import check_parameter_files
from keypoint_perception.ros.recorder.recorder_settings import RecorderParameters
from keypoint_perception.settings import table

NODE_NAME = 'recorder'
USAGE = """usage: recorder_node --ros-args -p topics:="[/camera/image_raw]" -p out:=BAG

Records topics of any type into a rosbag2 directory (MCAP). Services `~/start_recording` and
`~/stop_recording` (std_srvs/Trigger), `/diagnostics` once a second. Parameters:
"""
SPIN_S = 0.2


def main(arguments: list[str] | None = None) -> int:
    """Run the node until it is stopped or at its end; see :func:`run_program`."""
    return run_program(arguments, run, usage=lambda: f'{USAGE}\n{table(RecorderParameters)}')


def run(arguments: list[str]) -> int:
    """Start the node and spin; see :func:`main`."""
    from keypoint_perception.ros.recorder.recording_node import RecorderNode

    start_ros(arguments, program='recorder_node')
    running = running_node(lambda: RecorderNode(NODE_NAME), lambda node: node.recording.stop())
    with running as (node, executor):
        needs_topics = node.autostart and not any(node.get_parameter('topics').value)
        check_parameter_files(arguments, node, lacking='topics' if needs_topics else '')
        if node.autostart:
            node.recording.start()
        while not node.ended:
            executor.spin_once(timeout_sec=SPIN_S)
        if node.failed:
            return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
