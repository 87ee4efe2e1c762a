"""The recorder keeps what it receives over DDS, byte for byte."""

import array
import json
import re
import shutil
from types import SimpleNamespace

from keypoint_perception.errors import ConfigError, SourceError
import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('mcap', reason='mcap, which writes bags, is not installed')


@pytest.fixture
def record(peer, tmp_path):
    """Start recorders in the peer's node, ``record('/topic', jpeg=90)``; stop them at the end."""
    from keypoint_perception.ros.recorder.recorder import Recorder
    from keypoint_perception.ros.recorder.recorder_settings import RecorderSettings

    started = []

    def start(*topics, out='run', log=None, **settings):
        settings = RecorderSettings(**({'disk_floor': 0} | settings))
        recorder = Recorder(
            peer.node, topics=topics, out=tmp_path / out, settings=settings, log=log
        )
        recorder.start()
        started.append(recorder)
        return recorder

    yield start
    for recorder in started:
        recorder.stop()


class Log:
    """A log that keeps its lines."""

    def __init__(self):
        self.lines = []
        self.info = self.warning = self.lines.append

    def has(self, pattern):
        return any(re.search(pattern, line) for line in self.lines)


def read(path):
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        return [(c.topic, c.msgtype, bytes(data)) for c, _, data in reader.messages()]


def metadata(path):
    return yaml.safe_load((path / 'metadata.yaml').read_text())['rosbag2_bagfile_information']


def publish(peer, recorder, publisher, messages):
    """Publish messages, each after the one before was received."""
    before = sum(c.received for c in recorder.summary().topics.values())
    for number, message in enumerate(messages, start=1):
        publisher.publish(message)
        peer.spin_until(
            lambda n=number: (
                sum(c.received for c in recorder.summary().topics.values()) >= before + n
            ),
            f'message {number}',
        )


def test_messages_are_kept_as_they_were_received(peer, record, make_image):
    from rclpy.serialization import deserialize_message, serialize_message
    from sensor_msgs.msg import CameraInfo, Image

    recorder = record('/cam/image', 'cam/camera_info', '/cam/image')
    images = [make_image(sec, u=sec) for sec in range(1, 4)]
    infos = [CameraInfo(height=sec, k=[float(sec)] * 9) for sec in range(1, 3)]
    image_publisher = peer.publisher(Image, '/cam/image')
    info_publisher = peer.publisher(CameraInfo, '/cam/camera_info')
    publish(peer, recorder, image_publisher, images)
    publish(peer, recorder, info_publisher, infos)
    summary = recorder.stop()
    assert summary.messages == summary.safe == 5
    assert (summary.total.dropped, summary.total.lost, summary.stop_reason) == (0, 0, '')
    messages = read(recorder.out)
    assert [(topic, kind) for topic, kind, _ in messages] == [
        *[('/cam/image', 'sensor_msgs/msg/Image')] * 3,
        *[('/cam/camera_info', 'sensor_msgs/msg/CameraInfo')] * 2,
    ]
    assert [deserialize_message(data, Image) for *_, data in messages[:3]] == images
    assert [deserialize_message(data, CameraInfo) for *_, data in messages[3:]] == infos
    assert [len(data) for *_, data in messages] == [
        len(serialize_message(m)) for m in images + infos
    ]
    assert summary.size_bytes == (recorder.out / 'run_0.mcap').stat().st_size
    told = metadata(recorder.out)['custom_data']['keypoint_perception /cam/image']
    assert json.loads(told) == {'received': 3, 'skipped': 0, 'dropped': 0, 'lost': 0}


def test_bag_says_what_the_types_are(peer, record, make_image):
    from rosbags.rosbag2 import Reader
    from rosbags.typesys import get_types_from_msg, get_typestore, Stores
    from sensor_msgs.msg import Image

    recorder = record('/cam/image')
    publisher = peer.publisher(Image, '/cam/image')
    publish(peer, recorder, publisher, [make_image(1)])
    recorder.stop()
    store = get_typestore(Stores.ROS2_JAZZY)
    with Reader(recorder.out) as reader:
        (connection,) = reader.connections
        # rosbags computes the hash by itself, from its own definition
        assert connection.digest == store.hash_rihs01('sensor_msgs/msg/Image')
        types = get_types_from_msg(connection.msgdef.data, connection.msgtype)
        assert set(types) == {
            'sensor_msgs/msg/Image', 'std_msgs/msg/Header', 'builtin_interfaces/msg/Time'
        }  # fmt: skip


