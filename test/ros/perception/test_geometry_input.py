"""The topics of a camera's calibration and depth, and their QoS."""

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from keypoint_perception.ros.perception.geometry_input import geometry_topics, GeometryInput
import rclpy
from rclpy.lifecycle import LifecycleNode


@pytest.fixture
def topics(ros_domain):
    """Return a function that resolves the topics of a camera in a node with remappings."""
    del ros_domain

    def resolve(camera, *remaps, namespace='/arm'):
        context = rclpy.Context()
        rclpy.init(args=[], context=context)
        arguments = ['--ros-args', *(word for remap in remaps for word in ('-r', remap))]
        node = rclpy.create_node('n', namespace=namespace, context=context, cli_args=arguments)
        found = geometry_topics(node, lambda name: f'{camera}/{name}' if camera else name)
        node.destroy_node()
        rclpy.shutdown(context=context)
        return found['camera_info'], found['depth']

    return resolve


@pytest.mark.parametrize(
    ('camera', 'remaps', 'expected'),
    [
        ('', (), ('/arm/camera_info', '/arm/depth')),
        ('left', (), ('/arm/left/camera_info', '/arm/left/depth')),
        ('', ('image:=/cam/image_raw',), ('/cam/camera_info', '/arm/depth')),
        ('', ('image:=/picture',), ('/camera_info', '/arm/depth')),
        (
            'left',
            ('left/image:=/stereo/l/image', 'left/depth:=/stereo/l/depth'),
            ('/stereo/l/camera_info', '/stereo/l/depth'),
        ),
        (
            '',
            ('image:=/cam/image_raw', 'camera_info:=/calibration'),
            ('/calibration', '/arm/depth'),
        ),
    ],
)
def test_camera_info_is_a_sibling_of_the_image_unless_remapped(topics, camera, remaps, expected):
    assert topics(camera, *remaps) == expected


def test_overrides_of_one_camera_do_not_affect_another(ros_domain):
    del ros_domain
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    overridden = 'qos_overrides./left/{}.subscription.reliability:=reliable'
    arguments = ['--ros-args']
    for topic in ('camera_info', 'depth'):
        arguments += ['-p', overridden.format(topic)]
    node = LifecycleNode('n', context=context, cli_args=arguments)
    geometry = SimpleNamespace(
        settings=SimpleNamespace(depth=True),
        put_depth=print,
        camera_info=SimpleNamespace(put=print),
    )
    for camera, expected in (('left', 'RELIABLE'), ('right', 'BEST_EFFORT')):
        topics = {name: f'/{camera}/{name}' for name in ('camera_info', 'depth')}
        made = GeometryInput(node, topics, geometry)
        reliabilities = {
            s.topic_name: s.qos_profile.reliability.name
            for s in node.subscriptions
            if s.topic_name in topics.values()
        }
        assert reliabilities == dict.fromkeys(topics.values(), expected)
        made.close()
    node.destroy_node()
    rclpy.shutdown(context=context)
