"""What an image file claims is checked before a decoder sees it."""

import struct
import zlib

import cv2
from keypoint_perception.compressed import decode, open_compressed
from keypoint_perception.errors import EncodingError
from keypoint_perception.image_headers import read_image_header, READABLE
import numpy as np
import pytest

RNG = np.random.default_rng(0)
PICTURE = cv2.GaussianBlur(RNG.integers(0, 255, (40, 60, 3), np.uint8), (0, 0), 2)
TIFF_COMPRESSION, JPEG_PROGRESSIVE = cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_JPEG_PROGRESSIVE


def encoded(extension, picture=PICTURE, *options) -> bytes:
    return cv2.imencode(extension, picture, options)[1].tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(width, height, *, bits=8, colour=2, idat=b'', more=b'') -> bytes:
    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + more + chunk(b'IDAT', idat)) + chunk(
        b'IEND', b''
    )


def exif(orientation: int, order='<') -> bytes:
    head = b'II*\0' if order == '<' else b'MM\0*'
    tag = struct.pack(order + 'HHIHH', 274, 3, 1, orientation, 0)
    return head + struct.pack(order + 'IH', 8, 1) + tag + bytes(4)


def with_orientation(content: bytes, orientation: int, order='<') -> bytes:
    """Return a JPEG or PNG with EXIF data."""
    data = exif(orientation, order)
    if content[1:4] == b'PNG':
        return content[:33] + chunk(b'eXIf', data) + content[33:]
    segment = b'Exif\0\0' + data
    return content[:2] + b'\xff\xe1' + struct.pack('>H', len(segment) + 2) + segment + content[2:]


@pytest.mark.parametrize(
    ('extension', 'options', 'pixel_bytes'),
    [
        ('.jpg', (), 3),
        ('.jpg', (JPEG_PROGRESSIVE, 1), 3),
        ('.png', (), 3),
        ('.bmp', (), 3),
        ('.webp', (cv2.IMWRITE_WEBP_QUALITY, 90), 4),
        ('.webp', (cv2.IMWRITE_WEBP_QUALITY, 101), 4),
        ('.tif', (TIFF_COMPRESSION, 8), 3),
        ('.ppm', (), 3),
        ('.pgm', (), 1),
    ],
)
def test_every_documented_format_is_read_with_its_size(extension, options, pixel_bytes):
    picture = PICTURE if extension != '.pgm' else PICTURE[..., 0]
    content = encoded(extension, picture, *options)
    header = read_image_header(content)
    assert (header.height, header.width, header.pixel_bytes) == (40, 60, pixel_bytes)
    assert decode(memoryview(content), cv2.IMREAD_UNCHANGED, READABLE).shape == picture.shape


def test_16_bit_pngs_and_tiffs_are_counted_by_their_bytes():
    deep = np.zeros((4, 5, 4), np.uint16)
    assert read_image_header(encoded('.png', deep)).pixel_bytes == 8
    assert read_image_header(encoded('.tif', deep)).pixel_bytes == 8
    assert read_image_header(encoded('.png', deep[..., 0])).pixel_bytes == 2
    with pytest.raises(EncodingError, match=r'64 million pixels of 8 bytes, .*megapixels=128'):
        read_image_header(png(8000, 8000, bits=16, colour=6) + bytes(1 << 19))


@pytest.mark.parametrize('kind', ['fill', 'spare', 'second', 'baseline'])
def test_jpegs_that_claim_more_than_their_bytes_become_are_refused(kind):
    content = bytearray(encoded('.jpg'))
    at = content.index(b'\xff\xc0')
    content[at + 5 : at + 9] = struct.pack('>HH', 20_000, 30_000)
    if kind == 'fill':  # fill bytes may precede any marker
        content[at:at] = b'\xff'
    elif kind == 'spare':  # decoders skip what is between two segments
        content[at:at] = b'\x00\x01\x02'
    elif kind == 'second':  # the first counts
        content += content[at : at + 19]
    with pytest.raises(EncodingError, match='claims to have 30000x20000 pixels, which do not fit'):
        decode(memoryview(content), cv2.IMREAD_UNCHANGED)


