"""
The minimal ROS node in Python: receives images, publishes empty clouds.

It is the baseline of the perception node. Run it as
``python -m keypoint_perception.benchmarks.ros.bare_node --ros-args -r image:=/cam/image``; for
each camera name before ``--ros-args`` it maps ``<camera>/image`` to ``~/<camera>/keypoints``.
"""

from __future__ import annotations

from functools import partial
import sys

from keypoint_perception.benchmarks.ros.child_program import run_child
import rclpy
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2


def serve() -> None:
    """Publish an empty cloud for every image of the cameras, until stopped."""
    node = rclpy.create_node('bare_node')
    cameras = rclpy.utilities.remove_ros_args(sys.argv)[1:]
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    for prefix in [f'{camera}/' for camera in cameras] or ['']:
        clouds = node.create_publisher(PointCloud2, f'~/{prefix}keypoints', 10)
        node.create_subscription(Image, f'{prefix}image', partial(answer, clouds), qos)
    rclpy.spin(node)


def answer(clouds: Publisher, image: Image) -> None:
    """Publish an empty cloud for an image."""
    clouds.publish(PointCloud2(header=image.header))


if __name__ == '__main__':
    run_child(serve)
