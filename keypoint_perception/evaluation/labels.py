"""Labels brought to the frames they belong to, and refused where they cannot be meant."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from keypoint_perception.errors import SourceError
import numpy as np

logger = logging.getLogger('keypoint_perception')


class Labels(Protocol):
    """What is used of an annotation file."""

    names: tuple[str, ...]
    stamps_ns: np.ndarray  # (M,) int64, increasing
    uv: np.ndarray  # (M, L, 2) px, NaN where not labelled


def match_labels(
    labels: Labels, stamps_ns: np.ndarray, image_hw: np.ndarray, *, path: Path | str
) -> np.ndarray:
    """
    Return the labels of every frame, (N, L, 2) px, NaN where there is none.

    A label belongs to the frame with the same stamp, to the nanosecond. Labelled stamps without a
    frame are left out with a warning, unless there is no other. Where two frames have one stamp
    the labels go to the first.

    :param stamps_ns: stamps of the frames, (N,) ns
    :param image_hw: heights and widths of the frames, (N, 2) px
    :param path: the annotation file, for messages
    :raises SourceError: if no stamp matches, fewer than two frames are labelled, or a label lies
        outside its image
    """
    matched = np.full((len(stamps_ns), len(labels.names), 2), np.nan)
    frame_of = {int(stamp): i for i, stamp in reversed(list(enumerate(stamps_ns)))}
    frames = np.array([frame_of.get(int(stamp), -1) for stamp in labels.stamps_ns], np.int64)
    found = frames >= 0
    _check_found(found, labels.stamps_ns, stamps_ns, path)
    matched[frames[found]] = labels.uv[found]
    labelled = np.isfinite(matched).all(axis=-1)  # (N, L)
    count = int(labelled.any(axis=1).sum())
    if count < 2:
        msg = (
            f'Annotations {str(path)!r} label {count} frame{"s" * (count != 1)} of the recording; '
            'expected at least 2, because the regression is fitted on the first 70 % of them and '
            'scored on the rest: label more frames.'
        )
        raise SourceError(msg)
    _check_inside(matched, stamps_ns, image_hw, labels.names, path)
    return matched


def _check_found(found: np.ndarray, wanted_ns, frames_ns, path) -> None:
    if found.all() and found.size:
        return
    if not found.size or not len(frames_ns):
        msg = f'Annotations {str(path)!r} label no frame; expected one row a label.'
        raise SourceError(msg)
    lost = int((~found).sum())
    stamp = int(np.asarray(wanted_ns)[~found][0])
    nearest_ns = int(np.abs(np.asarray(frames_ns, np.int64) - stamp).min())
    if not found.any():
        msg = (
            f'Annotations {str(path)!r} match no frame: stamps must be equal to the nanosecond, '
            f'and the image nearest to stamp_ns {stamp} is {nearest_ns} ns away; write the stamps '
            "of the images' headers."
        )
        raise SourceError(msg)
    logger.warning(
        'Annotations %r: %d of %d labelled stamps match no frame and are left out; the first is '
        'stamp_ns %d, %d ns from the nearest image.',
        str(path),
        lost,
        found.size,
        stamp,
        nearest_ns,
    )


def _check_inside(matched, stamps_ns, image_hw, names, path) -> None:
    limit = np.asarray(image_hw)[:, None, ::-1] - 0.5  # (N, 1, 2) along u, v
    outside = ((matched < -0.5) | (matched > limit)).any(axis=-1)  # False for NaN
    if not outside.any():
        return
    frame, point = np.argwhere(outside)[0]
    u, v = matched[frame, point]
    height, width = image_hw[frame]
    msg = (
        f'Annotations {str(path)!r} have {int(outside.sum())} labels outside the image; the first '
        f'is {names[point]!r} at ({u:g}, {v:g}) in the {width}x{height} image of stamp_ns '
        f'{int(stamps_ns[frame])}: give pixels of the image as recorded, and leave out what is '
        'not in view.'
    )
    raise SourceError(msg)
