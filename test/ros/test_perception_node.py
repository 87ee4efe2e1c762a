"""The node starts only with valid parameters, and reports why images do not arrive."""

import array
import os
import re
import signal

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from keypoint_perception.inference.synthetic_model import write_synthetic_model
from keypoint_perception.model_directory import ONNX_NAME
from keypoint_perception.ros.installation import DDS_PROFILE_VARIABLES
from keypoint_perception.ros.messages import from_point_cloud
import numpy as np
from sensor_msgs.msg import CompressedImage, Image, PointCloud2


@pytest.mark.parametrize(
    ('parameters', 'sentence'),
    [
        ({}, 'Parameter model is not set; set it to the directory that `train --out` wrote'),
        ({'model': '/nowhere'}, "'/nowhere' is not a model directory .no such directory"),
        ({'model': '/x', 'threads': 'many'}, "threads: must be an integer .* got 'many'"),
        ({'model': '/x', 'image_transport': 'h264'}, 'image_transport: must be one of raw, com'),
        ({'model': '/x', 'cameras': '[]'}, 'ROS cannot declare a parameter .* no empty lists'),
        ({'model': '/x', 'cameras': '[a, a]'}, 'cameras: must be a list of distinct names'),
        (
            {'model': '/x', 'qos_overrides./image.subscription.depth': 'x'},
            "subscription.depth: must be an integer, 0 or more, got 'x'",
        ),
        ({'modle': '/x'}, "'modle' is not known; did you mean 'model'"),
        ({'model': '/x', 'use_sim_time': 'maybe'}, "use_sim_time: must be true or false, got 'ma"),
    ],
)
def test_wrong_parameters_are_rejected(start_node, parameters, sentence):
    node = start_node(**parameters)
    assert node.wait() == 2
    assert node.count(sentence) == 1, node.output
    assert 'Traceback' not in node.output


NOT_CREATED = """
from keypoint_perception.ros.node_program import run_program, running_node, start_ros

def create():
    from rclpy.impl.implementation_singleton import rclpy_implementation
    raise rclpy_implementation.RCLError('without security\\nlibraries')

def run(arguments):
    start_ros([], program='x')
    with running_node(create, print):
        return 0

raise SystemExit(run_program(None, run, usage=str))
"""


def test_a_node_that_ros_cannot_create_is_told(start):
    node = start('-c', NOT_CREATED)
    assert node.wait() == 2
    sentence = 'error: ROS cannot create the node: without security libraries; check the ROS_ and'
    assert node.count(sentence) == 1, node.output


@pytest.mark.parametrize(
    ('command', 'sentence'),
    [
        (
            ['--model', 'x'],
            "perception_node does not know the argument '--model x'; expected p",
        ),
        (['--ros-args', '-x'], 'error: ROS cannot use the command line: .*-x'),
        (['--ros-args', '--params-file', '/nowhere.yaml'], 'cannot use .* /nowhere.yaml'),
    ],
)
def test_wrong_command_lines_are_rejected(start, command, sentence):
    node = start('-m', 'keypoint_perception.ros.perception_node', *command)
    assert node.wait() == 2
    assert node.count(sentence) == 1, node.output
    assert 'Traceback' not in node.output


def test_a_parameter_file_for_other_nodes_is_told_and_the_remedy_works(start, tmp_path):
    file, command = tmp_path / 'p.yaml', ['--ros-args', '-r', '__ns:=/robot1', '--params-file']
    for module, parameter, name in (
        ('perception_node', 'model', 'perception_node'),
        ('recorder_node', 'topics', 'recorder'),
    ):
        start_it = ['-m', f'keypoint_perception.ros.{module}', *command, str(file)]
        file.write_text(f'{name}:\n  ros__parameters:\n    {parameter}: x')
        node = start(*start_it)
        assert node.wait() == 2
        told = f'Parameter {parameter} is not set: .* of /{name}, but none .* is /robot1/{name}: '
        assert node.count(told) == 1, node.output
    # as the sentence says; the model is then the next thing that is missing
    file.write_text('/**:\n  ros__parameters:\n    model: /nowhere')
    node = start('-m', 'keypoint_perception.ros.perception_node', *command, str(file))
    assert node.wait() == 2
    assert node.count("'/nowhere' is not a model directory") == 1, node.output


DOMAIN = 'error: ROS_DOMAIN_ID is .*, expected a number from 0 to 232; set one'
SECURED = {'ROS_SECURITY_ENABLE': 'true', 'ROS_SECURITY_STRATEGY': 'Enforce'}


