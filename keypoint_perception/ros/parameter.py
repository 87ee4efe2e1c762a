"""What one parameter may be, checked with a sentence."""

from __future__ import annotations

from dataclasses import dataclass
import re

from keypoint_perception.errors import ConfigError

KIND_NAMES = {bool: 'bool', int: 'int', float: 'double', str: 'string', tuple: 'string array'}
CAMERA_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
Value = bool | int | float | str | tuple[str, ...]


@dataclass(frozen=True)
class Parameter:
    """
    One parameter.

    :param live: whether a change takes effect at once, while the node works
    :param choices: the values that a string may have; any if empty
    :param low: least number
    :param high: largest number
    """

    name: str
    default: Value
    description: str
    live: bool = True
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def kind(self) -> type:
        """Return the type of the values."""
        return type(self.default)

    @property
    def expected(self) -> str:
        """Return what values are good, in words."""
        if self.choices:
            return f'one of {", ".join(self.choices)}'
        if self.kind in (int, float):
            number = 'a whole number' if self.kind is int else 'a number'
            return f'{number} from {self.low} to {self.high}'
        names = 'different names of letters, digits and _'
        return {bool: 'true or false', str: 'a text', tuple: names}[self.kind]

    def check(self, value: object) -> Value:
        """
        Return the value if it is good; whole numbers are good for doubles.

        A list with one empty name is an empty list: ROS cannot tell the type of the latter.

        :raises ConfigError: if it is not
        """
        if self.kind is float and type(value) is int:
            value = float(value)
        if self.kind is tuple and isinstance(value, list):
            value = () if value == [''] else tuple(value)
        good = type(value) is self.kind
        if good and self.kind is tuple:
            good = len(set(value)) == len(value) and all(map(_is_name, value))
        good = good and (not self.choices or value in self.choices)
        if good and self.kind in (int, float):
            good = self.low <= value <= self.high
        if not good:
            msg = f'Parameter {self.name}: must be {self.expected}, got {value!r}.'
            raise ConfigError(msg)
        return value


def _is_name(value: object) -> bool:
    return isinstance(value, str) and CAMERA_NAME.fullmatch(value) is not None


def to_ros(value: Value) -> bool | int | float | str | list[str]:
    """Return a value as ROS holds it; an empty list would be one of bytes."""
    return (list(value) or ['']) if isinstance(value, tuple) else value


def to_descriptor(parameter: Parameter):
    """Return what ROS tells about a parameter: an ``rcl_interfaces/ParameterDescriptor``."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    descriptor = ParameterDescriptor(description=parameter.description)
    if parameter.choices:
        descriptor.additional_constraints = parameter.expected
    if parameter.kind is int:
        limits = IntegerRange(from_value=parameter.low, to_value=parameter.high)
        descriptor.integer_range = [limits]
    if parameter.kind is float:
        limits = FloatingPointRange(from_value=parameter.low, to_value=parameter.high)
        descriptor.floating_point_range = [limits]
    return descriptor
