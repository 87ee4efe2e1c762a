"""Decompression of damaged data up to the first error."""

from __future__ import annotations

import bz2
import sys
from typing import Any

# An error loses the output of its piece, so damaged data is decompressed again in small ones.
PIECE, SMALL_PIECE = 1 << 16, 64
MAX_EXPANDED_BYTES = 1 << 31
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


def zstd_module() -> Any:
    """Return Python's zstd module, or its backport for older Pythons (rosbags brings it)."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _decompressor(compression: str) -> Any:
    if compression == 'zstd':
        return zstd_module().ZstdDecompressor()
    if compression == 'lz4':
        import lz4.frame

        return lz4.frame.LZ4FrameDecompressor()
    if compression == 'bz2':
        return bz2.BZ2Decompressor()
    msg = f'compression {compression!r} is unknown'
    raise ValueError(msg)


def decompress_prefix(data: bytes, compression: str, expanded: int) -> tuple[bytes, str]:
    """
    Return what can be decompressed before the first error, and what is wrong with the rest.

    :param compression: ``''``, ``'none'``, ``'zstd'``, ``'lz4'`` or ``'bz2'``
    :param expanded: stated size of the result, where to stop; as it may be damaged too, not more
        than 2 GiB are decompressed
    :return: the bytes and a clause on what is wrong, which is empty if nothing is
    """
    limit = min(expanded, MAX_EXPANDED_BYTES)
    if compression in ('', 'none'):
        return data[:limit], ''
    result, wrong = _decompress(data, compression, limit, PIECE)
    return _decompress(data, compression, limit, SMALL_PIECE) if wrong else (result, '')


def _decompress(data: bytes, compression: str, limit: int, size: int) -> tuple[bytes, str]:
    result = bytearray()
    try:
        decompressor = _decompressor(compression)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            while not decompressor.eof and len(result) < limit:
                result += decompressor.decompress(piece, limit - len(result))
                piece = b''
                if decompressor.needs_input:
                    break
    # each library has its own: ZstdError, RuntimeError (lz4), OSError and EOFError (bz2)
    except Exception as error:
        return bytes(result), f'{compression} data is damaged: {error}'
    complete = decompressor.eof or len(result) >= limit
    return bytes(result), '' if complete else f'{compression} data is truncated'