@pytest.mark.parametrize(
    ('variables', 'sentence'),
    [
        ({'ROS_DOMAIN_ID': 'abc'}, DOMAIN),
        ({'ROS_DOMAIN_ID': '233'}, DOMAIN),
        (
            SECURED | {'ROS_SECURITY_KEYSTORE': '/nowhere'},
            'error: ROS has no keys .*; see sros',
        ),
        ({'ROS_LOG_DIR': '/dev/null'}, 'error: ROS has no place for its logs .*; set ROS_LOG_DIR'),
    ],
)
def test_an_environment_that_ros_cannot_use_is_told(start_node, monkeypatch, variables, sentence):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    node = start_node(autostart=False)
    assert node.wait() == 2
    assert node.count(sentence) == 1, node.output
    assert 'Traceback' not in node.output


def change_a_byte(model):
    content = bytearray((model / ONNX_NAME).read_bytes())
    content[100] ^= 1
    (model / ONNX_NAME).write_bytes(content)


def remove_the_network(model):
    (model / ONNX_NAME).unlink()


def make_newer(model):
    text = (model / 'manifest.json').read_text()
    (model / 'manifest.json').write_text(
        text.replace('"format_version": 1', '"format_version": 9')
    )


@pytest.mark.parametrize(
    ('damage', 'sentence'),
    [
        (change_a_byte, f'model not loaded: In model .* contents of {ONNX_NAME} do not match'),
        (remove_the_network, f'model not loaded: Model .* lacks {ONNX_NAME}, which its manifest'),
        (make_newer, 'model not loaded: Model .* has format 9, this package reads up to 1'),
    ],
)
def test_damaged_models_are_rejected(start_node, tmp_path, damage, sentence):
    write_synthetic_model(tmp_path / 'model')
    damage(tmp_path / 'model')
    node = start_node(model=tmp_path / 'model')
    assert node.wait() == 2
    assert node.count(sentence) == 1, node.output
    assert 'Traceback' not in node.output


@pytest.mark.parametrize(
    ('remaps', 'sentence'),
    [
        ({'~/keypoints': '/y', '~/overlay': '/y'}, 'topics not created: ROS refuses this .*/y'),
        ({'image': '/rosout'}, 'not activated: ROS refuses this .*; check the remappings'),
    ],
)
def test_names_that_collide_are_told(start_node, model_dir, remaps, sentence):
    node = start_node(model=model_dir, remaps=remaps, lazy=False)
    assert node.wait() == 2
    assert node.count(sentence) == 1, node.output
    assert 'Traceback' not in node.output
    assert 'bug' not in node.output


def test_help_shows_the_parameters(start):
    node = start('-m', 'keypoint_perception.ros.perception_node', '--help')
    assert node.wait() == 0
    assert node.count(r'\| `image_transport` \| string \|') == 1


def test_starts_from_the_wheels_without_a_sourced_prefix(start_node, model_dir, monkeypatch):
    if 'opt/ros' in os.environ.get('AMENT_PREFIX_PATH', ''):
        pytest.skip('ROS is installed here and has to be sourced')
    monkeypatch.delenv('AMENT_PREFIX_PATH')
    node = start_node(model=model_dir)
    node.wait_for('listening to /image')
    assert node.stop(signal.SIGTERM) == 0
    assert 'Traceback' not in node.output


def test_silence_names_the_topic_that_has_no_publisher(peer, start_node, model_dir, make_image):
    node = start_node(
        model=model_dir, remaps={'image': '/a/image'}, silence_timeout=0.1, lazy=False
    )
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    told = 'nothing published: no publisher on /a/image .*; no image topic is published at all'
    peer.diagnosed(told, diagnoses, node)
    node.wait_for(told)
    peer.publisher(Image, '/b/image', matched=False)
    told = r'no publisher on /a/image .*image topics: /b/image; remap with `-r image:=TOPIC`'
    peer.diagnosed(told, diagnoses, node)
    peer.publisher(CompressedImage, '/a/image/compressed', matched=False)
    told = '/a/image/compressed has one: set image_transport:=compressed'
    peer.diagnosed(told, diagnoses, node)
    peer.publisher(CompressedImage, '/a/image', matched=False)
    told = 'the publisher on /a/image sends sensor_msgs/msg/CompressedImage, expected sensor_msgs'
    peer.diagnosed(told, diagnoses, node)
    # each reason is logged once, however long it lasts
    assert node.count('image topics: /b/image') <= 1
    import rclpy

    told = 'another node is called /perception_node too, and publishes on the same topics; give'
    for count in (1, 2):  # told again only after it was gone
        namesake = rclpy.create_node('perception_node', context=peer.node.context)
        node.wait_for(told, count)
        namesake.destroy_node()
        diagnoses.clear()
        peer.spin_until(lambda: len(diagnoses) > 1, 'two diagnoses without it', node)
    assert node.count(told) == 2
    assert node.stop() == 0


