"""Cameras are subscribed to only while their output topics have subscribers."""

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image, PointCloud2

NODE = '/perception_node'


def test_a_camera_is_subscribed_to_while_its_topics_are(peer, start_node, model_dir, make_image):
    node = start_node(model=model_dir, cameras='[left, right]')
    outputs = {camera: f'{NODE}/{camera}/keypoints' for camera in ('left', 'right')}
    node.wait_for(f'listening to /left/image once {outputs["left"]} or {NODE}')
    left = peer.publisher(Image, '/left/image', matched=False)
    right = peer.publisher(Image, '/right/image', matched=False)
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    peer.diagnosed(f'idle: no subscriber to {outputs["left"]} or', diagnoses, node)
    assert left.get_subscription_count() == right.get_subscription_count() == 0

    clouds = []
    listener = peer.node.create_subscription(PointCloud2, outputs['left'], clouds.append, 10)
    peer.spin_until(left.get_subscription_count, 'a subscription to left', node)
    peer.publish_until(lambda: clouds, left, make_image(1), 'keypoints', node)
    peer.diagnosed('^publishing at', diagnoses, node)
    peer.node.destroy_subscription(listener)
    peer.spin_until(lambda: not left.get_subscription_count(), 'the end of it', node)

    peer.node.create_subscription(Image, f'{NODE}/right/overlay', lambda overlay: None, 1)
    peer.spin_until(right.get_subscription_count, 'a subscription to right', node)
    assert left.get_subscription_count() == 0
    # silence that nobody hears is nothing to warn of
    assert node.count('nothing published') == 0
    assert node.stop() == 0
    assert 'Traceback' not in node.output


def test_a_node_that_is_not_lazy_subscribes_at_once(peer, start_node, model_dir):
    node = start_node(model=model_dir, lazy=False)
    node.wait_for('listening to /image$')
    peer.publisher(Image, '/image')
    assert node.stop() == 0
