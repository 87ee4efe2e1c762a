"""
Start perception_node on a camera.

    ros2 launch keypoint_perception perception.launch.py model:=DIR image:=/cam/image

``ros2 launch keypoint_perception perception.launch.py --show-args`` lists the arguments.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

# Fast DDS up to Jazzy reads the first, Fast DDS 3 the second.
DDS_PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
# Launch arguments that are parameters of the node; one left empty keeps the params_file's value.
PARAMETER_ARGUMENTS = ('model', 'engine', 'image_transport', 'autostart', 'depth')
SWITCHES = ('autostart', 'depth')


def shipped(name):
    """Return the path of a file in the package's config folder."""
    return PathJoinSubstitution([FindPackageShare('keypoint_perception'), 'config', name])


ARGUMENTS = (
    DeclareLaunchArgument(
        'model', default_value='', description='Model directory, as `train --out` wrote it.'
    ),
    DeclareLaunchArgument(
        'image', default_value='image', description='Topic of the images, without /compressed.'
    ),
    DeclareLaunchArgument(
        'camera_info',
        default_value='',
        description='Topic of the calibration; empty: camera_info beside the images.',
    ),
    DeclareLaunchArgument(
        'depth',
        default_value='',
        choices=['', 'true', 'false'],
        description='Publish x, y, z by a registered depth image; empty: as in params_file.',
    ),
    DeclareLaunchArgument(
        'depth_image', default_value='depth', description='Topic of the registered depth image.'
    ),
    DeclareLaunchArgument(
        'image_transport',
        default_value='',
        choices=['', 'raw', 'compressed'],
        description='raw or compressed; empty: as in params_file.',
    ),
    DeclareLaunchArgument(
        'engine',
        default_value='',
        choices=['', 'auto', 'onnxruntime', 'tensorrt', 'torch'],
        description='Library that runs the network; empty: as in params_file.',
    ),
    DeclareLaunchArgument(
        'namespace', default_value='', description='Namespace of the node, as `left_arm`.'
    ),
    DeclareLaunchArgument(
        'params_file',
        default_value=shipped('perception.yaml'),
        description='YAML file with parameters; arguments given here win over it.',
    ),
    DeclareLaunchArgument(
        'autostart',
        default_value='',
        choices=['', 'true', 'false'],
        description='Configure and activate at once; false: wait for a lifecycle manager; '
        'empty: as in params_file.',
    ),
    DeclareLaunchArgument(
        'log_level',
        default_value='info',
        choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description='What the node logs.',
    ),
    DeclareLaunchArgument(
        'dds_profile',
        default_value=shipped('fastdds_large_images.xml'),
        description='Fast DDS profile with shared memory for large images; the camera driver '
        'needs it too; empty: none.',
    ),
)


def choose_dds_profile(context):
    """Set the profile, unless the user has one of their own."""
    profile = LaunchConfiguration('dds_profile').perform(context)
    own = [name for name in DDS_PROFILE_VARIABLES if context.environment.get(name)]
    if own:
        set_already = f'{own[0]}={context.environment[own[0]]}'
        return [LogInfo(msg=f'DDS profile: {set_already} is set and stays; dds_profile is unused')]
    if not profile:
        return [LogInfo(msg='DDS profile: none, large images may be lost in shared memory')]
    if not Path(profile).is_file():
        msg = f'dds_profile: {profile!r} is no file; give a Fast DDS profile, or nothing.'
        raise RuntimeError(msg)
    setters = [SetEnvironmentVariable(name, profile) for name in DDS_PROFILE_VARIABLES]
    return [LogInfo(msg=f'DDS profile: {profile}; start the camera driver with it too'), *setters]


def start_node(context):
    """Start the node with the file's parameters, and over them those of the command line."""
    given = {name: LaunchConfiguration(name).perform(context) for name in PARAMETER_ARGUMENTS}
    given = {name: value for name, value in given.items() if value}
    # A model directory may be named 7 and is text all the same.
    given = {name: ParameterValue(value, value_type=str) for name, value in given.items()}
    given |= {name: given[name].value == 'true' for name in SWITCHES if name in given}
    topics = {name: LaunchConfiguration(name) for name in ('image', 'camera_info')}
    topics = {name: topic for name, topic in topics.items() if topic.perform(context)}
    topics['depth'] = LaunchConfiguration('depth_image')
    return [
        Node(
            package='keypoint_perception',
            executable='perception_node',
            name='perception_node',
            namespace=LaunchConfiguration('namespace'),
            parameters=[LaunchConfiguration('params_file'), given],
            remappings=list(topics.items()),
            arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
            output='screen',
            emulate_tty=True,
        )
    ]


def generate_launch_description():
    """Return the arguments, the DDS profile and the node."""
    actions = [OpaqueFunction(function=choose_dds_profile), OpaqueFunction(function=start_node)]
    return LaunchDescription([*ARGUMENTS, *actions])
