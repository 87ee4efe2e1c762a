"""Settings as ROS parameters: values, descriptors, and overrides that ROS cannot use."""

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.parameter import (
    check_qos_overrides,
    CHOICES,
    to_descriptor,
    to_ros,
)
from keypoint_perception.settings import Setting
import pytest

NAME = 'qos_overrides./cam/image.subscription'


def test_ros_has_no_empty_list():
    assert to_ros(()) == ['']
    assert to_ros(('left', 'right')) == ['left', 'right']
    assert to_ros(3) == 3


def test_descriptors_hold_ranges_of_their_type():
    pytest.importorskip('rcl_interfaces', reason='the messages of ROS are not installed')
    whole = to_descriptor(Setting('threads', int, help='Threads.', low=0, high=256))
    assert whole.description == 'Threads.'
    assert [(r.from_value, r.to_value) for r in whole.integer_range] == [(0, 256)]
    number = to_descriptor(Setting('budget', float, low=0, high=1000))
    assert [(r.from_value, r.to_value) for r in number.floating_point_range] == [(0.0, 1000.0)]
    choice = to_descriptor(Setting('engine', str, choices=('auto', 'torch')))
    assert choice.additional_constraints == 'one of auto, torch'
    assert not (whole.dynamic_typing or number.dynamic_typing or choice.dynamic_typing)


def test_a_dynamic_type_is_checked_by_the_node():
    pytest.importorskip('rcl_interfaces', reason='the messages of ROS are not installed')
    loose = to_descriptor(Setting('rate', float, low=0, high=5), dynamic_typing=True)
    assert loose.dynamic_typing
    assert loose.additional_constraints == 'a number from 0 to 5'
    assert not loose.floating_point_range


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
    kinds = {
        'reliability': qos.ReliabilityPolicy,
        'durability': qos.DurabilityPolicy,
        'history': qos.HistoryPolicy,
    }
    assert set(CHOICES) == set(kinds)
    for policy, kind in kinds.items():
        assert set(CHOICES[policy]) == set(kind.short_keys()) - {'unknown'}
