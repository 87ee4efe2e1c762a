"""Settings as ROS parameters: values and descriptors."""

import pytest

pytest.importorskip('rcl_interfaces', reason='the messages of ROS are not installed')

from keypoint_perception.ros.parameter import to_descriptor, to_ros
from keypoint_perception.settings import Setting


def test_ros_has_no_empty_list():
    assert to_ros(()) == ['']
    assert to_ros(('left', 'right')) == ['left', 'right']
    assert to_ros(3) == 3


def test_descriptors_hold_ranges_of_their_type():
    whole = to_descriptor(Setting('threads', int, help='Threads.', low=0, high=256))
    assert whole.description == 'Threads.'
    assert [(r.from_value, r.to_value) for r in whole.integer_range] == [(0, 256)]
    number = to_descriptor(Setting('budget', float, low=0, high=1000))
    assert [(r.from_value, r.to_value) for r in number.floating_point_range] == [(0.0, 1000.0)]
    choice = to_descriptor(Setting('engine', str, choices=('auto', 'torch')))
    assert choice.additional_constraints == 'one of auto, torch'
    assert not (whole.dynamic_typing or number.dynamic_typing or choice.dynamic_typing)


def test_a_dynamic_type_is_checked_by_the_node():
    loose = to_descriptor(Setting('rate', float, low=0, high=5), dynamic_typing=True)
    assert loose.dynamic_typing
    assert loose.additional_constraints == 'a number from 0 to 5'
    assert not loose.floating_point_range
