"""
What the launch files share.

Only launch files import this: ``launch`` comes with a ROS installation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keypoint_perception.ros.end_with_launch import VARIABLE as END_WITH_LAUNCH
from keypoint_perception.ros.installation import DDS_PROFILE, DDS_PROFILE_VARIABLES, PACKAGE
from keypoint_perception.ros.perception.node_parameters import PARAMETERS
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.launch_context import LaunchContext
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SWITCH = ('', 'true', 'false')
# Launch arguments that are parameters of the node; an empty one keeps the value of params_file.
PERCEPTION_PARAMETERS = ('model', 'engine', 'image_transport', 'autostart', 'depth')
SWITCHES = tuple(name for name in PERCEPTION_PARAMETERS if PARAMETERS[name].kind is bool)


def shipped(name: str) -> PathJoinSubstitution:
    """Return the path of a file in the package's config folder."""
    return PathJoinSubstitution([FindPackageShare(PACKAGE), 'config', name])


def argument(
    name: str, description: str, default: Any = '', choices: Sequence[str] = ()
) -> DeclareLaunchArgument:
    """Return an optional launch argument; without choices it takes any text."""
    more = {'choices': list(choices)} if choices else {}
    return DeclareLaunchArgument(name, default_value=default, description=description, **more)


def perception_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of every launch file that starts perception_node."""
    arguments = [
        argument(
            'params_file',
            'YAML file with parameters; launch arguments take precedence.',
            shipped('perception.yaml'),
        )
    ]
    for name in PERCEPTION_PARAMETERS:
        parameter = PARAMETERS[name]
        choices = SWITCH if name in SWITCHES else parameter.choices and ('', *parameter.choices)
        description = f'{parameter.help} Empty: as in params_file.'
        arguments.append(argument(name, description, choices=choices))
    return [*arguments, *node_arguments()]


def node_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of every launch file."""
    return [
        argument('namespace', 'Namespace of the node, e.g. `left_arm`.'),
        argument(
            'log_level',
            'Minimum severity of log messages.',
            'info',
            ('debug', 'info', 'warn', 'error', 'fatal'),
        ),
        argument(
            'dds_profile',
            'Fast DDS profile with shared memory for large images; start the camera driver with '
            'it too. Empty: none.',
            shipped(DDS_PROFILE),
        ),
    ]


def dds_profile() -> OpaqueFunction:
    """Return the action that sets the DDS profile, unless the user has set one."""
    return OpaqueFunction(function=_set_dds_profile)


def _set_dds_profile(context: LaunchContext) -> list[LogInfo | SetEnvironmentVariable]:
    profile = LaunchConfiguration('dds_profile').perform(context)
    own = [name for name in DDS_PROFILE_VARIABLES if context.environment.get(name)]
    if own:
        kept = f'{own[0]}={context.environment[own[0]]}'
        return [LogInfo(msg=f'DDS profile: keeping {kept}; dds_profile is ignored')]
    if not profile:
        return [LogInfo(msg='DDS profile: none, large images may be lost in shared memory')]
    if not Path(profile).is_file():
        msg = f'dds_profile: {profile!r} is no file; give a Fast DDS profile, or nothing.'
        raise RuntimeError(msg)
    setters = [SetEnvironmentVariable(name, profile) for name in DDS_PROFILE_VARIABLES]
    return [LogInfo(msg=f'DDS profile: {profile}; start the camera driver with it too'), *setters]


def items(context: LaunchContext, name: str) -> list[str]:
    """Return the items of a list argument: ``left,right``."""
    parts = LaunchConfiguration(name).perform(context).strip('[]').split(',')
    return [part.strip(' \'"') for part in parts if part.strip(' \'"')]


def perception_node(context: LaunchContext, topics: Mapping[str, str], **parameters: Any) -> Node:
    """
    Return perception_node with the parameters of the file, overridden by those of the arguments.

    :param topics: remappings by the node's names; an empty one is no remapping
    """
    given: dict[str, Any] = {}
    for parameter in PERCEPTION_PARAMETERS:
        text = LaunchConfiguration(parameter).perform(context)
        if text:  # a text that looks like a number, as a model named 7, stays a text
            value = ParameterValue(text, value_type=str)
            given[parameter] = text == 'true' if parameter in SWITCHES else value
    values = [LaunchConfiguration('params_file'), given | parameters]
    remappings = [(name, topic) for name, topic in topics.items() if topic]
    return node('perception_node', 'perception_node', values, remappings)


def node(
    executable: str,
    name: str,
    parameters: Sequence[Any],
    remappings: Iterable[tuple[str, str]] = (),
    **more: Any,
) -> Node:
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
