"""One image's way, without processes: what is published, and what is left out."""

import logging

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from keypoint_perception.drawing import EDGE_COLOUR
from keypoint_perception.inference.estimator import Estimator
from keypoint_perception.inference.fake_engine import FakeEngine
from keypoint_perception.ros.cdr import ImageHeader, ReceivedCompressedImage, ReceivedImage
from keypoint_perception.ros.health import Health
from keypoint_perception.ros.messages import from_point_cloud
from keypoint_perception.ros.pipeline import Pipeline
import numpy as np
from rclpy.time import Time

NOW_NS = 1_700_000_000_020_000_000
HEADER = ImageHeader(1_700_000_000, 0, 'cam')


class Publisher:
    def __init__(self):
        self.messages = []
        self.subscriptions = 0

    def publish(self, message):
        self.messages.append(message)

    def get_subscription_count(self):
        return self.subscriptions


class Node:
    """What the pipeline needs of a node."""

    def __init__(self):
        self.publishers = {}
        self.context = self
        self.now_ns = NOW_NS

    def create_lifecycle_publisher(self, kind, topic, qos):
        return self.publishers.setdefault(topic, Publisher())

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
def node():
    return Node()


@pytest.fixture
def make(node):
    """Return a function that makes a pipeline with an engine that answers a function."""

    def pipeline(answer=lambda images: np.full((1, 1, 3), 0.5, np.float32)):
        engine = FakeEngine(answer, input_hw=(4, 6), keypoint_names=('a',))
        health = Health()
        return Pipeline(node, Estimator(engine), health, overlay_threshold=0.5), health

    return pipeline


def image(header=HEADER, **fields):
    values = {
        'height': 4,
        'width': 6,
        'encoding': 'rgb8',
        'is_bigendian': 0,
        'step': 18,
        'data': memoryview(bytes(72)),
    }
    return ReceivedImage(header, **(values | fields))


def test_overlay_costs_nothing_without_subscribers(node, make):
    pipeline, _ = make()
    pipeline.process(image())
    assert len(node.publishers['~/keypoints'].messages) == 1
    assert node.publishers['~/overlay'].messages == []
    node.publishers['~/overlay'].subscriptions = 1
    pipeline.process(image())
    (overlay,) = node.publishers['~/overlay'].messages
    assert overlay.header.frame_id == 'cam'


def test_the_models_edges_are_on_the_overlay(node):
    def answer(images):
        return np.array([[[10.0, 20.0, 1.0], [50.0, 20.0, 1.0]]], np.float32)

    engine = FakeEngine(
        answer, input_hw=(48, 64), keypoint_names=('a', 'b'), skeleton=[(0, 1, 1.0)]
    )
    pipeline = Pipeline(node, Estimator(engine), Health(), overlay_threshold=0.5)
    node.publishers['~/overlay'].subscriptions = 1
    pipeline.process(image(height=48, width=64, step=192, data=memoryview(bytes(48 * 192))))
    (overlay,) = node.publishers['~/overlay'].messages
    drawn = np.frombuffer(overlay.data, np.uint8).reshape(48, 64, 3)
    assert tuple(drawn[20, 30]) == EDGE_COLOUR


def test_latency_is_from_the_stamp_to_publication(make):
    pipeline, health = make()
    pipeline.process(image())
    counts = health.snapshot()
    assert counts.latency_ms[0] == pytest.approx(20)
    assert 0 < counts.engine_ms[0] < 1000


def test_stamps_of_another_clock_give_no_latency(make):
    pipeline, health = make()
    pipeline.process(image(header=ImageHeader(5, 0, 'cam')))
    assert np.isnan(health.snapshot().latency_ms[0])
    assert health.snapshot().published == 1


def test_what_a_library_raises_leaves_one_image_out(node, make):
    answers = iter([MemoryError('full'), np.full((1, 1, 3), 0.25, np.float32)])

    def answer(images):
        given = next(answers)
        if isinstance(given, Exception):
            raise given
        return given

    pipeline, health = make(answer)
    pipeline.process(image())
    pipeline.process(image())
    assert health.snapshot().bad == {'unexpected error': 1}
    assert health.snapshot().last_bad == 'MemoryError: full'
    (cloud,) = node.publishers['~/keypoints'].messages
    assert from_point_cloud(cloud)['confidence'][0] == 0.25


@pytest.mark.parametrize(
    ('kind', 'bad'),
    [
        ('encoding not supported', image(encoding='32FC1')),
        ('no pixels', image(width=0)),
        ('wrong step or size', image(step=17)),
        ('wrong step or size', image(data=memoryview(b''))),
        ('broken compressed image', ReceivedCompressedImage(HEADER, 'jpeg', memoryview(b'x'))),
        ('broken compressed image', ReceivedCompressedImage(HEADER, '', memoryview(b''))),
    ],
)
def test_bad_images_are_counted_by_kind(node, make, kind, bad, caplog):
    pipeline, health = make()
    pipeline.process(bad)
    pipeline.process(bad)
    assert health.snapshot().bad == {kind: 2}
    assert node.publishers['~/keypoints'].messages == []
    assert [r.levelname for r in caplog.records] == ['ERROR']
    assert f'image left out ({kind})' in caplog.text


def test_closed_pipeline_is_silent_about_its_end(make, node, caplog):
    pipeline, health = make()
    pipeline.close()
    node.publishers['~/keypoints'].publish = None  # as good as destroyed
    pipeline.process(image())
    assert health.snapshot().bad == {}
    assert not caplog.records
