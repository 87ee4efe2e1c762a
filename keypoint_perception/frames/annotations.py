"""
CSV files of keypoints: annotations by people and detections by a model.

Annotations have the header ``stamp_ns,keypoint,u,v`` and one row per label, in pixels of the
recorded image; a missing row or empty ``u,v`` means not labelled. Detections have the header
``stamp_ns,topic,keypoint,u,v,confidence`` and one row per keypoint and frame; empty ``u,v`` means
NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import csv
import logging
import math
from pathlib import Path
from typing import NamedTuple, TextIO

from keypoint_perception.atomic_files import PendingFile
from keypoint_perception.errors import SourceError
from keypoint_perception.limits import check_file_size
import numpy as np

log = logging.getLogger('keypoint_perception')

ANNOTATION_HEADER = ['stamp_ns', 'keypoint', 'u', 'v']
MOST_CHARACTERS = 10_000  # in a line
MOST_NAMES, MOST_POINTS = 1000, 20_000_000  # in a table, which has every name in every frame
KEYPOINT_HEADER = ['stamp_ns', 'topic', 'keypoint', 'u', 'v', 'confidence']


class Annotations(NamedTuple):
    """
    Labelled points.

    :param names: L names in order of first appearance
    :param stamps_ns: (N,) int64, ascending, ns
    :param uv: (N, L, 2) float32 px, NaN where not labelled
    """

    names: tuple[str, ...]
    stamps_ns: np.ndarray
    uv: np.ndarray


class Keypoints(NamedTuple):
    """
    Keypoints detected by a model.

    :param names: K names in order of first appearance
    :param stamps_ns: (N,) int64, in file order, ns
    :param topics: N topics
    :param keypoints: u, v in px and confidence, (N, K, 3) float32
    """

    names: tuple[str, ...]
    stamps_ns: np.ndarray
    topics: tuple[str, ...]
    keypoints: np.ndarray


def read_annotations(path: Path | str) -> Annotations:
    """
    Read an annotation file.

    :raises SourceError: if the file cannot be read, naming the line
    """
    names, stamps_ns, _, uv = _read_table(Path(path), ANNOTATION_HEADER)
    order = np.argsort(stamps_ns, kind='stable')
    return Annotations(names, stamps_ns[order], uv[order])


def read_keypoints(path: Path | str) -> Keypoints:
    """
    Read a file that :class:`KeypointWriter` wrote.

    :raises SourceError: if the file cannot be read, naming the line
    """
    return _read_table(Path(path), KEYPOINT_HEADER)


def match_labels(
    labels: Annotations, stamps_ns: np.ndarray, image_hw: np.ndarray, *, path: Path | str
) -> np.ndarray:
    """
    Return the labels of every frame, (N, L, 2) px, NaN where there is none.

    A label belongs to the frame with the same stamp, to the nanosecond; if several frames have it,
    to the first. Labelled stamps without a frame are skipped with a warning, unless all are.

    :param stamps_ns: stamps of the frames, (N,) ns
    :param image_hw: heights and widths of the frames, (N, 2) px
    :param path: the annotation file, for messages
    :raises SourceError: if no stamp matches, fewer than two frames are labelled, or a label is
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
            'expected at least 2, to see how the points move; label more frames.'
        )
        raise SourceError(msg)
    _check_inside(matched, stamps_ns, image_hw, labels.names, path)
    return matched


