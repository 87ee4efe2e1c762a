"""A node in its own process publishes points in space and over time, whatever it receives."""

import array
import json
import re

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('onnx', reason='the package onnx, which writes models, is not installed')

from diagnostic_msgs.msg import DiagnosticArray
from keypoint_perception.point_cloud import VELOCITY_NAMES
from keypoint_perception.ros.messages import from_point_cloud
import numpy as np
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

HW = (48, 64)
FX, CX, CY = 40.0, 31.5, 23.5
U, V = 41, 33  # the ray (9.5 / 40, 9.5 / 40)
RAY = 9.5 / 40


@pytest.fixture(scope='module')
def named_model(tmp_path_factory):
    from keypoint_perception.inference.synthetic_model import write_synthetic_model

    path = tmp_path_factory.mktemp('models') / 'named'
    write_synthetic_model(
        path, keypoints=3, input_hw=HW, landmark_names=('tip',), skeleton=((0, 2, 1.0),)
    )
    return path


@pytest.fixture(scope='module')
def node(start_node, model_dir):
    # camera_info is found beside the image; a tolerance that lets every depth image go with any
    # image keeps the test from depending on which of the two arrives first
    node = start_node(
        model=model_dir,
        depth=True,
        depth_tolerance=10.0,
        remaps={'image': '/cam/image_raw', 'depth': '/cam/aligned_depth'},
    )
    node.wait_for('listening to /cam/image_raw')
    return node


class Scene:
    """A camera with a calibration and a depth image, and what the node makes of them."""

    def __init__(self, peer, node, make_image):
        self._peer, self._node, self._make_image = peer, node, make_image
        self.clouds = peer.collect(PointCloud2, '/perception_node/keypoints')
        self._images = peer.publisher(Image, '/cam/image_raw')
        self._infos = None
        self._depths = peer.publisher(Image, '/cam/aligned_depth')
        there = peer.node.count_publishers
        peer.spin_until(lambda: there('/perception_node/keypoints'), 'a publisher of clouds', node)

    def publish(self, image):
        """Publish an image, and calibration and depth with its header."""
        for publisher, message in self._beside:
            if message is not None:
                message.header = image.header
                publisher.publish(message)
        self._images.publish(image)

    def points(self, condition, what, *, sec, info=None, depth=None, u=U):
        """Publish an image until its keypoints are as expected; return them."""
        image = self._make_image(sec, u=u, v=V)

        def shown():
            good = [c for c in self.clouds if c.header == image.header]
            return [p for p in map(from_point_cloud, good) if condition(p)]

        if info is not None and self._infos is None:
            self._infos = self._peer.publisher(CameraInfo, '/cam/camera_info')
        self._beside = ((self._infos, info), (self._depths, depth))
        self._peer.publish_until(shown, self, image, what, self._node)
        return shown()[-1]


@pytest.fixture
def scene(peer, node, make_image):
    return Scene(peer, node, make_image)


def camera_info(fx=FX, **fields):
    values = {'height': HW[0], 'width': HW[1], 'distortion_model': 'plumb_bob', 'd': [0.0] * 5}
    values['k'] = [fx, 0.0, CX, 0.0, fx, CY, 0.0, 0.0, 1.0]
    return CameraInfo(**values | fields)


def depth_image(metres, hw=HW, **fields):
    pixels = np.full(hw, metres, np.float32)
    values = {'height': hw[0], 'width': hw[1], 'encoding': '32FC1', 'step': 4 * hw[1]}
    return Image(**values | {'data': array.array('B', pixels.tobytes())} | fields)


def known(points):
    return np.isfinite(points['x']).all()


def unknown(points):
    return np.isnan([points['x'], points['y'], points['z']]).all()


def test_missing_camera_info_is_logged_once_and_u_v_are_published(scene, node, peer):
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    points = scene.points(unknown, 'points without x', sec=1, depth=depth_image(2.0))
    np.testing.assert_array_equal(points['u'], [U, U + 1, U + 2])
    sentence = (
        'No camera_info was received on /cam/camera_info, so x, y, z are NaN; remap camera_info'
    )
    told = rf'image degraded \(no camera_info\): {sentence}'
    scene.points(lambda p: node.count(told), 'the sentence', sec=2, depth=depth_image(2.0))
    scene.points(unknown, 'another one', sec=3)
    values = peer.diagnosed(re.escape(sentence), diagnoses, node)
    assert int(values['notes: no camera_info']) >= 1
    assert node.count(told) == 1


