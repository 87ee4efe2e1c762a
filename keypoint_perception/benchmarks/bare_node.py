"""
The least a ROS node in Python can do: receive an image, publish an empty cloud.

What a node with a network needs on top of this is its own doing; the benchmark measures both.
Run it as ``python -m keypoint_perception.benchmarks.bare_node --ros-args -r image:=/cam/image``;
camera names before ``--ros-args`` stand for ``<camera>/image`` and ``~/<camera>/keypoints``.
"""

from __future__ import annotations

import sys

from keypoint_perception.ros.installation import find_ros
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2


def main() -> None:
    """Answer images until told to stop."""
    find_ros()
    rclpy.init(args=sys.argv)
    node = rclpy.create_node('bare_node')
    cameras = rclpy.utilities.remove_ros_args(sys.argv)[1:]
    for prefix in [f'{camera}/' for camera in cameras] or ['']:
        answer_images(node, prefix)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


def answer_images(node, prefix: str) -> None:
    """Publish an empty cloud for every image of a camera."""
    clouds = node.create_publisher(PointCloud2, f'~/{prefix}keypoints', 10)
    node.create_subscription(
        Image,
        f'{prefix}image',
        lambda image: clouds.publish(PointCloud2(header=image.header)),
        QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
    )


if __name__ == '__main__':
    main()
