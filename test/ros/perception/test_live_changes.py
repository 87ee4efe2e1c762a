"""Parameters and services change a node while it receives images."""

import os
import re
import shutil

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticArray
from keypoint_perception.inference.synthetic_model import write_synthetic_model
from keypoint_perception.ros.messages import from_point_cloud
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from sensor_msgs.msg import Image, PointCloud2
from std_srvs.srv import SetBool, Trigger

NODE = '/perception_node'
DOUBLE, TEXT = 3, 4


@pytest.fixture(scope='module')
def models(model_dir, tmp_path_factory):
    """Return a folder with the models ``three``, ``five`` (keypoints) and ``changed``."""
    folder = tmp_path_factory.mktemp('live')
    shutil.copytree(model_dir, folder / 'three')
    write_synthetic_model(folder / 'five', keypoints=5, input_hw=(24, 32))
    write_synthetic_model(folder / 'changed', keypoints=5)
    with (folder / 'changed' / 'keypointer.onnx').open('ab') as network:
        network.write(b'x')
    for name, text in {
        'odd': '{"format_version": 1, "sources": 5}',
        'deep': '[' * 100_000,
    }.items():
        (folder / name).mkdir()
        (folder / name / 'manifest.json').write_text(text)
    shutil.copytree(model_dir, folder / 'pipe')
    (folder / 'pipe' / 'keypointer.onnx').unlink()
    os.mkfifo(folder / 'pipe' / 'keypointer.onnx')
    return folder


@pytest.fixture(scope='module')
def node(start_node, models):
    node = start_node(
        model=models / 'three',
        record_directory=models / 'bags',
        remaps={'image': '/cam/image'},
        batch_budget=0.0,
    )
    node.wait_for('listening to /cam/image')
    return node


@pytest.fixture
def ask(peer, node, make_image):
    """Return a function that publishes images until one is answered, and returns the points."""
    clouds = peer.collect(PointCloud2, f'{NODE}/keypoints')
    publisher = peer.publisher(Image, '/cam/image')
    there = peer.node.count_publishers
    peer.spin_until(lambda: there(f'{NODE}/keypoints'), 'a publisher of clouds', node)
    seconds = iter(range(1, 10_000))

    def answer(keypoints=None):
        def arrived():
            clouds[:] = [c for c in clouds if keypoints in (None, c.width)]
            return clouds

        clouds.clear()
        image = make_image(next(seconds), u=20, v=30)
        peer.publish_until(arrived, publisher, image, f'{keypoints} keypoints', node)
        return from_point_cloud(clouds[-1])

    return answer


def set_parameter(peer, name, **value):
    """Return why a parameter was refused, or nothing."""
    parameter = Parameter(name=name, value=ParameterValue(**value))
    request = SetParameters.Request(parameters=[parameter])
    (result,) = peer.call(SetParameters, f'{NODE}/set_parameters', request).results
    return '' if result.successful else result.reason


def set_model(peer, path):
    return set_parameter(peer, 'model', type=TEXT, string_value=str(path))


def get_model(peer):
    request = GetParameters.Request(names=['model'])
    return peer.call(GetParameters, f'{NODE}/get_parameters', request).values[0].string_value


def test_another_model_is_used_with_its_own_points(peer, node, models, ask):
    assert ask()['u'].tolist() == [20, 21, 22]
    assert set_model(peer, models / 'five') == ''
    points = ask(keypoints=5)
    # half as many network pixels: each is two of the image, whose centres are odd halves
    assert points['u'].tolist() == [20.5, 22.5, 24.5, 26.5, 28.5]
    node.wait_for(r'five \(5 keypoints, 32x24 px, sha256 \w+\) is now in use, by onnxruntime')
    assert set_model(peer, models / 'three') == ''
    assert len(ask(keypoints=3)) == 3


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('nowhere', 'is not a model directory .no such directory'),
        ('changed', 'the contents of keypointer.onnx do not match the manifest'),
        ('odd', 'sources must be a list of mappings, got 5'),
        ('deep', 'is not a manifest .it is nested more than 64 deep'),
        ('pipe', 'lacks keypointer.onnx, which its manifest lists'),
        ('x' * 300, 'cannot be read .File name too long'),
    ],
)
def test_a_bad_model_is_rejected_and_the_old_one_stays(peer, node, models, ask, name, sentence):
    reason = set_model(peer, models / name)
    assert re.search(sentence, reason)
    assert get_model(peer) == str(models / 'three')
    assert len(ask()) == 3


