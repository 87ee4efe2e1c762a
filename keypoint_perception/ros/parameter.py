"""Settings as ROS parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keypoint_perception.settings import Setting, Value

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor


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
