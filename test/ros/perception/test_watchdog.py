"""An engine that hangs or keeps failing is reported, and the node recovers on its own."""

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image, PointCloud2

GATED_NODE = str(Path(__file__).with_name('gated_node.py'))


class Camera:
    """A publisher of images for a node whose engine waits for the test."""

    def __init__(self, peer, node, make_image):
        self._peer, self._node, self._make_image = peer, node, make_image
        self.clouds = peer.collect(PointCloud2, '/perception_node/keypoints')
        self.diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
        self._publisher = peer.publisher(Image, '/image')
        there = peer.node.count_publishers
        peer.spin_until(lambda: there('/perception_node/keypoints'), 'a publisher of clouds', node)

    def keep_busy(self, sec):
        """Publish an image until the engine is busy with it."""
        node, before = self._node, self._node.count('^busy$')
        image = self._make_image(sec)
        self._peer.publish_until(
            lambda: node.count('^busy$') > before, self._publisher, image, 'work', node
        )

    def diagnosed(self, pattern):
        return self._peer.diagnosed(pattern, self.diagnoses, self._node)


@pytest.fixture
def start_camera(peer, start_node, make_image):
    def start(**parameters):
        node = start_node(module=GATED_NODE, model='fake', **parameters)
        node.wait_for('listening to /image')
        return node, Camera(peer, node, make_image)

    return start


def give_patience(peer):
    """Let the engine take any time, so that a busy machine does not look like another fault."""
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=0.0)
    request = SetParameters.Request(parameters=[Parameter(name='engine_timeout', value=value)])
    (result,) = peer.call(SetParameters, '/perception_node/set_parameters', request).results
    assert result.successful, result.reason


def test_a_node_recovers_from_an_engine_that_hangs(peer, start_camera):
    node, camera = start_camera(engine_timeout=0.5)
    camera.keep_busy(1)
    camera.diagnosed(r'the engine has not responded for \d+ s; it will be reloaded until it works')
    node.wait_for('the engine has recovered from fault 1')
    give_patience(peer)
    node.write('go')  # the engine that hung comes back too late
    camera.keep_busy(2)
    node.write('go')
    peer.spin_until(lambda: camera.clouds, 'an answer of the new engine', node)
    assert {cloud.header.stamp.sec for cloud in camera.clouds} == {2}
    camera.diagnoses.clear()
    values = camera.diagnosed('^publishing at')
    assert values['engine faults'] == '1'
    assert values['last error'].startswith('the engine has not responded for')
    assert node.count(r'\[ERROR\].*the engine has not responded') == 1
    assert node.stop() == 0
    assert 'Traceback' not in node.output


def test_a_node_recovers_from_an_engine_that_keeps_failing(peer, start_camera):
    node, camera = start_camera()
    for sec in range(3):
        camera.keep_busy(sec)
        node.write('fail')
    camera.diagnosed(r'the engine failed 3 times in a row \(RuntimeError: the library broke\)')
    node.wait_for('the engine has recovered from fault 1')
    camera.keep_busy(7)
    answered = [cloud.header.stamp.sec for cloud in camera.clouds]
    while (
        7 not in answered
    ):  # before it, an image that was published again while the engine failed
        node.write('go')
        before = len(camera.clouds)
        peer.spin_until(lambda n=before: len(camera.clouds) > n, 'an answer', node)
        answered = [cloud.header.stamp.sec for cloud in camera.clouds]
    assert answered == sorted(answered)
    assert node.count(r'image rejected \(unexpected error\)') == 1
    assert node.stop() == 0


def test_a_node_whose_engine_hangs_can_be_stopped(start_camera):
    node, camera = start_camera(engine_timeout=0.1)
    camera.keep_busy(1)
    camera.diagnosed('the engine has not responded')
    assert node.stop() == 0
    assert 'Traceback' not in node.output