def test_our_own_reader_reads_the_images(peer, record, make_image):
    from keypoint_perception.frames.source import read_frames
    from sensor_msgs.msg import Image

    recorder = record('/cam/image')
    publisher = peer.publisher(Image, '/cam/image')
    publish(peer, recorder, publisher, [make_image(7, u=3, v=2)])
    recorder.stop()
    (frame,) = read_frames([recorder.out], ['/cam/image'])
    assert frame.stamp_ns == 7_123_456_789
    assert np.argwhere(frame.image[..., 0]).tolist() == [[2, 3]]


def test_qos_is_the_publishers(peer, record):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from std_msgs.msg import Header

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = peer.node.create_publisher(Header, '/latched', latched)
    publisher.publish(Header(frame_id='before'))  # nobody listens yet
    best_effort = peer.publisher(Header, '/plain', matched=False, best_effort=True)
    recorder = record('/latched', '/plain')
    peer.spin_until(lambda: recorder.summary().topics['/latched'].received, 'the latched message')
    peer.spin_until(best_effort.get_subscription_count, 'a subscription')
    peer.publish_until(
        lambda: recorder.summary().topics['/plain'].received, best_effort, Header(), 'a message'
    )
    recorder.stop()
    about = metadata(recorder.out)['topics_with_message_count']
    offered = {
        t['topic_metadata']['name']: t['topic_metadata']['offered_qos_profiles'][0] for t in about
    }
    assert offered['/latched']['durability'] == 'transient_local'
    assert offered['/latched']['reliability'] == 'reliable'
    assert offered['/plain']['reliability'] == 'best_effort'


def test_a_publisher_that_offers_less_is_heard_too(peer, record, make_image):
    from sensor_msgs.msg import Image

    log = Log()
    recorder = record('/cam/image', log=log)
    publish(peer, recorder, peer.publisher(Image, '/cam/image'), [make_image(1)])
    weaker = peer.publisher(Image, '/cam/image', matched=False, best_effort=True)
    peer.spin_until(lambda: log.has('best_effort'), 'another subscription')
    received = recorder.summary().topics['/cam/image'].received
    peer.publish_until(
        lambda: recorder.summary().topics['/cam/image'].received > received,
        weaker,
        make_image(2),
        'an image of best effort',
    )


def test_silence_is_explained(peer, record, monkeypatch):
    from keypoint_perception.ros.recorder import recorder as module
    from std_msgs.msg import Header

    monkeypatch.setattr(module, 'SILENCE_S', 0.0)
    log = Log()
    recorder = record('/cam/image', log=log)
    assert log.has('waiting for a publisher on /cam/image')
    publisher = peer.node.create_publisher(Header, '/elsewhere', 1)
    said = (
        'nothing to record: no publisher on /cam/image; published topics: .*/elsewhere.*; start it'
    )
    peer.spin_until(lambda: log.has(said), 'the reason')
    silent = peer.node.create_publisher(Header, '/cam/image', 1)
    said = r'/cam/image has 1 publishers \(std_msgs/msg/Header\) but no message arrives'
    peer.spin_until(lambda: log.has(said), 'the other reason')
    assert recorder.stop().messages == 0
    assert read(recorder.out) == []
    del publisher, silent


def test_a_publisher_that_ends_or_changes_its_type_is_told(peer, record, make_image, monkeypatch):
    from keypoint_perception.ros.recorder import recorder as module
    from sensor_msgs.msg import Image

    monkeypatch.setattr(module, 'SILENCE_S', 0.0)
    log = Log()
    recorder = record('/cam/image', log=log)
    publisher = peer.publisher(Image, '/cam/image')
    publish(peer, recorder, publisher, [make_image(1)])
    assert not log.has('recorded in part')
    peer.node.destroy_publisher(publisher)
    said = 'recorded in part: no publisher on /cam/image'
    peer.spin_until(lambda: log.has(said), 'that it has ended')
    recorder.stop()
    other = record('/cam/other', out='other', log=log)
    publisher = peer.publisher(Image, '/cam/other')
    publish(peer, other, publisher, [make_image(1)])
    monkeypatch.setattr(
        peer.node,
        'get_publishers_info_by_topic',
        lambda topic: [SimpleNamespace(topic_type='std_msgs/msg/Header')],
    )
    said = 'recorded in part: /cam/other is published as std_msgs/msg/Header but recorded as sens'
    peer.spin_until(lambda: log.has(said), 'that it has changed')


