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
    """A node whose user has overridden policies, beside publishers."""

    def __init__(self, publishers, overrides):
        self._publishers, self._overrides = publishers, overrides

    def resolve_topic_name(self, name):
        return f'/cam/{name}'

    def create_subscription(self, kind, topic, callback, qos, **options):
        for policy, value in self._overrides.items():  # as rclpy does
            setattr(qos, policy, value)

    def get_publishers_info_by_topic(self, topic):
        return self._publishers


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
