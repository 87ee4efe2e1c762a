"""The node's parameters in ROS: declared once they are checked, and read again."""

from __future__ import annotations

from collections.abc import Iterable
import difflib
from typing import TYPE_CHECKING

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.parameter import to_descriptor, to_ros
from keypoint_perception.ros.perception.node_parameters import NodeParameters, PARAMETERS
from keypoint_perception.ros.qos_overrides import check_qos_overrides, QOS_PREFIX
from keypoint_perception.settings import from_parameters

if TYPE_CHECKING:
    from rclpy.node import Node

ROS_OWN = ('use_sim_time', 'start_type_description_service')


def check_names(given: Iterable[str]) -> list[str]:
    """
    Return the names that the node does not know; files for several nodes may hold such.

    :raises ConfigError: if one looks like a misspelt parameter
    """
    unknown = sorted(set(given) - set(PARAMETERS))
    for name in unknown:
        similar = difflib.get_close_matches(name, PARAMETERS, n=1, cutoff=0.75)
        if similar:
            msg = (
                f'Parameter {name!r} is not known; did you mean {similar[0]!r}? Known: '
                f'{", ".join(PARAMETERS)}.'
            )
            raise ConfigError(msg)
    return unknown


def declare_parameters(node: Node) -> frozenset[str]:
    """
    Check the values that the node was given, and declare its parameters.

    The node must have been created with ``automatically_declare_parameters_from_overrides``, the
    only way to find out about names that nobody declares.

    :return: names of the QoS overrides among them
    :raises ConfigError: if a value is not accepted or a name looks misspelt
    """
    names = node.get_parameters_by_prefix('')
    given = {name: node.get_parameter(name).value for name in names}
    overrides = {name: v for name, v in given.items() if name.startswith(QOS_PREFIX)}
    check_qos_overrides(overrides)
    own = {n: v for n, v in given.items() if n not in ROS_OWN and n not in overrides}
    for name in check_names(own):
        known = ', '.join(PARAMETERS)
        node.get_logger().warning(f'Parameter {name!r} is unknown and ignored; known: {known}.')
    from_parameters(NodeParameters, own)
    for name in given:
        if name in PARAMETERS or name in overrides:
            node.undeclare_parameter(name)  # rclpy declares QoS overrides again by itself
    for name, setting in PARAMETERS.items():
        value = setting.check(own.get(name, setting.default))
        node.declare_parameter(name, to_ros(value), to_descriptor(setting), ignore_override=True)
    return frozenset(overrides)


def current_values(node: Node) -> dict[str, object]:
    """Return the current values of the node's parameters by name."""
    return {name: node.get_parameter(name).value for name in PARAMETERS}
