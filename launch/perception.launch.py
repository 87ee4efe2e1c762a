"""
Start perception_node for one camera.

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
    argument('image', 'Image topic, without /compressed.', 'image'),
    argument('camera_info', 'Calibration topic; default: camera_info next to the images.'),
    argument('depth_image', 'Topic of the registered depth images.', 'depth'),
)


def start_node(context):
    """Start the node with its topics."""
    topics = {'image': 'image', 'camera_info': 'camera_info', 'depth': 'depth_image'}
    topics = {n: LaunchConfiguration(a).perform(context) for n, a in topics.items()}
    return [perception_node(context, topics)]


def generate_launch_description():
    """Return the arguments, the DDS profile and the node."""
    actions = [dds_profile(), OpaqueFunction(function=start_node)]
    return LaunchDescription([*ARGUMENTS, *perception_arguments(), *actions])