def test_a_model_that_cannot_run_is_reported_and_the_parameter_reset(
    peer, node, models, ask, tmp_path
):
    from keypoint_perception.manifest import read_manifest, write_manifest
    from keypoint_perception.model_directory import ONNX_NAME

    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    shutil.copytree(models / 'five', tmp_path / 'broken')
    (tmp_path / 'broken' / ONNX_NAME).write_bytes(b'no network')
    manifest = read_manifest(models / 'five')
    write_manifest(tmp_path / 'broken', manifest, files=[ONNX_NAME])
    assert set_model(peer, tmp_path / 'broken') == ''
    node.wait_for(r"broken' is not used: .*no ONNX file.*three \(3 keypo.* stays in use")
    peer.spin_until(
        lambda: get_model(peer) == str(models / 'three'), 'the parameter is set back', node
    )
    assert len(ask()) == 3

    def told():
        shown = [pair for d in diagnoses for pair in d.status[0].values]
        return [p for p in shown if p.key == 'last error' and 'broken' in p.value]

    peer.spin_until(told, 'a diagnosis with the last error', node)


def test_reload_loads_the_changed_directory(peer, node, models, ask):
    write_synthetic_model(models / 'three', keypoints=4, input_hw=(48, 64))
    answer = peer.call(Trigger, f'{NODE}/reload', Trigger.Request())
    assert answer.success
    assert 'three (4 keypoints, 64x48 px' in answer.message
    assert len(ask(keypoints=4)) == 4


def test_the_node_survives_the_removal_of_its_model(peer, node, models, ask):
    shutil.move(models / 'three', models / 'moved')
    answer = peer.call(Trigger, f'{NODE}/reload', Trigger.Request())
    assert not answer.success
    assert "three' is not a model directory (no such directory)" in answer.message
    assert 'stays in use' in answer.message
    assert len(ask()) == 4
    shutil.move(models / 'moved', models / 'three')
    assert peer.call(Trigger, f'{NODE}/reload', Trigger.Request()).success


def test_wrong_values_are_rejected(peer, node):
    raw = {'type': TEXT, 'string_value': 'compressed'}
    assert set_parameter(peer, 'image_transport', **raw) == (
        'Parameter image_transport cannot change in the state active; deactivate and clean up '
        'first.'
    )
    for value in (-1.0, float('nan'), 1e9):
        assert set_parameter(peer, 'batch_budget', type=DOUBLE, double_value=value) != ''
    assert (
        'wrong parameter type'
        in set_parameter(peer, 'overlay_threshold', type=TEXT, string_value='half').lower()
    )
    assert set_parameter(peer, 'batch_budget', type=DOUBLE, double_value=2.5) == ''


def test_lazy_and_enable_take_effect_at_once(peer, node, make_image):
    publisher = peer.publisher(Image, '/cam/image', matched=False)
    heard = publisher.get_subscription_count
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    peer.diagnosed('idle: no subscriber', diagnoses, node)
    assert heard() == 0
    assert set_parameter(peer, 'lazy', type=1, bool_value=False) == ''
    peer.spin_until(heard, 'a subscription', node)
    answer = peer.call(SetBool, f'{NODE}/enable', SetBool.Request(data=False))
    assert answer.success
    assert answer.message.startswith('The cameras are disabled until ~/enable')
    peer.spin_until(lambda: not heard(), 'the end of the subscription', node)
    peer.diagnosed('disabled by ~/enable', diagnoses, node)
    assert peer.call(SetBool, f'{NODE}/enable', SetBool.Request(data=True)).message == 'Enabled.'
    peer.spin_until(heard, 'a subscription', node)
    assert set_parameter(peer, 'lazy', type=1, bool_value=True) == ''
    peer.spin_until(lambda: not heard(), 'the end of the subscription', node)


def test_cameras_are_recorded_on_demand(peer, node, models, make_image):
    pytest.importorskip('mcap', reason='mcap is not installed')
    from keypoint_perception.frames.source import open_recording

    answer = peer.call(Trigger, f'{NODE}/stop_recording', Trigger.Request())
    assert (answer.success, answer.message[:27]) == (False, 'Nothing is being recorded; ')
    publisher = peer.publisher(Image, '/cam/image', matched=False)
    answer = peer.call(Trigger, f'{NODE}/start_recording', Trigger.Request())
    assert answer.success, answer.message
    assert answer.message.startswith('Recording /cam/image into ')
    again = peer.call(Trigger, f'{NODE}/start_recording', Trigger.Request())
    assert not again.success
    assert again.message.endswith('is being recorded; stop it first.')
    peer.spin_until(publisher.get_subscription_count, 'a recording subscription', node)
    for sec in range(3):
        publisher.publish(make_image(sec))
    peer.spin_until(lambda: publisher.wait_for_all_acked(), 'the arrival of three images', node)
    answer = peer.call(Trigger, f'{NODE}/stop_recording', Trigger.Request())
    assert answer.success
    assert '3 messages' in answer.message
    (bag,) = (models / 'bags').iterdir()
    assert bag.name.startswith('recording_')
    frames = open_recording(bag).frames(['/cam/image'])
    assert [frame.stamp_ns for frame in frames] == [123_456_789 + sec * 10**9 for sec in range(3)]


def test_node_ends_cleanly(node):
    assert node.stop() == 0
    assert 'Traceback' not in node.output