@pytest.mark.parametrize(
    ('settings', 'sentence', 'free'),
    [
        ({'max_messages': 3}, r'3 messages were recorded \(max_messages\)', 0),
        ({'duration': 1e-9}, r'1e-09 s were recorded \(duration\)', 0),
        ({'disk_floor': 2}, r'has 1 MB left, less than disk_floor \(2 MB\)', 1_000_000),
    ],
)
def test_limits_end_the_recording(peer, record, make_image, monkeypatch, settings, sentence, free):
    from sensor_msgs.msg import Image

    recorder = record('/cam/image', **settings)
    if free:
        monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=free))
    else:
        publisher = peer.publisher(Image, '/cam/image')
        peer.publish_until(recorder.finished.is_set, publisher, make_image(1), 'the end')
    assert recorder.finished.wait(30)
    peer.spin_until(lambda: not peer.node.count_subscribers('/cam/image'), 'no subscription')
    summary = recorder.stop()
    assert re.search(sentence, summary.stop_reason)
    assert summary.requested == (not free)
    assert len(read(recorder.out)) == summary.messages <= 3
    (counts,) = summary.topics.values()
    left = counts.dropped if free else counts.skipped
    assert counts.received == counts.written + left


def test_bag_that_exists_is_kept(record, tmp_path):
    (tmp_path / 'run').mkdir()
    with pytest.raises(SourceError, match=r"run' exists already and bags are not overwritten"):
        record('/cam/image')
    with pytest.raises(ConfigError, match='No topic is given; expected at least one'):
        record()
    said = r'the disk of .* has \d+ MB left, less than disk_floor \(1e\+09 MB\); free some space'
    with pytest.raises(SourceError, match=said):
        record('/cam/image', out='new', disk_floor=1e9)
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize(
    'name', ['', 'a b', '//a', '/a/', '/1a', '{robot}', '/ü', '/\udcff', '/a\n', '/' + 300 * 'a']
)  # fmt: skip
def test_name_that_is_no_topic_is_refused(record, tmp_path, name):
    with pytest.raises(ConfigError) as caught:
        record(name)
    assert str(caught.value) == (
        f'{name!r} is no name of a topic; expected letters, digits and _ between slashes, such as '
        '/camera/image_raw.'
    )
    assert not (tmp_path / 'run').exists()


def test_home_of_nobody_is_a_name(peer):
    from keypoint_perception.ros.recorder.recorder import Recorder

    recorder = Recorder(peer.node, topics=['/a'], out='~nobody_of_this_name/run')
    assert str(recorder.out) == '~nobody_of_this_name/run'


def test_directory_that_vanishes_ends_the_recording(record):
    recorder = record('/a')
    shutil.rmtree(recorder.out)
    assert recorder.finished.wait(30)
    assert re.search(
        r"run' was removed while it was being recorded; start", recorder.stop().stop_reason
    )


def test_names_of_bags_differ(tmp_path):
    from keypoint_perception.ros.recorder.recorder import dated_bag

    assert len({dated_bag(tmp_path) for _ in range(100)}) == 100


def test_raw_images_become_jpeg(peer, record, make_image):
    import cv2
    from keypoint_perception.cdr import read_compressed_image
    from sensor_msgs.msg import Image

    log = Log()
    recorder = record('/cam/image', '/cam/depth', jpeg=95, log=log)
    colour = make_image(5)
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, 32:] = [200, 100, 0]
    colour.data = array.array('B', pixels.tobytes())
    depth = make_image(6, encoding='16UC1', step=128, data=array.array('B', bytes(48 * 128)))
    publish(peer, recorder, peer.publisher(Image, '/cam/image'), [colour])
    publish(peer, recorder, peer.publisher(Image, '/cam/depth'), [depth])
    recorder.stop()
    (first, kind, data), (second, other_kind, _) = read(recorder.out)
    assert (first, kind) == ('/cam/image/compressed', 'sensor_msgs/msg/CompressedImage')
    assert (second, other_kind) == ('/cam/depth', 'sensor_msgs/msg/Image')
    assert log.has('/cam/depth has more than 8 bits a channel and is recorded without JPEG')
    message = read_compressed_image(data)
    assert message.format == 'rgb8; jpeg compressed bgr8'
    assert message.header.stamp_ns == 5_123_456_789
    assert message.header.frame_id == 'camera_optical'
    bgr = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(bgr[20, 50].astype(int) - [0, 100, 200]).max() <= 4
    types = {
        t['topic_metadata']['name']: t for t in metadata(recorder.out)['topics_with_message_count']
    }
    assert types['/cam/image/compressed']['topic_metadata']['type_description_hash'] == ''