def test_latched_camera_info_is_received(peer, node, make_image):
    from rclpy.qos import DurabilityPolicy, QoSProfile

    kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = peer.node.create_publisher(CameraInfo, '/cam/camera_info', kept)
    publisher.publish(camera_info())
    scene = Scene(peer, node, make_image)  # only now does the node listen
    points = scene.points(known, 'points in space', sec=5, depth=depth_image(2.0))
    np.testing.assert_allclose(points['x'][0], 2 * RAY, rtol=1e-6)
    # another driver, which sends it again and again, is heard as well
    peer.node.destroy_publisher(publisher)
    beside = {'info': camera_info(fx=80.0), 'depth': depth_image(2.0)}
    points = scene.points(
        lambda p: p['x'][0] < 1.5 * RAY, 'the other calibration', sec=6, **beside
    )
    np.testing.assert_allclose(points['x'][0], RAY, rtol=1e-6)


def test_depth_and_camera_info_give_points_in_space(scene):
    # answers by the calibration of the test before may come first
    beside = {'info': camera_info(), 'depth': depth_image(2.0)}
    points = scene.points(lambda p: p['x'][0] > 1.5 * RAY, 'points in space', sec=10, **beside)
    np.testing.assert_allclose(points['x'], 2 * (np.arange(3) + 9.5) / FX, rtol=1e-6)
    np.testing.assert_allclose(points['y'], 2 * RAY, rtol=1e-6)
    np.testing.assert_allclose(points['z'], 2)
    assert not set(VELOCITY_NAMES) & set(points.dtype.names)


def names_of(peer, node):
    """Return the latched message about the names of the points."""
    from rclpy.qos import DurabilityPolicy

    latched = DurabilityPolicy.TRANSIENT_LOCAL
    names = peer.collect(String, '/perception_node/names', depth=1, durability=latched)
    peer.spin_until(lambda: names, 'names', node)
    return names


def test_swapping_to_a_model_with_landmarks_adds_their_topic(scene, peer, node, named_model):
    names = names_of(peer, node)
    told = json.loads(names[-1].data)
    assert told['keypoints'] == ['kp0', 'kp1', 'kp2']
    assert (told['landmarks'], told['skeleton']) == ([], [])
    assert set_parameter(peer, 'model', str(named_model)).successful
    peer.spin_until(lambda: len(names) > 1, "the other model's names", node)
    told = json.loads(names[-1].data)
    assert (told['landmarks'], told['skeleton']) == (['tip'], [[0, 2, 1.0]])
    assert str(named_model) in told['model']
    assert names_of(peer, node)[0].data == names[-1].data
    landmarks = peer.collect(PointCloud2, '/perception_node/landmarks')
    beside = {'info': camera_info(), 'depth': depth_image(2.0)}
    scene.points(lambda p: landmarks, 'landmarks', sec=11, **beside)
    tip = from_point_cloud(landmarks[-1])
    np.testing.assert_allclose([tip['x'][0], tip['u'][0]], [2 * RAY, U], rtol=1e-6)
    assert landmarks[-1].header.frame_id == 'camera_optical'


def test_markers_are_published_to_subscribers(scene, peer, node):
    markers = peer.collect(MarkerArray, '/perception_node/markers')
    beside = {'info': camera_info(), 'depth': depth_image(2.0)}
    scene.points(lambda p: markers, 'markers', sec=12, **beside)
    shown = {m.ns: m for m in markers[-1].markers}
    assert [round(p.x, 4) for p in shown['keypoints'].points] == [0.475, 0.525, 0.575]
    assert [round(p.x, 4) for p in shown['skeleton'].points] == [0.475, 0.575]
    assert shown['landmarks'].action == Marker.ADD
    assert shown['landmarks'].header.frame_id == 'camera_optical'


def test_depth_in_millimetres_and_of_another_size(scene):
    pixels = np.full((24, 32), 1500, '>u2')
    half = Image(height=24, width=32, encoding='16UC1', is_bigendian=1, step=64)
    half.data = array.array('B', pixels.tobytes())
    points = scene.points(
        lambda p: p['z'][0] == 1.5, 'a depth of 1.5 m', sec=20, info=camera_info(), depth=half
    )
    np.testing.assert_allclose(points['x'][0], 1.5 * RAY, rtol=1e-6)


# One test for all, since each would wait for a discovery of its own: image and what is said.
BAD_DEPTHS = {
    'NaN': (lambda: depth_image(np.nan), ''),
    'zeros': (lambda: depth_image(0.0), ''),
    'encoding': (lambda: depth_image(1.0, encoding='rgb8'), "'rgb8', expected 16UC1, mono16, 32F"),
    'size': (lambda: depth_image(1.0, hw=(24, 64)), '64x24 and its colour image 64x48'),
    'step': (lambda: depth_image(1.0, step=7), 'has a step of 7 bytes, expected at least 256'),
}


