"""One image of a recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Frame(NamedTuple):
    """
    One image, decoded.

    :param stamp_ns: time of capture (the header's stamp; where it is zero, the bag's), ns
    :param topic: topic of the image; empty for sources without topics
    :param source: name of the recording, as the user gave it
    :param image: RGB, (H, W, 3) uint8
    """

    stamp_ns: int
    topic: str
    source: str
    image: np.ndarray


class EncodedFrame(NamedTuple):
    """
    One image, as it lies in the recording.

    :param decode: returns RGB, (H, W, 3) uint8; raises EncodingError if the image is broken
    """

    stamp_ns: int
    topic: str
    decode: Callable[[], np.ndarray]
