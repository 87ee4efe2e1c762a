"""A slow or failing engine: the newest image is next, nothing queues up, the node survives."""

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image, PointCloud2

GATED_NODE = str(Path(__file__).with_name('gated_node.py'))


@pytest.fixture(scope='module')
def node(start_node):
    node = start_node(module=GATED_NODE, model='fake', remaps={'image': '/slow/image'})
    node.wait_for('listening to /slow/image')
    return node


def values_of(diagnosis):
    return {pair.key: pair.value for pair in diagnosis.status[0].values}


def node_is_busy(node, times):
    """Return a condition: the engine has begun that many images."""
    return lambda: node.count('^busy$') >= times


def test_slow_engine_never_builds_a_queue(peer, node, make_image):
    clouds = peer.collect(PointCloud2, '/perception_node/keypoints')
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    publisher = peer.publisher(Image, '/slow/image')
    busy = node_is_busy(node, 1)
    peer.publish_until(busy, publisher, make_image(1), 'work on the first image', node)
    sent = iter(range(2, 10_000))
    last = 1

    def many_dropped():
        nonlocal last
        last = next(sent)
        publisher.publish(make_image(last))
        return diagnoses and int(values_of(diagnoses[-1])['dropped for a newer image']) >= 20

    peer.spin_until(many_dropped, 'dropping of images', node)
    diagnoses.clear()

    def nothing_under_way():
        return len({values_of(d)['images received'] for d in diagnoses[-2:]}) == 1 < len(diagnoses)

    peer.spin_until(nothing_under_way, 'the arrival of the last image', node)
    node.write('go')
    node.wait_for('^busy$', 2)
    node.write('go')
    peer.spin_until(lambda: len(clouds) == 2, 'two answers', node)
    assert [c.header.stamp.sec for c in clouds] == [1, last]
    # nothing was left over: the next image is the next answer
    busy = node_is_busy(node, 3)
    peer.publish_until(busy, publisher, make_image(20_000), 'work on a third image', node)
    node.write('go')
    peer.spin_until(lambda: len(clouds) == 3, 'a third answer', node)
    assert clouds[-1].header.stamp.sec == 20_000


@pytest.mark.parametrize(
    ('what', 'sentence'),
    [
        ('nan', r'image rejected \(not finite\): .* NaN or infinity for kp1; the network is bro'),
        ('fail', r'image rejected \(unexpected error\): RuntimeError: the library broke'),
    ],
)
def test_node_survives_a_broken_result(peer, node, make_image, what, sentence):
    clouds = peer.collect(PointCloud2, '/perception_node/keypoints')
    publisher = peer.publisher(Image, '/slow/image')
    count = peer.node.count_publishers
    peer.spin_until(lambda: count('/perception_node/keypoints'), 'a publisher of clouds', node)
    busy = node.count('^busy$')
    for order, line in enumerate([what, what, 'go'], start=1):
        image = make_image(30_000 + order)
        reached = node_is_busy(node, busy + order)
        peer.publish_until(reached, publisher, image, 'work on an image', node)
        node.write(line)
    peer.spin_until(lambda: clouds, 'an answer afterwards', node)
    assert clouds[0].header.stamp.sec == 30_003
    assert node.count(sentence) == 1


def test_a_busy_engine_does_not_delay_shutdown(peer, node, make_image):
    busy = node.count('^busy$')
    peer.collect(PointCloud2, '/perception_node/keypoints')
    publisher = peer.publisher(Image, '/slow/image')
    reached = node_is_busy(node, busy + 1)
    peer.publish_until(reached, publisher, make_image(40_000), 'work on an image', node)
    assert node.stop() == 0
    assert 'Traceback' not in node.output
