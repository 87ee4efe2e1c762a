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
from keypoint_perception.ros.recorder.recorder_parameters import OWN_PARAMETERS
from keypoint_perception.ros.recorder.recorder_settings import DESCRIPTIONS, RecorderSettings
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.parameter_descriptions import ParameterValue

OWN = {'out': '', 'directory': '.', 'autostart': True, 'exit_at_end': True}
DEFAULTS = OWN | vars(RecorderSettings())
TEXTS = {name: text for name, (_, text) in OWN_PARAMETERS.items()} | DESCRIPTIONS
KINDS = {name: type(default) for name, default in DEFAULTS.items()}


def parameter_argument(name, default):
    """Return the launch argument of one of the node's parameters."""
    if isinstance(default, bool):
        return argument(name, TEXTS[name], str(default).lower(), choices=SWITCH[1:])
    return argument(name, TEXTS[name], str(default))


ARGUMENTS = (
    DeclareLaunchArgument('topics', description='Topics, e.g. `/camera/image_raw,/camera/info`.'),
    *(parameter_argument(name, default) for name, default in DEFAULTS.items()),
)


def start_node(context):
    """Start the recorder; the launch ends when it does."""
    parameters = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, kind in KINDS.items()
    }
    # ROS has no empty lists; the node reports what is missing
    parameters['topics'] = items(context, 'topics') or ['']
    return [node('recorder_node', 'recorder', [parameters], on_exit=Shutdown())]


def generate_launch_description():
    """Return the arguments, the DDS profile and the node."""
    actions = [dds_profile(), OpaqueFunction(function=start_node)]
    return LaunchDescription([*ARGUMENTS, *node_arguments(), *actions])
