"""
Record topics of any type into a bag.

    ros2 launch keypoint_perception record.launch.py topics:=/camera/image_raw,/camera/camera_info

``ros2 launch keypoint_perception record.launch.py --show-args`` lists the arguments.
"""

from keypoint_perception.ros.launch_parts import (
    argument,
    dds_profile,
    items,
    node,
    node_arguments,
    SWITCH,
)
from keypoint_perception.ros.recorder.recorder_settings import RecorderParameters
from keypoint_perception.settings import settings_of
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.parameter_descriptions import ParameterValue

PARAMETERS = [p for name, p in settings_of(RecorderParameters).items() if name != 'topics']


def parameter_argument(parameter):
    """Return the launch argument of one of the node's parameters."""
    name, text = parameter.name, parameter.help
    if parameter.kind is bool:
        default = parameter.default or name == 'exit_at_end'
        return argument(name, text, str(default).lower(), choices=SWITCH[1:])
    return argument(name, text, str(parameter.default))


ARGUMENTS = (
    DeclareLaunchArgument(
        'topics', description='Topics, e.g. `/camera/image_raw,/camera/camera_info`.'
    ),
    *map(parameter_argument, PARAMETERS),
)


def start_node(context):
    """Start the recorder; the launch ends when it does."""
    parameters = {
        parameter.name: ParameterValue(
            LaunchConfiguration(parameter.name), value_type=parameter.kind
        )
        for parameter in PARAMETERS
    }
    # ROS has no empty lists; the node reports what is missing
    parameters['topics'] = items(context, 'topics') or ['']
    return [node('recorder_node', 'recorder', [parameters], on_exit=Shutdown())]


def generate_launch_description():
    """Return the arguments, the DDS profile and the node."""
    actions = [dds_profile(), OpaqueFunction(function=start_node)]
    return LaunchDescription([*ARGUMENTS, *node_arguments(), *actions])
