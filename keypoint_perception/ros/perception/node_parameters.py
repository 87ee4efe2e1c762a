"""
The node's parameters, once: declared, checked, and printed for the documents.

``python -m keypoint_perception.ros.perception.node_parameters`` prints the table.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from keypoint_perception.geometry.point_filter import FILTERS
from keypoint_perception.inference.engine import ENGINE_NAMES
from keypoint_perception.inference.onnx_providers import PROVIDER_NAMES
from keypoint_perception.model_directory import PRECISIONS
from keypoint_perception.ros.parameter import KIND_NAMES, Parameter

TRANSPORTS = ('raw', 'compressed')


@dataclass(frozen=True)
class NodeParameters:
    """What the node was started with, checked; see :data:`PARAMETERS`."""

    model: str
    cameras: tuple[str, ...]
    engine: str
    threads: int
    precision: str
    provider: str
    image_transport: str
    autostart: bool
    lazy: bool
    batch_budget: float
    overlay_threshold: float
    silence_timeout: float
    engine_timeout: float
    record_directory: str
    depth: bool
    depth_tolerance: float
    depth_wait: float
    depth_radius: int
    rectified: bool
    undistort: bool
    filter: str
    filter_min_cutoff: float
    filter_beta: float
    filter_derivative_cutoff: float
    filter_noise: float
    filter_acceleration: float
    filter_confidence: float
    filter_gap: float


PARAMETERS = (
    Parameter('model', '', 'Model directory, as `train --out` wrote it. Required.'),
    Parameter(
        'cameras',
        (),
        'Names of several cameras: `[left, right]` listens to `left/image` and `right/image` and '
        'publishes `~/left/keypoints` and `~/right/keypoints`.',
        live=False,
    ),
    Parameter(
        'engine',
        'auto',
        'Library that runs the network; `auto` logs what it chose and why.',
        choices=ENGINE_NAMES,
    ),
    Parameter(
        'threads',
        0,
        'CPU threads of one inference; 0 leaves it to the library.',
        low=0,
        high=256,
    ),
    Parameter(
        'precision',
        'fp32',
        'Network to run; the others are made by `export --precision`.',
        choices=PRECISIONS,
    ),
    Parameter(
        'provider',
        'auto',
        'Where ONNX Runtime computes; `auto` takes CUDA, else the CPU, and logs which and why.',
        choices=PROVIDER_NAMES,
    ),
    Parameter(
        'image_transport',
        'raw',
        'Subscribe to `image` (raw) or to `image/compressed`.',
        live=False,
        choices=TRANSPORTS,
    ),
    Parameter(
        'autostart',
        True,
        'Configure and activate at once; otherwise wait for a lifecycle manager.',
        live=False,
    ),
    Parameter(
        'lazy',
        True,
        'Listen to a camera only while somebody listens to its keypoints or overlay; `false` '
        'keeps everything warm.',
    ),
    Parameter(
        'batch_budget',
        5.0,
        'Milliseconds that an image may wait for those of the other cameras that are due, to go '
        'through the engine together; 0: never.',
        low=0.0,
        high=1000.0,
    ),
    Parameter(
        'overlay_threshold',
        0.5,
        'Keypoints below this confidence are drawn as rings instead of discs.',
        low=0.0,
        high=1.0,
    ),
    Parameter(
        'silence_timeout',
        5.0,
        'Seconds without a published message after which the log says why.',
        low=0.1,
        high=3600.0,
    ),
    Parameter(
        'engine_timeout',
        10.0,
        'Seconds of one engine call after which the engine is given up and loaded again; 0: '
        'never.',
        low=0.0,
        high=3600.0,
    ),
    Parameter(
        'record_directory',
        '.',
        'Where `~/start_recording` makes a bag that is named after the time.',
    ),
    Parameter(
        'depth',
        False,
        'Publish x, y, z: subscribes to `depth` and `camera_info`, and offers `~/markers`.',
        live=False,
    ),
    Parameter(
        'depth_tolerance',
        0.05,
        'Seconds that the stamps of an image and its depth image may be apart.',
        low=0.0,
        high=10.0,
    ),
    Parameter(
        'depth_wait',
        0.0,
        'Milliseconds that an image may wait for a depth image not older than itself; 0: never, '
        'and the nearest that is there is taken.',
        low=0.0,
        high=1000.0,
    ),
    Parameter(
        'depth_radius',
        2,
        'Pixels of the depth image to each side of a keypoint that its depth is read from.',
        low=0,
        high=15,
    ),
    Parameter(
        'rectified',
        False,
        'The images are rectified already (`image_rect`): P of camera_info describes them.',
        live=False,
    ),
    Parameter(
        'undistort',
        False,
        'Publish u, v in px of the rectified image instead of the image as received; subscribes '
        'to `camera_info`.',
        live=False,
    ),
    Parameter(
        'filter',
        'none',
        'Smooth the points over time, and publish their velocities.',
        choices=FILTERS,
    ),
    Parameter(
        'filter_min_cutoff',
        1.0,
        'one_euro: cutoff frequency of what stands still, Hz; lower is smoother.',
        low=0.001,
        high=1000.0,
    ),
    Parameter(
        'filter_beta',
        0.3,
        'one_euro: growth of the cutoff with the speed, Hz per px/s; higher lags less.',
        low=0.0,
        high=100.0,
    ),
    Parameter(
        'filter_derivative_cutoff',
        2.0,
        'one_euro: cutoff frequency of the velocities, Hz.',
        low=0.001,
        high=1000.0,
    ),
    Parameter(
        'filter_noise',
        1.0,
        'constant_velocity: standard deviation of a measured point, px; higher is smoother.',
        low=0.001,
        high=1000.0,
    ),
    Parameter(
        'filter_acceleration',
        1000.0,
        'constant_velocity: standard deviation of the acceleration, px/s²; higher lags less.',
        low=0.0,
        high=1e6,
    ),
    Parameter(
        'filter_confidence',
        0.5,
        'Points of this confidence and above move the filter in full, others in proportion; 0: '
        'all in full.',
        low=0.0,
        high=1.0,
    ),
    Parameter(
        'filter_gap',
        0.5,
        'Seconds without a measurement after which the filter of a point begins anew.',
        low=0.01,
        high=60.0,
    ),
)
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}


def check_parameters(given: dict[str, object]) -> NodeParameters:
    """
    Return all parameters, those not given at their defaults.

    :raises ConfigError: if a value is not good
    """
    values = {p.name: p.check(given.get(p.name, p.default)) for p in PARAMETERS}
    return NodeParameters(**values)


def table() -> str:
    """Return the table of parameters in docs/node.md."""
    lines = [
        '| parameter | type | default | values | live | |',
        '| --- | --- | --- | --- | --- | --- |',
    ]
    for p in PARAMETERS:
        default = str(p.default).lower() if p.kind is bool else p.default
        shown = f'`{default}`' if default not in ('', ()) else ''
        kind = KIND_NAMES[p.kind]
        live = 'yes' if p.live else 'no'
        cells = (f'`{p.name}`', kind, shown, p.expected, live, p.description)
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    assert {f.name for f in fields(NodeParameters)} == set(BY_NAME)
    print(table())
