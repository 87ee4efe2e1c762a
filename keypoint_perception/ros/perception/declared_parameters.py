"""The node's parameters in ROS: declared after a check of what was given, and read again."""

from __future__ import annotations

import difflib

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.parameter import to_descriptor, to_ros
from keypoint_perception.ros.perception.node_parameters import (
    BY_NAME,
    check_parameters,
    NodeParameters,
    PARAMETERS,
)
from keypoint_perception.ros.qos_overrides import check_qos_overrides, QOS_PREFIX

ROS_OWN = ('use_sim_time', 'start_type_description_service')


def check_names(given: list[str]) -> list[str]:
    """
    Return the names that mean nothing to the node: files for several nodes may hold such.

    :raises ConfigError: if one looks like a misspelt parameter
    """
    unknown = sorted(set(given) - set(BY_NAME))
    for name in unknown:
        meant = difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.75)
        if meant:
            msg = (
                f'Parameter {name!r} is not known, {meant[0]!r} is meant perhaps; known: '
                f'{", ".join(BY_NAME)}.'
            )
            raise ConfigError(msg)
    return unknown


def declare_parameters(node) -> frozenset[str]:
    """
    Check what the node was given, and declare it with descriptions and ranges.

    The node must have been made with ``automatically_declare_parameters_from_overrides``, by
    which alone it can be asked for names that nobody declares.

    :return: names of the QoS overrides that it was given
    :raises ConfigError: if a value is not good or a name looks misspelt
    """
    given = {n: p.value for n, p in node.get_parameters_by_prefix('').items()}
    overrides = {n: v for n, v in given.items() if n.startswith(QOS_PREFIX)}
    check_qos_overrides(overrides)
    own = {n: v for n, v in given.items() if n not in ROS_OWN and n not in overrides}
    for name in check_names(list(own)):
        known = ', '.join(BY_NAME)
        node.get_logger().warning(f'Parameter {name!r} means nothing here; known: {known}.')
    for name in given:
        if name in BY_NAME or name in overrides:
            node.undeclare_parameter(name)  # rclpy declares the latter again, by itself
    values = check_parameters(own)
    for parameter in PARAMETERS:
        node.declare_parameter(
            parameter.name,
            to_ros(getattr(values, parameter.name)),
            to_descriptor(parameter),
            ignore_override=True,
        )
    return frozenset(overrides)


def read_parameters(node) -> NodeParameters:
    """Return the node's parameters as they are now."""
    return check_parameters({name: node.get_parameter(name).value for name in BY_NAME})