def test_pngs_that_claim_more_than_their_bytes_become_are_refused():
    with pytest.raises(EncodingError, match=r'PNG image .* 8000x8000 pixels, which do not fit'):
        open_compressed(png(8000, 8000, idat=zlib.compress(bytes(100))))


@pytest.mark.parametrize(
    'content',
    [
        png(12_000, 8_000, idat=bytes(300_000)),
        b'BM' + bytes(12) + struct.pack('<Iii', 40, 12_000, -8_000),
        b'P5 # a comment\n12000\n8000 255\n',
        b'RIFF\0\0\0\0WEBPVP8X'
        + struct.pack('<II', 10, 0)
        + (11_999).to_bytes(3, 'little')
        + (7_999).to_bytes(3, 'little'),
        b'II*\0'
        + struct.pack('<IH', 8, 2)
        + struct.pack('<HHII', 256, 4, 1, 12_000)
        + struct.pack('<HHII', 257, 4, 1, 8_000),
        b'MM\0+'
        + struct.pack('>HHQQ', 8, 0, 16, 2)
        + struct.pack('>HHQQ', 256, 16, 1, 12_000)
        + struct.pack('>HHQQ', 257, 16, 1, 8_000),
    ],
    ids=['png', 'bmp', 'pgm', 'webp', 'tiff', 'bigtiff'],
)
def test_images_above_the_limit_are_refused_and_the_remedy_works(content, monkeypatch):
    with pytest.raises(
        EncodingError, match=r'12000x8000 has 96 million pixels, .* of 64;'
    ) as found:
        read_image_header(content)
    assignment = str(found.value).split('set ')[1].rstrip('.')
    monkeypatch.setenv(*assignment.split('=', 1))
    assert read_image_header(content).width == 12_000


def test_a_tile_may_not_be_larger_than_the_limit():
    content = encoded('.tif')
    (at,) = struct.unpack_from('<I', content, 4)
    (count,) = struct.unpack_from('<H', content, at)
    tags = [struct.unpack_from('<HHII', content, at + 2 + 12 * n) for n in range(count)]
    tags += [(322, 4, 1, 1 << 16), (323, 4, 1, 1 << 16)]
    content += struct.pack('<H', len(tags)) + b''.join(struct.pack('<HHII', *t) for t in tags)
    content = content[:4] + struct.pack('<I', len(content) - 12 * len(tags) - 2) + content[8:]
    with pytest.raises(EncodingError, match=r'65536x65536 has 4.29e\+03 million pixels'):
        read_image_header(content)


