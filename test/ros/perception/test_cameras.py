"""Two cameras in one process over DDS: each has its own topics, faults and diagnosis."""

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticArray
from keypoint_perception.ros.messages import from_point_cloud
from sensor_msgs.msg import Image, PointCloud2

CAMERAS = ('left', 'right')


@pytest.fixture(scope='module')
def node(start_node, model_dir):
    node = start_node(
        model=model_dir, cameras='[left, right]', remaps={'left/image': '/stereo/left/image_raw'}
    )
    node.wait_for('listening to /right/image')
    return node


@pytest.fixture
def topics(peer, node):
    """Return matched publishers of images and lists of clouds, by camera."""
    clouds = {c: peer.collect(PointCloud2, f'/perception_node/{c}/keypoints') for c in CAMERAS}
    publishers = {
        'left': peer.publisher(Image, '/stereo/left/image_raw'),
        'right': peer.publisher(Image, '/right/image'),
    }
    for camera in CAMERAS:
        there = f'/perception_node/{camera}/keypoints'
        peer.spin_until(lambda t=there: peer.node.count_publishers(t), f'{there}', node)
    return publishers, clouds


def test_each_camera_has_its_own_topics(peer, node, topics, make_image):
    publishers, clouds = topics
    spots = {'left': (20, 30), 'right': (7, 8)}
    for camera, (u, v) in spots.items():
        image = make_image(5, u=u, v=v, frame_id=f'{camera}_optical')
        answers = clouds[camera]
        peer.publish_until(lambda a=answers: a, publishers[camera], image, 'keypoints', node)
        points = from_point_cloud(answers[0])
        assert answers[0].header.frame_id == f'{camera}_optical'
        assert (points['u'][0], points['v'][0]) == (u, v)
    assert {c.header.frame_id for c in clouds['left']} == {'left_optical'}


def test_one_cameras_fault_is_its_own(peer, node, topics, make_image):
    publishers, clouds = topics
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    sec = iter(range(100, 10_000))

    def statuses():
        return {s.name.split(': ')[1]: s for s in diagnoses[-1].status} if diagnoses else {}

    def told():
        publishers['left'].publish(make_image(next(sec), encoding='rgb9'))
        publishers['right'].publish(make_image(next(sec)))
        found = statuses()
        return found and 'rgb9' in found['left keypoints'].message and len(clouds['right']) > 5

    peer.spin_until(told, "a diagnosis of the left camera's fault", node)
    node.wait_for(r"image of left rejected \(encoding not supported\): Encoding 'rgb9'")
    assert node.count(r"image of left rejected \(encoding not supported\): Encoding 'rgb9'") == 1
    assert statuses()['right keypoints'].message.startswith('publishing at')
    assert clouds['left'] == []
    peer.publish_until(
        lambda: clouds['left'], publishers['left'], make_image(20_000), 'recovery', node
    )


def test_queued_images_are_one_batch_and_no_camera_starves(peer, start_node, make_image):
    gated = str(Path(__file__).with_name('gated_node.py'))
    node = start_node(
        module=gated,
        model='fake',
        cameras='[left, right]',
        engine_timeout=0.0,
        remaps={'__node': 'gated_node'},
    )
    clouds = {c: peer.collect(PointCloud2, f'/gated_node/{c}/keypoints') for c in CAMERAS}
    cameras = {c: peer.publisher(Image, f'/{c}/image') for c in CAMERAS}
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')

    def received(camera):
        statuses = [s for d in diagnoses for s in d.status if s.name.startswith('/gated_node')]
        found = [s.values for s in statuses if f' {camera} ' in s.name]
        return found and int({p.key: p.value for p in found[-1]}['images received'])

    def flooded():
        cameras['left'].publish(make_image(2))
        return received('left') > 20

    busy = lambda: node.count('^busy$')  # noqa: E731
    peer.publish_until(busy, cameras['left'], make_image(1), 'work on the first image', node)
    peer.publish_until(
        lambda: received('right'), cameras['right'], make_image(3), 'an image of right', node
    )
    peer.spin_until(flooded, 'many images of left', node)
    assert node.count('^batch 1$') == 1
    node.write('go')
    node.wait_for('^batch 2$')
    node.write('go')
    peer.spin_until(lambda: clouds['right'], 'an answer to right', node)
    assert clouds['right'][0].header.stamp.sec == 3
    peer.spin_until(lambda: len(clouds['left']) == 2, 'two answers to left', node)
    assert [cloud.header.stamp.sec for cloud in clouds['left']] == [1, 2]
    assert node.stop() == 0


def test_node_ends_cleanly(node):
    assert node.stop() == 0
    assert 'Traceback' not in node.output
