"""Serialised images and requests, drawn at random: valid ones, damaged ones, noise."""

from __future__ import annotations

from random import Random
import re
import struct
from typing import Any

EXTREMES = (0, 1, 2, 3, 0x7FFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
ODD_ENCODINGS = ('32FC1', '64FC4', 'rgb9', '', 'é' * 50, 'h264', 'RGB8')
ODD_FORMATS = ('jpeg', 'png', 'rgb8; jpeg compressed bgr8', '16UC1; compressedDepth', '', 'h264')
ODD_FRAMES = (b'', 'ü'.encode() * 20, b'x' * 3000, b'\xff\xfe')
ODD_TEXTS = (
    '',
    '/',
    'ü',
    'x' * 5000,
    'a.b.c',
    '../..',
    '\x01',
    '%s',
    '/dev/zero',
    '-1',
    'nan',
    '~',
)
SUFFIXES = ('.png', '.jpg', '.bmp', '.webp', '.tiff')
SHAPES = ((48, 64, 3), (7, 5, 3), (120, 160), (1, 1, 3))


class HostileImages:
    """
    Images as they are received, serialised.

    :param transport: raw or compressed
    """

    def __init__(self, chance: Random, transport: str) -> None:
        import cv2
        from keypoint_perception.encodings import SUPPORTED_ENCODINGS
        import numpy as np

        self._chance = chance
        self._whole = self._raw if transport == 'raw' else self._compressed
        self._encodings = [*SUPPORTED_ENCODINGS, *ODD_ENCODINGS]
        noise = np.random.default_rng(1)
        self._files = [
            (
                suffix[1:],
                cv2.imencode(suffix, noise.integers(0, 256, shape, np.uint8))[1].tobytes(),
            )
            for suffix in SUFFIXES
            for shape in SHAPES
        ]

    def draw(self) -> bytes:
        """Return a message, of which half are as they should be but for their content."""
        chance = self._chance
        content = bytearray(self._whole())
        match chance.randrange(8):
            case 0:
                return chance.randbytes(chance.randrange(1, 300))
            case 1:
                return bytes(content[:4]) + chance.randbytes(chance.randrange(300))
            case 2:
                del content[chance.randrange(1, len(content)) :]
            case 3:
                at = 4 * chance.randrange(1, min(20, len(content) // 4))
                content[at : at + 4] = struct.pack('<I', chance.choice(EXTREMES))
            case 4:
                for _ in range(chance.randrange(1, 8)):
                    content[chance.randrange(min(120, len(content)))] = chance.randrange(256)
        return bytes(content)

    def _header(self) -> bytes:
        chance = self._chance
        stamps = [(1_700_000_000, 5), (0, 0), (-(2**31), 2**32 - 1)]
        stamps += [(chance.randrange(2**31), chance.randrange(2**32))]
        frame = chance.choice(ODD_FRAMES) if chance.random() < 0.1 else b'camera'
        return b'\0\1\0\0' + struct.pack('<iI', *chance.choice(stamps)) + _text(frame)

    def _raw(self) -> bytes:
        chance = self._chance
        height, width = chance.choices([0, 1, 2, 5, 48, 64, 96, 97], k=2)
        step = width * chance.choice([1, 2, 3, 4, 6, 8]) + chance.choice([0, 0, 0, 1, 12])
        size = max(0, height * step + chance.choice([0, 0, 0, -1, 1, 64]))
        if chance.random() < 0.1:
            size = chance.randrange(500)
        encoding = _text(chance.choice(self._encodings).encode())
        fields = _aligned(self._header()) + struct.pack('<II', height, width) + encoding
        fields = _aligned(fields + bytes([chance.choice([0, 1, 7])]))
        return fields + struct.pack('<II', step, size) + chance.randbytes(size)

    def _compressed(self) -> bytes:
        chance = self._chance
        kind, file = chance.choice(self._files)
        content = bytearray(file)
        for _ in range(chance.choice([0, 0, 1, 3, 20])):
            content[chance.randrange(min(len(content), chance.choice([60, 10**9])))] ^= 0x55
        if chance.random() < 0.2:
            del content[chance.randrange(len(content)) :]
        named = _text(chance.choice((kind, *ODD_FORMATS)).encode())
        fields = _aligned(_aligned(self._header()) + named)
        return fields + struct.pack('<I', len(content)) + bytes(content)


class RandomRequests:
    """
    Messages of any type with random values.

    :param texts: that fields of text may have, besides odd ones
    """

    def __init__(self, chance: Random, texts: list[str]) -> None:
        self._chance = chance
        self._texts = [*texts, *ODD_TEXTS]

    def fill(self, message: Any) -> Any:
        """Set all fields of a message, and return it."""
        for name, kind in message.get_fields_and_field_types().items():
            setattr(message, name, self._value(kind))
        return message

    def _value(self, kind: str) -> Any:
        chance = self._chance
        if sequence := re.fullmatch(r'sequence<(.+?)(, \d+)?>', kind):
            return [self._value(sequence[1]) for _ in range(chance.choice([0, 1, 1, 2, 5]))]
        if integer := re.fullmatch(r'(u?)int(\d+)', kind):
            bits = int(integer[2])
            low, high = (
                (0, 2**bits - 1) if integer[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            )
            small = chance.randrange(min(high, 12))
            return chance.choice([low, high, 0, 1, small, chance.randint(low, high)])
        match kind:
            case 'string':
                return chance.choice(self._texts)
            case 'boolean':
                return chance.random() < 0.5
            case 'octet':
                return bytes([chance.randrange(256)])
            case 'float' | 'double':
                return chance.choice([0.0, 0.5, -1.0, 1e300, *map(float, ('inf', '-inf', 'nan'))])
        package, leaf = kind.split('/')
        module = __import__(f'{package}.msg', fromlist=[leaf])
        return self.fill(getattr(module, leaf)())


def _text(content: bytes) -> bytes:
    return struct.pack('<I', len(content) + 1) + content + b'\0'


def _aligned(fields: bytes) -> bytes:
    return fields + b'\0' * (-len(fields) % 4)
