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

    :param rate: images a second and topic at most; 0: all. Other messages are kept
    :param only_motion: keep images only while something moves in one of them
    :param motion_threshold: grey levels (of 255) by which a place of the picture, about a 64th
        of its width, has to change
    :param motion_context: seconds that are kept before and after motion
    :param compression: of the bag's chunks: ``none`` costs no time, ``zstd`` loses nothing and
        needs some of the processor
    :param jpeg: quality (1 to 100) with which raw 8-bit images are turned into CompressedImage on
        ``TOPIC/compressed``: a tenth of the size, not exact; 0: as received
    :param split_size: MB after which the bag goes on in another file; 0: never
    :param split_duration: seconds after which it does; 0: never
    :param disk_floor: MB of the disk that stay free: recording ends before
    :param duration: seconds after the first message at which recording ends; 0: never
    :param max_messages: number of messages at which it ends; 0: never
    :param queue: MB of messages that may wait for the disk; more are dropped and counted
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
SETTING_NAMES = tuple(setting.name for setting in fields(RecorderSettings))
