"""
What an ONNX file contains, read from its bytes: an engine would follow and run all of it.

Data in other files has no digest in the manifest, and may be outside of the model directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from keypoint_perception.errors import ModelError

# Messages inside a message, by the numbers of their fields in onnx.proto.
PARTS = {
    'model': {7: 'graph', 25: 'function'},
    'graph': {1: 'node', 5: 'tensor', 15: 'sparse'},
    'node': {5: 'attribute'},
    'attribute': {5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse'},
    'sparse': {1: 'tensor', 2: 'tensor'},
    'tensor': {13: 'external data'},
}
MAX_DEPTH = 32
OPERATOR, LOOPS = 4, (b'Loop', b'Scan')


def check_content(path: Path) -> None:
    """
    Check that a network file holds all of its data, and nothing that can grow without bound.

    Loops may take any time, and functions can call each other so that a few make millions.

    :raises ModelError: if not, or if it is no ONNX file
    """
    try:
        fault = _fault(memoryview(path.read_bytes()), 'model', 0)
    except (IndexError, ValueError):
        fault = 'is cut short or no ONNX file'
    if fault:
        msg = f'Network file {str(path)!r} {fault}; copy it again, or write it with `export`.'
        raise ModelError(msg)


def _fault(content: memoryview, kind: str, depth: int) -> str:
    if depth > MAX_DEPTH or kind in ('external data', 'function'):
        return f'has {"graphs too deep in each other" if depth > MAX_DEPTH else kind}'
    for number, value in _fields(content):
        if kind == 'node' and number == OPERATOR and value in LOOPS:
            return f'has the operator {bytes(value).decode()}'
        if number in PARTS[kind] and (fault := _fault(value, PARTS[kind][number], depth + 1)):
            return fault
    return ''


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the bytes of each field of a message of Protocol Buffers."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        size = {1: 8, 5: 4}.get(key & 7, 0)
        if key & 7 == 2:
            size, at = _varint(content, at)
        elif key & 7 == 0:
            _, at = _varint(content, at)
        elif not size:
            raise ValueError('unknown type of a field')
        if at + size > len(content):
            raise ValueError('the field ends behind the message')
        yield key >> 3, content[at : at + size]
        at += size


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """Return an integer and where it ends."""
    value = shift = 0
    while shift < 64:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError('too long an integer')
