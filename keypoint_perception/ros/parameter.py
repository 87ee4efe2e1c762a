"""Settings as ROS parameters, and overrides of a subscription's quality of service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from keypoint_perception.errors import ConfigError
from keypoint_perception.settings import Setting, Value

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor

QOS_PREFIX = 'qos_overrides.'
CHOICES = {
    'reliability': ('best_effort', 'reliable', 'best_available', 'system_default'),
    'durability': ('volatile', 'transient_local', 'best_available', 'system_default'),
    'history': ('keep_last', 'keep_all', 'system_default'),
}
POLICIES = (*CHOICES, 'depth')


def to_ros(value: Value) -> bool | int | float | str | list[str]:
    """Return a value as ROS stores it; an empty list would be one of bytes."""
    return (list(value) or ['']) if isinstance(value, tuple) else value


def to_descriptor(setting: Setting, *, dynamic_typing: bool = False) -> ParameterDescriptor:
    """
    Return the description of a parameter.

    :param dynamic_typing: leave the check of types and ranges to the node, which accepts integers
        for floats and rejects values with a sentence
    """
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    descriptor = ParameterDescriptor(description=setting.help, dynamic_typing=dynamic_typing)
    low, high = setting.low, setting.high
    if setting.choices or dynamic_typing:
        descriptor.additional_constraints = setting.expected
    elif low is not None and high is not None:
        if setting.kind is int:
            limits = IntegerRange(from_value=int(low), to_value=int(high))
            descriptor.integer_range = [limits]
        else:
            bounds = FloatingPointRange(from_value=float(low), to_value=float(high))
            descriptor.floating_point_range = [bounds]
    return descriptor


def check_qos_overrides(given: Mapping[str, object]) -> None:
    """
    Check overrides before ROS uses them: invalid ones would end the node without a message.

    :param given: values by name, as ``qos_overrides./image.subscription.reliability``
    :raises ConfigError: if a policy is unknown or a value is not accepted
    """
    for name, value in given.items():
        policy = name.rpartition('.')[2]
        if policy == 'depth':
            Setting(name, int, low=0).check(value)
        elif policy in CHOICES:
            Setting(name, str, choices=CHOICES[policy]).check(value)
        else:
            msg = f'{name}: must end in one of {", ".join(POLICIES)}, found {policy!r}.'
            raise ConfigError(msg)
