"""Overrides that ROS cannot use are refused with a sentence before it tries."""

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.qos_overrides import check_qos_overrides
import pytest

NAME = 'qos_overrides./cam/image.subscription'


def test_what_ros_can_use_is_good():
    good = {'reliability': 'reliable', 'durability': 'transient_local', 'depth': 5}
    check_qos_overrides({f'{NAME}.{policy}': value for policy, value in good.items()})


@pytest.mark.parametrize(
    ('policy', 'value', 'sentence'),
    [
        ('reliability', 'maybe', 'must be one of best_effort, reliable, .*, got .maybe.'),
        ('history', 1, 'must be one of keep_last, keep_all, system_default, got 1'),
        ('depth', 'x', "must be an integer, 0 or more, got 'x'"),
        ('depth', -1, 'must be an integer, 0 or more, got -1'),
        ('depth', True, 'must be an integer, 0 or more, got True'),
        ('reliabilty', 'reliable', "must end in one of reliability, .*, found 'reliabilty'"),
    ],
)
def test_what_it_cannot_use_is_refused(policy, value, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_qos_overrides({f'{NAME}.{policy}': value})


def test_the_policies_are_what_ros_calls_them():
    qos = pytest.importorskip('rclpy.qos', reason='rclpy is not installed')
    from keypoint_perception.ros.qos_overrides import CHOICES

    kinds = {
        'reliability': qos.ReliabilityPolicy,
        'durability': qos.DurabilityPolicy,
        'history': qos.HistoryPolicy,
    }
    assert set(CHOICES) == set(kinds)
    for policy, kind in kinds.items():
        assert set(CHOICES[policy]) == set(kind.short_keys()) - {'unknown'}
