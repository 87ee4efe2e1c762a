"""Why images cannot arrive, without a middleware."""

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from keypoint_perception.ros.perception.image_input import (
    ImageInput,
    newest_image,
    qos_errors,
    TYPE_NAMES,
)
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy


def publisher(**qos):
    return SimpleNamespace(
        topic_type=TYPE_NAMES['raw'], qos_profile=QoSProfile(**({'depth': 1} | qos))
    )


@pytest.fixture
def image_input(ros_domain):
    """Return a function that builds an input beside publishers, asking for a QoS."""
    del ros_domain

    def build(publishers, **asked) -> ImageInput:
        built = ImageInput.__new__(ImageInput)
        built._node = SimpleNamespace(get_publishers_info_by_topic=lambda topic: publishers)
        built._base, built._transport = 'image', 'raw'
        built.topic, built._qos = '/cam/image', newest_image()
        for policy, value in asked.items():
            setattr(built._qos, policy, value)
        return built

    return build


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
def test_obstacle_names_the_policy_that_does_not_fit(image_input, asked, reason):
    poor = publisher(reliability=ReliabilityPolicy.BEST_EFFORT)
    said = image_input([poor], **asked).blocking_reason()
    assert said.startswith(f'QoS incompatible on /cam/image: {reason}')
    assert said.endswith('; change qos_overrides./cam/image.subscription, or the publisher.')


def test_one_publisher_that_fits_is_enough(image_input):
    poor = publisher(reliability=ReliabilityPolicy.BEST_EFFORT)
    asked = {'reliability': ReliabilityPolicy.RELIABLE}
    assert image_input([poor, publisher()], **asked).blocking_reason() == ''


def test_errors_are_told_without_the_warnings_beside_them():
    reason = (
        'WARNING: Publisher liveliness is unknown;ERROR: Best effort publisher and x;ERROR: B;'
    )
    assert qos_errors(reason) == 'best effort publisher and x, b'
    assert qos_errors('') == 'the publisher does not offer what this node requests'
