"""
The program ``perception_node``.

``ros2 run keypoint_perception perception_node --ros-args -p model:=DIR -r image:=/cam/image``, or
without a workspace ``python -m keypoint_perception.ros.perception_node --ros-args ...``.
"""

from __future__ import annotations

from collections.abc import Callable
import sys
from typing import TYPE_CHECKING

from keypoint_perception.ros.node_program import run_program, running_node, start_ros
from keypoint_perception.ros.stop_signals import stop_requested

if TYPE_CHECKING:
    from keypoint_perception.inference.engine import Engine

USAGE = """usage: perception_node --ros-args -p model:=DIR -r image:=/cam/image

Subscribes to `image` and, for x, y, z, to `depth` and `camera_info`. Publishes `~/keypoints` and
`~/landmarks` (sensor_msgs/PointCloud2), `~/names` (std_msgs/String, latched) and /diagnostics;
`~/overlay` (sensor_msgs/Image) and `~/markers` (visualization_msgs/MarkerArray) while they have
subscribers. Services: `~/enable`, `~/reload`, `~/start_recording` and `~/stop_recording`.
Parameters:
"""


def main(arguments: list[str] | None = None, *, load: Callable[..., Engine] | None = None) -> int:
    """
    Run the node until it is stopped; see :func:`run_program`.

    :param load: loads an engine; replaced by tests
    """

    def run(given: list[str]) -> int:
        start_ros(given, program='perception_node')
        from keypoint_perception.inference.engine import load_engine
        from keypoint_perception.ros.parameter_files import check_parameter_files
        from keypoint_perception.ros.perception.lifecycle_node import PerceptionNode

        def create() -> PerceptionNode:
            node = PerceptionNode(load=load or load_engine)
            needs_model = node.parameters.autostart and not node.parameters.engine_spec.model
            check_parameter_files(given, node, lacking='model' if needs_model else '')
            return node

        with running_node(create, PerceptionNode.stop) as (node, executor):
            if node.parameters.autostart and not node.start() and not stop_requested():
                return 2
            executor.spin()
        return 0

    return run_program(arguments, run, usage=_usage)


def _usage() -> str:
    from keypoint_perception.ros.perception.node_parameters import NodeParameters
    from keypoint_perception.settings import table

    return f'{USAGE}\n{table(NodeParameters, live=True)}'


if __name__ == '__main__':
    sys.exit(main())
