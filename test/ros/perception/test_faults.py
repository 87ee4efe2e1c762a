"""Faults of cameras over time: the node survives, logs each once, and recovers."""

import array

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticArray
from keypoint_perception.ros.messages import from_point_cloud
import numpy as np
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, PointCloud2


@pytest.fixture(scope='module')
def node(start_node, model_dir):
    node = start_node(model=model_dir, remaps={'image': '/cam/image'}, silence_timeout=1.0)
    node.wait_for('listening to /cam/image')
    return node


@pytest.fixture
def clouds(peer, node):
    clouds = peer.collect(PointCloud2, '/perception_node/keypoints')
    there = peer.node.count_publishers
    peer.spin_until(lambda: there('/perception_node/keypoints'), 'a publisher of clouds', node)
    return clouds


@pytest.fixture
def answer(peer, node, clouds):
    """Return a function that publishes an image until its own keypoints come back."""
    camera = peer.publisher(Image, '/cam/image')

    def answered(image, publisher=None):
        def arrived():
            return [c for c in clouds if c.header == image.header]

        what = f'keypoints of {image.header}'
        peer.publish_until(arrived, publisher or camera, image, what, node)
        return arrived()[0]

    return answered


def test_size_and_encoding_may_change_with_each_image(make_image, answer):
    sizes = [(48, 64), (96, 128), (24, 32), (480, 640), (1, 1), (64, 48)]
    for sec, (height, width) in enumerate(sizes * 2, start=1):
        channels = 1 + 2 * (sec % 2)
        pixels = np.zeros((height, width, channels), np.uint8)
        pixels[height // 2 :, width // 2 :] = 255
        image = make_image(
            sec,
            height=height,
            width=width,
            encoding={1: 'mono8', 3: 'rgb8'}[channels],
            step=width * channels,
            data=array.array('B', pixels.tobytes()),
        )
        points = from_point_cloud(answer(image))
        # the network answers with its first white pixel, which is the corner of the white part
        step = max(height / 48, width / 64, 0.5)
        assert points['u'][0] == pytest.approx(width // 2, abs=step)
        assert points['v'][0] == pytest.approx(height // 2, abs=step)


def diagnosed_values(peer, node, diagnoses):
    diagnoses.clear()
    return peer.diagnosed('', diagnoses, node)


def test_stamps_of_any_time_are_copied_and_are_ok(peer, node, make_image, answer):
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    before = int(diagnosed_values(peer, node, diagnoses)['stamps or clock went back'])
    stamps = [(100, 0), (0, 0), (2**31 - 1, 999_999_999), (200, 5), (150, 0), (0, 0)]
    for number, (sec, nanosec) in enumerate(stamps):
        image = make_image(sec, frame_id=f'frame_{number}')
        image.header.stamp.nanosec = nanosec
        assert answer(image).header == image.header
    values = diagnosed_values(peer, node, diagnoses)
    assert int(values['stamps or clock went back']) - before == 4
    assert values['latency stamp to publish p50 (ms)'] == 'nan'
    assert diagnoses[-1].status[0].level == b'\x00'


def test_a_stamp_ahead_of_the_clock_has_a_negative_age(peer, node, make_image, answer):
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    ahead = int(peer.node.get_clock().now().nanoseconds // 10**9) + 600
    answer(make_image(ahead))

    def told():
        values = diagnosed_values(peer, node, diagnoses)
        return -601_000 < float(values['age of stamps at arrival p50 (ms)']) < -590_000

    peer.spin_until(told, 'a diagnosis of the age', node)


def test_a_publisher_may_die_and_return(peer, node, make_image, clouds):
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    first = peer.publisher(Image, '/cam/image')
    peer.publish_until(lambda: clouds, first, make_image(1), 'keypoints', node)
    for times in (1, 2):
        for publisher in list(peer.node.publishers):
            if publisher.topic_name == '/cam/image':
                peer.node.destroy_publisher(publisher)
        peer.diagnosed('nothing published: no publisher on /cam/image', diagnoses, node)
        node.wait_for('nothing published: no publisher on /cam/image', times)
        clouds.clear()
        again = peer.publisher(Image, '/cam/image')
        image = make_image(10 + times)
        peer.publish_until(lambda: clouds, again, image, 'keypoints again', node)
        diagnoses.clear()
        peer.diagnosed('^publishing at', diagnoses, node)
    # each silence is said once
    assert node.count('nothing published: no publisher on /cam/image') == 2


def test_a_simulated_clock_may_jump_back(peer, start_node, model_dir, make_image):
    node = start_node(
        model=model_dir, use_sim_time=True, remaps={'__node': 'sim', 'image': '/sim/image'}
    )
    clouds = peer.collect(PointCloud2, '/sim/keypoints')
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    clock, camera = peer.publisher(Clock, '/clock'), peer.publisher(Image, '/sim/image')

    def values():
        statuses = [s for d in diagnoses for s in d.status if s.name.startswith('/sim: ')]
        return {pair.key: pair.value for pair in statuses[-1].values} if statuses else {}

    def see(sec, condition, what):
        """Set the clock and publish an image, always with one stamp, until a condition holds."""
        time = Clock()
        time.clock.sec, time.clock.nanosec = sec, 133_456_789

        def seen():
            clock.publish(time)
            camera.publish(make_image(1000))
            return condition()

        peer.spin_until(seen, what, node)

    def ages():
        return float(values().get('age of stamps at arrival p95 (ms)', 'nan'))

    see(1000, lambda: ages() == 10.0, 'an age of 10 ms')
    assert values()['stamps or clock went back'] == '0'
    see(500, lambda: values()['stamps or clock went back'] == '1', 'a jump back')
    # those of before the jump are forgotten
    see(500, lambda: ages() == -499_990.0, 'an age before its time')
    assert values()['stamps or clock went back'] == '1'
    assert clouds
    assert node.stop() == 0
    assert node.count('ERROR') == 0
    assert 'Traceback' not in node.output


def test_node_ends_cleanly(node):
    assert node.stop() == 0
    assert 'Traceback' not in node.output
