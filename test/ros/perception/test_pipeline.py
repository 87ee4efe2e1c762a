"""Images through the pipeline, without processes: what is published, and what is rejected."""

import logging
import time

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from fake_engine import FakeEngine
from keypoint_perception.cdr import CompressedImageMessage, ImageMessage, MessageHeader
from keypoint_perception.drawing import EDGE_COLOUR
from keypoint_perception.pose_prior import PosePrior
from keypoint_perception.ros.messages import from_point_cloud
from keypoint_perception.ros.perception.camera import Camera, QueuedImage
from keypoint_perception.ros.perception.engine_loading import MonitoredEngine
from keypoint_perception.ros.perception.pipeline import Pipeline
import numpy as np
from rclpy.serialization import deserialize_message
from rclpy.time import Time

NOW_NS = 1_700_000_000_020_000_000
HEADER = MessageHeader(1_700_000_000, 0, 'cam')


class Publisher:
    """Takes messages and serialised ones, as ROS's own does."""

    def __init__(self, kind):
        self._kind = kind
        self.messages = []
        self.subscriptions = 0

    def publish(self, message):
        serialised = isinstance(message, bytes)
        self.messages.append(deserialize_message(message, self._kind) if serialised else message)

    def get_subscription_count(self):
        return self.subscriptions


class Node:
    """What a camera needs of a node."""

    def __init__(self):
        self.publishers = {}
        self.context = self
        self.now_ns = NOW_NS

    def create_lifecycle_publisher(self, kind, topic, qos, **events):
        return self.publishers.setdefault(topic, Publisher(kind))

    def destroy_lifecycle_publisher(self, publisher):
        pass

    def get_logger(self):
        return logging.getLogger('test_pipeline')

    def get_clock(self):
        return self

    def now(self):
        return Time(nanoseconds=self.now_ns)

    def ok(self):
        return True


@pytest.fixture
def node(ros_domain):
    del ros_domain  # it lets ROS's modules load without their warnings
    return Node()


class Cameras:
    """A pipeline with an engine that answers a function, and its cameras."""

    def __init__(self, node, engine, names):
        self.predict_hidden = False
        self._pipeline = Pipeline(MonitoredEngine(engine), lambda: self.predict_hidden)
        self.cameras = [
            Camera(node, name, transport='raw', put=lambda queued: False) for name in names
        ]

    def process(self, *images):
        self._pipeline.process(
            [
                QueuedImage(c, i, time.perf_counter())
                for c, i in zip(self.cameras, images, strict=True)
            ]
        )

    def counts(self):
        return self.cameras[0].statistics.snapshot()

    def rejected(self):
        return [camera.statistics.snapshot().rejected.counts for camera in self.cameras]


@pytest.fixture
def make(node):
    """Return a function that creates cameras with a pipeline."""

    def half(images):
        return np.full((len(images), 1, 3), 0.5, np.float32)

    def create(answer=half, *, names=('',), **engine):
        settings = {'input_hw': (4, 6), 'keypoint_names': ('a',)} | engine
        return Cameras(node, FakeEngine(answer, **settings), names)

    return create


def image(header=HEADER, **fields):
    values = {
        'height': 4,
        'width': 6,
        'encoding': 'rgb8',
        'is_bigendian': 0,
        'step': 18,
        'data': memoryview(bytes(72)),
    }
    return ImageMessage(header, **(values | fields))


def test_overlay_costs_nothing_without_subscribers(node, make):
    cameras = make()
    cameras.process(image())
    assert len(node.publishers['~/keypoints'].messages) == 1
    assert node.publishers['~/overlay'].messages == []
    node.publishers['~/overlay'].subscriptions = 1
    cameras.process(image())
    (overlay,) = node.publishers['~/overlay'].messages
    assert overlay.header.frame_id == 'cam'


def test_the_models_edges_are_on_the_overlay(node, make):
    def answer(images):
        return np.array([[[10.0, 20.0, 1.0], [50.0, 20.0, 1.0]]], np.float32)

    edges = [(0, 1, 1.0)]
    cameras = make(answer, input_hw=(48, 64), keypoint_names=('a', 'b'), skeleton=edges)
    node.publishers['~/overlay'].subscriptions = 1
    cameras.process(image(height=48, width=64, step=192, data=memoryview(bytes(48 * 192))))
    (overlay,) = node.publishers['~/overlay'].messages
    drawn = np.frombuffer(overlay.data, np.uint8).reshape(48, 64, 3)
    assert tuple(drawn[20, 30]) == EDGE_COLOUR


def test_latency_is_from_the_stamp_to_publication(make):
    cameras = make()
    cameras.process(image())
    assert cameras.counts().spread_ms['latency'][0] == pytest.approx(20)
    spread_ms = cameras.counts().spread_ms
    for stage in ('wait', 'prepare', 'engine', 'publish'):
        assert 0 < spread_ms[stage][0] < 1000


def test_stamps_of_another_clock_give_no_latency(make):
    cameras = make()
    cameras.process(image(header=MessageHeader(5, 0, 'cam')))
    assert np.isnan(cameras.counts().spread_ms['latency'][0])
    assert cameras.counts().counts['published'] == 1