def test_tiffs_that_opencv_does_not_make_8_or_16_bits_of_are_refused():
    with pytest.raises(EncodingError, match=r'1 samples of 32 bits .* convert it to PNG'):
        read_image_header(encoded('.tif', np.zeros((4, 4), np.float32)))


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('GIF', b'GIF89a' + bytes(20)),
        ('AVIF', bytes(4) + b'ftypavif' + bytes(20)),
        ('HEIC', bytes(4) + b'ftypheic' + bytes(20)),
        ('JPEG 2000', b'\0\0\0\x0cjP  \r\n\x87\n' + bytes(20)),
        ('TIFF', encoded('.tif')),
        ('BMP', encoded('.bmp')),
        ('WebP', encoded('.webp')),
        ('PGM/PPM', encoded('.ppm')),
    ],
)
def test_messages_are_read_in_no_other_format_than_jpeg_and_png(name, content, monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', None)
    with pytest.raises(EncodingError, match=f' is in {name}; expected JPEG or PNG'):
        open_compressed(content, 'jpeg')


@pytest.mark.parametrize('extension', ['.jpg', '.png', '.bmp', '.webp', '.tif', '.ppm'])
def test_headers_that_are_cut_short_are_refused(extension):
    content = encoded(extension)
    for length in [*range(33), len(content) // 2]:
        try:
            decode(memoryview(content[:length]), cv2.IMREAD_UNCHANGED, READABLE)
        except EncodingError as error:
            assert f'of {length} bytes' in str(error)


def test_jpegs_of_many_scans_are_refused():
    content = encoded('.jpg', PICTURE, JPEG_PROGRESSIVE, 1)
    scan = content[content.rindex(b'\xff\xda') : -2]
    assert read_image_header(content[:-2] + 20 * scan + content[-2:]).width == 60
    with pytest.raises(EncodingError, match='has more than 32 scans'):
        read_image_header(content[:-2] + 100 * scan + content[-2:])


def test_jpegs_in_arithmetic_coding_are_refused():
    with pytest.raises(EncodingError, match='neither baseline nor progressive'):
        read_image_header(encoded('.jpg').replace(b'\xff\xc0', b'\xff\xc9'))


def test_runs_of_fill_bytes_take_no_time():
    with pytest.raises(EncodingError, match='an incomplete header'):  # quadratic: half an hour
        read_image_header(b'\xff\xd8' + (b'\xff' * 999 + b'\0') * 3000)


def test_png_checksums_are_verified():
    stored = zlib.compress(b''.join(b'\0' + row.tobytes() for row in PICTURE), 0)
    content = bytearray(png(60, 40, idat=stored))
    assert open_compressed(content).to_rgb().shape == (40, 60, 3)
    content[200] ^= 4
    with pytest.raises(EncodingError, match=r'PNG image .* does not match its checksums'):
        open_compressed(content)


def test_chunks_that_no_decoder_needs_do_not_reach_it():
    bomb = chunk(b'iCCP', b'x\0\0' + zlib.compress(bytes(8 << 20), 9)) * 200
    content = png(60, 40, idat=zlib.compress(bytes(40 * 181)), more=bomb)
    assert len(read_image_header(content).plain) < 200 < len(content)
    assert not open_compressed(content).to_rgb().any()


def test_a_png_without_its_last_chunk_is_read():
    content = encoded('.png')
    np.testing.assert_array_equal(
        open_compressed(content[:-12]).to_rgb(), open_compressed(content).to_rgb()
    )
    with pytest.raises(EncodingError, match='is broken; expected JPEG or PNG'):
        open_compressed(content[:-20])


@pytest.mark.parametrize('progressive', [0, 1])
def test_jpegs_without_an_end_mark_are_read_if_all_their_pixels_are_there(progressive):
    content = encoded('.jpg', PICTURE, JPEG_PROGRESSIVE, progressive)
    expected = open_compressed(content).to_rgb()
    for whole in (content[:-2], content[:-1], content + bytes(100)):
        np.testing.assert_array_equal(open_compressed(whole).to_rgb(), expected)
    for lost in (3, 4, 20, len(content) // 4):
        with pytest.raises(EncodingError, match=r'JPEG image .* ends before its last pixel'):
            open_compressed(content[:-lost])


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_images_are_turned_upright(extension, orientation, order):
    content = with_orientation(encoded(extension), orientation, order)
    by_opencv = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    image = open_compressed(content)
    assert image.image_hw == ((40, 60) if orientation < 5 else (60, 40))
    np.testing.assert_array_equal(image.to_rgb()[..., ::-1], by_opencv)
    small = decode(memoryview(content), cv2.IMREAD_REDUCED_GRAYSCALE_4)
    assert small.shape == ((10, 15) if orientation < 5 else (15, 10))


def test_a_wrong_orientation_is_ignored():
    for content in (
        with_orientation(encoded('.jpg'), 9),
        encoded('.png')[:33] + chunk(b'eXIf', b'II*\0\xff\xff\xff\xff') + encoded('.png')[33:],
    ):
        assert open_compressed(content).image_hw == (40, 60)


def test_transparency_is_ignored_and_said_to_be(caplog):
    alpha = np.full(PICTURE.shape[:2], 255, np.uint8)
    opaque, half = np.dstack([PICTURE, alpha]), np.dstack([PICTURE, alpha])
    half[:20, :, 3] = 0
    assert not np.array_equal(opaque, half)
    np.testing.assert_array_equal(open_compressed(encoded('.png', opaque)).planes[0], opaque)
    assert 'transparency' not in caplog.text
    for _ in range(2):
        image = open_compressed(encoded('.png', half)).to_rgb()
        np.testing.assert_array_equal(image[..., ::-1], PICTURE)
    grey_and_alpha = bytes([0, 50, 255, 90, 0])
    content = png(2, 1, colour=4, idat=zlib.compress(grey_and_alpha))
    np.testing.assert_array_equal(open_compressed(content).to_rgb()[0], [[50] * 3, [90] * 3])
    assert caplog.text.count('transparency') == 1
