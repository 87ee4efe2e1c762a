"""
The parameters of ``perception_node``.

``python -m keypoint_perception.ros.perception.node_parameters`` prints the table of docs/node.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keypoint_perception.geometry.geometry_settings import GeometrySettings
from keypoint_perception.ros.perception.engine_loading import EngineSpec
from keypoint_perception.settings import setting, Settings, settings_of, table

TRANSPORTS = ('raw', 'compressed')


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
        choices=TRANSPORTS,
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


if __name__ == '__main__':
    print(table(NodeParameters, live=True))