def test_an_exception_of_a_library_costs_one_image(node, make):
    answers = iter([MemoryError('full'), np.full((1, 1, 3), 0.25, np.float32)])

    def answer(images):
        given = next(answers)
        if isinstance(given, Exception):
            raise given
        return given

    cameras = make(answer)
    cameras.process(image())
    cameras.process(image())
    assert cameras.counts().rejected.counts == {'unexpected error': 1}
    assert cameras.counts().rejected.last == 'MemoryError: full.'
    (cloud,) = node.publishers['~/keypoints'].messages
    assert from_point_cloud(cloud)['confidence'][0] == 0.25


def brightness(calls):
    """Return an engine's answer: the brightest value as confidence; remembers batch sizes."""

    def answer(images):
        calls.append(len(images))
        peaks = images.reshape(len(images), -1).max(axis=1).astype(np.float32)
        if (peaks == 13).any():
            raise RuntimeError('thirteen')
        return np.stack([peaks * 0, peaks * 0, peaks / 255], axis=1)[:, None]

    return answer


def grey(value, **fields):
    return image(data=memoryview(bytes([value]) * 72), **fields)


def test_simultaneous_images_are_one_engine_call(node, make):
    calls = []
    cameras = make(brightness(calls), names=('left', 'right'))
    left = MessageHeader(7, 0, 'left_optical')
    cameras.process(grey(51, header=left), grey(102))
    assert calls == [2]
    (cloud,) = node.publishers['~/left/keypoints'].messages
    assert (cloud.header.stamp.sec, cloud.header.frame_id) == (7, 'left_optical')
    assert from_point_cloud(cloud)['confidence'][0] == pytest.approx(0.2)
    (cloud,) = node.publishers['~/right/keypoints'].messages
    assert from_point_cloud(cloud)['confidence'][0] == pytest.approx(0.4)


def test_a_bad_image_of_one_camera_does_not_affect_another(node, make):
    calls = []
    cameras = make(brightness(calls), names=('left', 'right'))
    cameras.process(grey(51, encoding='rgb9'), grey(102))
    assert calls == [1]
    assert cameras.rejected() == [{'encoding not supported': 1}, {}]
    assert node.publishers['~/left/keypoints'].messages == []
    assert len(node.publishers['~/right/keypoints'].messages) == 1


def test_an_image_that_breaks_the_engine_does_not_affect_another(node, make, caplog):
    calls = []
    cameras = make(brightness(calls), names=('left', 'right'))
    cameras.process(grey(102), grey(13))
    assert calls == [2, 1, 1]
    assert cameras.rejected() == [{}, {'unexpected error': 1}]
    assert len(node.publishers['~/left/keypoints'].messages) == 1
    assert node.publishers['~/right/keypoints'].messages == []
    assert 'image of right rejected (unexpected error): RuntimeError: thirteen' in caplog.text


@pytest.mark.parametrize(
    ('kind', 'bad'),
    [
        ('encoding not supported', image(encoding='32SC1')),
        ('no pixels', image(width=0)),
        ('wrong step or size', image(step=17)),
        ('wrong step or size', image(data=memoryview(b''))),
        ('broken compressed image', CompressedImageMessage(HEADER, 'jpeg', memoryview(b'x'))),
        ('broken compressed image', CompressedImageMessage(HEADER, '', memoryview(b''))),
    ],
)
def test_bad_images_are_counted_by_kind(node, make, kind, bad, caplog):
    cameras = make()
    cameras.process(bad)
    cameras.process(bad)
    assert cameras.counts().rejected.counts == {kind: 2}
    assert node.publishers['~/keypoints'].messages == []
    assert [r.levelname for r in caplog.records] == ['ERROR']
    assert f'image rejected ({kind})' in caplog.text


def test_closed_camera_reports_nothing(make, node, caplog):
    cameras = make()
    cameras.cameras[0].close()
    node.publishers['~/keypoints'].publish = None  # as good as destroyed
    cameras.process(image())
    assert cameras.counts().rejected.counts == {}
    assert not caplog.records


def test_hidden_keypoints_are_predicted_while_the_parameter_is_set(node, make):
    prior = PosePrior((4, 6), np.array([[4.0, 2.0]]), 0.01 * np.eye(2))

    def corner(images):
        return np.full((len(images), 1, 3), [0.0, 0.0, 0.3], np.float32)

    cameras = make(corner, pose_prior=prior)
    for cameras.predict_hidden in (False, True, False):
        cameras.process(image())
    found = [from_point_cloud(m)['confidence'][0] for m in node.publishers['~/keypoints'].messages]
    assert found == pytest.approx([0.3, 0.0, 0.3])


def test_16_bit_images_are_scaled_as_the_models_recordings_were(make):
    seen = []

    def answer(images):
        seen.append(images.copy())
        return np.full((len(images), 1, 3), 0.5, np.float32)

    cameras = make(answer)
    cameras._pipeline._estimator.grey_range = (1000, 1600)
    pixels = np.repeat(np.array([1000, 1200, 1400, 1600], '<u2'), 6)
    fields = {'height': 4, 'width': 6, 'step': 12, 'is_bigendian': False}
    header = MessageHeader(0, 0, '')
    cameras.process(ImageMessage(header, encoding='mono16', data=pixels.tobytes(), **fields))
    assert seen[0][0, :, 0, 0].tolist() == [0, 85, 170, 255]
    assert not cameras.counts().degraded.counts
    cameras._pipeline._estimator.grey_range = (0, 65535)  # of a model that knows no such camera
    cameras.process(ImageMessage(header, encoding='mono16', data=pixels.tobytes(), **fields))
    assert seen[1].max() == 6
    assert cameras.counts().degraded.counts == {'few grey levels': 1}
