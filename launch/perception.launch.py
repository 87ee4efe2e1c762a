"""
Start perception_node on a camera.

    ros2 launch keypoint_perception perception.launch.py model:=DIR image:=/cam/image

``ros2 launch keypoint_perception perception.launch.py --show-args`` lists the arguments.
"""

from keypoint_perception.ros.launch_parts import (
    argument,
    dds_profile,
    perception_arguments,
    perception_node,
)
from launch import LaunchDescription
from launch.actions import OpaqueFunction
from launch.substitutions import LaunchConfiguration

ARGUMENTS = (
    argument('image', 'Topic of the images, without /compressed.', 'image'),
    argument('camera_info', 'Topic of the calibration; empty: camera_info beside the images.'),
    argument('depth_image', 'Topic of the registered depth image.', 'depth'),
)


def start_node(context):
    """Start the node on its topics."""
    topics = {'image': 'image', 'camera_info': 'camera_info', 'depth': 'depth_image'}
    topics = {n: LaunchConfiguration(a).perform(context) for n, a in topics.items()}
    return [perception_node(context, topics)]


def generate_launch_description():
    """Return the arguments, the DDS profile and the node."""
    actions = [dds_profile(), OpaqueFunction(function=start_node)]
    return LaunchDescription([*ARGUMENTS, *perception_arguments(), *actions])
