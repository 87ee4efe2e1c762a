"""
Keypoints in text files: people's labels, and what a model found.

Annotations have the header ``stamp_ns,keypoint,u,v``: one row a label, in pixels of the image in
the recording; a missing row or empty ``u,v`` means not labelled. Keypoints have the header
``stamp_ns,topic,keypoint,u,v,confidence``: one row a keypoint a frame; empty ``u,v`` means NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import csv
import logging
import math
from pathlib import Path
from typing import NamedTuple

from keypoint_perception.atomic_files import PendingFile
from keypoint_perception.errors import SourceError
import numpy as np

log = logging.getLogger('keypoint_perception')

ANNOTATION_HEADER = ['stamp_ns', 'keypoint', 'u', 'v']
KEYPOINT_HEADER = ['stamp_ns', 'topic', 'keypoint', 'u', 'v', 'confidence']


class Annotations(NamedTuple):
    """
    Labelled points.

    :param names: L names in the order in which the file first has them
    :param stamps_ns: (N,) int64, ascending, ns
    :param uv: (N, L, 2) float32 px, NaN where not labelled
    """

    names: tuple[str, ...]
    stamps_ns: np.ndarray
    uv: np.ndarray


class Keypoints(NamedTuple):
    """
    What a model found.

    :param names: K names in the order in which the file first has them
    :param stamps_ns: (N,) int64, in the order of the file, ns
    :param topics: N topics
    :param keypoints: u, v in px and confidence, (N, K, 3) float32
    """

    names: tuple[str, ...]
    stamps_ns: np.ndarray
    topics: tuple[str, ...]
    keypoints: np.ndarray


def read_annotations(path: Path | str) -> Annotations:
    """
    Read labels.

    :raises SourceError: if the file cannot be read, naming the line
    """
    path = Path(path)
    frames, names, values = {}, {}, {}
    for line, row in _rows(path, ANNOTATION_HEADER):
        stamp_ns = _stamp(path, line, row[0])
        cell = (
            frames.setdefault(stamp_ns, len(frames)),
            names.setdefault(_name(path, line, row[1]), len(names)),
        )
        if cell in values:
            msg = f'{str(path)!r} line {line} labels {row[1]!r} at {stamp_ns} again; keep one row.'
            raise SourceError(msg)
        values[cell] = _position(path, line, row[2], row[3])
    _expect_rows(path, values)
    uv = np.full((len(frames), len(names), 2), np.nan, np.float32)
    for cell, position in values.items():
        uv[cell] = position
    stamps_ns = np.array(list(frames), np.int64)
    order = np.argsort(stamps_ns, kind='stable')
    return Annotations(tuple(names), stamps_ns[order], uv[order])


def read_keypoints(path: Path | str) -> Keypoints:
    """
    Read what :class:`KeypointWriter` wrote.

    :raises SourceError: if the file cannot be read, naming the line
    """
    path = Path(path)
    frames, names, values = {}, {}, {}
    for line, row in _rows(path, KEYPOINT_HEADER):
        frame = (_stamp(path, line, row[0]), row[1])
        cell = (
            frames.setdefault(frame, len(frames)),
            names.setdefault(_name(path, line, row[2]), len(names)),
        )
        if cell in values:
            msg = f'{str(path)!r} line {line} has {row[2]!r} at {row[0]} again; keep one row.'
            raise SourceError(msg)
        confidence = _number(path, line, 'confidence', row[5])
        values[cell] = (*_position(path, line, row[3], row[4]), confidence)
    _expect_rows(path, values)
    keypoints = np.full((len(frames), len(names), 3), np.nan, np.float32)
    for cell, value in values.items():
        keypoints[cell] = value
    stamps_ns = np.array([stamp_ns for stamp_ns, _ in frames], np.int64)
    return Keypoints(tuple(names), stamps_ns, tuple(topic for _, topic in frames), keypoints)


def match_labels(
    labels: Annotations, stamps_ns: np.ndarray, image_hw: np.ndarray, *, path: Path | str
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
            'expected at least 2, because one alone does not show how its points move: label more '
            'frames.'
        )
        raise SourceError(msg)
    _check_inside(matched, stamps_ns, image_hw, labels.names, path)
    return matched


class KeypointWriter:
    """
    Writes a keypoint file; use as a context manager.

    The file takes its name when it is complete.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._pending = PendingFile(self.path)

    def __enter__(self) -> KeypointWriter:
        try:
            self._stream = self._pending.part.open('w', newline='')
        except OSError as error:
            msg = f'{str(self.path)!r} cannot be written ({error.strerror}); name another file.'
            raise SourceError(msg) from error
        self._writer = csv.writer(self._stream, lineterminator='\n')
        self._writer.writerow(KEYPOINT_HEADER)
        return self

    def __exit__(self, *reason) -> None:
        self._stream.close()
        self._pending.__exit__(*reason)

    def write(
        self, stamp_ns: int, topic: str, names: Sequence[str], keypoints: np.ndarray
    ) -> None:
        """
        Write the keypoints of one frame.

        :param names: K names
        :param keypoints: u, v in px and confidence, (K, 3)
        """
        for name, (u, v, confidence) in zip(names, keypoints, strict=True):
            position = ('', '') if not math.isfinite(u + v) else (f'{u:.3f}', f'{v:.3f}')
            self._writer.writerow([stamp_ns, topic, name, *position, f'{confidence:.4f}'])


def _rows(path: Path, header: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield line numbers and rows of a file with this header."""
    try:
        with path.open(newline='', encoding='utf-8-sig') as stream:
            reader = csv.reader(stream)
            found = [name.strip() for name in next(reader, [])]
            if found != header:
                msg = (
                    f'{str(path)!r} line 1 is {",".join(found)[:80]!r}; expected the header '
                    f'{",".join(header)}.'
                )
                raise SourceError(msg)
            for row in reader:
                if row and len(row) != len(header):
                    msg = (
                        f'{str(path)!r} line {reader.line_num} has {len(row)} fields; expected '
                        f'{len(header)}: {",".join(header)}.'
                    )
                    raise SourceError(msg)
                if row:
                    yield reader.line_num, [field.strip() for field in row]
    except OSError as error:
        msg = f'{str(path)!r} cannot be read ({error.strerror}); expected a CSV file.'
        raise SourceError(msg) from error
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f'{str(path)!r} is no CSV text ({error}); expected the header {",".join(header)}.'
        raise SourceError(msg) from error


def _expect_rows(path: Path, values: dict) -> None:
    if not values:
        msg = f'{str(path)!r} has a header but no rows; expected one row a keypoint a frame.'
        raise SourceError(msg)


def _name(path: Path, line: int, text: str) -> str:
    if not text:
        msg = f'{str(path)!r} line {line} has no keypoint name; expected one, as kp0.'
        raise SourceError(msg)
    return text


def _stamp(path: Path, line: int, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**63):
        msg = f'{str(path)!r} line {line} has the stamp {text!r}; expected an integer in ns.'
        raise SourceError(msg)
    return int(text)


def _number(path: Path, line: int, field: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        msg = f'{str(path)!r} line {line} has {field} {text!r}; expected a number.'
        raise SourceError(msg) from error


def _position(path: Path, line: int, u: str, v: str) -> tuple[float, float]:
    if not u and not v:
        return math.nan, math.nan
    position = (_number(path, line, 'u', u), _number(path, line, 'v', v))
    if not all(math.isfinite(value) for value in position):
        msg = (
            f'{str(path)!r} line {line} has u,v of {u},{v}; expected numbers, or both empty for '
            'not labelled.'
        )
        raise SourceError(msg)
    return position


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
    log.warning(
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
