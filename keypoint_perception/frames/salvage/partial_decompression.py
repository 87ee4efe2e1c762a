"""Decompression in bounded memory, and of damaged data up to the first error."""

from __future__ import annotations

import bz2
from collections.abc import Iterable, Iterator
import logging
from pathlib import Path
import shutil
import sys
from typing import Any, IO

from keypoint_perception.cdr import Buffer
from keypoint_perception.errors import SourceError
from keypoint_perception.limits import limits, remedy

# An error loses the output of its piece, so damaged data is decompressed again in small ones.
PIECE, SMALL_PIECE, OUT_PIECE = 1 << 16, 64, 1 << 20
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
ZSTD_WINDOW_LOG = 27  # 128 MiB, of which zstd allocates as much as data claims
MAX_SMALL_FRAMES = 1000
EXPANSION = 'max_expansion'
ALWAYS_EXPANDED = 512_000_000  # any file may expand to it
ANY_TIMES = 1_000_000  # no format expands to so many times its size
SPARE_BYTES = 100_000_000  # of the disk that files are unpacked to

log = logging.getLogger('keypoint_perception')


def max_expanded(size: int) -> int:
    """Return what a file of a size may expand to."""
    return max(ALWAYS_EXPANDED, int(limits().max_expansion * size))


def zstd_module() -> Any:
    """Return Python's zstd module, or its backport for older Pythons (rosbags brings it)."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _decompressor(compression: str) -> Any:
    if compression == 'zstd':
        zstd = zstd_module()
        options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
        return zstd.ZstdDecompressor(options=options)
    if compression == 'lz4':
        import lz4.frame

        return lz4.frame.LZ4FrameDecompressor()
    if compression == 'bz2':
        return bz2.BZ2Decompressor()
    msg = f'compression {compression!r} is unknown'
    raise ValueError(msg)


def decompressed_pieces(packed: Iterable[Buffer], compression: str) -> Iterator[bytes]:
    """
    Yield pieces of at most 1 MiB of any number of frames.

    :raises Exception: one of the library's own, ZstdError, RuntimeError (lz4), OSError (bz2) or
        MemoryError, or ValueError
    """
    decompressor, frames, count = _decompressor(compression), 1, 0
    for piece in packed:
        left = piece
        while left or not (decompressor.eof or decompressor.needs_input):
            if decompressor.eof:
                frames += 1
                if frames > MAX_SMALL_FRAMES + (count >> 10):
                    msg = f'more than {MAX_SMALL_FRAMES} frames are empty'
                    raise ValueError(msg)
                decompressor = _decompressor(compression)
            out = decompressor.decompress(left, OUT_PIECE)
            count += len(out)
            yield out
            left = decompressor.unused_data if decompressor.eof else b''
    if not decompressor.eof:
        msg = 'its end is missing'
        raise EOFError(msg)


def decompress_prefix(data: Buffer, compression: str, most: int) -> tuple[Buffer, str]:
    """
    Return what can be decompressed before the first error, and what is wrong with the rest.

    :param compression: ``''``, ``'none'``, ``'zstd'``, ``'lz4'`` or ``'bz2'``
    :param most: size of the result at which to stop
    :return: the bytes and a clause on what is wrong, which is empty if nothing is
    """
    if compression in ('', 'none'):
        return data[:most], ''
    whole, result, wrong = _decompress(data, compression, most, len(data))
    if 'damaged' in wrong:
        _, result, wrong = _decompress(data, compression, most, whole)
    return result, wrong


def _decompress(
    data: Buffer, compression: str, most: int, whole: int
) -> tuple[int, bytearray, str]:
    """Decompress in small pieces after an offset; return where the data is damaged, too."""
    result, start = bytearray(), 0

    def packed() -> Iterator[Buffer]:
        nonlocal start
        while start < len(data):
            end = start + (PIECE if start < whole else SMALL_PIECE)
            yield data[start:end]
            start = end

    try:
        for piece in decompressed_pieces(packed(), compression):
            result += piece
            if len(result) >= most:
                del result[most:]
                break
    except EOFError:
        return start, result, f'{compression} data is truncated'
    # each library has its own exceptions
    except Exception as error:
        return start, result, f'{compression} data is damaged: {error}'
    return start, result, ''


def claimed_size(data: Buffer) -> int:
    """Return the size that zstd data states, 0 if it states none."""
    try:
        return int(zstd_module().get_frame_info(data).decompressed_size or 0)
    except zstd_module().ZstdError:
        return 0


def _packed(stream: IO[bytes], whole: int) -> Iterator[bytes]:
    while piece := stream.read(PIECE if stream.tell() < whole else SMALL_PIECE):
        yield piece


def unpack_file(path: Path, out_path: Path, name: str, whole: int | None = None) -> None:
    """
    Decompress a zstd file as far as it is undamaged, which is reported.

    :param name: its name in messages
    :param whole: where to continue in small pieces, None if that is unknown
    :raises SourceError: if it expands to more than the limit or than the disk has room for
    """
    zstd = zstd_module()
    size, count, claimed = path.stat().st_size, 0, 0
    most, free = max_expanded(size), shutil.disk_usage(out_path.parent).free - SPARE_BYTES
    with path.open('rb') as packed, out_path.open('wb') as out:
        try:
            claimed = claimed_size(packed.read(PIECE))
            packed.seek(0)
            pieces = _packed(packed, size if whole is None else whole)
            for piece in decompressed_pieces(pieces, 'zstd'):
                count += len(piece)
                if max(count, claimed) > min(most, free):
                    break
                out.write(piece)
        except EOFError:
            log.warning('%r has truncated zstd data: the rest is lost.', name)
        except (zstd.ZstdError, ValueError) as error:
            if whole is None:
                unpack_file(path, out_path, name, max(packed.tell() - PIECE, 0))
                return
            place = f'{name!r} is damaged near byte {packed.tell()}'
            log.warning('%s (%s): everything after it is lost.', place, error)
    needed = max(count, claimed)
    if needed > most:
        times = remedy(EXPANSION, claimed / size if claimed > most else ANY_TIMES)
        msg = f'{name!r} expands to {needed / 1e9:,.1f} GB or more from {size:,} bytes; {times}.'
        raise SourceError(msg)
    if needed > free:
        msg = (
            f'{name!r} expands to {needed / 1e9:,.1f} GB or more, but '
            f'{str(out_path.parents[1])!r} has only {max(free, 0) / 1e9:,.1f} GB to spare; set '
            'TMPDIR to a directory on a larger disk.'
        )
        raise SourceError(msg)
