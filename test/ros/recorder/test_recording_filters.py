"""What the recorder leaves out, worked by hand."""

import struct
import zlib

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
MS = 1_000_000


@pytest.fixture(autouse=True)
def _ros(ros_domain):
    del ros_domain


def kept(limit, topic, stamps_ms):
    return [s for s in stamps_ms if limit.keeps(topic, s * MS)]


def test_rate_is_kept_in_spite_of_jitter():
    from keypoint_perception.ros.recorder.recording_filters import RateLimit

    # a camera of 100 Hz whose images come up to 2 ms early or late
    stamps = [0, 11, 19, 30, 42, 49, 58, 70, 81, 90, 98, 110]
    assert kept(RateLimit(100), '/a', stamps) == stamps
    assert kept(RateLimit(50), '/a', stamps) == [0, 19, 42, 58, 81, 98]
    # slower than the limit: all, and no burst after a pause
    assert kept(RateLimit(50), '/a', [0, 100, 110, 200, 205, 210, 220]) == [0, 100, 200, 220]


def test_pairs_stay_pairs():
    from keypoint_perception.ros.recorder.recording_filters import RateLimit

    limit = RateLimit(50)
    assert kept(limit, '/colour', [0, 10, 20]) == [0, 20]
    # depth starts later, in between; what colour kept is kept
    assert kept(limit, '/depth', [20, 30, 40, 50, 60]) == [20, 40, 60]


def test_rate_goes_on_after_a_jump_back():
    from keypoint_perception.ros.recorder.recording_filters import RateLimit

    assert kept(RateLimit(50), '/a', [1000, 1020, 0, 10, 20]) == [1000, 1020, 0, 20]


