"""
Start one perception_node for several cameras, which share an engine.

    ros2 launch keypoint_perception multi_camera.launch.py model:=DIR cameras:=left,right \
        images:=/left_cam/image_raw,/right_cam/image_raw

The keypoints are on `perception_node/left/keypoints` and `perception_node/right/keypoints`.
``ros2 launch keypoint_perception multi_camera.launch.py --show-args`` lists the arguments.
"""

from keypoint_perception.ros.launch_parts import (
    argument,
    dds_profile,
    items,
    perception_arguments,
    perception_node,
)
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction

ORDER = 'one per camera in the same order, e.g. `/a,/b`'
ARGUMENTS = (
    DeclareLaunchArgument('cameras', description='Camera names, e.g. `left,right`.'),
    argument('images', f'Image topics, {ORDER}; default: left/image etc.'),
    argument('camera_infos', f'Calibration topics, {ORDER}; default: next to the images.'),
    argument('depth_images', f'Depth image topics, {ORDER}; default: left/depth etc.'),
)


def start_node(context):
    """Start the node with the topics of all cameras."""
    cameras = items(context, 'cameras')
    if not cameras:
        msg = 'cameras: no camera given; expected names, e.g. cameras:=left,right.'
        raise RuntimeError(msg)
    topics = {}
    for plural, name in (('images', 'image'), ('camera_infos', 'camera_info'),
                         ('depth_images', 'depth')):  # fmt: skip
        given = items(context, plural)
        if given and len(given) != len(cameras):
            msg = (
                f'{plural}: {len(given)} topics for {len(cameras)} cameras '
                f'({", ".join(cameras)}); give {ORDER}, or none.'
            )
            raise RuntimeError(msg)
        topics |= {f'{c}/{name}': topic for c, topic in zip(cameras, given, strict=False)}
    return [perception_node(context, topics, cameras=cameras)]


def generate_launch_description():
    """Return the arguments, the DDS profile and the node."""
    actions = [dds_profile(), OpaqueFunction(function=start_node)]
    return LaunchDescription([*ARGUMENTS, *perception_arguments(), *actions])
