"""Arbitrary bytes as an image are read within bounds or rejected with a sentence."""

from collections.abc import Iterator
import random
import re
import struct

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from keypoint_perception.cdr import read_compressed_image, read_image
from keypoint_perception.encodings import SUPPORTED_ENCODINGS
from keypoint_perception.errors import EncodingError
from keypoint_perception.images import fit_image, open_message
from keypoint_perception.keypoints import Fit
import numpy as np
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2

COUNT = 1000
DATA_BYTES = 240
EXTREMES = (0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def text(octets: bytes) -> bytes:
    return struct.pack('<I', len(octets) + 1) + octets + b'\0'


def header() -> bytes:
    """Return the start of a message, 20 bytes aligned to 4."""
    return b'\0\1\0\0' + struct.pack('<iI', 1_700_000_000, 5) + text(b'cam')


def image_on_the_wire(encoding: str = 'rgb8', side: int = 4, step: int = 18) -> bytes:
    """Return a dark square as it lies on the wire."""
    fields = header() + struct.pack('<II', side, side) + text(encoding.encode()) + b'\0'
    fields += b'\0' * (-len(fields) % 4)
    return fields + struct.pack('<II', step, DATA_BYTES) + bytes(DATA_BYTES)


def compressed_on_the_wire(extension: str) -> bytes:
    picture = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    octets = cv2.imencode(extension, picture)[1].tobytes()
    return header() + text(b'png') + struct.pack('<I', len(octets)) + octets


def broken(whole: bytes, seed: int, count: int = COUNT) -> Iterator[bytes]:
    """Yield noise, and a message that is cut, has other numbers in it, or other bytes."""
    dice = random.Random(seed)
    numbers = range(4, 64, 4)
    for _ in range(count):
        content = bytearray(whole)
        how = dice.randrange(5)
        if how == 0:
            content = dice.randbytes(dice.randrange(1, 200))
        elif how == 1:
            content = whole[:4] + dice.randbytes(dice.randrange(200))
        elif how == 2:
            content = whole[: dice.randrange(1, len(whole))]
        elif how == 3:
            at = dice.choice(numbers)
            content[at : at + 4] = struct.pack('<I', dice.choice(EXTREMES))
        else:
            for _ in range(dice.randrange(1, 6)):
                content[dice.randrange(len(content))] = dice.randrange(256)
        yield bytes(content)


def answer(content: bytes, read) -> str:
    """Process an image; return the error message, or an empty text."""
    try:
        message = read(content)
        assert message.data.obj is content
        image = open_message(message)
        fitted = fit_image(image, Fit(image.image_hw, (12, 16)))
    except EncodingError as error:
        return str(error)
    if read is read_image:
        start, end = span(np.frombuffer(message.data, np.uint8))
        for plane in image.planes:
            first, last = span(plane)
            assert start <= first < last <= end
    assert fitted.shape == (12, 16, 3)
    return ''


def span(array: np.ndarray) -> tuple[int, int]:
    """Return the addresses of an array's first byte and behind its last."""
    start = array.__array_interface__['data'][0]
    steps = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)]
    return start, start + sum(steps) + array.itemsize


def check(sentences: list[str]) -> None:
    refused = [sentence for sentence in sentences if sentence]
    assert len(sentences) > len(refused) > len(sentences) / 3
    for sentence in refused:
        assert re.fullmatch(r'(An? |Encoding )[^\n]{20,500}\.', sentence), sentence


@pytest.mark.parametrize('encoding', SUPPORTED_ENCODINGS)
def test_broken_images_are_read_within_bounds_or_rejected(encoding):
    whole = image_on_the_wire(encoding)
    assert answer(whole, read_image) == ''
    check([answer(content, read_image) for content in broken(whole, seed=1)])


@pytest.mark.parametrize('extension', ['.png', '.jpg'])
def test_broken_compressed_images_are_read_or_rejected(extension):
    whole = compressed_on_the_wire(extension)
    assert answer(whole, read_compressed_image) == ''
    contents = broken(whole, seed=2)
    check([answer(content, read_compressed_image) for content in contents])


def values_of(diagnosis: DiagnosticArray) -> dict[str, str]:
    return {pair.key: pair.value for status in diagnosis.status for pair in status.values}


@pytest.fixture(scope='module')
def node(start_node, model_dir):
    """Return a node that receives every image, even while it is busy."""
    override = 'qos_overrides./broken/image.subscription'
    node = start_node(
        model=model_dir,
        remaps={'image': '/broken/image'},
        lazy=False,
        **{f'{override}.reliability': 'reliable', f'{override}.depth': COUNT + 100},
    )
    node.wait_for('listening to /broken/image')
    return node


def test_node_survives_a_thousand_broken_images(peer, node, make_image):
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    clouds = peer.collect(PointCloud2, '/perception_node/keypoints')
    publisher = peer.node.create_publisher(Image, '/broken/image', QoSProfile(depth=COUNT + 100))
    peer.spin_until(publisher.get_subscription_count, 'a subscription', node)
    peer.spin_until(lambda: diagnoses, 'a diagnosis', node)

    def counted(name: str) -> int:
        return int(values_of(diagnoses[-1])[name])

    for content in broken(image_on_the_wire(), seed=3):
        publisher.publish(content)
    peer.spin_until(lambda: counted('images received') >= COUNT, 'all of them', node)
    unreadable = [c for c in broken(image_on_the_wire(), seed=3) if not readable(c)]
    assert counted('bad images: broken message') == len(unreadable)
    said = node.count(r'image rejected \(broken message\)')
    assert said == 3  # cut short, no CDR, no text
    good = make_image(77, u=20, v=30)

    def answered():
        return [cloud for cloud in clouds if cloud.header.stamp.sec == 77]

    peer.publish_until(answered, publisher, good, 'an answer to a good image', node)
    assert node.stop() == 0
    assert 'Traceback' not in node.output


def readable(content: bytes) -> bool:
    """Return whether the bytes can be read as received: DDS pads to a multiple of four."""
    try:
        read_image(content + b'\0' * (-len(content) % 4))
    except EncodingError:
        return False
    return True