class KeypointWriter:
    """Writes a keypoint file, which takes its name when complete; use as a context manager."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._pending = PendingFile(self.path)

    def __enter__(self) -> KeypointWriter:
        self._stream = self._pending.part.open('w', newline='')
        self._writer = csv.writer(self._stream, lineterminator='\n')
        self._writer.writerow(KEYPOINT_HEADER)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stream.close()
        self._pending.__exit__(kind)

    def write(
        self, stamp_ns: int, topic: str, names: Sequence[str], keypoints: np.ndarray
    ) -> None:
        """Write the K keypoints of one frame: u, v in px and confidence, (K, 3)."""
        for name, (u, v, confidence) in zip(names, keypoints, strict=True):
            position = ('', '') if not math.isfinite(u + v) else (f'{u:.3f}', f'{v:.3f}')
            self._writer.writerow([stamp_ns, topic, name, *position, f'{confidence:.4f}'])


def _read_table(path: Path, header: list[str]) -> Keypoints:
    """Return the rows of a file; without a confidence in the header, u and v only."""
    frames: dict[tuple[int, str], int] = {}
    names: dict[str, int] = {}
    values: dict[tuple[int, int], list[float]] = {}
    for place, fields in _rows(path, header):
        frame = (_stamp(place, fields['stamp_ns']), fields.get('topic', ''))
        name = fields['keypoint']
        if not name:
            msg = f'{place} has no keypoint name; expected one such as kp0.'
            raise SourceError(msg)
        cell = frames.setdefault(frame, len(frames)), names.setdefault(name, len(names))
        if len(names) > MOST_NAMES or len(names) * len(frames) > MOST_POINTS:
            msg = (
                f'{place} makes {len(names)} keypoints in {len(frames)} frames, more than '
                'are read; check the columns stamp_ns and keypoint.'
            )
            raise SourceError(msg)
        if cell in values:
            msg = f'{place} has {name!r} at {frame[0]} again; keep one row.'
            raise SourceError(msg)
        values[cell] = _position(place, fields['u'], fields['v'])
        if 'confidence' in fields:
            values[cell].append(_number(place, 'confidence', fields['confidence']))
    if not values:
        msg = f'{str(path)!r} has a header but no rows; expected one row per keypoint and frame.'
        raise SourceError(msg)
    table = np.full((len(frames), len(names), len(values[0, 0])), np.nan, np.float32)
    for cell, value in values.items():
        table[cell] = value
    stamps_ns = np.array([stamp_ns for stamp_ns, _ in frames], np.int64)
    return Keypoints(tuple(names), stamps_ns, tuple(topic for _, topic in frames), table)


def _rows(path: Path, header: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a file, each after its place for error messages."""
    file, expected = repr(str(path)), ','.join(header)
    try:
        check_file_size(path, 'max_csv_mb')
        with path.open(newline='', encoding='utf-8-sig') as stream:
            reader = csv.reader(_lines(stream))
            found = ','.join(name.strip() for name in next(reader, []))
            if found != expected:
                msg = f'{file} line 1 is {found[:80]!r}; expected the header {expected}.'
                raise SourceError(msg)
            for row in filter(None, reader):
                place = f'{file} line {reader.line_num}'
                if len(row) != len(header):
                    msg = f'{place} has {len(row)} fields; expected {len(header)}: {expected}.'
                    raise SourceError(msg)
                yield place, dict(zip(header, map(str.strip, row), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f'{file} is not CSV text ({error}); save it in UTF-8 with the header {expected}.'
        raise SourceError(msg) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        msg = f'{file} cannot be read ({reason}); expected a CSV file.'
        raise SourceError(msg) from error


def _lines(stream: TextIO) -> Iterator[str]:
    while line := stream.readline(MOST_CHARACTERS + 1):
        if len(line) > MOST_CHARACTERS or '\0' in line:
            found = (
                'a NUL' if '\0' in line else f'a line of more than {MOST_CHARACTERS} characters'
            )
            raise csv.Error(f'it has {found}')
        yield line


def _stamp(place: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63):
        msg = f'{place} has the stamp {text[:40]!r}; expected an integer in ns.'
        raise SourceError(msg)
    return int(text)


def _number(place: str, field: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        msg = f'{place} has {field} {text!r}; expected a number.'
        raise SourceError(msg) from error


def _position(place: str, u: str, v: str) -> list[float]:
    if not u and not v:
        return [math.nan, math.nan]
    position = [_number(place, 'u', u), _number(place, 'v', v)]
    if not all(map(math.isfinite, position)):
        msg = f'{place} has u,v of {u},{v}; expected numbers, or both empty if not labelled.'
        raise SourceError(msg)
    return position


def _check_found(
    found: np.ndarray, labelled_ns: np.ndarray, frames_ns: np.ndarray, path: Path | str
) -> None:
    if found.all() and found.size:
        return
    if not found.size or not len(frames_ns):
        msg = f'Annotations {str(path)!r} label no frame; expected one row per label.'
        raise SourceError(msg)
    stamp = int(labelled_ns[~found][0])
    nearest_ns = int(np.abs(frames_ns.astype(np.int64) - stamp).min())
    if not found.any():
        msg = (
            f'Annotations {str(path)!r} match no frame: stamps must be equal to the nanosecond, '
            f'and the image nearest to stamp_ns {stamp} is {nearest_ns} ns away; use the stamps '
            "of the images' headers."
        )
        raise SourceError(msg)
    text = (
        'Annotations %r: skipped %d of %d labelled stamps, which match no frame; the first is '
        'stamp_ns %d, %d ns from the nearest image.'
    )
    log.warning(text, str(path), (~found).sum(), found.size, stamp, nearest_ns)


def _check_inside(
    matched: np.ndarray,
    stamps_ns: np.ndarray,
    image_hw: np.ndarray,
    names: tuple[str, ...],
    path: Path | str,
) -> None:
    limit = image_hw[:, None, ::-1] - 0.5  # (N, 1, 2) along u, v
    outside = ((matched < -0.5) | (matched > limit)).any(axis=-1)  # False for NaN
    if not outside.any():
        return
    frame, point = np.argwhere(outside)[0]
    u, v = matched[frame, point]
    height, width = image_hw[frame]
    msg = (
        f'Annotations {str(path)!r} have {int(outside.sum())} labels outside the image; the first '
        f'is {names[point]!r} at ({u:g}, {v:g}) in the {width}x{height} image of stamp_ns '
        f'{int(stamps_ns[frame])}; use pixels of the image as recorded, and do not label points '
        'outside the view.'
    )
    raise SourceError(msg)
