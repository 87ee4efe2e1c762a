"""
Close a loop: a simulated arm with its camera, perception_node, and a controller.

    ros2 launch keypoint_perception closed_loop.launch.py model:=out/closed_loop/model
    ros2 topic pub --once /servo_node/target geometry_msgs/msg/PointStamped \
        "{point: {x: 200, y: 90}}"

The model is the one that ``make closed-loop`` trains; the controller moves its landmark ``tip`` to
the target. To start with your own robot, disable the arm (``arm:=false``), set ``image:=`` to your
camera's topic, and give ``joints``, ``lower_limits`` and ``upper_limits`` in the order of your
position controller. The simulated arm needs PyBullet.
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from keypoint_perception.ros.end_with_launch import VARIABLE as END_WITH_LAUNCH
from keypoint_perception.ros.launch_parts import argument
from keypoint_perception.yaml_files import parse_yaml
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, SetParameter

SHARE = Path(get_package_share_directory('keypoint_perception'))
ARGUMENTS = (
    DeclareLaunchArgument('model', description='Model directory written by `train --out`.'),
    argument('landmark', 'Name of the controlled landmark.', 'tip'),
    argument('image', 'Image topic.', '/camera/image'),
    argument(
        'arm', 'Start the simulated arm and use its clock.', 'true', choices=('true', 'false')
    ),
    argument('joints', 'Joint names, in the order of the commands.', '[shoulder, elbow, wrist]'),
    argument('lower_limits', 'Lower joint limits, rad.', '[-1.7, 0.35, -1.2]'),
    argument('upper_limits', 'Upper joint limits, rad.', '[0.8, 2.1, 1.2]'),
    argument('fastest', 'Maximum joint speed, rad/s.', '0.8'),
)


def example(module, name, **options):
    """Return one of the package's example programs as a node."""
    path = os.pathsep.join(filter(None, [str(SHARE), os.environ.get('PYTHONPATH')]))
    return Node(
        executable='python3',
        arguments=['-m', f'examples.{module}'],
        name=name,
        additional_env={'PYTHONPATH': path, END_WITH_LAUNCH: '1'},
        output='screen',
        emulate_tty=True,
        **options,
    )


def start_loop(context):
    """Start the arm, if enabled, the perception node and the controller."""
    simulated = LaunchConfiguration('arm').perform(context) == 'true'
    given = {
        name: parse_yaml(LaunchConfiguration(name).perform(context))
        for name in ('joints', 'lower_limits', 'upper_limits', 'fastest')
    }
    for name in ('lower_limits', 'upper_limits'):
        given[name] = [float(angle) for angle in given[name]]
    given |= {'fastest': float(given['fastest']), 'perception': '/perception_node'}
    given['landmark'] = LaunchConfiguration('landmark').perform(context)
    image = LaunchConfiguration('image')
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'perception.launch.py')),
        launch_arguments={'model': LaunchConfiguration('model'), 'image': image}.items(),
    )
    arm = [example('arm_node', 'arm', remappings=[('image', image)])] if simulated else []
    return [
        SetParameter('use_sim_time', simulated),
        # first, because it sets the DDS profile, which the camera needs too
        perception,
        *arm,
        example('servo_node', 'servo_node', parameters=[given]),
    ]


def generate_launch_description():
    """Return the arguments and the action that starts the loop."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start_loop)])
