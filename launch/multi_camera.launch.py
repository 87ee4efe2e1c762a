"""
Start one perception_node on several cameras, which share an engine.

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

ORDER = 'one for each camera, in their order, as `/a,/b`'
ARGUMENTS = (
    DeclareLaunchArgument('cameras', description='Names of the cameras, as `left,right`.'),
    argument('images', f'Topics of the images, {ORDER}; empty: left/image and so on.'),
    argument('camera_infos', f'Topics of the calibration, {ORDER}; empty: beside the images.'),
    argument('depth_images', f'Topics of the depth, {ORDER}; empty: left/depth and so on.'),
)


def start_node(context):
    """Start the node on the topics of all cameras."""
    cameras = items(context, 'cameras')
    if not cameras:
        msg = 'cameras: no camera is named; expected names, as cameras:=left,right.'
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
