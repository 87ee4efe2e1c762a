"""
Digests of sources, which do not depend on where a recording is stored.

Large files are sampled: the digest covers the size, the first and last MiB, and 32 evenly spaced
blocks of 64 KiB; for a folder of more than 64 images the content of 64 evenly spaced ones, and the
name and size of all. A change between those blocks that keeps the size is not detected.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

END_BLOCK = 1 << 20
INNER_BLOCK = 1 << 16
INNER_BLOCKS = 32
MAX_FILES = 64


def source_digest(path: Path) -> str:
    """Return the digest of a file or directory, in hexadecimal."""
    if not path.is_dir():
        return sampled_digest(path)
    files = sorted(p for p in path.iterdir() if p.is_file())
    # `ros2 bag play` leaves the unpacked file beside a packed one
    unpacked = {file.with_suffix('') for file in files if file.suffix == '.zstd'}
    files = [file for file in files if file not in unpacked]
    read = set(files[:: max(1, -(-len(files) // MAX_FILES))])
    digest = hashlib.sha256()
    for file in files:
        content = sampled_digest(file) if file in read else ''
        facts = f'\0{file.stat().st_size}\0{content}\n'.encode()
        digest.update(os.fsencode(file.name) + facts)
    return digest.hexdigest()


def sampled_digest(path: Path) -> str:
    """Return the digest of a file."""
    size, parts = path.stat().st_size, INNER_BLOCKS + 1
    blocks = [(0, size)]
    if size > 2 * END_BLOCK + INNER_BLOCKS * INNER_BLOCK:
        inner = ((size * index // parts, INNER_BLOCK) for index in range(1, parts))
        blocks = [(0, END_BLOCK), *inner, (size - END_BLOCK, END_BLOCK)]
    digest = hashlib.sha256(str(size).encode())
    with path.open('rb') as stream:
        for start, length in blocks:
            stream.seek(start)
            digest.update(stream.read(length))
    return digest.hexdigest()