def gate_run(gate, items):
    """Return the times of kept, rejected and pending images, ms."""
    kept, gone = [], []
    for item in items:
        now_kept, now_gone = gate.admit(item)
        kept += [i.log_ns // MS for i in now_kept]
        gone += [i.log_ns // MS for i in now_gone]
    return kept, gone, [i.log_ns // MS for i in gate.pending()]


def waiting(make_image, time_ms, u, topic='/a', **fields):
    from keypoint_perception.ros.recorder.recording_queue import QueuedMessage
    from keypoint_perception.ros.recorder.topic_subscription import TopicInfo
    from rclpy.serialization import serialize_message

    class Topic:
        name = topic
        info = TopicInfo('sensor_msgs/msg/Image')

    data = serialize_message(make_image(1, u=u, **fields))
    return QueuedMessage(Topic, time_ms * MS, time_ms * MS, data)


def test_images_around_motion_are_kept(make_image):
    from keypoint_perception.ros.recorder.recording_filters import MotionGate

    gate = MotionGate(50, 20 * MS)
    places = [(0, 5), (10, 5), (20, 5), (30, 5), (40, 5), (50, 5), (60, 5), (70, 9), (80, 9)]
    items = [waiting(make_image, t, u) for t, u in places]
    items += [waiting(make_image, t, 9) for t in (90, 100, 110, 130)]
    # the first is news; 20 ms after it, 20 ms before and after the motion at 70
    assert gate_run(gate, items) == ([0, 10, 20, 50, 60, 70, 80, 90], [30, 40, 100], [110, 130])


def test_slow_motion_counts(make_image):
    """Each step is below the threshold, their sum is not."""
    import array

    from keypoint_perception.ros.recorder.recording_filters import MotionGate

    def grey(time_ms, level):
        data = array.array('B', bytes([level]) * (48 * 64))
        return waiting(make_image, time_ms, 0, encoding='mono8', step=64, data=data)

    gate = MotionGate(10, 0)
    items = [grey(t, 100 + 4 * t) for t in range(8)]
    # 100, then 112 (three steps of four are more than ten), then 124
    assert gate_run(gate, items)[0] == [0, 3, 6]


def test_motion_in_one_camera_keeps_the_others_too(make_image):
    from keypoint_perception.ros.recorder.recording_filters import MotionGate

    gate = MotionGate(50, 0)
    items = [
        waiting(make_image, 0, 1, '/a'),
        waiting(make_image, 0, 1, '/b'),
        waiting(make_image, 10, 1, '/a'),
        waiting(make_image, 10, 8, '/b'),
        waiting(make_image, 20, 1, '/a'),
        waiting(make_image, 20, 8, '/b'),
    ]
    assert gate_run(gate, items) == ([0, 0, 10, 10], [], [20, 20])


def test_depth_alone_is_kept(make_image):
    """Motion cannot be detected in depth images, which must not be lost for that reason."""
    import array

    from keypoint_perception.ros.recorder.recording_filters import MotionGate

    data = array.array('B', bytes(48 * 128))
    items = [waiting(make_image, t, 0, encoding='16UC1', step=128, data=data) for t in (0, 10, 20)]
    assert gate_run(MotionGate(5, 0), items)[0] == [0, 10, 20]


def test_a_clock_that_jumps_back_does_not_keep_what_is_still(make_image):
    from keypoint_perception.ros.recorder.recording_filters import MotionGate

    moved = [waiting(make_image, 10_000, 0), waiting(make_image, 10_100, 30)]
    still = [waiting(make_image, 1_000 + 100 * i, 30) for i in range(5)]
    kept, gone, left = gate_run(MotionGate(16.0, 150 * MS), moved + still)
    assert kept == [10_000, 10_100]
    assert (gone, left) == ([1000, 1100, 1200], [1300, 1400])


def test_an_unreadable_image_is_an_error(make_image):
    from keypoint_perception.errors import EncodingError
    from keypoint_perception.ros.recorder.recording_filters import small_grey
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CompressedImage

    head = struct.pack('>IIBBBBB', 60_000, 60_000, 8, 2, 0, 0, 0)
    png = b'\x89PNG\r\n\x1a\n'
    for kind, content in ((b'IHDR', head), (b'IDAT', zlib.compress(b'')), (b'IEND', b'')):
        sizes = len(content), zlib.crc32(kind + content)
        png += struct.pack('>I', sizes[0]) + kind + content + struct.pack('>I', sizes[1])
    jpeg = b'\xff\xd8\xff\xc0' + struct.pack('>HBHHB', 11, 8, 65_535, 65_535, 1) + bytes(8)
    for data, sentence in ((png, 'is broken'), (jpeg, 'claims to have 65535x65535 pixels')):
        message = serialize_message(CompressedImage(format='x', data=data))
        with pytest.raises(EncodingError, match=sentence):
            small_grey('sensor_msgs/msg/CompressedImage', message)


def test_queue_is_bounded_in_bytes():
    from keypoint_perception.ros.recorder.recording_queue import QueuedMessage, RecordingQueue

    queue = RecordingQueue(100)
    assert queue.put(QueuedMessage('a', 1, 1, bytes(300)))  # alone, whatever its size
    assert not queue.put(QueuedMessage('a', 2, 2, bytes(1)))
    assert queue.take(0).log_ns == 1
    assert all(queue.put(QueuedMessage('a', t, t, bytes(50))) for t in (3, 4))
    assert not queue.put(QueuedMessage('a', 5, 5, bytes(1)))
    queue.close()
    assert not queue.put(QueuedMessage('a', 6, 6, b''))
    assert [queue.take(0).log_ns, queue.take(0).log_ns, queue.take(0)] == [3, 4, None]
    assert queue.exhausted


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'rate': -1}, 'rate: must be a number from 0 to 10000, got -1'),
        ({'jpeg': 101}, 'jpeg: must be an integer from 0 to 100, got 101'),
        ({'compression': 'lz4'}, "compression: must be one of none, zstd, got 'lz4'"),
        ({'rate': float('nan')}, 'rate: must be a number from 0 to 10000, got nan'),
    ],
)
def test_settings_out_of_range_are_refused(settings, sentence):
    from keypoint_perception.errors import ConfigError
    from keypoint_perception.ros.recorder.recorder_settings import RecorderSettings

    with pytest.raises(ConfigError, match=sentence):
        RecorderSettings(**settings)
