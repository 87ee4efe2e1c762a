"""
What image files claim to hold, checked before anything is decoded.

Decoders believe a header: they allocate its pixels first and look for them later. Here headers are
read without a decoder. A file is refused if it is of a format that is not documented, claims more
than :attr:`Limits.max_image_megapixels` or more than its bytes can become.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
import re
import struct
from typing import NamedTuple, NoReturn
import zlib

from keypoint_perception.errors import EncodingError
from keypoint_perception.limits import limits, remedy

TRANSPORTED = ('JPEG', 'PNG')  # by image_transport
READABLE = (*TRANSPORTED, 'BMP', 'TIFF', 'WebP', 'PGM/PPM')
SIGNATURES = {
    'JPEG': rb'\xff\xd8',
    'PNG': rb'\x89PNG\r\n\x1a\n',
    'BMP': rb'BM',
    'TIFF': rb'II[*+]\0|MM\0[*+]',
    'WebP': rb'RIFF.{4}WEBP',
    'PGM/PPM': rb'P[2356][\s#]',
    'GIF': rb'GIF8',
    'AVIF': rb'.{4}ftypavi',
    'HEIC': rb'.{4}ftyp',
    'JPEG 2000': rb'\0\0\0\x0cjP|\xff\x4f\xff\x51',
}
FORMATS = re.compile(b'|'.join(b'(%s)' % pattern for pattern in SIGNATURES.values()), re.DOTALL)
FEW_SIDES = 4  # bytes of a pixel that count once in the limit: colour and alpha of 8 bits

# JPEG markers (ITU-T T.81, table B.1) that are followed by data; fill bytes may precede them.
JPEG_MARKER = re.compile(rb'\xff([^\x00\x01\xff\xd0-\xd8])')
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
START_OF_SCAN, EXIF = 0xDA, 0xE1
# Every scan costs a pass over all blocks, however few bytes it has; encoders write about ten.
MOST_SCANS = 32
# What a byte becomes at most: JPEG takes a bit for 8 x 8 pixels, deflate repeats 258 bytes in two.
JPEG_PIXELS_PER_BYTE, DEFLATE_RATIO = 8 * 64, 1032

# The chunks that a decoder of PNG needs; some of the others expand to megabytes each.
PNG_CHUNKS = (b'IHDR', b'PLTE', b'tRNS', b'IDAT', b'IEND')
PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
PNG_END = b'\0\0\0\0IEND\xaeB`\x82'
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type

TIFF_KINDS = {1: 'B', 3: 'H', 4: 'I', 16: 'Q'}
WIDTH, HEIGHT, BITS, COMPRESSION, ORIENTATION, SAMPLES = 256, 257, 258, 259, 274, 277
TILE_WIDTH, TILE_HEIGHT = 322, 323
SUBFILE, THUMBNAIL, MASK = 254, 1, 4  # what a page is for
TIFF_COMPRESSIONS = (1, 5, 7, 8, 32773, 32946)  # none, LZW, JPEG, deflate, PackBits
MOST_TAGS, MOST_PAGES = 1000, 100_000
PNM_HEADER = re.compile(rb'P([2356])' + rb'(?:\s|#[^\n]*\n)+(\d{1,9})' * 3)


class ImageHeader(NamedTuple):
    """
    The claims of an image file.

    :param pixel_bytes: of a decoded pixel
    :param needed: the least bytes that can become so many pixels
    :param orientation: how to turn the image upright, as in EXIF, from 1 (not at all) to 8
    :param scan_at: where the pixels of a JPEG start
    :param plain: a PNG without the chunks that no decoder needs
    """

    height: int
    width: int
    pixel_bytes: int = 3
    needed: float = 0
    orientation: int = 1
    scan_at: int = 0
    plain: bytes = b''


def read_image_header(
    content: bytes | memoryview, formats: Sequence[str] = READABLE
) -> ImageHeader:
    """
    Return the header of an image file that is safe to decode.

    :param formats: those that are accepted, of :data:`SIGNATURES`
    :raises EncodingError: if the file is of another format, broken or too large
    """
    match = FORMATS.match(content)
    found = list(SIGNATURES)[match.lastindex - 1] if match and match.lastindex else ''
    if found not in formats:
        kind = f'is in {found}' if found else 'is broken or has an unknown format'
        msg = f'A compressed image of {len(content)} bytes {kind}; expected {either(formats)}.'
        raise EncodingError(msg)
    try:
        header = READERS[found](content)
    except (struct.error, LookupError, ValueError, OverflowError):
        refuse_broken(found, content, 'has an incomplete header')
    height, width = header.height, header.width
    claim = f'claims to have {width}x{height} pixels'
    if min(height, width) < 1:
        refuse_broken(found, content, claim)
    if header.needed > len(content):
        refuse_broken(found, content, f'{claim}, which do not fit into so few bytes')
    check_size(f'A {found} image', header)
    return header


def check_size(what: str, header: ImageHeader) -> None:
    """Raise EncodingError if an image, or each of a video, has too many pixels."""
    megapixels, most = header.height * header.width / 1e6, limits().max_image_megapixels
    counted = megapixels * max(1, header.pixel_bytes / FEW_SIDES)
    if counted > most:
        deep = f' of {header.pixel_bytes} bytes' if counted > megapixels else ''
        msg = (
            f'{what} of {header.width}x{header.height} has {megapixels:.3g} million pixels{deep}, '
            f'more than the limit of {most:g}; {remedy("max_image_megapixels", counted)}.'
        )
        raise EncodingError(msg)


def count_images(content: bytes) -> int:
    """Return how many images a readable file holds: pages of a TIFF, frames of an animation."""
    pixels = content.find(b'IDAT')
    if content.startswith(PNG_SIGNATURE) and content.find(b'acTL', 0, pixels) > 0:
        return content.count(b'fcTL') + (content.find(b'fcTL', 0, pixels) < 0)
    if content[8:16] == b'WEBPVP8X':
        return max(1, content.count(b'ANMF'))
    pages = 0
    with suppress(struct.error, LookupError, OverflowError):
        for form, _, at, _ in _tiff_directories(content):
            tag, *_, value = struct.unpack_from(f'{form}I', content, at)
            pages += not (tag == SUBFILE and value & (THUMBNAIL | MASK))
    return max(1, pages)


def either(formats: Sequence[str]) -> str:
    """Return names of formats as the object of a sentence."""
    return ' or '.join(filter(None, (', '.join(formats[:-1]), formats[-1])))


def refuse_broken(found: str, content: bytes | memoryview, what: str) -> NoReturn:
    """Raise EncodingError for a file of a known format."""
    msg = f'A {found} image of {len(content)} bytes {what}; it is broken, check where it is from.'
    raise EncodingError(msg)


def _read_jpeg(content: bytes | memoryview) -> ImageHeader:
    at, header, components, progressive = 2, ImageHeader(0, 0), 0, False
    while match := JPEG_MARKER.search(content, at):
        kind, at = match[1][0], match.end()
        (size,) = struct.unpack_from('>H', content, at)
        segment = content[at + 2 : at + size]
        if kind in FRAMES and not components:
            if kind not in HUFFMAN_FRAMES:
                refuse_broken('JPEG', content, 'is neither baseline nor progressive')
            height, width, components = struct.unpack_from('>HHB', segment, 1)
            progressive = kind == HUFFMAN_FRAMES[-1]
            needed = height * width / JPEG_PIXELS_PER_BYTE
            header = header._replace(height=height, width=width, needed=needed)
        elif kind == EXIF and bytes(segment[:6]) == b'Exif\0\0':
            header = header._replace(orientation=_orientation(segment[6:]))
        elif kind == START_OF_SCAN:
            several = progressive or segment[0] < components
            markers = JPEG_MARKER.finditer(content, at) if several else ()
            if sum(marker[1][0] == START_OF_SCAN for marker in markers) >= MOST_SCANS:
                refuse_broken('JPEG', content, f'has more than {MOST_SCANS} scans')
            return header._replace(scan_at=at)
        at += max(size, 2)
    if not components:
        raise ValueError(content)
    return header


def _orientation(exif: bytes | memoryview) -> int:
    try:
        found = int(_tiff_tags(exif).get(ORIENTATION, 1))
    except (struct.error, LookupError, OverflowError):
        return 1  # a photo with broken metadata is still a photo
    return found if 1 <= found <= 8 else 1


def _read_png(content: bytes | memoryview) -> ImageHeader:
    width, height, bits, colour = struct.unpack_from('>IIBB', content, 16)
    at, kept, kinds, orientation = 8, [bytes(content[:8])], [b''], 1
    while at + 12 <= len(content) and kinds[-1] != b'IEND':
        size, kind = struct.unpack_from('>I4s', content, at)
        chunk, at = content[at : at + 12 + size], at + 12 + size
        if kind == b'eXIf':
            orientation = _orientation(chunk[8:-4])
        elif kind in PNG_CHUNKS and at <= len(content):
            if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], 'big'):
                refuse_broken('PNG', content, 'does not match its checksums')
            kept.append(bytes(chunk))
            kinds.append(kind)
    if kinds[1] != b'IHDR' or kinds.count(b'IHDR') > 1:
        raise ValueError(kinds)
    samples = PNG_SAMPLES[colour]
    decoded = 4 if samples in (2, 4) or b'tRNS' in kinds else samples
    needed = height * (1 + (width * samples * bits + 7) // 8) / DEFLATE_RATIO
    plain = b''.join(kept) + (PNG_END if kinds[-1] != b'IEND' else b'')
    pixel_bytes = decoded * (2 if bits == 16 else 1)
    return ImageHeader(height, width, pixel_bytes, needed, orientation, plain=plain)


def _read_bmp(content: bytes | memoryview) -> ImageHeader:
    old = struct.unpack_from('<I', content, 14)[0] == 12  # as OS/2 wrote it
    width, height = struct.unpack_from('<HH' if old else '<ii', content, 18)
    return ImageHeader(abs(height), width)


def _tiff_directories(content: bytes | memoryview) -> Iterator[tuple[str, int, int, int]]:
    """Yield how tags begin, the bytes of an offset, and where and how many tags each image has."""
    order = {b'II': '<', b'MM': '>'}[bytes(content[:2])]
    big = struct.unpack_from(order + 'H', content, 2)[0] == 43  # BigTIFF: offsets of 64 bits
    number, offset, length = ('Q', 'Q', 8) if big else ('H', 'I', 4)
    at, seen = length, set[int]()
    while len(seen) < MOST_PAGES:
        (at,) = struct.unpack_from(order + offset, content, at)
        if not at or at in seen:
            return
        seen.add(at)
        (count,) = struct.unpack_from(order + number, content, at)
        at += struct.calcsize(number)
        yield f'{order}HH{offset}', length, at, count
        at += count * (4 + 2 * length)


def _tiff_tags(content: bytes | memoryview) -> dict[int, int]:
    """Return the first value of each tag of the first image."""
    tags: dict[int, int] = {}
    for form, length, first, count in islice(_tiff_directories(content), 1):
        step = 4 + 2 * length
        for at in range(first, first + min(count, MOST_TAGS) * step, step):
            tag, kind, number = struct.unpack_from(form, content, at)
            if code := TIFF_KINDS.get(kind):
                at += 4 + length
                if number * struct.calcsize(code) > length:
                    (at,) = struct.unpack_from(form[0] + form[-1], content, at)
                (tags[tag],) = struct.unpack_from(form[0] + code, content, at)
    return tags


def _read_tiff(content: bytes | memoryview) -> ImageHeader:
    tags = _tiff_tags(content)
    bits, samples = tags.get(BITS, 1), tags.get(SAMPLES, 1)
    if tags.get(COMPRESSION, 1) not in TIFF_COMPRESSIONS or bits > 16 or samples > 4:
        msg = (
            f'A TIFF image has {samples} samples of {bits} bits and the compression '
            f'{tags.get(COMPRESSION, 1)}; expected at most 4 samples of 8 or 16 bits, without '
            'compression or with LZW, deflate, PackBits or JPEG; convert it to PNG.'
        )
        raise EncodingError(msg)
    # the tiles of an image may be larger than the image
    height = max(tags[HEIGHT], tags.get(TILE_HEIGHT, 0))
    width = max(tags[WIDTH], tags.get(TILE_WIDTH, 0))
    return ImageHeader(height, width, samples * -(-bits // 8))


def _read_webp(content: bytes | memoryview) -> ImageHeader:
    at, chunks = 12, dict[bytes, bytes | memoryview]()
    while at + 8 <= len(content):
        kind, size = struct.unpack_from('<4sI', content, at)
        chunks.setdefault(kind, content[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    orientation = _orientation(chunks.get(b'EXIF', b''))
    if canvas := chunks.get(b'VP8X'):
        width, height = (1 + int.from_bytes(canvas[n : n + 3], 'little') for n in (4, 7))
    elif lossless := chunks.get(b'VP8L'):
        (sides,) = struct.unpack_from('<I', lossless, 1)
        width, height = 1 + sides % (1 << 14), 1 + (sides >> 14) % (1 << 14)
    else:
        sides = struct.unpack_from('<HH', chunks[b'VP8 '], 6)
        width, height = (side % (1 << 14) for side in sides)
    return ImageHeader(height, width, 4, orientation=orientation)


def _read_pnm(content: bytes | memoryview) -> ImageHeader:
    if not (match := PNM_HEADER.match(content)):
        raise ValueError(content)
    kind, *numbers = match.groups()
    width, height, white = map(int, numbers)
    return ImageHeader(height, width, (3 if kind in b'36' else 1) * (2 if white > 255 else 1))


READERS = {
    'JPEG': _read_jpeg,
    'PNG': _read_png,
    'BMP': _read_bmp,
    'TIFF': _read_tiff,
    'WebP': _read_webp,
    'PGM/PPM': _read_pnm,
}
