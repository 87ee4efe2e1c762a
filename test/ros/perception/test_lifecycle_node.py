"""A node in its own process answers images over DDS, and survives bad ones."""

import array
import re

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticArray
from keypoint_perception.ros.messages import from_point_cloud
import numpy as np
from sensor_msgs.msg import Image, PointCloud2


@pytest.fixture(scope='module')
def node(start_node, model_dir):
    node = start_node(model=model_dir, remaps={'image': '/cam/image'}, silence_timeout=1.0)
    node.wait_for('listening to /cam/image')
    return node


def answer(peer, publisher, image, clouds, node):
    """Publish an image and return its keypoints' message."""
    sec = image.header.stamp.sec

    def arrived():
        return [c for c in clouds if c.header.stamp.sec == sec]

    peer.publish_until(arrived, publisher, image, f'keypoints of image {sec}', node)
    return arrived()[0]


def listen(peer, node):
    """Return a matched publisher of images and the list of received clouds."""
    clouds = peer.collect(PointCloud2, '/perception_node/keypoints')
    publisher = peer.publisher(Image, '/cam/image')
    count = peer.node.count_publishers
    peer.spin_until(lambda: count('/perception_node/keypoints'), 'a publisher of clouds', node)
    return publisher, clouds


def test_header_is_verbatim_and_points_are_in_order(peer, node, make_image):
    publisher, clouds = listen(peer, node)
    cloud = answer(peer, publisher, make_image(7, u=20, v=30, frame_id='été/x'), clouds, node)
    assert (cloud.header.stamp.sec, cloud.header.stamp.nanosec) == (7, 123_456_789)
    assert cloud.header.frame_id == 'été/x'
    assert (cloud.height, cloud.width) == (1, 3)
    points = from_point_cloud(cloud)
    np.testing.assert_allclose(points['u'], [20, 21, 22])
    np.testing.assert_allclose(points['v'], [30, 30, 30])
    np.testing.assert_allclose(points['confidence'], 1)
    assert np.isnan(points['x']).all()


def test_images_of_another_size_are_answered_in_their_own_pixels(peer, node, make_image):
    publisher, clouds = listen(peer, node)
    pixels = np.zeros((96, 128, 3), np.uint8)
    pixels[60:62, 40:42] = 255
    data = array.array('B', pixels.tobytes())
    large = make_image(8, height=96, width=128, step=3 * 128, data=data)
    points = from_point_cloud(answer(peer, publisher, large, clouds, node))
    # pixels 40 and 41 are network pixel 20, whose centre is 40.5
    assert (points['u'][0], points['v'][0]) == (40.5, 60.5)


def test_overlay_is_published_only_while_subscribed(peer, node, make_image):
    publisher, clouds = listen(peer, node)
    answer(peer, publisher, make_image(10), clouds, node)
    overlays = peer.collect(Image, '/perception_node/overlay')
    wanted = '/perception_node/overlay'
    peer.spin_until(lambda: peer.node.count_publishers(wanted), 'a publisher of overlays', node)
    sec = iter(range(11, 10_000))

    def overlay_arrived():
        # the node may learn of the subscription later than this process of the publisher
        answer(peer, publisher, make_image(next(sec), u=20, v=30), clouds, node)
        return overlays

    peer.spin_until(overlay_arrived, 'an overlay', node)
    overlay = overlays[-1]
    assert (overlay.encoding, overlay.height, overlay.width) == ('rgb8', 48, 64)
    assert overlay.header.frame_id == 'camera_optical'
    drawn = np.frombuffer(overlay.data, np.uint8).reshape(48, 64, 3)
    assert drawn[28:33, 18:23].any()
    assert not drawn[:20, 40:].any()


BAD_IMAGES = {
    'encoding not supported': ({'encoding': 'rgb9'}, "Encoding 'rgb9' is not supported"),
    'no pixels': ({'height': 0}, 'An image has no pixels'),
    'wrong step or size': ({'step': 5}, 'An image has a step of 5 bytes'),
}


@pytest.mark.parametrize('kind', BAD_IMAGES)
def test_bad_image_is_logged_once_and_counted(peer, node, make_image, kind):
    fields, sentence = BAD_IMAGES[kind]
    publisher, clouds = listen(peer, node)
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    said = f'image rejected \\({kind}\\): {sentence}'
    bad = make_image(20, **fields)
    peer.publish_until(lambda: node.count(said), publisher, bad, 'the sentence', node)

    def counted_again():
        publisher.publish(make_image(21, **fields))
        shown = [pair for d in diagnoses for pair in d.status[0].values]
        counts = [int(p.value) for p in shown if p.key == f'bad images: {kind}']
        return counts and counts[-1] > 1

    peer.spin_until(counted_again, 'a second count', node)
    assert node.count(f'image rejected \\({kind}\\)') == 1
    answer(peer, publisher, make_image(22), clouds, node)


def test_truncated_message_is_reported(peer, node, make_image):
    publisher, clouds = listen(peer, node)
    data = array.array('B', bytes(100))
    said = 'An image has 100 bytes, but 64x48 in rgb8 with a step of 192 takes 9216'
    bad = make_image(30, data=data)
    peer.publish_until(lambda: node.count(said), publisher, bad, 'the sentence', node)
    answer(peer, publisher, make_image(31), clouds, node)


def test_diagnostics_report_rates_and_identity(peer, node, make_image):
    publisher, clouds = listen(peer, node)
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    sec = iter(range(100, 10_000))

    def healthy():
        publisher.publish(make_image(next(sec)))
        return [d for d in diagnoses if d.status[0].message.startswith('publishing at')]

    peer.spin_until(healthy, 'a healthy diagnosis', node)
    status = healthy()[-1].status[0]
    values = {pair.key: pair.value for pair in status.values}
    assert status.level == b'\x00'
    assert status.name == '/perception_node: keypoints'
    assert values['engine'].startswith('onnxruntime')
    assert '3 keypoints, 64x48 px, sha256' in values['model']
    assert float(values['output rate (Hz)']) > 0
    assert float(values['engine time p99 (ms)']) > 0
    # the stamps are of 1970: not the clock by which latency could be told
    assert values['latency stamp to publish p50 (ms)'] == 'nan'
    assert clouds


def test_silence_is_explained_once_images_stop(peer, node, make_image):
    publisher, clouds = listen(peer, node)
    answer(peer, publisher, make_image(40), clouds, node)
    node.lines.clear()
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    told = r'1 publisher\(s\) on /cam/image, but no image for \d+ s; check the publisher'
    before = node.count(told)

    def told_for_a_while():
        return sum(bool(re.search(told, d.status[0].message)) for d in diagnoses) >= 3

    peer.spin_until(told_for_a_while, 'three diagnoses', node)
    assert before <= 1 == node.count(told)


def test_parameters_have_descriptions(peer, node):
    from rcl_interfaces.srv import DescribeParameters

    names = DescribeParameters.Request(names=['threads', 'engine'])
    described = peer.call(DescribeParameters, '/perception_node/describe_parameters', names)
    threads, engine = described.descriptors
    assert threads.description.startswith('CPU threads')
    assert threads.integer_range[0].to_value == 256
    assert 'onnxruntime' in engine.additional_constraints


def test_node_ends_cleanly(node):
    # the last test of the module: everything before has left the node alive
    assert node.stop() == 0
    assert 'Traceback' not in node.output
