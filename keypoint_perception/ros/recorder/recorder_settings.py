"""What can be asked of the recorder, and what each setting may be."""

from __future__ import annotations

from dataclasses import dataclass, fields

from keypoint_perception.errors import ConfigError

COMPRESSIONS = ('none', 'zstd')
BYTES_PER_MB = 1_000_000


@dataclass(frozen=True)
class RecorderSettings:
    """
    How to record; the defaults keep everything as it is received.

    What each means is in :data:`DESCRIPTIONS`.

    :raises ConfigError: if a value is out of range
    """

    rate: float = 0.0
    only_motion: bool = False
    motion_threshold: float = 8.0
    motion_context: float = 0.5
    compression: str = 'none'
    jpeg: int = 0
    split_size: float = 0.0
    split_duration: float = 0.0
    disk_floor: float = 500.0
    duration: float = 0.0
    max_messages: int = 0
    queue: float = 256.0

    def __post_init__(self) -> None:
        """Check the values."""
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                msg = f'{name}: must be a number from {low} to {high}, got {value}.'
                raise ConfigError(msg)
        if self.compression not in COMPRESSIONS:
            expected = ', '.join(COMPRESSIONS)
            msg = f'compression: must be one of {expected}, got {self.compression!r}.'
            raise ConfigError(msg)


RANGES = {
    'rate': (0, 10_000),
    'motion_threshold': (0, 255),
    'motion_context': (0, 60),
    'jpeg': (0, 100),
    'split_size': (0, 1e9),
    'split_duration': (0, 1e9),
    'disk_floor': (0, 1e9),
    'duration': (0, 1e9),
    'max_messages': (0, 2**62),
    'queue': (1, 1e6),
}
# For the parameters of the node and the options of the verb.
DESCRIPTIONS = {
    'rate': 'Images a second and topic at most; 0: all. Other messages are all kept.',
    'only_motion': 'Keep images only while something moves in one of them.',
    'motion_threshold': 'Grey levels (of 255) by which a place of the picture, a 64th of its '
    'width, has to change.',
    'motion_context': 'Seconds that are kept before and after motion.',
    'compression': 'Of the chunks of the bag: none costs no time; zstd loses nothing, and needs '
    'some of the processor.',
    'jpeg': 'Quality 1 to 100 with which raw 8-bit images become JPEG on TOPIC/compressed: about '
    'a tenth of the size, not exact; 0: as received.',
    'split_size': 'MB after which the bag goes on in another file; 0: never.',
    'split_duration': 'Seconds after which the bag goes on in another file; 0: never.',
    'disk_floor': 'MB of the disk that stay free: recording ends before.',
    'duration': 'Seconds after the first message at which recording ends; 0: never.',
    'max_messages': 'Messages at which recording ends; 0: never.',
    'queue': 'MB of messages that may wait for the disk; more are dropped and counted.',
}
SETTING_NAMES = tuple(setting.name for setting in fields(RecorderSettings))
