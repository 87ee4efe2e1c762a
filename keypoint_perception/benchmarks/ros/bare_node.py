"""
The minimal ROS node in Python: receives images, publishes empty clouds.

It is the baseline of the perception node. Run it as
``python -m keypoint_perception.benchmarks.ros.bare_node --ros-args -r image:=/cam/image``; for
each camera name before ``--ros-args`` it maps ``<camera>/image`` to ``~/<camera>/keypoints``.
"""

from __future__ import annotations

import sys

from keypoint_perception.benchmarks.ros.child_program import run_child
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2


def main() -> None:
    """Answer images until stopped."""
    run_child(serve)


def serve() -> None:
    """Answer the images of all cameras of the command line."""
    node = rclpy.create_node('bare_node')
    cameras = rclpy.utilities.remove_ros_args(sys.argv)[1:]
    for prefix in [f'{camera}/' for camera in cameras] or ['']:
        answer_images(node, prefix)
    rclpy.spin(node)


def answer_images(node: Node, prefix: str) -> None:
    """Publish an empty cloud for every image of a camera."""
    clouds = node.create_publisher(PointCloud2, f'~/{prefix}keypoints', 10)
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)

    def answer(image: Image) -> None:
        clouds.publish(PointCloud2(header=image.header))

    node.create_subscription(Image, f'{prefix}image', answer, qos)


if __name__ == '__main__':
    main()
