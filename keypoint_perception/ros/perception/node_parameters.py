"""
The parameters of ``perception_node``, and their declaration in ROS once they are checked.

``python -m keypoint_perception.ros.perception.node_parameters`` prints the table of docs/node.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
import difflib
from typing import TYPE_CHECKING

from keypoint_perception.errors import ConfigError
from keypoint_perception.geometry.geometry_settings import GeometrySettings
from keypoint_perception.ros.parameter import (
    check_qos_overrides,
    QOS_PREFIX,
    to_descriptor,
    to_ros,
)
from keypoint_perception.ros.perception.engine_loading import EngineSpec
from keypoint_perception.settings import from_parameters, setting, Settings, settings_of, table

if TYPE_CHECKING:
    from rclpy.node import Node

ROS_OWN = ('use_sim_time', 'start_type_description_service')


@dataclass(frozen=True)
class NodeParameters(Settings):
    """The parameters of ``perception_node``."""

    engine_spec: EngineSpec = field(default_factory=EngineSpec)
    cameras: tuple[str, ...] = setting(
        (),
        names=True,
        live=False,
        help='Names of several cameras: `[left, right]` subscribes to `left/image` and '
        '`right/image` and publishes `~/left/keypoints` and `~/right/keypoints`.',
    )
    image_transport: str = setting(
        'raw',
        choices=('raw', 'compressed'),
        live=False,
        help='Subscribe to `image` (raw) or to `image/compressed`.',
    )
    autostart: bool = setting(
        True,
        live=False,
        help='Configure and activate at startup; otherwise wait for a lifecycle manager.',
    )
    lazy: bool = setting(
        True,
        help='Subscribe to a camera only while its keypoints or overlay have subscribers; `false` '
        'keeps the subscriptions open.',
    )
    batch_budget: float = setting(
        5.0,
        low=0,
        high=1000,
        help='Maximum time that an image waits for imminent images of the other cameras, to share '
        'an inference batch, ms; 0: none.',
    )
    overlay_threshold: float = setting(
        0.5,
        low=0,
        high=1,
        help='Confidence below which keypoints are drawn as rings instead of discs.',
    )
    predict_hidden: bool = setting(
        True,
        help='Predict keypoints that are hidden from the others, with confidence 0; `false` '
        'publishes them where the network puts them.',
    )
    silence_timeout: float = setting(
        5.0,
        low=0.1,
        high=3600,
        help='Seconds without a published message after which the log states the reason.',
    )
    engine_timeout: float = setting(
        10.0,
        low=0,
        high=3600,
        help='Duration of an engine call, s, after which the engine is abandoned and reloaded; 0: '
        'unlimited.',
    )
    record_directory: str = setting(
        '.',
        help='Directory where `~/start_recording` creates a bag that is named after the time.',
    )
    geometry: GeometrySettings = field(default_factory=GeometrySettings)


PARAMETERS = settings_of(NodeParameters)
KNOWN = ', '.join(PARAMETERS)


def check_names(given: Iterable[str]) -> list[str]:
    """
    Return the names that the node does not know; files for several nodes may hold such.

    :raises ConfigError: if one looks like a misspelt parameter
    """
    unknown = sorted(set(given) - set(PARAMETERS))
    for name in unknown:
        for similar in difflib.get_close_matches(name, PARAMETERS, n=1, cutoff=0.75):
            msg = f'Parameter {name!r} is not known; did you mean {similar!r}? Known: {KNOWN}.'
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
        node.get_logger().warning(f'Parameter {name!r} is unknown and ignored; known: {KNOWN}.')
    from_parameters(NodeParameters, own)
    for name in given:
        if name in PARAMETERS or name in overrides:
            node.undeclare_parameter(name)  # rclpy declares QoS overrides again by itself
    for name, known in PARAMETERS.items():
        value = known.check(own.get(name, known.default))
        node.declare_parameter(name, to_ros(value), to_descriptor(known), ignore_override=True)
    return frozenset(overrides)


def current_values(node: Node) -> dict[str, object]:
    return {name: node.get_parameter(name).value for name in PARAMETERS}


if __name__ == '__main__':
    print(table(NodeParameters, live=True))
