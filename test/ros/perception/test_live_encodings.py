"""Images of every kind, with padded rows and of another size, are answered over DDS."""

import array

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

import cv2
from keypoint_perception.ros.messages import from_point_cloud
import numpy as np
from sensor_msgs.msg import CompressedImage, Image, PointCloud2

# Twice the network's size, and bright where network pixel (20, 30) is: its centre is (40.5, 60.5).
HEIGHT, WIDTH, PADDING = 96, 128, 12
BRIGHT = np.s_[60:62, 40:42]


def grey() -> np.ndarray:
    pixels = np.full((HEIGHT, WIDTH), 16, np.uint8)
    pixels[BRIGHT] = 235
    return pixels


def colours(channels: int) -> np.ndarray:
    return np.repeat(grey()[..., None], channels, axis=2)


def with_chroma(places: tuple[int, int]) -> np.ndarray:
    """Return grey as YUV 4:2:2, the luma at one place of each pair of bytes."""
    pixels = np.full((HEIGHT, WIDTH, 2), 128, np.uint8)
    pixels[..., places[0]] = grey()
    return pixels


PIXELS = {
    'bgr8': colours(3),
    'rgba8': colours(4),
    'mono8': grey(),
    'mono16': (grey().astype(np.uint16) << 8).astype('>u2'),
    '16UC1': (grey().astype(np.uint16) * 16).astype('>u2'),
    'bayer_grbg8': grey(),
    'yuyv': with_chroma((0, 1)),
    'uyvy': with_chroma((1, 0)),
}


def message_of(make_image, sec: int, encoding: str, pixels: np.ndarray) -> Image:
    rows = pixels.reshape(HEIGHT, -1).view(np.uint8)
    padded = np.full((HEIGHT, rows.shape[1] + PADDING), 255, np.uint8)
    padded[:, :-PADDING] = rows
    data = array.array('B', padded.tobytes())
    fields = {'encoding': encoding, 'step': padded.shape[1], 'data': data}
    return make_image(sec, height=HEIGHT, width=WIDTH, is_bigendian=1, **fields)


def answer(peer, node, publisher, clouds: list, message) -> tuple[float, float]:
    def arrived():
        return [c for c in clouds if c.header.stamp.sec == message.header.stamp.sec]

    peer.publish_until(arrived, publisher, message, 'keypoints', node)
    points = from_point_cloud(arrived()[0])
    return float(points['u'][0]), float(points['v'][0])


@pytest.fixture(scope='module')
def node(start_node, model_dir):
    node = start_node(model=model_dir, remaps={'image': '/raw/image'})
    node.wait_for('listening to /raw/image')
    return node


@pytest.mark.parametrize('encoding', PIXELS)
def test_raw(peer, node, make_image, encoding):
    clouds = peer.collect(PointCloud2, '/perception_node/keypoints')
    publisher = peer.publisher(Image, '/raw/image')
    sec = 1 + list(PIXELS).index(encoding)
    message = message_of(make_image, sec, encoding, PIXELS[encoding])
    assert answer(peer, node, publisher, clouds, message) == (40.5, 60.5)


def test_compressed(peer, start_node, model_dir, make_image):
    # the topic of the transport is remapped by its full name, as the node's advice says
    topic = '/packed/image/compressed'
    remaps = {'image': '/packed/image', topic: '/packed/jpeg', '__node': 'unpacks'}
    node = start_node(model=model_dir, remaps=remaps, image_transport='compressed')
    clouds = peer.collect(PointCloud2, '/unpacks/keypoints')
    publisher = peer.publisher(CompressedImage, '/packed/jpeg')
    for sec, extension in enumerate(['.png', '.jpg'], start=1):
        message = CompressedImage(header=make_image(sec).header, format=extension[1:])
        message.data = cv2.imencode(extension, colours(3))[1].tobytes()
        assert answer(peer, node, publisher, clouds, message) == (40.5, 60.5)
