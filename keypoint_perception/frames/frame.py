"""Images and topics of a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from keypoint_perception.cdr import IMAGE_TYPES
from keypoint_perception.encodings import EncodedImage
import numpy as np


@dataclass(frozen=True)
class Topic:
    """
    One topic of a recording.

    :param msgtype: ROS 2 name of its type, as ``'sensor_msgs/msg/Image'``
    :param count: its messages, None if only reading the whole recording would tell
    """

    msgtype: str
    count: int | None

    @property
    def is_image(self) -> bool:
        return self.msgtype in IMAGE_TYPES


def total_count(counts: Iterable[int | None]) -> int | None:
    """Return the sum of numbers of messages, None if one is unknown."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


class EncodedFrame(NamedTuple):
    """
    One image as recorded.

    :param stamp_ns: time of capture, as the header has it or follows from the source, ns
    :param topic: topic of the image; empty for sources without topics
    :param decode: returns the image, or RGB, (H, W, 3) uint8; raises EncodingError if it is broken
    :param bag_ns: when a bag recorded it, ns; None for other sources
    :param size: bytes that are held for it
    """

    stamp_ns: int
    topic: str
    decode: Callable[[], np.ndarray | EncodedImage]
    bag_ns: int | None = None
    size: int = 0


class Frame(NamedTuple):
    """A decoded image, RGB (H, W, 3) uint8; ``source`` is the recording as the user gave it."""

    stamp_ns: int
    topic: str
    source: str
    image: np.ndarray
