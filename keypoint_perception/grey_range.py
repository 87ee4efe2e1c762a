"""
Which 16-bit intensities become black and white.

Cameras of 10 to 14 bits and thermal ones use a small part of 16 bits, of which the upper eight
hold next to nothing. Then the intensities that a recording holds are scaled to grey levels, those
of all its frames alike; the frame store and the manifest keep the range for the robot. 16UC1 is
treated likewise where all is farther than the scale of depth reaches, as of thermal cameras.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from itertools import islice
import logging
from typing import Any

from keypoint_perception.encodings import DEPTH_WHITE_MM, EncodedImage
from keypoint_perception.errors import EncodingError, SourceError
import numpy as np

INTENSITIES = 1 << 16
FULL_RANGE = (0, INTENSITIES - 1)  # the upper eight bits
FEWEST_LEVELS = 64  # that the upper eight bits must take
OUTLIERS = 1e-3  # share of pixels, as of dead ones and reflections, at either end
SAMPLED_IMAGES, SAMPLED_SIDE = 200, 400

log = logging.getLogger('keypoint_perception')


def stored_range(sources: Iterable[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Return the range that a frame store or a manifest keeps with its sources, if any."""
    for source in sources:
        match source.get('grey_range'):
            case [int(black), int(white)] if 0 <= black < white < INTENSITIES:
                return black, white
    return None


def measure_range(recordings: Iterable[tuple[Any, Collection[str]]]) -> tuple[int, int]:
    """Return the range of the 16-bit images on some topics of recordings, and report it."""
    counts = np.zeros(INTENSITIES, np.int64)
    log.disabled, before = True, log.disabled  # reading for good reports what is wrong
    try:
        for recording, topics in recordings:
            every = max(1, (recording.count(topics) or 0) // SAMPLED_IMAGES)
            with suppress(SourceError):
                for encoded in islice(recording.frames(topics), 0, None, every):
                    counts += _counts(encoded)
    finally:
        log.disabled = before
    if not counts.any():
        return FULL_RANGE
    shares = counts.cumsum() / max(1, counts.sum())
    black, white = (int(n) for n in np.searchsorted(shares, (OUTLIERS, 1 - OUTLIERS)))
    white = min(max(white, black + 1), INTENSITIES - 1)
    if (white >> 8) - (black >> 8) >= FEWEST_LEVELS or black == white:
        return FULL_RANGE
    text = 'The 16-bit images hold intensities from %d to %d: these are scaled to black and white.'
    log.warning(text, black, white)
    return black, white


def _counts(encoded: Any) -> np.ndarray | int:
    with suppress(EncodingError):
        image = encoded.decode()
        if isinstance(image, EncodedImage) and image.has_16_bits:
            pixels = image.planes[0]
            step = min(pixels.shape[:2]) // SAMPLED_SIDE | 1  # odd: all colours of a mosaic
            counts = np.bincount(pixels[::step, ::step].ravel(), minlength=INTENSITIES)
            near = counts[1:DEPTH_WHITE_MM].sum()
            return 0 if image.is_depth and near > OUTLIERS * counts.sum() else counts
    return 0
