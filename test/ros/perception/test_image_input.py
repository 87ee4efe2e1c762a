"""Why images cannot arrive, without a middleware."""

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from keypoint_perception.ros.perception.image_input import (
    ImageInput,
    qos_errors,
    TYPE_NAMES,
)
from keypoint_perception.ros.perception.node_statistics import NodeStatistics
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy


def publisher(**qos):
    return SimpleNamespace(
        topic_type=TYPE_NAMES['raw'], qos_profile=QoSProfile(**({'depth': 1} | qos))
    )


class Node:
    """A node in the namespace /cam whose user has overridden policies, beside publishers."""

    def __init__(self, publishers, overrides):
        self._publishers, self._overrides = publishers, overrides

    def resolve_topic_name(self, name):
        return f'/cam/{name}'

    def create_subscription(self, kind, topic, callback, qos, **options):
        for policy, value in self._overrides.items():  # as rclpy does
            setattr(qos, policy, value)

    def get_publishers_info_by_topic(self, topic):
        return self._publishers[topic] if isinstance(self._publishers, dict) else self._publishers

    def get_topic_names_and_types(self):
        return [(topic, []) for topic in self._publishers]

    def get_name(self):
        return 'perception_node'

    def get_namespace(self):
        return '/'


@pytest.fixture
def blocking_reason(ros_domain):
    """Return a function: why no image arrives from publishers, given the user's overrides."""
    del ros_domain

    def reason(publishers, **overrides):
        node = Node(publishers, overrides)
        return ImageInput(node, 'image', 'raw', print, NodeStatistics()).blocking_reason()

    return reason


@pytest.mark.parametrize(
    ('asked', 'reason'),
    [
        (
            {'reliability': ReliabilityPolicy.RELIABLE},
            'best effort publisher and reliable subscription',
        ),
        (
            {'durability': DurabilityPolicy.TRANSIENT_LOCAL},
            'volatile publisher and transient local subscription',
        ),
        ({'deadline': Duration(seconds=1)}, 'subscription has a deadline, but publisher does not'),
    ],
    ids=['reliability', 'durability', 'deadline'],
)
def test_the_incompatible_policy_is_reported(blocking_reason, asked, reason):
    poor = publisher(reliability=ReliabilityPolicy.BEST_EFFORT)
    found = blocking_reason([poor], **asked)
    assert found.startswith(f'QoS incompatible on /cam/image: {reason}')
    assert found.endswith('; change qos_overrides./cam/image.subscription, or the publisher.')


def test_one_compatible_publisher_is_enough(blocking_reason):
    poor = publisher(reliability=ReliabilityPolicy.BEST_EFFORT)
    asked = {'reliability': ReliabilityPolicy.RELIABLE}
    assert blocking_reason([poor, publisher()], **asked) == ''


def test_errors_are_reported_without_warnings():
    reason = (
        'WARNING: Publisher liveliness is unknown;ERROR: Best effort publisher and x;ERROR: B;'
    )
    assert qos_errors(reason) == 'best effort publisher and x, b'
    assert qos_errors('') == 'the publisher does not offer what this node requests'


RAW, JPEG = TYPE_NAMES['raw'], TYPE_NAMES['compressed']


@pytest.mark.parametrize(
    ('transport', 'base', 'published', 'advice'),
    [
        ('raw', 'image', {}, 'no image topic is published at all; start the camera'),
        ('raw', 'image', {'/a': RAW, '/b/compressed': JPEG}, 'topics: /a; remap with `-r image:'),
        ('raw', 'image', {'/cam/image/compressed': JPEG}, 'has one: set image_transport:=compr'),
        (
            'raw',
            'a/compressed',
            {'/cam/a': RAW, '/cam/a/compressed': JPEG},
            'own topic: set image_transport:=compressed and a/compressed:=/cam/a.',
        ),
        (
            'compressed',
            'a/compressed',
            {'/cam/a/compressed': JPEG},
            "/cam/a/compressed is the transport's own topic: remap a/compressed:=/cam/a.",
        ),
        ('compressed', 'image', {'/a/compressed': JPEG}, 'topics: /a; remap with `-r image:=TOP'),
        ('compressed', 'image', {'/cam/image': RAW}, '/cam/image has one: set image_transport:=r'),
        ('compressed', 'image', {'/a': RAW}, '/a; set image_transport:=raw and remap with `-r im'),
        ('compressed', 'image', {'/a': JPEG}, '/a; remap with `-r /cam/image/compressed:=TOPIC`'),
        ('raw', 'image', {'/a': JPEG}, 'compressed and remap with `-r /cam/image/compressed:=TOP'),
    ],
)
def test_the_advice_leads_to_the_images(ros_domain, transport, base, published, advice):
    del ros_domain
    elsewhere = {'node_name': 'camera', 'node_namespace': '/'}
    own = {'node_name': 'perception_node', 'node_namespace': '/', 'topic_type': RAW}
    graph = {
        topic: [SimpleNamespace(topic_type=kind, qos_profile=QoSProfile(depth=1), **elsewhere)]
        for topic, kind in published.items()
    } | {'/perception_node/overlay': [SimpleNamespace(**own)]}
    graph.setdefault(f'/cam/{base}' + ('/compressed' if transport == 'compressed' else ''), [])
    images = ImageInput(Node(graph, {}), base, transport, print, NodeStatistics())
    assert advice in images.blocking_reason()