def test_u_v_are_published_without_usable_depth(scene, node):
    for sec, (name, (depth, said)) in enumerate(BAD_DEPTHS.items()):
        good = {'info': camera_info(), 'depth': depth_image(2.0)}
        scene.points(known, f'points in space before {name}', sec=30 + 10 * sec, **good)
        for again in (31, 32):
            what = f'points without x for {name}'
            points = scene.points(unknown, what, sec=again + 10 * sec, depth=depth())
            np.testing.assert_array_equal(points['v'], V)
        if said:
            node.wait_for(re.escape(said))
            assert node.count(re.escape(said)) == 1
    scene.points(known, 'points in space after all', sec=99, **good)


BAD_CALIBRATIONS = {
    'contradiction': (
        lambda: camera_info(binning_x=2, binning_y=2),
        'An image is 64x48, but its camera_info describes images of 32x24',
    ),
    'zeros': (lambda: camera_info(fx=0.0), 'zeros in K, which means that the camera is not cal'),
    'model': (lambda: camera_info(distortion_model='x', d=[1.0]), "model 'x'; known: plumb_bob"),
}


def test_u_v_are_published_without_usable_camera_info(scene, node):
    for sec, (name, (info, said)) in enumerate(BAD_CALIBRATIONS.items()):
        good = {'info': camera_info(), 'depth': depth_image(2.0)}
        scene.points(known, f'points in space before {name}', sec=100 + 10 * sec, **good)
        for again in (101, 102):
            bad = good | {'info': info()}
            what = f'points without x for {name}'
            points = scene.points(unknown, what, sec=again + 10 * sec, **bad)
            np.testing.assert_array_equal(points['u'], [U, U + 1, U + 2])
        node.wait_for(re.escape(said))
        assert node.count(re.escape(said)) == 1
    # one that changes is taken over
    other = good | {'info': camera_info(fx=80.0)}
    points = scene.points(known, 'points by another calibration', sec=199, **other)
    np.testing.assert_allclose(points['x'][0], 2 * 9.5 / 80, rtol=1e-6)


def set_parameter(peer, name, value):
    from rcl_interfaces.msg import Parameter, ParameterValue
    from rcl_interfaces.srv import SetParameters

    kinds = {str: (4, 'string_value'), float: (3, 'double_value'), bool: (1, 'bool_value')}
    number, field = kinds[type(value)]
    value = ParameterValue(**{'type': number, field: value})
    request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
    return peer.call(SetParameters, '/perception_node/set_parameters', request).results[0]


def test_enabling_a_filter_adds_velocities(scene, peer, node):
    assert set_parameter(peer, 'filter', 'one_euro').successful
    assert set_parameter(peer, 'filter_gap', 5.0).successful
    beside = {'info': camera_info(), 'depth': depth_image(2.0)}

    def filtered(points):
        return 'velocity_z' in points.dtype.names

    scene.points(filtered, 'fields of velocities', sec=300, **beside)
    faster = scene.points(
        lambda p: filtered(p) and p['velocity_u'][0] > 0, 'a velocity', sec=301, u=U + 10, **beside
    )
    # 10 px in 1 s, of which the filter takes 2 pi 2 Hz 1 s / (1 + 2 pi 2 Hz 1 s)
    expected = 10 * 4 * np.pi / (1 + 4 * np.pi)
    np.testing.assert_allclose(faster['velocity_u'], expected, rtol=1e-5)
    np.testing.assert_allclose(faster['velocity_x'], 2 * expected / FX, rtol=1e-3)
    np.testing.assert_allclose(faster['velocity_z'], 0, atol=1e-5)
    assert U + 5 < faster['u'][0] < U + 10
    # a recording that begins again: points are where they are seen, and have no velocity
    back = scene.points(filtered, 'points of the past', sec=250, **beside)
    np.testing.assert_array_equal(back['u'], [U, U + 1, U + 2])
    np.testing.assert_array_equal(back['velocity_u'], 0)
    assert node.count(r'Stamps went back by 51\.000 s') == 1
    assert not set_parameter(peer, 'filter', 'kalman').successful
    assert set_parameter(peer, 'filter', 'none').successful
    points = scene.points(lambda p: not filtered(p), 'no velocities', sec=251, **beside)
    np.testing.assert_array_equal(points['u'], [U, U + 1, U + 2])


def test_node_ends_cleanly(node):
    assert node.stop() == 0
    assert 'Traceback' not in node.output
