"""The settings of a recording, and the parameters of ``recorder_node``, which include them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from keypoint_perception.settings import from_parameters, setting, Settings

COMPRESSIONS = ('none', 'zstd')
BYTES_PER_MB = 1_000_000
# Of these, the first and the last are latched (transient local).
ROBOT_TOPICS = ('/robot_description', '/joint_states', '/tf', '/tf_static')


@dataclass(frozen=True)
class RecorderSettings(Settings):
    """Settings of a recording; the defaults record everything as it is received."""

    robot: bool = setting(
        False,
        help='Record what places the robot too: '
        + ', '.join(f'`{topic}`' for topic in ROBOT_TOPICS)
        + '.',
    )
    rate: float = setting(
        0.0,
        low=0,
        high=10_000,
        help='Maximum images per second and topic; 0: all. Other messages are always recorded.',
    )
    only_motion: bool = setting(
        False, help='Record images only while something moves in one of them.'
    )
    motion_threshold: float = setting(
        8.0,
        low=0,
        high=255,
        help='Change that counts as motion, in grey levels (of 255) of a block 1/64 of the image '
        'wide.',
    )
    motion_context: float = setting(
        0.5, low=0, high=60, help='Seconds recorded before and after motion.'
    )
    compression: str = setting(
        'none',
        choices=COMPRESSIONS,
        help='Compression of the bag: none costs no time; zstd is lossless and costs CPU time.',
    )
    jpeg: int = setting(
        0,
        low=0,
        high=100,
        help='Quality (1 to 100) for encoding raw 8-bit images as JPEG, on TOPIC/compressed: '
        'lossy, about a tenth of the size; 0: as received.',
    )
    split_size: float = setting(
        0.0, low=0, high=1e9, help='Size of a file, MB, at which a new one is started; 0: never.'
    )
    split_duration: float = setting(
        0.0, low=0, high=1e9, help='Seconds after which a new file is started; 0: never.'
    )
    disk_floor: float = setting(
        500.0, low=0, high=1e9, help='Free disk space, MB, below which recording stops.'
    )
    duration: float = setting(
        0.0,
        low=0,
        high=1e9,
        help='Seconds after the first message at which recording stops; 0: never.',
    )
    max_messages: int = setting(
        0, low=0, high=2**62, help='Messages after which recording stops; 0: never.'
    )
    queue: float = setting(
        256.0,
        low=1,
        high=1e6,
        help='Messages buffered for the disk, MB; beyond that, messages are dropped and counted.',
    )


@dataclass(frozen=True)
class RecorderParameters(Settings):
    """The parameters of ``recorder_node``."""

    topics: tuple[str, ...] = setting(
        (), help='Topics to record, each from the moment it is first published.'
    )
    out: str = setting(
        '', help='Bag to write; empty: a new one in `directory`, named after the time.'
    )
    directory: str = setting('.', help='Directory for bags that are named after the time.')
    autostart: bool = setting(
        True, help='Record from the start; false: wait for `~/start_recording`.'
    )
    exit_at_end: bool = setting(False, help='Exit when a recording stops by itself.')
    recording: RecorderSettings = field(default_factory=RecorderSettings)


def recorder_parameters(values: Mapping[str, object]) -> RecorderParameters:
    """
    Return the parameters of ``recorder_node``; those not given are at their defaults.

    :raises ConfigError: if a value is not accepted
    """
    # a directory may be called 7
    paths = ('out', 'directory')
    texts = {n: str(v) for n, v in values.items() if n in paths and type(v) in (int, float)}
    return from_parameters(RecorderParameters, {**values, **texts})