def test_still_images_are_skipped(peer, record, make_image):
    from sensor_msgs.msg import Image

    recorder = record('/cam/image', only_motion=True, motion_context=0.0, motion_threshold=50)
    publisher = peer.publisher(Image, '/cam/image')
    places = [0, 0, 0, 30, 30]
    publish(peer, recorder, publisher, [make_image(i + 1, u=u) for i, u in enumerate(places)])
    summary = recorder.stop()
    seconds = [int.from_bytes(data[4:8], 'little') for *_, data in read(recorder.out)]
    assert seconds == [1, 4]
    assert summary.topics['/cam/image'].skipped == 3
    assert summary.total.skipped == 3


def test_the_image_rate_is_limited(peer, record, make_image):
    from sensor_msgs.msg import CameraInfo, Image

    recorder = record('/cam/image', '/cam/camera_info', rate=0.5)
    images, infos = (
        peer.publisher(Image, '/cam/image'),
        peer.publisher(CameraInfo, '/cam/camera_info'),
    )
    publish(peer, recorder, images, [make_image(sec) for sec in range(1, 8)])
    publish(peer, recorder, infos, [CameraInfo(), CameraInfo()])
    recorder.stop()
    messages = read(recorder.out)
    seconds = [int.from_bytes(d[4:8], 'little') for t, _, d in messages if t == '/cam/image']
    assert seconds == [1, 3, 5, 7]
    assert len(messages) == 4 + 2


def test_the_camera_info_beside_images_is_recorded_by_itself(peer, record, make_image):
    from sensor_msgs.msg import CameraInfo, CompressedImage
    from std_msgs.msg import String

    recorder = record('/cam/image_raw/compressed', '/text/image')
    others = [
        peer.node.create_publisher(CameraInfo, topic, 1)
        for topic in ('/other/camera_info', '/text/camera_info')
    ]
    texts = peer.publisher(String, '/text/image')
    images = peer.publisher(CompressedImage, '/cam/image_raw/compressed')
    info = peer.publisher(CameraInfo, '/cam/camera_info')
    publish(peer, recorder, images, [CompressedImage(format='png')])
    publish(peer, recorder, info, [CameraInfo(width=7)])
    assert list(recorder.stop().topics) == [
        '/cam/image_raw/compressed', '/text/image', '/cam/camera_info',
    ]  # fmt: skip
    kinds = [(topic, kind.rpartition('/')[2]) for topic, kind, _ in read(recorder.out)]
    assert kinds == [
        ('/cam/image_raw/compressed', 'CompressedImage'), ('/cam/camera_info', 'CameraInfo'),
    ]  # fmt: skip
    for publisher in (texts, *others):
        assert peer.node.destroy_publisher(publisher)


def test_what_places_the_robot_is_recorded_also_what_was_latched(peer, record):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from sensor_msgs.msg import JointState
    from std_msgs.msg import String

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    description = peer.node.create_publisher(String, '/robot_description', latched)
    description.publish(String(data='<robot/>'))
    recorder = record('/cam/image', robot=True)
    joints = peer.publisher(JointState, '/joint_states')
    peer.spin_until(joints.get_subscription_count, 'a subscription')
    peer.spin_until(
        lambda: recorder.summary().topics['/robot_description'].received, 'the description'
    )
    publish(peer, recorder, joints, [JointState(name=['a'], position=[1.0])])
    assert list(recorder.stop().topics) == [
        '/cam/image', '/robot_description', '/joint_states', '/tf', '/tf_static',
    ]  # fmt: skip
    first, second = read(recorder.out)
    assert (first[0], second[0]) == ('/robot_description', '/joint_states')
    assert b'<robot/>' in first[2]
    (qos,) = [
        topic['topic_metadata']['offered_qos_profiles']
        for topic in metadata(recorder.out)['topics_with_message_count']
        if topic['topic_metadata']['name'] == '/robot_description'
    ]
    assert 'transient_local' in str(qos)
    peer.node.destroy_publisher(description)
