"""Decompress as far as a damaged stream goes."""

from __future__ import annotations

import bz2
import sys

# What a piece gave before it failed is lost: a damaged stream is read again in small ones.
PIECE, SMALL_PIECE = 1 << 16, 64
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


def zstd_module():
    """Return Python's zstd module, or its backport for older Pythons (rosbags brings it)."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _decompressor(compression: str):
    if compression == 'zstd':
        return zstd_module().ZstdDecompressor()
    if compression == 'lz4':
        import lz4.frame

        return lz4.frame.LZ4FrameDecompressor()
    if compression == 'bz2':
        return bz2.BZ2Decompressor()
    msg = f'compression {compression!r} is not known'
    raise ValueError(msg)


def decompress_prefix(data: bytes, compression: str, limit: int) -> tuple[bytes, str]:
    """
    Return what can be decompressed before the first damage, and what is wrong with the rest.

    :param compression: ``''``, ``'none'``, ``'zstd'``, ``'lz4'`` or ``'bz2'``
    :param limit: bytes at which to stop: a damaged length must not fill the memory
    :return: the bytes and a clause on what is wrong, which is empty if nothing is
    """
    if compression in ('', 'none'):
        return data[:limit], ''
    whole, wrong = _decompress(data, compression, limit, PIECE)
    if wrong:
        whole, wrong = _decompress(data, compression, limit, SMALL_PIECE)
    return whole, wrong


def _decompress(data: bytes, compression: str, limit: int, size: int) -> tuple[bytes, str]:
    whole = bytearray()
    try:
        decompressor = _decompressor(compression)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            while not decompressor.eof and len(whole) < limit:
                whole += decompressor.decompress(piece, limit - len(whole))
                piece = b''
                if decompressor.needs_input:
                    break
    # each library has its own: ZstdError, RuntimeError (lz4), OSError and EOFError (bz2)
    except Exception as error:
        return bytes(whole), f'{compression} data is broken: {error}'
    enough = decompressor.eof or len(whole) >= limit
    return bytes(whole), '' if enough else f'{compression} data ends too soon'
