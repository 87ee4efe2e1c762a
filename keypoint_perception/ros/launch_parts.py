"""
What the launch files have in common.

Only launch files import this: ``launch`` comes with a ROS installation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from keypoint_perception.ros.end_with_launch import VARIABLE as END_WITH_LAUNCH
from keypoint_perception.ros.installation import DDS_PROFILE, DDS_PROFILE_VARIABLES
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PACKAGE = 'keypoint_perception'
SWITCH = ('', 'true', 'false')
# Launch arguments that are parameters of the node; one left empty keeps the params_file's value.
PERCEPTION_PARAMETERS = ('model', 'engine', 'image_transport', 'autostart', 'depth')


def shipped(name: str) -> PathJoinSubstitution:
    """Return the path of a file in the package's config folder."""
    return PathJoinSubstitution([FindPackageShare(PACKAGE), 'config', name])


def argument(name: str, description: str, default='', choices=None) -> DeclareLaunchArgument:
    """Return a launch argument that may be left out."""
    kept = {} if choices is None else {'choices': list(choices)}
    return DeclareLaunchArgument(name, default_value=default, description=description, **kept)


def perception_arguments() -> list[DeclareLaunchArgument]:
    """Return what every launch file with the node takes."""
    return [
        argument('model', 'Model directory, as `train --out` wrote it.'),
        argument(
            'image_transport',
            'raw or compressed; empty: as in params_file.',
            choices=('', 'raw', 'compressed'),
        ),
        argument(
            'depth',
            'Publish x, y, z by a registered depth image; empty: as in params_file.',
            choices=SWITCH,
        ),
        argument(
            'engine',
            'Library that runs the network; empty: as in params_file.',
            choices=('', 'auto', 'onnxruntime', 'tensorrt', 'torch'),
        ),
        argument(
            'params_file',
            'YAML file with parameters; arguments given here win over it.',
            shipped('perception.yaml'),
        ),
        argument(
            'autostart',
            'Configure and activate at once; false: wait for a lifecycle manager; empty: as in '
            'params_file.',
            choices=SWITCH,
        ),
        *node_arguments(),
    ]


def node_arguments() -> list[DeclareLaunchArgument]:
    """Return what every launch file takes."""
    return [
        argument('namespace', 'Namespace of the node, as `left_arm`.'),
        argument(
            'log_level',
            'What the node logs.',
            'info',
            choices=('debug', 'info', 'warn', 'error', 'fatal'),
        ),
        argument(
            'dds_profile',
            'Fast DDS profile with shared memory for large images; the camera driver needs it '
            'too; empty: none.',
            shipped(DDS_PROFILE),
        ),
    ]


def dds_profile() -> OpaqueFunction:
    """Return the action that sets the profile, unless the user has one of their own."""
    return OpaqueFunction(function=_choose_dds_profile)


def _choose_dds_profile(context):
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


def given(context, names: Iterable[str], *, switches: Iterable[str] = ()) -> dict:
    """
    Return the arguments that are not left empty, as parameters.

    :param switches: of the names, those of true or false; the others are text, a 7 too
    """
    texts = {name: LaunchConfiguration(name).perform(context) for name in names}
    return {
        name: text == 'true' if name in switches else ParameterValue(text, value_type=str)
        for name, text in texts.items()
        if text
    }


def items(context, name: str) -> list[str]:
    """Return the parts of an argument that names several things: ``left,right``."""
    parts = LaunchConfiguration(name).perform(context).strip('[]').split(',')
    return [part.strip(' \'"') for part in parts if part.strip(' \'"')]


def perception_node(context, topics: Mapping[str, str], **parameters) -> Node:
    """
    Return the node with the file's parameters, and over them those of the command line.

    :param topics: where the node's topics are, by their names in the node; empty: where they are
    """
    own = given(context, PERCEPTION_PARAMETERS, switches=('autostart', 'depth')) | parameters
    remappings = [(name, topic) for name, topic in topics.items() if topic]
    files = [LaunchConfiguration('params_file')]
    return node('perception_node', 'perception_node', [*files, own], remappings)


def node(executable: str, name: str, parameters: list, remappings: list = (), **more) -> Node:
    """Return one of the package's nodes."""
    return Node(
        package=PACKAGE,
        executable=executable,
        name=name,
        namespace=LaunchConfiguration('namespace'),
        parameters=parameters,
        remappings=list(remappings),
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        output='screen',
        emulate_tty=True,
        additional_env={END_WITH_LAUNCH: '1'},
        **more,
    )