def test_incompatible_qos_is_explained(peer, start_node, model_dir):
    override = 'qos_overrides./q/image.subscription.reliability'
    node = start_node(
        model=model_dir, remaps={'image': '/q/image'}, lazy=False, **{override: 'reliable'}
    )
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    peer.publisher(Image, '/q/image', matched=False, best_effort=True)
    node.wait_for('QoS incompatible on /q/image: .* RELIABILITY that this node requests')
    told = 'QoS incompatible on /q/image: best effort publisher and reliable subscription; change'
    peer.diagnosed('nothing published: ' + told, diagnoses, node)
    assert node.stop() == 0


def test_compressed_images_and_a_namespace(peer, start_node, model_dir):
    remaps = {'image': '/cam/image', '__ns': '/left_arm'}
    node = start_node(
        model=model_dir, remaps=remaps, image_transport='compressed', robot_name='Ada'
    )
    node.wait_for("Parameter 'robot_name' is unknown and ignored; known: model, engine")
    clouds = peer.collect(PointCloud2, '/left_arm/perception_node/keypoints')
    publisher = peer.publisher(CompressedImage, '/cam/image/compressed')
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[30, 20] = 255
    good = CompressedImage(format='rgb8; png compressed bgr8')
    good.data = cv2.imencode('.png', rgb)[1].tobytes()
    good.header.frame_id = 'left_optical'
    count = peer.node.count_publishers
    topic = '/left_arm/perception_node/keypoints'
    peer.spin_until(lambda: count(topic), 'a publisher of clouds', node)
    said = r'image rejected \(broken compressed image\): A compressed image of 10 bytes'
    bad = CompressedImage(format='jpeg', data=b'no picture')
    peer.publish_until(lambda: node.count(said), publisher, bad, 'the sentence', node)
    peer.publish_until(lambda: clouds, publisher, good, 'keypoints', node)
    assert clouds[0].header == good.header
    points = from_point_cloud(clouds[0])
    assert (points['u'][0], points['v'][0]) == (20, 30)
    assert node.stop() == 0


def test_images_lost_in_shared_memory_are_explained(peer, start_node, model_dir, monkeypatch):
    from rclpy.utilities import get_rmw_implementation_identifier

    if 'fastrtps' not in get_rmw_implementation_identifier():
        pytest.skip('only Fast DDS loses large images in shared memory')
    if any(os.environ.get(variable) for variable in DDS_PROFILE_VARIABLES):
        pytest.skip('this process has a DDS profile already')
    node = start_node(model=model_dir, remaps={'image': '/large/image'}, lazy=False)
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    publisher = peer.publisher(Image, '/large/image', best_effort=True)
    image = Image(height=480, width=640, encoding='rgb8', step=3 * 640)
    image.data = array.array('B', bytes(480 * 640 * 3))
    told = r'% of the images on /large/image are lost in transit: images above 0\.5 MB'

    def explained():
        publisher.publish(image)
        return [d for d in diagnoses if re.search(told, d.status[0].message)]

    peer.spin_until(explained, 'an explanation of the loss', node)
    node.wait_for(told + r'.*start the publisher and this node with FASTRTPS_DEFAULT_PROFILES_FIL')
    assert node.stop() == 0


def test_reliable_delivery_is_requested_if_images_are_lost(
    peer, start_node, model_dir, make_image
):
    from rclpy.utilities import get_rmw_implementation_identifier

    if 'fastrtps' not in get_rmw_implementation_identifier():
        pytest.skip('only Fast DDS loses large images in shared memory')
    if any(os.environ.get(variable) for variable in DDS_PROFILE_VARIABLES):
        pytest.skip('this process has a DDS profile already')
    node = start_node(model=model_dir, remaps={'image': '/large/image'}, lazy=False)
    clouds = peer.collect(PointCloud2, '/perception_node/keypoints')
    reliable = peer.publisher(Image, '/large/image')
    image = Image(height=480, width=640, encoding='rgb8', step=3 * 640)
    image.data = array.array('B', bytes(480 * 640 * 3))
    told = r'switching to reliable delivery on /large/image: \d+% of the images were'

    def asked():
        reliable.publish(image)
        return node.count(told)

    peer.spin_until(asked, 'reliable delivery', node)
    peer.spin_until(reliable.get_subscription_count, 'a new subscription', node)
    image.header.stamp.sec = 5
    arrived = lambda: [c for c in clouds if c.header.stamp.sec == 5]  # noqa: E731
    peer.publish_until(arrived, reliable, image, 'an image that arrives', node)

    poor = peer.publisher(Image, '/large/image', matched=False, best_effort=True)
    node.wait_for('falling back to best effort on /large/image: a publisher offers no more')
    peer.spin_until(poor.get_subscription_count, 'a subscription to both', node)
    small = make_image(9)
    arrived = lambda: [c for c in clouds if c.header.stamp.sec == 9]  # noqa: E731
    peer.publish_until(arrived, poor, small, 'a small image that arrives', node)
    assert node.stop() == 0
    assert 'Traceback' not in node.output
